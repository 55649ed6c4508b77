//! The compression of MD5 (RFC 1321, 3.4) over one message, and what those over several have in common.
//!
//! Owns the constants and the plain arithmetic, which `simd` is tested against. May use: nothing. Only whole blocks
//! come here; lengths, ends and padding are `md5`'s.

/// The words A, B, C and D.
pub type State = [u32; 4];

/// RFC 1321, 3.3.
pub const INITIAL: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

pub const BLOCK_BYTES: usize = 64;

/// Messages that a compression over several takes at most.
pub const LANES: usize = 8;

/// One message's share of such a compression: its state, and blocks that follow. All jobs have as many blocks.
pub struct Job<'d> {
    pub state: State,
    pub blocks: &'d [u8],
}

/// Advances each state over its blocks.
pub type Compression = fn(&mut [Job<'_>]);

/// Whole blocks; what is left behind them is not looked at.
pub fn compress(state: &mut State, blocks: &[u8]) {
    for block in blocks.as_chunks::<BLOCK_BYTES>().0 {
        let mut message = [0; 16];
        for (word, bytes) in message.iter_mut().zip(block.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut next = *state;
        round(&mut next, &message, 0, [7, 12, 17, 22], |i| i, |b, c, d| d ^ (b & (c ^ d)));
        // The halves have no bit in common: as a sum instead of an "or" they leave a shorter chain.
        round(&mut next, &message, 16, [5, 9, 14, 20], |i| 5 * i + 1, |b, c, d| (b & d).wrapping_add(c & !d));
        round(&mut next, &message, 32, [4, 11, 16, 23], |i| 3 * i + 5, |b, c, d| b ^ c ^ d);
        round(&mut next, &message, 48, [6, 10, 15, 21], |i| 7 * i, |b, c, d| c ^ (b | !d));
        for (word, next) in state.iter_mut().zip(next) {
            *word = word.wrapping_add(next);
        }
    }
}

/// Sixteen steps from the step `first` on. `order` says which word of the message (modulo 16) a step takes, `mix` how
/// it joins B, C and D.
#[inline(always)]
fn round(
    state: &mut State,
    message: &[u32; 16],
    first: usize,
    shifts: [u32; 4],
    order: impl Fn(usize) -> usize,
    mix: impl Fn(u32, u32, u32) -> u32,
) {
    let step = |a: u32, [b, c, d]: [u32; 3], i: usize| {
        let sum = a.wrapping_add(message[order(i) % 16]).wrapping_add(SINES[first + i]);
        sum.wrapping_add(mix(b, c, d)).rotate_left(shifts[i % 4]).wrapping_add(b)
    };
    let [mut a, mut b, mut c, mut d] = *state;
    for i in [0, 4, 8, 12] {
        a = step(a, [b, c, d], i);
        d = step(d, [a, b, c], i + 1);
        c = step(c, [d, a, b], i + 2);
        b = step(b, [c, d, a], i + 3);
    }
    *state = [a, b, c, d];
}

/// The integer part of 2^32 times the absolute sine of 1 to 64 radians.
pub const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];
