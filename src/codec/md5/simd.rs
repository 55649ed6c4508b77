//! The compression of MD5 over up to eight messages at once, a lane of a vector register each.
//!
//! Owns the instructions of x86-64: AVX-512 rotates in one what takes AVX2 three. MD5 is one chain of dependent
//! additions, so one message leaves most of a core idle; on the reference machine it is hashed at 0.38 GB/s, eight
//! with AVX2 at 1.8 and with AVX-512 at 3.0 together. A processor that has neither hashes one message at a time.

use std::arch::x86_64::*;

use super::compress::{BLOCK_BYTES, Compression, Job, LANES, SINES};

/// What this processor can, the best first.
pub fn compressions() -> impl Iterator<Item = Compression> {
    // SAFETY: given out only where the processor has these features.
    let avx512: Compression = |jobs| unsafe { compress_avx512(jobs) };
    // SAFETY: as above.
    let avx2: Compression = |jobs| unsafe { compress_avx2(jobs) };
    let has_avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
    let has_avx2 = is_x86_feature_detected!("avx2");
    [(has_avx512, avx512), (has_avx2, avx2)].into_iter().filter_map(|(has, form)| has.then_some(form))
}

/// One word of each lane.
type Words = __m256i;

/// Words of a message that one register holds.
const ROWS: usize = 8;

/// The compression with these features, where `$step` is one of its steps. A macro, because a function that is
/// generic over the step would be compiled without the features.
macro_rules! compression {
    ($name:ident, $features:literal, $step:ident) => {
        #[target_feature(enable = $features)]
        fn $name(jobs: &mut [Job<'_>]) {
            check(jobs);
            let mut state = states(jobs);
            let blocks = jobs[0].blocks.len() / BLOCK_BYTES;
            for block in 0..blocks {
                let message = message(jobs, block);
                let word = |step: usize, index: usize| {
                    _mm256_add_epi32(message[index % 16], _mm256_set1_epi32(SINES[step] as i32))
                };
                let [mut a, mut b, mut c, mut d] = state;
                for i in [0, 4, 8, 12] {
                    a = $step::<7, 25>(a, b, choice(b, c, d), word(i, i));
                    d = $step::<12, 20>(d, a, choice(a, b, c), word(i + 1, i + 1));
                    c = $step::<17, 15>(c, d, choice(d, a, b), word(i + 2, i + 2));
                    b = $step::<22, 10>(b, c, choice(c, d, a), word(i + 3, i + 3));
                }
                for i in [16, 20, 24, 28] {
                    a = $step::<5, 27>(a, b, choice(d, b, c), word(i, 5 * i + 1));
                    d = $step::<9, 23>(d, a, choice(c, a, b), word(i + 1, 5 * i + 6));
                    c = $step::<14, 18>(c, d, choice(b, d, a), word(i + 2, 5 * i + 11));
                    b = $step::<20, 12>(b, c, choice(a, c, d), word(i + 3, 5 * i + 16));
                }
                for i in [32, 36, 40, 44] {
                    a = $step::<4, 28>(a, b, parity(b, c, d), word(i, 3 * i + 5));
                    d = $step::<11, 21>(d, a, parity(a, b, c), word(i + 1, 3 * i + 8));
                    c = $step::<16, 16>(c, d, parity(d, a, b), word(i + 2, 3 * i + 11));
                    b = $step::<23, 9>(b, c, parity(c, d, a), word(i + 3, 3 * i + 14));
                }
                for i in [48, 52, 56, 60] {
                    a = $step::<6, 26>(a, b, fourth(b, c, d), word(i, 7 * i));
                    d = $step::<10, 22>(d, a, fourth(a, b, c), word(i + 1, 7 * i + 7));
                    c = $step::<15, 17>(c, d, fourth(d, a, b), word(i + 2, 7 * i + 14));
                    b = $step::<21, 11>(b, c, fourth(c, d, a), word(i + 3, 7 * i + 21));
                }
                for (word, next) in state.iter_mut().zip([a, b, c, d]) {
                    *word = _mm256_add_epi32(*word, next);
                }
            }
            for (word, lanes) in state.into_iter().enumerate() {
                let lanes = of_each(lanes);
                jobs.iter_mut().zip(lanes).for_each(|(job, lane)| job.state[word] = lane);
            }
        }
    };
}

compression!(compress_avx2, "avx2", step_avx2);
compression!(compress_avx512, "avx512f,avx512vl", step_avx512);

/// B plus the sum rotated to the left; `RIGHT` is what `LEFT` lacks to 32.
#[inline]
#[target_feature(enable = "avx2")]
fn step_avx2<const LEFT: i32, const RIGHT: i32>(a: Words, b: Words, mixed: Words, word: Words) -> Words {
    let sum = _mm256_add_epi32(_mm256_add_epi32(a, word), mixed);
    let rotated = _mm256_or_si256(_mm256_slli_epi32::<LEFT>(sum), _mm256_srli_epi32::<RIGHT>(sum));
    _mm256_add_epi32(rotated, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn step_avx512<const LEFT: i32, const RIGHT: i32>(a: Words, b: Words, mixed: Words, word: Words) -> Words {
    let sum = _mm256_add_epi32(_mm256_add_epi32(a, word), mixed);
    _mm256_add_epi32(_mm256_rol_epi32::<LEFT>(sum), b)
}

/// F, and with its arguments turned G: the bits of `x` where `by` has ones, else those of `y`.
#[inline]
#[target_feature(enable = "avx2")]
fn choice(by: Words, x: Words, y: Words) -> Words {
    _mm256_xor_si256(y, _mm256_and_si256(by, _mm256_xor_si256(x, y)))
}

/// H.
#[inline]
#[target_feature(enable = "avx2")]
fn parity(x: Words, y: Words, z: Words) -> Words {
    _mm256_xor_si256(_mm256_xor_si256(x, y), z)
}

/// I.
#[inline]
#[target_feature(enable = "avx2")]
fn fourth(x: Words, y: Words, z: Words) -> Words {
    _mm256_xor_si256(y, _mm256_or_si256(x, _mm256_xor_si256(z, _mm256_set1_epi32(-1))))
}

/// More jobs, or blocks that others have not, would be left out and a digest be wrong.
fn check(jobs: &[Job<'_>]) {
    assert!((1..=LANES).contains(&jobs.len()), "{} jobs", jobs.len());
    assert!(jobs.iter().all(|job| job.blocks.len() == jobs[0].blocks.len()), "jobs of one length");
}

/// Lanes without a job do what the first does, for nothing.
fn of_lane<'j, 'd>(jobs: &'j [Job<'d>], lane: usize) -> &'j Job<'d> {
    jobs.get(lane).unwrap_or(&jobs[0])
}

#[inline]
#[target_feature(enable = "avx2")]
fn states(jobs: &[Job<'_>]) -> [Words; 4] {
    let mut states = [_mm256_setzero_si256(); 4];
    for (word, lanes) in states.iter_mut().enumerate() {
        let of = |lane| of_lane(jobs, lane).state[word] as i32;
        *lanes = _mm256_setr_epi32(of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7));
    }
    states
}

#[inline]
#[target_feature(enable = "avx2")]
fn of_each(words: Words) -> [u32; LANES] {
    // SAFETY: both are 32 bytes, and all of their bits mean something.
    unsafe { std::mem::transmute(words) }
}

/// The sixteen words of this block of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn message(jobs: &[Job<'_>], block: usize) -> [Words; 16] {
    let mut words = [_mm256_setzero_si256(); 16];
    for (half, words) in words.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        let start = block * BLOCK_BYTES + half * size_of::<Words>();
        let row = |lane| {
            let row = &of_lane(jobs, lane).blocks[start..start + size_of::<Words>()];
            // SAFETY: `row` has as many bytes as are loaded, from any address.
            unsafe { _mm256_loadu_si256(row.as_ptr().cast()) }
        };
        *words = transposed([row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)]);
    }
    words
}

