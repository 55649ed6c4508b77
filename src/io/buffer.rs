//! Aligned memory for direct I/O.
//!
//! Owns [`AlignedBuf`] and the recycling of freed buffers. Uses `base::limits` only.
//!
//! Invariants: the memory starts on a page boundary; every byte of it is initialised from creation on,
//! so handing out `&[u8]` is always sound; the address never changes while the buffer lives, also when
//! the `AlignedBuf` is moved, which is what the kernel needs while an operation is in flight.
//!
//! Freed buffers of common sizes are kept in a list of the thread that frees them. This list is the
//! one thread-local of the project: a drop cannot be handed a context. It is bounded, holds no meaning,
//! and losing it costs an allocation.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use bytes::Bytes;

use crate::base::limits::{BUFFER_CACHE_BYTES_MAX, BUFFER_CACHE_SHARE, BUFFER_CACHED_BYTES_MAX, KIB, PAGE};

/// Owned heap memory aligned to a page; its length is fixed at creation.
pub struct AlignedBuf {
    memory: Memory,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let capacity = capacity_for(len);
        match take_cached(capacity) {
            Some(memory) => {
                let mut buf = AlignedBuf { memory, len };
                buf.fill(0);
                buf
            }
            None => AlignedBuf { memory: Memory::allocate(capacity), len },
        }
    }

    /// `len` bytes of unspecified content, for a read that overwrites them: what an earlier buffer
    /// held may show through.
    pub fn uninit_for_read(len: usize) -> Self {
        let capacity = capacity_for(len);
        let memory = take_cached(capacity).unwrap_or_else(|| Memory::allocate(capacity));
        AlignedBuf { memory, len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The same memory as `Bytes`, without a copy; it is recycled when the last handle is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `memory` owns at least `len` initialised bytes (see `Memory`), and the borrow of
        // `self` keeps them alive and unaliased by writers.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::NONE);
        // The list is gone when a buffer is dropped during the exit of its thread: then it is freed.
        let _ = CACHE.try_with(|cache| cache.borrow_mut().keep(memory));
    }
}

/// One page-aligned allocation of initialised bytes; `capacity` 0 means none.
struct Memory {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a `Memory` is the only owner of its allocation, which belongs to no thread.
unsafe impl Send for Memory {}
// SAFETY: shared access only reads.
unsafe impl Sync for Memory {}

impl Memory {
    const NONE: Memory = Memory { start: NonNull::dangling(), capacity: 0 };

    fn allocate(capacity: usize) -> Self {
        let layout = layout_of(capacity);
        // SAFETY: `capacity_for` never answers 0, so the layout has a size.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Memory { start, capacity },
            None => handle_alloc_error(layout),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: `start` came from `alloc_zeroed` with this very layout and is freed once.
            unsafe { dealloc(self.start.as_ptr(), layout_of(self.capacity)) }
        }
    }
}

fn layout_of(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, PAGE).expect("a buffer fits the address space")
}

thread_local! {
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache::new()) };
}

/// Powers of two up to 64 KiB, then multiples of 64 KiB up to 1 MiB.
const CLASSES: usize = 20;
const STEP: usize = 64 * KIB;

/// Freed buffers of this thread, by size.
struct Cache {
    classes: [Vec<Memory>; CLASSES],
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    const fn new() -> Self {
        Cache { classes: [const { Vec::new() }; CLASSES], bytes: 0, bytes_max: BUFFER_CACHE_BYTES_MAX }
    }

    fn take(&mut self, capacity: usize) -> Option<Memory> {
        let memory = self.classes[class_of(capacity)?].pop()?;
        assert_eq!(memory.capacity, capacity);
        self.bytes -= capacity;
        Some(memory)
    }

    fn keep(&mut self, memory: Memory) {
        let Some(class) = class_of(memory.capacity) else { return };
        if self.bytes + memory.capacity <= self.bytes_max {
            self.bytes += memory.capacity;
            self.classes[class].push(memory);
        }
    }
}

/// Bounds what this thread keeps further: to a part of the `bytes` that it may use at a time, beside which it stands.
pub fn keep_some_of(bytes: usize) {
    let kept = (bytes / BUFFER_CACHE_SHARE).min(BUFFER_CACHE_BYTES_MAX);
    CACHE.with(|cache| cache.borrow_mut().bytes_max = kept);
}

fn take_cached(capacity: usize) -> Option<Memory> {
    CACHE.try_with(|cache| cache.borrow_mut().take(capacity)).ok().flatten()
}

/// Bytes to allocate for `len`: the next recycled size, or whole pages above the largest.
fn capacity_for(len: usize) -> usize {
    if len <= STEP {
        len.max(PAGE).next_power_of_two()
    } else if len <= BUFFER_CACHED_BYTES_MAX {
        len.next_multiple_of(STEP)
    } else {
        len.next_multiple_of(PAGE)
    }
}

/// The list that holds buffers of exactly this capacity, if it is one of the recycled sizes.
fn class_of(capacity: usize) -> Option<usize> {
    match capacity {
        0 => None,
        c if c <= STEP => Some((c / PAGE).trailing_zeros() as usize),
        c if c <= BUFFER_CACHED_BYTES_MAX => Some(3 + c / STEP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::MIB;

    fn cached_bytes() -> usize {
        CACHE.with(|cache| cache.borrow().bytes)
    }

    #[test]
    fn memory_is_page_aligned_and_zero() {
        for len in [0, 1, 511, 4096, 4097, 12 * KIB, 65536, 65537, MIB, MIB + 1, 5 * MIB] {
            let buf = AlignedBuf::zeroed(len);
            assert_eq!(buf.len(), len);
            assert_eq!(buf.as_ptr() as usize % PAGE, 0);
            assert!(buf.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_recycled_buffer_is_zeroed_again() {
        for len in [4096, 4000, 192 * KIB] {
            let mut dirty = AlignedBuf::zeroed(len);
            dirty.fill(0xee);
            let address = dirty.as_ptr();
            drop(dirty);
            let clean = AlignedBuf::zeroed(len);
            assert_eq!(clean.as_ptr(), address, "the freed buffer is used again");
            assert!(clean.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn every_capacity_has_its_own_class() {
        let mut seen = std::collections::BTreeMap::new();
        for len in (1..=BUFFER_CACHED_BYTES_MAX).step_by(1024) {
            let capacity = capacity_for(len);
            assert!(capacity >= len && capacity <= 2 * len.max(PAGE));
            let class = class_of(capacity).expect("recycled");
            assert!(class < CLASSES);
            assert_eq!(*seen.entry(class).or_insert(capacity), capacity);
        }
        assert_eq!(seen.len(), CLASSES);
        assert_eq!(class_of(capacity_for(BUFFER_CACHED_BYTES_MAX + 1)), None);
    }

    #[test]
    fn the_cache_is_bounded() {
        let many: Vec<_> = (0..40).map(|_| AlignedBuf::zeroed(MIB)).collect();
        drop(many);
        assert!(cached_bytes() <= BUFFER_CACHE_BYTES_MAX);
        assert!(cached_bytes() > 0);
    }

    #[test]
    fn bytes_share_the_memory_and_give_it_back_on_any_thread() {
        let mut buf = AlignedBuf::zeroed(8192);
        buf[8191] = 7;
        let address = buf.as_ptr();
        let bytes = buf.into_bytes();
        assert_eq!(bytes.as_ptr(), address);
        let tail = bytes.slice(8191..);
        drop(bytes);
        std::thread::spawn(move || assert_eq!(&tail[..], [7])).join().unwrap();
    }
}
