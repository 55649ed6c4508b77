//! The pages of one segment, a bit each, and their bytes in the catalog.
//!
//! In the catalog a map is written as runs while that is shorter, else as its words: a segment full
//! of large objects takes a few bytes. Bytes from a drive are checked: what does not fit the
//! segment decodes to nothing. Layout: `docs/FORMAT.md`, section Space.

use crate::codec::wire::{Put, Take};

const RUNS: u8 = 1;
const WORDS: u8 = 2;

/// One bit a page, in words of 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    pages: u32,
    words: Box<[u64]>,
}

impl Bitmap {
    pub fn new(pages: u32) -> Self {
        Bitmap { pages, words: vec![0; pages.div_ceil(64) as usize].into() }
    }

    /// Memory of a map of so many pages.
    pub fn bytes(pages: u32) -> usize {
        pages.div_ceil(64) as usize * 8
    }

    pub fn set(&mut self, page: u32, pages: u32) {
        self.each_word(page, pages, |word, mask| *word |= mask);
    }

    pub fn clear(&mut self, page: u32, pages: u32) {
        self.each_word(page, pages, |word, mask| *word &= !mask);
    }

    fn each_word(&mut self, page: u32, pages: u32, mut apply: impl FnMut(&mut u64, u64)) {
        assert!(page + pages <= self.pages);
        let (mut at, end) = (page, page + pages);
        while at < end {
            let bit = at % 64;
            let run = (64 - bit).min(end - at);
            let mask = (u64::MAX >> (64 - run)) << bit;
            apply(&mut self.words[at as usize / 64], mask);
            at += run;
        }
    }

    /// How many of these pages are set.
    pub fn count(&self, page: u32, pages: u32) -> u32 {
        let (mut at, end, mut count) = (page, page + pages, 0);
        assert!(end <= self.pages);
        while at < end {
            let bit = at % 64;
            let run = (64 - bit).min(end - at);
            let mask = (u64::MAX >> (64 - run)) << bit;
            count += (self.words[at as usize / 64] & mask).count_ones();
            at += run;
        }
        count
    }

    pub fn ones(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// First page at or after `from` with `pages` clear ones in a row.
    pub fn find_clear(&self, from: u32, pages: u32) -> Option<u32> {
        self.clear_runs(from).find(|(_, len)| *len >= pages).map(|(start, _)| start)
    }

    /// The longest run of clear pages.
    pub fn longest_clear(&self) -> u32 {
        self.clear_runs(0).map(|(_, len)| len).max().unwrap_or(0)
    }

    fn clear_runs(&self, from: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.runs(from, u64::MAX)
    }

    fn set_runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.runs(0, 0)
    }

    /// First page and length of each run at or after `from` of bits that are one after `flip`.
    fn runs(&self, from: u32, flip: u64) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut at = from;
        std::iter::from_fn(move || {
            let start = self.next(at, flip)?;
            let end = self.next(start, !flip).unwrap_or(self.pages);
            at = end;
            Some((start, end - start))
        })
    }

    /// The first page at or after `from` whose bit is one after `flip`.
    fn next(&self, from: u32, flip: u64) -> Option<u32> {
        let mut mask = u64::MAX << (from % 64);
        for (index, word) in self.words.iter().enumerate().skip(from as usize / 64) {
            let found = (word ^ flip) & mask;
            if found != 0 {
                let page = index as u32 * 64 + found.trailing_zeros();
                return (page < self.pages).then_some(page);
            }
            mask = u64::MAX;
        }
        None
    }

    pub fn encode(&self) -> Vec<u8> {
        let (mut put, mut last) = (Put::default(), 0);
        put.u8(RUNS);
        for (start, len) in self.set_runs() {
            put.varint((start - last).into()).varint(len.into());
            last = start + len;
            if put.0.len() > Bitmap::bytes(self.pages) {
                put.0.clear();
                put.u8(WORDS);
                for word in &self.words {
                    put.u64(*word);
                }
                break;
            }
        }
        put.0
    }

    pub fn decode(bytes: &[u8], pages: u32) -> Option<Self> {
        let mut map = Bitmap::new(pages);
        let mut take = Take(bytes);
        match take.u8()? {
            RUNS => {
                for run in (Runs { take, last: 0 }) {
                    let (start, len) = run?;
                    (start.checked_add(len)? <= pages).then(|| map.set(start, len))?;
                }
            }
            WORDS if take.0.len() == map.words.len() * 8 => {
                for word in &mut map.words {
                    *word = take.u64()?;
                }
                if map.ones() != map.set_runs().map(|(_, len)| len).sum::<u32>() {
                    return None;
                }
            }
            _ => return None,
        }
        Some(map)
    }
}

