//! The erasure code of a stripe: k data shards, m parity shards, any k of which restore the rest.
//!
//! Owns [`ErasureCoder`]. Uses the crate reed-solomon-simd and no I/O. The code is the crate's default one
//! over GF(2^16), so shards made here are those of `reed_solomon_simd::encode`, bit for bit; k = 1 is
//! plain replication and m = 0 plain striping.
//!
//! Invariants: all shards of a call have one length, which is even and not zero; shards are numbered data
//! first, then parity; nothing is read from or written to shards other than those handed in. Working
//! space is kept from call to call, so a coder belongs to one thread.
//!
//! The crate decodes with a Walsh-Hadamard transform over all 65,536 field elements, whatever the number
//! of shards. That fixed cost is far above the cost of the few shards we have, so [`DirectEngine`]
//! replaces this one step by a direct sum.

use std::cell::RefCell;

use reed_solomon_simd::engine::{
    DefaultEngine, Engine, GF_MODULUS, GF_ORDER, GfElement, ShardsRefMut, tables,
};
use reed_solomon_simd::rate::{DefaultRateDecoder, DefaultRateEncoder, RateDecoder, RateEncoder};
use smallvec::SmallVec;

use crate::base::limits::STRIPE_CHUNKS_MAX;

/// Encodes and restores the shards of one scheme k+m.
pub struct ErasureCoder {
    data_shards: usize,
    parity_shards: usize,
    /// `None` where the scheme needs no arithmetic: no parity, or replication.
    machine: Option<RefCell<Machine>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErasureError {
    #[error("{present} shards are present and {needed} are needed")]
    TooFewShards { present: usize, needed: usize },
}

impl ErasureCoder {
    /// A coder for `data_shards` (at least 1) and `parity_shards`, together at most `STRIPE_CHUNKS_MAX`.
    pub fn new(data_shards: usize, parity_shards: usize) -> Self {
        assert!(data_shards > 0 && data_shards + parity_shards <= STRIPE_CHUNKS_MAX);
        let coded = data_shards > 1 && parity_shards > 0;
        let machine = coded.then(|| RefCell::new(Machine::new(data_shards, parity_shards)));
        ErasureCoder { data_shards, parity_shards, machine }
    }

    pub fn data_shards(&self) -> usize {
        self.data_shards
    }

    pub fn parity_shards(&self) -> usize {
        self.parity_shards
    }

    /// Computes all parity shards from all data shards.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        assert_eq!((data.len(), parity.len()), (self.data_shards, self.parity_shards));
        let len = data[0].len();
        assert!(len > 0 && len.is_multiple_of(2), "shards are made of pairs of bytes");
        assert!(data.iter().all(|shard| shard.len() == len));
        assert!(parity.iter().all(|shard| shard.len() == len));
        match &self.machine {
            Some(machine) => machine.borrow_mut().encode(data, parity),
            None => parity.iter_mut().for_each(|copy| copy.copy_from_slice(data[0])),
        }
    }

    /// Fills `out[i]` with shard number `wanted[i]`, which may be a data or a parity shard, from the shards
    /// present (`present[n]` is shard n). Which of the present shards are used is not defined.
    pub fn reconstruct(
        &self,
        present: &[Option<&[u8]>],
        wanted: &[usize],
        out: &mut [&mut [u8]],
    ) -> Result<(), ErasureError> {
        assert_eq!(present.len(), self.data_shards + self.parity_shards);
        assert_eq!(wanted.len(), out.len());
        let count = present.iter().flatten().count();
        if count < self.data_shards {
            return Err(ErasureError::TooFewShards { present: count, needed: self.data_shards });
        }
        check_lengths(present, out);
        match &self.machine {
            Some(machine) => machine.borrow_mut().reconstruct(present, wanted, out),
            None => self.copy(present, wanted, out),
        }
        Ok(())
    }

    /// Replicas are all alike; without parity every shard is present once k of them are.
    fn copy(&self, present: &[Option<&[u8]>], wanted: &[usize], out: &mut [&mut [u8]]) {
        for (shard, out) in wanted.iter().zip(out) {
            let any = present.iter().flatten().next().filter(|_| self.data_shards == 1);
            out.copy_from_slice(present[*shard].or(any.copied()).expect("enough shards are present"));
        }
    }
}

