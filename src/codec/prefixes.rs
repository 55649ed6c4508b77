//! Which of many prefixes a key begins with, without asking each of them.
//!
//! Prefixes that begin with one another form a forest: the parent of each is the longest other one that it begins
//! with. All prefixes of a key lie on one path to a root, and the largest one that does not sort behind the
//! key is on that path or below it. So a lookup is one binary search and a walk upwards. Pure.

/// Prefixes, each with the numbers of those who asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// By prefix.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    prefix: Box<str>,
    parent: Option<usize>,
    numbers: Vec<u32>,
}

impl Prefixes {
    pub fn new<'p>(numbered: impl IntoIterator<Item = (u32, &'p str)>) -> Self {
        let mut sorted: Vec<(&str, u32)> =
            numbered.into_iter().map(|(number, prefix)| (prefix, number)).collect();
        sorted.sort_unstable();
        let (mut nodes, mut path): (Vec<Node>, Vec<usize>) = (Vec::new(), Vec::new());
        for (prefix, number) in sorted {
            if let Some(last) = nodes.last_mut().filter(|last| *last.prefix == *prefix) {
                last.numbers.push(number);
                continue;
            }
            while path.last().is_some_and(|at| !prefix.starts_with(&*nodes[*at].prefix)) {
                path.pop();
            }
            let parent = path.last().copied();
            path.push(nodes.len());
            nodes.push(Node { prefix: prefix.into(), parent, numbers: vec![number] });
        }
        Prefixes { nodes }
    }

    /// The numbers of all prefixes that `key` begins with.
    pub fn of<'s>(&'s self, key: &'s str) -> impl Iterator<Item = u32> + 's {
        let below = self.nodes.partition_point(|node| *node.prefix <= *key).checked_sub(1);
        let path = std::iter::successors(below, |at| self.nodes[*at].parent);
        let path = path.map(|at| &self.nodes[at]).skip_while(|node| !key.starts_with(&*node.prefix));
        path.flat_map(|node| node.numbers.iter().copied())
    }
}

/// The prefixes without those that begin with another one: disjoint, in order.
pub fn outermost<'p>(prefixes: impl IntoIterator<Item = &'p str>) -> Vec<&'p str> {
    let mut all: Vec<&str> = prefixes.into_iter().collect();
    all.sort_unstable();
    let mut outer: Vec<&str> = Vec::new();
    for prefix in all {
        if outer.last().is_none_or(|last| !prefix.starts_with(last)) {
            outer.push(prefix);
        }
    }
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_lookup_finds_what_asking_each_finds(all in prop::collection::vec("[ab]{0,4}", 0..12), key in "[abc]{0,6}") {
            let prefixes = Prefixes::new(all.iter().enumerate().map(|(at, prefix)| (at as u32, &**prefix)));
            let mut found: Vec<u32> = prefixes.of(&key).collect();
            found.sort_unstable();
            let naive = (0..all.len()).filter(|at| key.starts_with(&all[*at])).map(|at| at as u32);
            prop_assert_eq!(found, naive.collect::<Vec<_>>());
            let outer = outermost(all.iter().map(|prefix| &**prefix));
            let under = outer.iter().filter(|prefix| key.starts_with(**prefix)).count();
            prop_assert_eq!(under, usize::from(all.iter().any(|prefix| key.starts_with(&**prefix))));
        }
    }
}
