//! When an access key was last used: the word in memory that all cores share, and its bytes on disk.
//!
//! Every request that proves itself by a key may write the word, so it is written only when it would say
//! something new: another service, or a time that is `KEY_USE_SECONDS` later. Otherwise cores only read it, and
//! none takes it from another. What is durable lags behind (`object::registry::identities`). Layout: `docs/FORMAT.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::limits::KEY_USE_SECONDS;
use crate::base::time::Nanos;
use crate::codec::wire::{Put, Take};

const LAYOUT: u8 = 1;
/// Of the word, below the seconds.
const KIND_BITS: u32 = 8;
const GLOBAL: u64 = 1 << 4;

/// What a request was for. The numbers stand on the drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Service {
    S3 = 1,
    Iam = 2,
    Sts = 3,
}

/// A use of an access key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Whole seconds.
    pub at: Nanos,
    pub service: Service,
    /// It was signed for the one region that services without regions have.
    pub global: bool,
}

impl KeyUse {
    pub fn new(at: Nanos, service: Service, global: bool) -> KeyUse {
        KeyUse { at: Nanos::from_seconds(at.seconds()), service, global }
    }

    /// Never 0.
    fn word(self) -> u64 {
        let kind = self.service as u64 | if self.global { GLOBAL } else { 0 };
        self.at.seconds() << KIND_BITS | kind
    }

    fn of_word(word: u64) -> Option<KeyUse> {
        let service = Service::of_number((word & (GLOBAL - 1)) as u8)?;
        let at = Nanos::from_seconds(word >> KIND_BITS);
        Some(KeyUse { at, service, global: word & GLOBAL != 0 })
    }

    pub fn encode(self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).u64(self.at.0).u8(self.service as u8).u8(u8::from(self.global));
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<KeyUse> {
        let mut take = Take(bytes);
        (take.u8()? == LAYOUT).then_some(())?;
        let (at, service) = (Nanos(take.u64()?), Service::of_number(take.u8()?)?);
        let global = match take.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(KeyUse::new(at, service, global))
    }
}

impl Service {
    fn of_number(number: u8) -> Option<Service> {
        [Service::S3, Service::Iam, Service::Sts].into_iter().find(|service| *service as u8 == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Service::S3 => "s3",
            Service::Iam => "iam",
            Service::Sts => "sts",
        }
    }
}

/// The last use of one key, shared by whoever has a copy.
#[derive(Clone, Debug, Default)]
pub struct LastUse(Arc<Words>);

#[derive(Debug, Default)]
struct Words {
    used: AtomicU64,
    /// What is durable, or will be with the record that was committed last.
    kept: AtomicU64,
}

impl LastUse {
    pub fn mark(&self, next: KeyUse) {
        let (last, next) = (self.0.used.load(Ordering::Relaxed), next.word());
        let (was, is) = (last >> KIND_BITS, next >> KIND_BITS);
        let same = (last ^ next) & ((1 << KIND_BITS) - 1) == 0;
        if !same || is.saturating_sub(was) >= KEY_USE_SECONDS {
            self.0.used.store(next, Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> Option<KeyUse> {
        KeyUse::of_word(self.0.used.load(Ordering::Relaxed))
    }

    /// What is to be written down.
    pub fn unkept(&self) -> Option<KeyUse> {
        self.get().filter(|last| last.word() != self.0.kept.load(Ordering::Relaxed))
    }

    pub fn is_kept(&self) -> bool {
        self.0.kept.load(Ordering::Relaxed) != 0
    }

    pub fn keep(&self, last: KeyUse) {
        self.0.kept.store(last.word(), Ordering::Relaxed);
    }

    /// As it was written down before this start.
    pub fn restore(&self, last: KeyUse) {
        self.keep(last);
        // Whoever was faster has used it since.
        let _ = self.0.used.compare_exchange(0, last.word(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// It is no part of the value it stands in.
impl PartialEq for LastUse {
    fn eq(&self, _: &LastUse) -> bool {
        true
    }
}

impl Eq for LastUse {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64, service: Service) -> KeyUse {
        KeyUse::new(Nanos::from_seconds(seconds), service, false)
    }

    #[test]
    fn only_news_is_written() {
        let (one, other) = (LastUse::default(), LastUse::default());
        assert_eq!((one.get(), one.unkept(), one.is_kept()), (None, None, false));
        let shared = one.clone();
        one.mark(at(1_000, Service::S3));
        one.mark(at(1_000 + KEY_USE_SECONDS - 1, Service::S3));
        assert_eq!(shared.get(), Some(at(1_000, Service::S3)));
        one.mark(at(1_000 + KEY_USE_SECONDS, Service::S3));
        assert_eq!(shared.get(), Some(at(1_000 + KEY_USE_SECONDS, Service::S3)));
        one.mark(at(1_001 + KEY_USE_SECONDS, Service::Iam));
        let last = at(1_001 + KEY_USE_SECONDS, Service::Iam);
        assert_eq!((shared.unkept(), other.get()), (Some(last), None));
        one.keep(last);
        assert_eq!((one.unkept(), one.is_kept()), (None, true));
        one.mark(at(5, Service::Iam));
        assert_eq!(one.get(), Some(last), "a clock that went back");
        one.restore(at(7, Service::S3));
        assert_eq!(one.get(), Some(last), "what is newer stays");
        other.restore(last);
        assert_eq!((other.get(), other.unkept()), (Some(last), None));
    }

    proptest! {
        #[test]
        fn values_come_back(seconds in 0u64..1 << 34, service in 1u8..4, global: bool) {
            let service = Service::of_number(service).unwrap();
            let value = KeyUse::new(Nanos::from_seconds(seconds), service, global);
            prop_assert_eq!(KeyUse::decode(&value.encode()), Some(value));
            prop_assert_eq!(KeyUse::of_word(value.word()), Some(value));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>, word: u64) {
            let _ = (KeyUse::decode(&bytes), KeyUse::of_word(word));
        }
    }
}