/// Pages that an encoded map marks; `None` when it is none, as far as can be told without knowing the
/// segment.
pub fn pages_marked(bytes: &[u8]) -> Option<u64> {
    let mut take = Take(bytes);
    match take.u8()? {
        RUNS => Runs { take, last: 0 }.map(|run| run.map(|(_, len)| u64::from(len))).sum(),
        WORDS => Some(take.0.iter().map(|byte| u64::from(byte.count_ones())).sum()),
        _ => None,
    }
}

/// Encoded runs; one that is none ends them.
struct Runs<'a> {
    take: Take<'a>,
    last: u32,
}

impl Iterator for Runs<'_> {
    type Item = Option<(u32, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.take.is_empty() {
            return None;
        }
        let run = self.run();
        if run.is_none() {
            self.take = Take(&[]);
        }
        Some(run)
    }
}

impl Runs<'_> {
    fn run(&mut self) -> Option<(u32, u32)> {
        let gap = u32::try_from(self.take.varint()?).ok()?;
        let len = u32::try_from(self.take.varint()?).ok()?;
        let start = self.last.checked_add(gap)?;
        self.last = start.checked_add(len)?;
        (len > 0).then_some((start, len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(bits: &[bool]) -> Bitmap {
        let mut map = Bitmap::new(bits.len() as u32);
        bits.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(page, _)| map.set(page as u32, 1));
        map
    }

    proptest! {
        #[test]
        fn searches_as_a_list_of_bits(bits in prop::collection::vec(any::<bool>(), 1..300), from in 0usize..300, len in 1usize..5) {
            let (found, from) = (map(&bits), from.min(bits.len()));
            let clear = |at: usize| bits.get(at..at + len).is_some_and(|run| run.iter().all(|bit| !bit));
            let naive = (from..bits.len()).find(|at| clear(*at));
            prop_assert_eq!(found.find_clear(from as u32, len as u32), naive.map(|at| at as u32));
            let longest = bits.split(|bit| *bit).map(<[bool]>::len).max();
            prop_assert_eq!(Some(found.longest_clear() as usize), longest);
            let ones = bits[from..].iter().filter(|bit| **bit).count();
            prop_assert_eq!(found.count(from as u32, (bits.len() - from) as u32) as usize, ones);
        }

        #[test]
        fn maps_come_back_and_never_take_more_than_their_words(
            runs in prop::collection::vec((1usize..40, any::<bool>()), 1..90),
        ) {
            let bits: Vec<bool> = runs.into_iter().flat_map(|(len, bit)| std::iter::repeat_n(bit, len)).collect();
            let map = map(&bits);
            let encoded = map.encode();
            prop_assert!(encoded.len() <= Bitmap::bytes(bits.len() as u32) + 1);
            prop_assert_eq!(pages_marked(&encoded), Some(map.ones().into()));
            prop_assert_eq!(Bitmap::decode(&encoded, bits.len() as u32), Some(map));
        }

        #[test]
        fn any_bytes_decode_without_panic(mut bytes: Vec<u8>, kind in 0u8..4, pages in 1u32..200) {
            bytes.insert(0, kind);
            let decoded = Bitmap::decode(&bytes, pages);
            let _ = pages_marked(&bytes);
            prop_assert!(decoded.is_none_or(|map| map.ones() <= pages));
        }
    }

    #[test]
    fn a_full_segment_takes_a_few_bytes() {
        let mut map = Bitmap::new(65_536);
        map.set(1, 65_535);
        assert!(map.encode().len() < 8);
    }
}
