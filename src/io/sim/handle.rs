//! What a `World` asks a simulated machine: clock, chance, names, locks.
//!
//! Owns [`SimHandle`], bound to the machine as it ran when the handle was made: after a crash it
//! answers nothing but errors, as a process that died would.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::file::SimFile;
use super::state::State;
use crate::base::time::Nanos;
use crate::io::disk::{Access, FileIdentity};

#[derive(Clone)]
pub(in crate::io) struct SimHandle {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) generation: u64,
}

/// Held until dropped or until the power is cut.
pub(in crate::io) struct SimLock {
    state: Rc<RefCell<State>>,
    path: PathBuf,
    number: u64,
}

impl SimHandle {
    pub(super) fn new(state: Rc<RefCell<State>>) -> Self {
        let generation = state.borrow().generation;
        SimHandle { state, generation }
    }

    pub fn now(&self) -> Nanos {
        self.state.borrow_mut().clock.now()
    }

    pub fn random(&self, bytes: &mut [u8]) {
        let mut state = self.state.borrow_mut();
        for part in bytes.chunks_mut(size_of::<u64>()) {
            part.copy_from_slice(&state.chance.next().to_le_bytes()[..part.len()]);
        }
    }

    pub fn open(&self, path: &Path, create: bool, access: Access) -> io::Result<SimFile> {
        let mut state = self.state.borrow_mut();
        match access {
            Access::ReadOnly => state.check_alive(self.generation, path)?,
            Access::Direct | Access::DirectSync => state.check_writable(self.generation, path)?,
        }
        if !state.files.contains_key(path) {
            let has_parent = path.parent().is_some_and(|parent| state.directories.contains(parent));
            if !create || access == Access::ReadOnly || !has_parent {
                return Err(io::Error::from_raw_os_error(libc::ENOENT));
            }
            state.create_file(path);
        }
        let node = &state.files[path];
        let id = FileIdentity {
            device: node.disk as u64,
            is_block_device: node.is_block_device,
            write_cache: state.has_write_cache(node.disk),
        };
        Ok(SimFile::new(self.clone(), path.to_path_buf(), access, id))
    }

    pub fn exists(&self, path: &Path) -> bool {
        let state = self.state.borrow();
        state.files.contains_key(path) || state.directories.contains(path)
    }

    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.check_alive(self.generation, path)?;
        if path.ancestors().any(|above| state.files.contains_key(above)) {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        state.directories.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.state.borrow();
        state.check_alive(self.generation, path)?;
        Ok(state.free_below(path))
    }

    pub fn device_of(&self, path: &Path) -> io::Result<u64> {
        let state = self.state.borrow();
        state.check_alive(self.generation, path)?;
        Ok(state.disk_of(path) as u64)
    }

    pub fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let mut state = self.state.borrow_mut();
        state.check_alive(self.generation, path)?;
        if state.locks.contains_key(path) {
            return Err(io::Error::from_raw_os_error(libc::EWOULDBLOCK));
        }
        let number = state.next_number();
        state.locks.insert(path.to_path_buf(), number);
        Ok(SimLock { state: self.state.clone(), path: path.to_path_buf(), number })
    }

    pub fn inflight(&self) -> usize {
        self.state.borrow().flight.count()
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        if state.locks.get(&self.path) == Some(&self.number) {
            state.locks.remove(&self.path);
        }
    }
}