fn check_lengths(present: &[Option<&[u8]>], out: &[&mut [u8]]) {
    let mut lengths =
        present.iter().flatten().map(|shard| shard.len()).chain(out.iter().map(|out| out.len()));
    let len = lengths.next().expect("at least one shard is present");
    assert!(len > 0 && len.is_multiple_of(2), "shards are made of pairs of bytes");
    assert!(lengths.all(|other| other == len));
}

/// Encoder and decoder of one scheme with their working space, set up for one shard length at a time.
struct Machine {
    data_shards: usize,
    parity_shards: usize,
    encoder: DefaultRateEncoder<DirectEngine>,
    encoder_len: usize,
    decoder: DefaultRateDecoder<DirectEngine>,
    decoder_len: usize,
}

/// The crate refuses only counts and lengths that `ErasureCoder` has checked.
const CHECKED: &str = "the shards were checked";

impl Machine {
    fn new(k: usize, m: usize) -> Self {
        const LEN: usize = 64;
        let encoder = DefaultRateEncoder::new(k, m, LEN, DirectEngine::new(), None).expect(CHECKED);
        let decoder = DefaultRateDecoder::new(k, m, LEN, DirectEngine::new(), None).expect(CHECKED);
        Machine { data_shards: k, parity_shards: m, encoder, encoder_len: LEN, decoder, decoder_len: LEN }
    }

    fn encode(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        let wanted: Vec<usize> = (0..parity.len()).collect();
        self.set_encoder_len(data[0].len());
        encode_some(&mut self.encoder, data.iter().copied(), wanted.iter().copied().zip(parity));
    }

    fn reconstruct(&mut self, present: &[Option<&[u8]>], wanted: &[usize], out: &mut [&mut [u8]]) {
        let k = self.data_shards;
        if wanted.iter().all(|shard| present[*shard].is_some()) {
            wanted
                .iter()
                .zip(out)
                .for_each(|(shard, out)| out.copy_from_slice(present[*shard].expect("checked")));
            return;
        }
        let len = present.iter().flatten().next().map_or(0, |shard| shard.len());
        self.set_encoder_len(len);
        self.set_decoder_len(len);
        let Machine { encoder, decoder, .. } = self;
        feed(decoder, k, present);
        let restored = decoder.decode().expect(CHECKED);
        let data = |n: usize| present[n].or_else(|| restored.restored_original(n)).expect("restored");

        let mut parity = Vec::new();
        for (shard, out) in wanted.iter().copied().zip(out) {
            match present[shard] {
                Some(bytes) => out.copy_from_slice(bytes),
                None if shard < k => out.copy_from_slice(data(shard)),
                None => parity.push((shard - k, out)),
            }
        }
        if !parity.is_empty() {
            encode_some(encoder, (0..k).map(data), parity.into_iter());
        }
    }

    fn set_encoder_len(&mut self, len: usize) {
        if self.encoder_len != len {
            self.encoder.reset(self.data_shards, self.parity_shards, len).expect(CHECKED);
            self.encoder_len = len;
        }
    }

    fn set_decoder_len(&mut self, len: usize) {
        if self.decoder_len != len {
            self.decoder.reset(self.data_shards, self.parity_shards, len).expect(CHECKED);
            self.decoder_len = len;
        }
    }
}

/// Encodes and copies out the parity shards asked for, numbered from 0.
fn encode_some<'a, 'b: 'a>(
    encoder: &mut DefaultRateEncoder<DirectEngine>,
    data: impl Iterator<Item = &'a [u8]>,
    wanted: impl Iterator<Item = (usize, &'a mut &'b mut [u8])>,
) {
    data.for_each(|shard| encoder.add_original_shard(shard).expect(CHECKED));
    let encoded = encoder.encode().expect(CHECKED);
    for (n, out) in wanted {
        out.copy_from_slice(encoded.recovery(n).expect("all parity is encoded"));
    }
}