/// Rows of one lane each become rows of one word each.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [Words; LANES]) -> [Words; ROWS] {
    let pairs = |x, y| (_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
    let fours = |x, y| (_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
    let low = |x, y| _mm256_permute2x128_si256::<0x20>(x, y);
    let high = |x, y| _mm256_permute2x128_si256::<0x31>(x, y);
    let ((a0, a2), (b0, b2)) = (pairs(rows[0], rows[1]), pairs(rows[2], rows[3]));
    let ((c0, c2), (d0, d2)) = (pairs(rows[4], rows[5]), pairs(rows[6], rows[7]));
    let ((e0, e1), (e2, e3)) = (fours(a0, b0), fours(a2, b2));
    let ((f0, f1), (f2, f3)) = (fours(c0, d0), fours(c2, d2));
    [
        low(e0, f0),
        low(e1, f1),
        low(e2, f2),
        low(e3, f3),
        high(e0, f0),
        high(e1, f1),
        high(e2, f2),
        high(e3, f3),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::md5::compress::{INITIAL, compress};
    use proptest::prelude::*;

    #[test]
    fn the_processor_has_the_instructions_that_are_tested_here() {
        assert!(compressions().next().is_some(), "without AVX2 the test below looks at nothing");
    }

    proptest! {
        #[test]
        fn each_lane_is_a_message_of_its_own(
            count in 1..=LANES,
            blocks in 0..5_usize,
            noise in proptest::collection::vec(any::<u8>(), LANES * 4 * BLOCK_BYTES),
        ) {
            let start = |lane: usize| INITIAL.map(|word| word.wrapping_add(lane as u32));
            let messages = || noise.chunks(4 * BLOCK_BYTES).take(count).map(|message| &message[..blocks * BLOCK_BYTES]);
            let alone = |(lane, blocks)| {
                let mut state = start(lane);
                compress(&mut state, blocks);
                state
            };
            let want: Vec<_> = messages().enumerate().map(alone).collect();
            for compression in compressions() {
                let job = |(lane, blocks)| Job { state: start(lane), blocks };
                let mut jobs: Vec<_> = messages().enumerate().map(job).collect();
                compression(&mut jobs);
                prop_assert_eq!(jobs.iter().map(|job| job.state).collect::<Vec<_>>(), want.clone());
            }
        }
    }
}
