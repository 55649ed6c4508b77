//! The filter: tells for one partition of a run which keys are surely absent.
//!
//! Owns the hash of keys and the bits. A filter is a blocked Bloom filter: the hash picks one line
//! of 64 bytes (one cache line, one memory access) and `PROBES` bits in it; at `BITS_PER_KEY` about
//! one absent key in a hundred passes. The hash is part of the format and is described byte-exact
//! in `docs/FORMAT.md`; it guards against nothing hostile, a collision costs one block read.

use bytes::Bytes;

pub const BITS_PER_KEY: usize = 10;
const LINE_BYTES: usize = 64;
const PROBES: u32 = 7;
const PRIMES: [u64; 3] = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9];

/// Hash of a key, as filters use it.
pub fn hash(key: &[u8]) -> u64 {
    let mut state = fold(PRIMES[0] ^ key.len() as u64, PRIMES[1]);
    let mut words = key.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        state = fold(state ^ word, PRIMES[2]);
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(fold(state ^ u64::from_le_bytes(last), PRIMES[2]), PRIMES[1])
}

/// The bits for these keys, a multiple of a line.
pub fn build(hashes: &[u64]) -> Vec<u8> {
    let lines = (hashes.len() * BITS_PER_KEY).div_ceil(LINE_BYTES * 8).max(1);
    let mut bits = vec![0; lines * LINE_BYTES];
    for &hash in hashes {
        let start = line_of(hash, lines) * LINE_BYTES;
        for bit in probes(hash) {
            bits[start + bit / 8] |= 1 << (bit % 8);
        }
    }
    bits
}

/// False: the key is surely absent. A malformed filter says nothing and answers true.
pub fn may_contain(filter: &Bytes, hash: u64) -> bool {
    let lines = filter.len() / LINE_BYTES;
    if lines == 0 {
        return true;
    }
    let start = line_of(hash, lines) * LINE_BYTES;
    let Some(line) = filter.get(start..start + LINE_BYTES) else { return true };
    probes(hash).all(|bit| line.get(bit / 8).is_none_or(|byte| byte >> (bit % 8) & 1 == 1))
}

fn line_of(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

/// The upper bits of the hash chose the line; a remix gives seven times nine fresh bits.
fn probes(hash: u64) -> impl Iterator<Item = usize> {
    let bits = hash.wrapping_mul(PRIMES[1]);
    let bits = bits ^ bits >> 32;
    (0..PROBES).map(move |n| (bits >> (9 * n)) as usize % (LINE_BYTES * 8))
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Vec<u8> {
        format!("bucket/some/common/prefix/{n:08}").into_bytes()
    }

    #[test]
    fn every_key_passes_and_few_others_do() {
        for count in [1, 50, 13_000] {
            let hashes: Vec<u64> = (0..count).map(|n| hash(&key(n))).collect();
            let filter = Bytes::from(build(&hashes));
            assert!(hashes.iter().all(|&hash| may_contain(&filter, hash)));
            let others = 100_000;
            let passed = (count..count + others).filter(|&n| may_contain(&filter, hash(&key(n)))).count();
            assert!(passed < others / 50, "{passed} of {others} pass a filter of {count}");
        }
    }

    #[test]
    fn the_hash_is_fixed_by_the_format() {
        assert_eq!(hash(b""), HASH_EMPTY);
        assert_eq!(hash(b"basalt"), HASH_BASALT);
        assert_eq!(hash(b"0123456789abcdef!"), HASH_LONG);
    }

    const HASH_EMPTY: u64 = 0xd368_964f_0d9b_387b;
    const HASH_BASALT: u64 = 0x0349_c026_46a2_8368;
    const HASH_LONG: u64 = 0x5f64_317b_7456_1250;

    #[test]
    fn an_empty_filter_excludes_nothing() {
        assert!(may_contain(&Bytes::new(), 1));
    }
}
