//! A set of pages as runs: what is in the set is kept by its beginnings and ends.
//!
//! For the few pages of a segment that are not as the catalog says: being written, freed but still
//! read, changed since. Takes memory by runs and none when it is empty. Neighbours are joined.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// End of each run, exclusive, by its first page.
    runs: BTreeMap<u32, u32>,
    pages: u32,
}

impl Spans {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Pages in the set.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// First page and length of each run, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.runs.iter().map(|(start, end)| (*start, end - start))
    }

    /// How many of these pages are in the set.
    pub fn count(&self, page: u32, pages: u32) -> u32 {
        let end = page + pages;
        let before =
            self.runs.range(..page).next_back().map_or(0, |(_, last)| (*last).clamp(page, end) - page);
        self.runs.range(page..end).fold(before, |sum, (start, last)| sum + (*last).min(end) - start)
    }

    pub fn insert(&mut self, page: u32, pages: u32) {
        if pages == 0 {
            return;
        }
        self.remove(page, pages);
        let (mut start, mut end) = (page, page + pages);
        if let Some((before, last)) = self.runs.range(..start).next_back().map(|(a, b)| (*a, *b))
            && last == start
        {
            start = before;
        }
        if let Some(last) = self.runs.remove(&end) {
            end = last;
        }
        self.runs.insert(start, end);
        self.pages += pages;
    }

    pub fn remove(&mut self, page: u32, pages: u32) {
        if pages == 0 {
            return;
        }
        let (start, end) = (page, page + pages);
        self.pages -= self.count(page, pages);
        if let Some((before, last)) = self.runs.range(..start).next_back().map(|(a, b)| (*a, *b))
            && last > start
        {
            self.runs.insert(before, start);
            if last > end {
                self.runs.insert(end, last);
            }
        }
        while let Some((inside, last)) = self.runs.range(start..end).next().map(|(a, b)| (*a, *b)) {
            self.runs.remove(&inside);
            if last > end {
                self.runs.insert(end, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..60, 0u32..20), 0..60)) {
            let (mut spans, mut model) = (Spans::default(), BTreeSet::new());
            for (insert, page, pages) in steps {
                let inside = (page..page + pages).filter(|at| model.contains(at)).count() as u32;
                prop_assert_eq!(spans.count(page, pages), inside);
                if insert {
                    spans.insert(page, pages);
                    model.extend(page..page + pages);
                } else {
                    spans.remove(page, pages);
                    model.retain(|at| !(page..page + pages).contains(at));
                }
                let found: Vec<u32> = spans.iter().flat_map(|(start, len)| start..start + len).collect();
                prop_assert_eq!(&found, &model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(spans.pages() as usize, model.len());
                let ends: Vec<(u32, u32)> = spans.iter().collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "joined");
            }
        }
    }
}