/// Hands the decoder the data shards present, and as much parity as data is missing.
fn feed(decoder: &mut DefaultRateDecoder<DirectEngine>, k: usize, present: &[Option<&[u8]>]) {
    let (data, parity) = present.split_at(k);
    let mut missing = k;
    for (n, shard) in data.iter().enumerate().filter_map(|(n, shard)| Some((n, (*shard)?))) {
        decoder.add_original_shard(n, shard).expect(CHECKED);
        missing -= 1;
    }
    let parity = parity.iter().enumerate().filter_map(|(n, shard)| Some((n, (*shard)?)));
    parity.take(missing).for_each(|(n, shard)| decoder.add_recovery_shard(n, shard).expect(CHECKED));
}

/// The crate's fastest engine, with another way to evaluate the error locator polynomial.
struct DirectEngine(DefaultEngine);

impl DirectEngine {
    fn new() -> Self {
        DirectEngine(DefaultEngine::new())
    }
}

impl Engine for DirectEngine {
    fn fft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.fft(data, pos, size, truncated_size, skew_delta);
    }

    fn ifft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.ifft(data, pos, size, truncated_size, skew_delta);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], truncated_size: usize) {
        if !sum_directly(erasures, truncated_size) {
            DefaultEngine::eval_poly(erasures, truncated_size);
        }
    }
}

/// Positions of a codeword that can belong to shards: both counts, one rounded up to a power of two.
const POSITIONS_MAX: usize = 2 * STRIPE_CHUNKS_MAX;

/// On entry `erasures[j]` is 1 where position j of the codeword is erased, else 0. On return element i is
/// the sum of log(i xor j) over the erased j other than i, modulo 65,535, for all positions that belong to
/// shards; the others are not used by the decoders. False, and nothing done, when the erasures have
/// neither of the two shapes the decoders make:
///
/// - high rate: no erasure outside of the first positions. The sum is short.
/// - low rate: all positions behind the first ones are erased. The logarithms of all non-zero elements sum
///   to 65534 * 65535 / 2, which is 0 modulo 65,535, so the sum over the erased positions is the negated
///   sum over the others, which is short.
fn sum_directly(erasures: &mut [GfElement; GF_ORDER], truncated_size: usize) -> bool {
    let (head, tail) = erasures.split_at_mut(POSITIONS_MAX);
    let is_low_rate = truncated_size == GF_ORDER && is_filled_with(tail, 1);
    let is_high_rate = truncated_size <= POSITIONS_MAX && is_filled_with(tail, 0);
    if !is_low_rate && !is_high_rate {
        return false;
    }
    let log = &tables::get_exp_log().log;
    let summed = if is_low_rate { 0 } else { 1 };
    let positions = head.iter().enumerate().filter(|(_, erased)| **erased == summed).map(|(j, _)| j);
    let positions: SmallVec<[usize; POSITIONS_MAX]> = positions.collect();
    for (i, sum) in head.iter_mut().enumerate() {
        let others = positions.iter().filter(|j| **j != i);
        let total: u32 = others.map(|j| u32::from(log[i ^ j])).sum();
        let total = (total % u32::from(GF_MODULUS)) as GfElement;
        *sum = if is_low_rate { GF_MODULUS - total } else { total };
    }
    true
}

