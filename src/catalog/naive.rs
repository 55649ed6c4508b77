//! A run store in memory, for tests: several copies that can be damaged, writes that can fail, and
//! books that show a double free or a leak.
//!
//! Owns nothing real. Every operation gives way to other tasks once, as real I/O does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::Bytes;

use crate::base::ids::DriveId;
use crate::base::limits;
use crate::catalog::error::Result;
use crate::catalog::run::store::RunStore;
use crate::io::buffer::AlignedBuf;
use crate::pool::extent::{Address, MirroredExtent};

pub const COPIES: usize = 3;

#[derive(Clone, Default)]
pub struct NaiveStore(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// Live extents by address, each with the bytes of its copies.
    extents: RefCell<BTreeMap<u64, [Vec<u8>; COPIES]>>,
    next: Cell<u64>,
    /// Writes and syncs until one fails.
    fails_in: Cell<Option<u32>>,
    reads: Cell<u64>,
    written: Cell<u64>,
}

impl NaiveStore {
    /// Addresses of live extents.
    pub fn live(&self) -> Vec<u64> {
        self.0.extents.borrow().keys().copied().collect()
    }

    /// The addresses of extents, in order, to compare with `live`.
    pub fn addresses(extents: &[MirroredExtent]) -> Vec<u64> {
        let mut addresses: Vec<u64> = extents.iter().map(address).collect();
        addresses.sort();
        addresses
    }

    /// What recovery does: space that nobody owns is free.
    pub fn keep_only(&self, owned: &[MirroredExtent]) {
        let owned = Self::addresses(owned);
        self.0.extents.borrow_mut().retain(|address, _| owned.binary_search(address).is_ok());
    }

    /// The write or sync after `operations` others fails, once.
    pub fn fail_in(&self, operations: Option<u32>) {
        self.0.fails_in.set(operations);
    }

    pub fn reads(&self) -> u64 {
        self.0.reads.get()
    }

    pub fn bytes_written(&self) -> u64 {
        self.0.written.get()
    }

    /// Changes a page of one copy of the `nth` live extent.
    pub fn damage(&self, nth: usize, copy: usize, page: usize, how: impl Fn(&mut [u8])) {
        let mut extents = self.0.extents.borrow_mut();
        let count = extents.len();
        if let Some(copies) = extents.values_mut().nth(nth % count.max(1)) {
            let copy = &mut copies[copy % COPIES];
            let page = page % (copy.len() / limits::PAGE);
            how(&mut copy[page * limits::PAGE..(page + 1) * limits::PAGE]);
        }
    }

    /// Misdirects: all copies of two live extents, as far as both reach, change places.
    pub fn exchange(&self, a: usize, b: usize) {
        let mut extents = self.0.extents.borrow_mut();
        let count = extents.len().max(1);
        let addresses: Vec<u64> = extents.keys().copied().collect();
        let (a, b) = (addresses[a % count], addresses[b % count]);
        let old = extents.clone();
        for (to, from) in [(a, b), (b, a)] {
            for (copy, other) in extents.get_mut(&to).into_iter().flatten().zip(&old[&from]) {
                let len = copy.len().min(other.len());
                copy[..len].copy_from_slice(&other[..len]);
            }
        }
    }

    fn operate(&self) -> Result<()> {
        match self.0.fails_in.get() {
            Some(0) => {
                self.0.fails_in.set(None);
                Err(io::Error::other("as the test wants").into())
            }
            left => {
                self.0.fails_in.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}

impl RunStore for NaiveStore {
    async fn write(&self, data: AlignedBuf) -> Result<MirroredExtent> {
        assert!(data.len().is_multiple_of(limits::PAGE) && !data.is_empty() && data.len() <= limits::MIB);
        tokio::task::yield_now().await;
        self.operate()?;
        let at = self.0.next.get();
        self.0.next.set(at + data.len() as u64);
        self.0.written.set(self.0.written.get() + data.len() as u64);
        self.0.extents.borrow_mut().insert(at, std::array::from_fn(|_| data.to_vec()));
        let copies = (0..COPIES as u16).map(|n| Address { drive: DriveId(n), offset: at }).collect();
        Ok(MirroredExtent { len: data.len() as u32, copies })
    }

    async fn sync(&self) -> Result<()> {
        tokio::task::yield_now().await;
        self.operate()
    }

    async fn read(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes> {
        assert!(
            offset.is_multiple_of(limits::PAGE as u32) && len.is_multiple_of(limits::PAGE as u32) && len > 0
        );
        tokio::task::yield_now().await;
        self.0.reads.set(self.0.reads.get() + 1);
        let extents = self.0.extents.borrow();
        let copies = extents.get(&address(extent)).expect("nobody reads an extent that was freed");
        let wanted = |copy: &[u8]| copy[offset as usize..(offset + len) as usize].to_vec();
        let good = copies.iter().map(|copy| wanted(copy)).find(|bytes| verify(bytes));
        Ok(good.ok_or(io::Error::other("no copy is good"))?.into())
    }

    fn free(&self, extent: &MirroredExtent) {
        let freed = self.0.extents.borrow_mut().remove(&address(extent)).expect("an extent is freed once");
        assert_eq!(freed[0].len(), extent.len as usize);
    }
}

fn address(extent: &MirroredExtent) -> u64 {
    assert_eq!(extent.copies.len(), COPIES);
    extent.copies[0].offset
}
