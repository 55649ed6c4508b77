//! Tells the edge of a core what lifecycle removes there, in memory only.
//!
//! This is for access logs, which are best effort: no removal waits for its listener, and each is told once, when it is
//! durable. What must not be lost is an event in the record itself (`object::decisions::events`).

use std::cell::RefCell;
use std::rc::Rc;

/// What was done, by a rule and by nobody's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// A version is gone for good.
    Removed,
    /// A delete marker came in front of the current version.
    Marked,
    /// An incomplete upload is gone.
    Aborted,
}

/// One removal, of a bucket whose requests are logged.
#[derive(Clone, Copy, Debug)]
pub struct Removal<'a> {
    pub done: Done,
    pub bucket: &'a str,
    pub key: &'a str,
    /// Of the version that is gone, or of the marker.
    pub version: Option<&'a str>,
    pub size: Option<u64>,
}

pub type Listener = Rc<dyn Fn(&Removal<'_>)>;

#[derive(Default)]
pub struct Witness(RefCell<Option<Listener>>);

impl Witness {
    pub fn report_to(&self, listener: Listener) {
        self.0.replace(Some(listener));
    }

    pub fn tell(&self, removal: &Removal<'_>) {
        let listener = self.0.borrow().clone();
        if let Some(listener) = listener {
            listener(removal);
        }
    }
}
