//! The memory that the connections of one core may take.
//!
//! Owns [`Room`]. A connection that waits for its client to begin a request has no buffers and takes no memory here;
//! the room only remembers how long it has been silent, because the longest silent one is closed when there are too
//! many. A connection that reads, answers or writes needs a [`Seat`]: the memory of its parser, its handler and its
//! first buffers. When a client sends more than that holds, the seat asks for a larger [`Reach`], out of the half of
//! the memory that seats do not need, and never waits for it. May use `base::budget`, `s3::link`.
//!
//! Invariants: connections get seats in the order in which they asked. While some wait, seats that are held for nothing
//! are given up: first those of connections between two requests, then those of clients that are slow with a head or a
//! body or take no answer. Transfers of large objects, which may be long, never hold all seats. So neither silence nor
//! slowness keeps others out, and nobody is cut off while there is room.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::link::{Leave, Link};
use crate::base::budget::{BufferBudget, Permit};
use crate::base::limits::{CONNECTION_READS, READ_BYTES, ROOM_LOOK_MS, SEAT_BYTES};
use crate::base::task;

pub(super) struct Room {
    memory: BufferBudget,
    /// Who has a seat, in the order of sitting down.
    seated: RefCell<BTreeMap<u64, Rc<Link>>>,
    ids: Cell<u64>,
    /// Somebody looks after those who wait.
    looks: Cell<bool>,
    rounds: Cell<u64>,
    /// Who waits for a client, in the order in which they began to.
    waiting: RefCell<BTreeMap<u64, Rc<Link>>>,
    /// Requests that move the bytes of large objects, and how many there may be.
    transfers: Cell<usize>,
    transfers_max: usize,
    /// For bytes that nobody wants.
    scratch: RefCell<Vec<u8>>,
}

/// A place among those who wait for their clients.
pub(super) struct Place {
    room: Rc<Room>,
    id: u64,
}

/// What a connection has while it is more than a socket.
pub(super) struct Seat {
    room: Rc<Room>,
    id: u64,
    _memory: Permit,
}

/// How much a connection may read at once. The bytes of one read may be with the parser, on their way to the
/// handler and with it, so each counts so often.
#[derive(Default)]
pub(super) struct Reach {
    step: usize,
    memory: Option<Permit>,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Rc<Room> {
        let bytes = bytes.max(4 * SEAT_BYTES);
        Rc::new(Room {
            memory: BufferBudget::new(bytes),
            seated: RefCell::default(),
            ids: Cell::new(0),
            looks: Cell::new(false),
            rounds: Cell::new(0),
            waiting: RefCell::default(),
            transfers: Cell::new(0),
            transfers_max: bytes / SEAT_BYTES / 4 * 3,
            scratch: RefCell::new(vec![0; READ_BYTES[0]]),
        })
    }

    /// Takes a place among those who wait.
    pub(super) fn await_client(self: &Rc<Self>, link: &Rc<Link>) -> Place {
        let id = self.next_id();
        self.waiting.borrow_mut().insert(id, link.clone());
        Place { room: self.clone(), id }
    }

    /// Closes the connection that has waited for its client for longest, if any waits.
    pub(super) fn close_one(&self) -> bool {
        let silent = self.waiting.borrow_mut().pop_first();
        silent.inspect(|(_, link)| link.ask_to_leave(Leave::Cut)).is_some()
    }

    /// Transfers take their time, so some seats are kept for what does not.
    pub(super) fn begin_transfer(&self) -> bool {
        let transfers = self.transfers.get();
        let fits = transfers < self.transfers_max;
        self.transfers.set(transfers + usize::from(fits));
        fits
    }

    pub(super) fn end_transfer(&self) {
        self.transfers.set(self.transfers.get() - 1);
    }

    /// Memory for bytes that nobody wants.
    pub(super) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        self.scratch.borrow_mut()
    }

    fn next_id(&self) -> u64 {
        let id = self.ids.get();
        self.ids.set(id + 1);
        id
    }

    /// Waits for a seat.
    pub(super) async fn enter(self: &Rc<Self>, link: &Rc<Link>) -> Seat {
        if let Some(memory) = self.memory.try_acquire(SEAT_BYTES) {
            return self.seat(link, memory);
        }
        if !self.looks.replace(true) {
            task::spawn(self.clone().look_after());
        }
        let memory = self.memory.acquire(SEAT_BYTES).await;
        self.seat(link, memory)
    }

    fn seat(self: &Rc<Self>, link: &Rc<Link>, memory: Permit) -> Seat {
        let id = self.next_id();
        self.seated.borrow_mut().insert(id, link.clone());
        Seat { room: self.clone(), id, _memory: memory }
    }

    /// Whether others wait for what somebody does not need right now.
    pub(super) fn is_awaited(&self) -> bool {
        self.memory.is_awaited()
    }

    pub(super) fn bytes_used(&self) -> usize {
        self.memory.bytes_used()
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.memory.bytes_max()
    }

    /// Makes room as long as somebody waits.
    async fn look_after(self: Rc<Self>) {
        self.rounds.set(self.rounds.get() + 1);
        while self.memory.is_awaited() {
            self.make_room();
            tokio::time::sleep(Duration::from_millis(ROOM_LOOK_MS)).await;
        }
        self.looks.set(false);
    }

    fn make_room(&self) {
        let (now, round) = (Instant::now(), self.rounds.get());
        let mut found: Vec<(Leave, Instant, Rc<Link>)> = Vec::new();
        for link in self.seated.borrow().values() {
            if let Some((leave, since)) = link.may_leave(now, round) {
                found.push((leave, since, link.clone()));
            }
        }
        found.sort_by_key(|(leave, since, _)| (*leave, *since));
        for (leave, _, link) in found {
            if !self.memory.gives_way(SEAT_BYTES) {
                return;
            }
            link.ask_to_leave(leave);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.seated.borrow_mut().remove(&self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.waiting.borrow_mut().remove(&self.id);
    }
}

impl Reach {
    /// Bytes that may be read at once: one less than what makes hyper take a larger buffer next time.
    pub(super) fn bytes(&self) -> usize {
        READ_BYTES[self.step] - 1
    }

    pub(super) fn is_least(&self) -> bool {
        self.step == 0
    }

    /// Reaches further, if there is memory to spare.
    pub(super) fn extend(&mut self, room: &Room) {
        let Some(next) = READ_BYTES.get(self.step + 1) else { return };
        let held = self.memory.as_ref().map_or(0, Permit::bytes);
        let Some(more) = room.memory.try_acquire_spare(next * CONNECTION_READS - held) else { return };
        match &mut self.memory {
            Some(memory) => memory.merge(more),
            None => self.memory = Some(more),
        }
        self.step += 1;
    }
}
