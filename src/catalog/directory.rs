//! The directory of a pack: which objects stand in it, in the order in which they stand.
//!
//! It is written behind the bodies, into the pack's own extent, so that it costs no room in the
//! catalog; only compaction reads it. It tells what was put in, not what is still alive: that the
//! versions themselves say. Bodies stand one behind the other, so offsets are sums of sizes.
//! Layout: `docs/FORMAT.md`, section Pack.

use crate::base::limits::PACK_DIRECTORY_BYTES_MAX;
use crate::codec::wire::{Put, Take};

const LAYOUT: u8 = 1;

/// An object that a pack was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Of its version, in the catalog.
    pub key: Vec<u8>,
    /// In the pack.
    pub offset: u32,
    pub bytes: u32,
}

/// The directory of objects given as key and size.
pub fn encode<'a>(members: impl Iterator<Item = (&'a [u8], u32)>) -> Vec<u8> {
    let mut put = Put::default();
    put.u8(LAYOUT);
    for (key, bytes) in members {
        put.bytes(key).varint(bytes.into());
    }
    put.0
}

/// `None` for bytes that are no directory of `bodies` bytes of objects.
pub fn decode(bytes: &[u8], bodies: u32) -> Option<Vec<Member>> {
    let mut take = Take(bytes);
    if bytes.len() > PACK_DIRECTORY_BYTES_MAX || take.u8()? != LAYOUT {
        return None;
    }
    let (mut members, mut offset) = (Vec::new(), 0u32);
    while !take.is_empty() {
        let key = take.bytes()?.to_vec();
        let bytes = u32::try_from(take.varint()?).ok()?;
        members.push(Member { key, offset, bytes });
        offset = offset.checked_add(bytes)?;
    }
    (offset == bodies).then_some(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn members_come_back_with_their_offsets(members: Vec<(Vec<u8>, u16)>) {
            let sized = || members.iter().map(|(key, bytes)| (&key[..], u32::from(*bytes)));
            let bodies = sized().map(|(_, bytes)| bytes).sum();
            let encoded = encode(sized());
            let found = decode(&encoded, bodies).expect("what was encoded");
            prop_assert_eq!(found.len(), members.len());
            let mut offset = 0;
            for (member, (key, bytes)) in found.iter().zip(sized()) {
                prop_assert_eq!((&member.key[..], member.offset, member.bytes), (key, offset, bytes));
                offset += bytes;
            }
            prop_assert_eq!(decode(&encoded, bodies.wrapping_add(1)), None);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>, bodies: u32) {
            let _ = decode(&bytes, bodies);
        }
    }
}