/// Without an early exit, so that the compiler compares many elements at once.
fn is_filled_with(elements: &[GfElement], value: GfElement) -> bool {
    elements.iter().fold(0, |difference, element| difference | (element ^ value)) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

    use super::*;
    use crate::base::limits::{BLOCK_PAYLOAD_BYTES, KIB};

    /// Bytes without a pattern the code could be blind to.
    fn noise(len: usize, seed: usize) -> Vec<u8> {
        let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
        let step = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(step).take(len).collect()
    }

    /// The stripe as the stock crate makes it: data, then parity.
    fn stock_stripe(k: usize, m: usize, len: usize, seed: usize) -> Vec<Vec<u8>> {
        let mut stripe: Vec<_> = (0..k).map(|n| noise(len, seed * 100 + n)).collect();
        let mut encoder = ReedSolomonEncoder::new(k, m, len).unwrap();
        stripe.iter().for_each(|shard| encoder.add_original_shard(shard).unwrap());
        let parity: Vec<_> = encoder.encode().unwrap().recovery_iter().map(<[u8]>::to_vec).collect();
        stripe.extend(parity);
        stripe
    }

    fn encode(coder: &ErasureCoder, data: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut parity = vec![vec![0xcc; data[0].len()]; coder.parity_shards()];
        let data: Vec<_> = data.iter().map(Vec::as_slice).collect();
        coder.encode(&data, &mut parity.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
        parity
    }

    fn restore(coder: &ErasureCoder, stripe: &[Vec<u8>], erased: u32, wanted: &[usize]) -> Vec<Vec<u8>> {
        let is_present = |n: usize| erased & (1 << n) == 0;
        let present: Vec<_> =
            stripe.iter().enumerate().map(|(n, s)| is_present(n).then_some(&s[..])).collect();
        let mut out = vec![vec![0xcc; stripe[0].len()]; wanted.len()];
        let mut slices: Vec<_> = out.iter_mut().map(Vec::as_mut_slice).collect();
        coder.reconstruct(&present, wanted, &mut slices).unwrap();
        out
    }

    /// All erasure patterns that leave k shards, restored shards compared with the stripe.
    fn check_all_patterns(k: usize, m: usize, len: usize) {
        let coder = ErasureCoder::new(k, m);
        let stripe = stock_stripe(k, m, len, k * 17 + m);
        assert_eq!(encode(&coder, &stripe[..k]), stripe[k..], "{k}+{m}, {len} bytes");
        for erased in (0..1u32 << (k + m)).filter(|erased| erased.count_ones() as usize <= m) {
            let wanted: Vec<_> = (0..k + m).filter(|n| erased & (1 << n) != 0).collect();
            let restored = restore(&coder, &stripe, erased, &wanted);
            for (n, shard) in wanted.iter().zip(restored) {
                assert_eq!(shard, stripe[*n], "{k}+{m}, {len} bytes, erased {erased:b}, shard {n}");
            }
        }
    }

    #[test]
    fn every_erasure_pattern_is_restored() {
        for (k, m) in [(2, 1), (2, 2), (3, 2), (4, 2), (3, 3), (5, 3), (8, 3), (2, 3), (3, 5), (4, 7)] {
            for len in [2, 62, 64, 66, 190] {
                check_all_patterns(k, m, len);
            }
        }
        check_all_patterns(9, 7, 66);
        for len in [4 * KIB, BLOCK_PAYLOAD_BYTES, 1023 * 2] {
            check_all_patterns(4, 2, len);
            check_all_patterns(8, 4, len);
        }
    }

    /// The locator values themselves, against the crate's transform, in both shapes.
    #[test]
    fn direct_sums_are_those_of_the_transform() {
        for (k, m) in [(4usize, 2usize), (2, 2), (8, 4), (12, 4), (2, 4), (3, 9)] {
            for erased in (0..1u32 << (k + m)).step_by(7).filter(|erased| erased.count_ones() as usize <= m) {
                check_sums(high_rate_erasures(k, m, erased));
                check_sums(low_rate_erasures(k, m, erased));
            }
        }
    }

    type Locator = (Box<[GfElement; GF_ORDER]>, usize, Vec<usize>);

    fn high_rate_erasures(k: usize, m: usize, erased: u32) -> Locator {
        let mut erasures = Box::new([0; GF_ORDER]);
        let base = m.next_power_of_two();
        erasures[m..base].fill(1);
        let position = |n: usize| if n < k { base + n } else { n - k };
        (0..k + m).for_each(|n| erasures[position(n)] = (erased >> n & 1) as u16);
        (erasures, base + k, (0..k + m).map(position).collect())
    }

    fn low_rate_erasures(k: usize, m: usize, erased: u32) -> Locator {
        let mut erasures = Box::new([0; GF_ORDER]);
        let base = k.next_power_of_two();
        erasures[base + m..].fill(1);
        let position = |n: usize| if n < k { n } else { base + n - k };
        (0..k + m).for_each(|n| erasures[position(n)] = (erased >> n & 1) as u16);
        (erasures, GF_ORDER, (0..k + m).map(position).collect())
    }

    fn check_sums((mut direct, truncated_size, used): Locator) {
        let mut stock = direct.clone();
        DefaultEngine::eval_poly(&mut stock, truncated_size);
        assert!(sum_directly(&mut direct, truncated_size));
        // 0 and 65,535 are the same logarithm.
        used.iter().for_each(|i| assert_eq!(direct[*i] % GF_MODULUS, stock[*i] % GF_MODULUS));
    }

    #[test]
    fn other_shapes_are_left_to_the_crate() {
        let mut erasures = Box::new([0; GF_ORDER]);
        erasures[1000] = 1;
        let before = erasures.clone();
        assert!(!sum_directly(&mut erasures, 2000));
        assert!(!sum_directly(&mut erasures, GF_ORDER));
        assert_eq!(erasures, before);
    }

    #[test]
    fn replication_copies_and_striping_needs_all() {
        let coder = ErasureCoder::new(1, 3);
        let copies = encode(&coder, &[noise(100, 1)]);
        assert_eq!(copies, vec![noise(100, 1); 3]);
        let stripe = vec![noise(100, 1); 4];
        assert_eq!(restore(&coder, &stripe, 0b1011, &[0, 3, 2]), vec![noise(100, 1); 3]);

        let coder = ErasureCoder::new(3, 0);
        let stripe: Vec<_> = (0..3).map(|n| noise(64, n)).collect();
        coder.encode(&[&stripe[0], &stripe[1], &stripe[2]], &mut []);
        assert_eq!(restore(&coder, &stripe, 0, &[2, 0]), [noise(64, 2), noise(64, 0)]);
    }

    #[test]
    fn too_few_shards_are_an_error() {
        for (k, m) in [(4, 2), (1, 2), (3, 0)] {
            let coder = ErasureCoder::new(k, m);
            let shard = noise(64, 0);
            let mut present = vec![None; k + m];
            present[m..m + k - 1].fill(Some(&shard[..]));
            let error = coder.reconstruct(&present, &[0], &mut [&mut [0; 64]]).unwrap_err();
            assert_eq!(error, ErasureError::TooFewShards { present: k - 1, needed: k });
        }
    }

    proptest! {
        /// One coder over many calls of changing length, against a stock encoder and decoder made anew.
        #[test]
        fn a_reused_coder_agrees_with_the_stock_one(
            (k, m) in (2usize..9, 1usize..8),
            calls in prop::collection::vec((1usize..700, any::<u32>(), any::<usize>()), 1..6),
        ) {
            let coder = ErasureCoder::new(k, m);
            for (half, pattern, seed) in calls {
                let stripe = stock_stripe(k, m, half * 2, seed % 1000);
                prop_assert_eq!(&encode(&coder, &stripe[..k]), &stripe[k..]);
                let mut erased = pattern & ((1 << (k + m)) - 1);
                while erased.count_ones() as usize > m {
                    erased &= erased - 1;
                }
                let wanted: Vec<_> = (0..k + m).filter(|n| pattern >> n & 1 == 1).collect();
                let restored = restore(&coder, &stripe, erased, &wanted);
                for (n, shard) in wanted.iter().zip(&restored) {
                    prop_assert_eq!(shard, &stripe[*n]);
                }
                check_stock_decoder(&stripe, k, erased);
            }
        }
    }

    /// What the stock decoder restores from the same shards, so that the stripe is no bad witness.
    fn check_stock_decoder(stripe: &[Vec<u8>], k: usize, erased: u32) {
        let mut decoder = ReedSolomonDecoder::new(k, stripe.len() - k, stripe[0].len()).unwrap();
        for n in (0..stripe.len()).filter(|n| erased & (1 << n) == 0) {
            match n < k {
                true => decoder.add_original_shard(n, &stripe[n]).unwrap(),
                false => decoder.add_recovery_shard(n - k, &stripe[n]).unwrap(),
            }
        }
        let restored = decoder.decode().unwrap();
        restored.restored_original_iter().for_each(|(n, shard)| assert_eq!(shard, stripe[n]));
    }
}
