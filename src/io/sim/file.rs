//! Operations on a simulated file: begin, wait, take effect.
//!
//! Owns [`SimFile`]. An operation is a task of its own, so it takes effect also when nobody waits for it any
//! more, as on a real disk. What it does to the state happens in one step at its end; a write is known to
//! the state from its beginning, because a power cut may catch it half done.

use std::cell::RefMut;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::handle::SimHandle;
use super::media::Page;
use super::state::{State, WriteInFlight, power_cut};
use super::{Fault, OpKind};
use crate::base::limits::PAGE;
use crate::io::buffer::AlignedBuf;
use crate::io::disk::{Access, FileIdentity};

const PAGE_BYTES: u64 = PAGE as u64;

/// Cheap to clone: each operation takes one along.
#[derive(Clone)]
pub(in crate::io) struct SimFile(Rc<Inner>);

struct Inner {
    handle: SimHandle,
    path: PathBuf,
    access: Access,
    id: FileIdentity,
}

impl SimFile {
    pub(super) fn new(handle: SimHandle, path: PathBuf, access: Access, id: FileIdentity) -> Self {
        SimFile(Rc::new(Inner { handle, path, access, id }))
    }

    pub fn id(&self) -> FileIdentity {
        self.0.id
    }

    pub fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.media(&self.0.path).len)
    }

    pub async fn read_at(&self, mut buf: AlignedBuf, offset: u64) -> (io::Result<()>, AlignedBuf) {
        let len = buf.len();
        let file = self.clone();
        let read = self.on_its_own(async move {
            let mut bytes = vec![UNSPECIFIED; len];
            let result = file.read(&mut bytes, offset).await;
            (result, bytes)
        });
        let (result, bytes) = read.await.unwrap_or_else(|| (Err(power_cut()), vec![UNSPECIFIED; len]));
        buf.copy_from_slice(&bytes);
        (result, buf)
    }

    pub async fn write_at(&self, buf: Arc<AlignedBuf>, range: Range<usize>, offset: u64) -> io::Result<()> {
        let page = |bytes: &[u8]| Rc::new(bytes.try_into().expect("transfers are made of whole pages"));
        let pages = buf[range].chunks(PAGE).map(page).collect();
        self.write_pages(pages, offset, self.0.access == Access::DirectSync).await
    }

    pub async fn sync(&self) -> io::Result<()> {
        let file = self.clone();
        let sync = self.on_its_own(async move { file.sync_now().await });
        sync.await.unwrap_or_else(|| Err(power_cut()))
    }

    pub async fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.steps(None).await;
        let end = offset + len;
        let mut state = self.writable()?;
        state.check_space(&state.files[&self.0.path], end)?;
        let media = state.media(&self.0.path);
        media.len = media.len.max(end);
        Ok(())
    }

    pub async fn hold(&self, offset: u64, len: u64) -> io::Result<()> {
        self.steps(None).await;
        let mut state = self.writable()?;
        state.hold(&self.0.path, offset, len)
    }

    pub async fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let zero: Page = Rc::new([0; PAGE]);
        self.write_pages(vec![zero; (len / PAGE_BYTES) as usize], offset, true).await
    }

    /// Half of the time nothing happens, but that what was held behind the end is let go.
    pub async fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.writable()?.let_go(&self.0.path, offset);
        let end = self.len()?.min(offset + len);
        let is_ignored = self.writable()?.chance.one_in(2);
        if is_ignored || end <= offset {
            return Ok(());
        }
        let zero: Page = Rc::new([0; PAGE]);
        self.write_pages(vec![zero; ((end - offset) / PAGE_BYTES) as usize], offset, false).await
    }

    async fn write_pages(&self, pages: Vec<Page>, offset: u64, is_durable: bool) -> io::Result<()> {
        let is_durable = is_durable || !self.0.id.write_cache;
        let file = self.clone();
        let write = self.on_its_own(async move { file.write(pages, offset, is_durable).await });
        write.await.unwrap_or_else(|| Err(power_cut()))
    }

    async fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let fault = self.alive()?.take_fault(&self.0.path, OpKind::Read);
        self.steps(fault).await;
        let mut state = self.alive()?;
        fail(fault)?;
        let media = state.media(&self.0.path);
        if !media.is_readable(offset, bytes.len() as u64) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        media.read(offset, bytes);
        Ok(())
    }

    async fn write(&self, pages: Vec<Page>, offset: u64, is_durable: bool) -> io::Result<()> {
        let (number, fault) = self.begin_write(&pages, offset)?;
        self.steps(fault).await;
        let mut state = self.0.handle.state.borrow_mut();
        if !state.is_running(self.0.handle.generation) {
            // It stays in flight: the crash decides about it.
            return Err(power_cut());
        }
        let writable = state.check_writable(self.0.handle.generation, &self.0.path);
        let result = writable.and_then(|()| fail(fault));
        let write = state.in_flight.remove(&number);
        let time = state.next_time();
        let State { files, chance, .. } = &mut *state;
        let media = &mut files.get_mut(&self.0.path).ok_or_else(gone)?.media;
        match write {
            None => {}
            Some(write) if result.is_err() => media.write_partly(time, write.first, &write.pages, chance),
            Some(write) if is_durable => media.write_durably(write.first, &write.pages),
            Some(write) => media.write(time, write.first, &write.pages),
        }
        result
    }

    /// Answers the number under which the write is in flight (a lost one is not) and its fault.
    fn begin_write(&self, pages: &[Page], offset: u64) -> io::Result<(u64, Option<Fault>)> {
        let mut state = self.writable()?;
        let end = offset + pages.len() as u64 * PAGE_BYTES;
        state.check_space(state.files.get(&self.0.path).ok_or_else(gone)?, end)?;
        let fault = state.take_fault(&self.0.path, OpKind::Write);
        let number = state.next_number();
        let offset = match fault {
            Some(Fault::Misdirect(elsewhere)) => elsewhere,
            _ => offset,
        };
        if fault != Some(Fault::Lose) {
            let (path, first) = (self.0.path.clone(), offset / PAGE_BYTES);
            state.in_flight.insert(number, WriteInFlight { path, first, pages: pages.to_vec() });
        }
        state.is_cut = state.cut_at_write == Some(state.writes);
        state.writes += 1;
        if state.is_cut { Err(power_cut()) } else { Ok((number, fault)) }
    }

    async fn sync_now(&self) -> io::Result<()> {
        let (time, len, fault) = {
            let mut state = self.writable()?;
            let fault = state.take_fault(&self.0.path, OpKind::Sync);
            (state.time, state.media(&self.0.path).len, fault)
        };
        self.steps(fault).await;
        let mut state = self.alive()?;
        let media = state.media(&self.0.path);
        match fail(fault) {
            Ok(()) => media.sync(time, len),
            Err(_) => media.doom(time),
        }
        fail(fault)
    }

    /// Runs an operation to its end even when the caller stops waiting; `None` when the runtime ended.
    async fn on_its_own<T: 'static>(&self, operation: impl Future<Output = T> + 'static) -> Option<T> {
        let ticket = self.0.handle.state.borrow().flight.board();
        let whole = async move {
            let result = operation.await;
            drop(ticket);
            result
        };
        tokio::task::spawn_local(whole).await.ok()
    }

    /// The time an operation takes: mostly some turns of the scheduler, sometimes milliseconds.
    async fn steps(&self, fault: Option<Fault>) {
        let (turns, millis, hung) = {
            let mut state = self.0.handle.state.borrow_mut();
            let millis = if state.chance.one_in(8) { 1 + state.chance.below(4) } else { 0 };
            (state.chance.below(4), millis, state.hung_below(&self.0.path))
        };
        if let Some(hung) = hung {
            hung.notified().await;
        }
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let stall = if let Some(Fault::Stall(stall)) = fault { stall } else { Duration::ZERO };
        let wait = stall + Duration::from_millis(millis);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn alive(&self) -> io::Result<RefMut<'_, State>> {
        let state = self.0.handle.state.borrow_mut();
        state.check_alive(self.0.handle.generation, &self.0.path)?;
        if state.files.contains_key(&self.0.path) { Ok(state) } else { Err(gone()) }
    }

    fn writable(&self) -> io::Result<RefMut<'_, State>> {
        match self.0.access {
            Access::ReadOnly => Err(io::Error::from_raw_os_error(libc::EBADF)),
            Access::Direct | Access::DirectSync => {
                let state = self.alive()?;
                state.check_writable(self.0.handle.generation, &self.0.path)?;
                Ok(state)
            }
        }
    }
}

/// What a buffer holds after a failed read.
const UNSPECIFIED: u8 = 0xdb;

/// The disk was replaced under an open file.
fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn fail(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        Some(Fault::Fail(number)) => Err(io::Error::from_raw_os_error(number)),
        _ => Ok(()),
    }
}
