//! Names: words that are values because they have so many siblings.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Merge, NodeId, ROOT, Trie, VALUE, segment, words};

/// Siblings from which on free words at one level may be values.
const SIBLINGS: usize = 32;
/// Siblings such as `alice42` from which on they are values.
const NUMBERED: usize = 2;
/// Calls up to which a sibling is one of many, not a place of its own.
const FEW: u64 = 8;
impl Trie {
    /// Merges the words below `at` when there are so many that they are values;
    /// `calls` tells how often an endpoint was called.
    pub fn settle(&mut self, at: NodeId, calls: &dyn Fn(u32) -> u64) -> Option<Merge> {
        let mut merge = Merge::default();
        let merged = self.settle_level(at, calls, &mut merge);
        for into in &merged {
            self.visit(*into, &mut |node| merge.nodes.push(node));
        }
        (!merged.is_empty()).then_some(merge)
    }

    /// The nodes that something was merged into.
    fn settle_level(
        &mut self,
        at: NodeId,
        calls: &dyn Fn(u32) -> u64,
        merge: &mut Merge,
    ) -> Vec<NodeId> {
        let mut merged = Vec::new();
        // What shares no ending with enough others is looked at as a whole, last.
        for ending in self.endings(at).into_iter().chain([Box::default()]) {
            let members = self.members(at, &ending, calls);
            if members.is_empty() {
                continue;
            }
            let key = format!("{VALUE}{ending}");
            let Some(into) = self.child_by_key(at, &key).or_else(|| {
                // The members leave at once, so this is within the limit.
                self.add(at, &key, Some(Kind::Name))
            }) else {
                continue;
            };
            if let Some(node) = self.node_mut(into) {
                node.kind = Some(Kind::Name);
            }
            for member in members {
                self.merge(member, into, merge);
            }
            if ending.is_empty()
                && let Some(node) = self.node_mut(at)
            {
                node.names = true;
            }
            merged.push(into);
        }
        // What was spread over the members is now together.
        let mut levels = Vec::new();
        for into in &merged {
            self.visit(*into, &mut |node| levels.push(node));
        }
        for level in levels {
            // A level may have been merged away by one before it.
            if self.node(level).is_some_and(|node| !node.key.is_empty()) {
                self.settle_level(level, calls, merge);
            }
        }
        merged
    }

    /// Endings (`.json`, `:activate`) that enough words below `at` share.
    fn endings(&self, at: NodeId) -> Vec<Box<str>> {
        let mut endings: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for key in self.node(at).into_iter().flat_map(|level| level.children.keys()) {
            let (stem, ending) = segment::split_ending(key);
            if !ending.is_empty() && !key.contains('{') {
                let (words, numbered) = endings.entry(ending).or_default();
                *words += 1;
                *numbered += usize::from(words::is_numbered_word(stem));
            }
        }
        let enough = |words, numbered| words >= SIBLINGS || numbered >= NUMBERED;
        endings.retain(|_, (words, numbered)| enough(*words, *numbered));
        endings.into_keys().map(Box::from).collect()
    }

    /// Children of `at` with an ending that are values, by their number and likeness.
    fn members(&self, at: NodeId, ending: &str, calls: &dyn Fn(u32) -> u64) -> Vec<NodeId> {
        let Some(level) = self.node(at).filter(|_| at != ROOT) else { return Vec::new() };
        let siblings = || {
            let words = level.children.iter().filter(|(key, _)| !key.contains('{'));
            let stems = words.filter_map(|(key, child)| Some((key.strip_suffix(ending)?, *child)));
            stems.filter(|(stem, _)| !stem.is_empty())
        };
        let numbered: Vec<NodeId> = siblings()
            .filter(|(key, _)| words::is_numbered_word(key))
            .map(|(_, child)| child)
            .collect();
        if numbered.len() >= NUMBERED {
            let shape = self.shape(&numbered);
            return siblings()
                .filter(|(key, child)| {
                    numbered.contains(child)
                        || words::is_plain_word(key) && self.fits(*child, &shape)
                })
                .map(|(_, child)| child)
                .collect();
        }
        let count = siblings().count();
        if count < SIBLINGS {
            return Vec::new();
        }
        let members: Vec<NodeId> = siblings()
            .filter(|(key, child)| {
                let mut sum = 0_u64;
                self.visit(*child, &mut |node| {
                    sum = self.endpoints(node).fold(sum, |sum, id| sum.saturating_add(calls(id)));
                });
                // Names of procedures (`getUser`) are fixed, however many there are.
                let mixed = key.bytes().skip(1).any(|byte| byte.is_ascii_uppercase())
                    && key.bytes().any(|byte| byte.is_ascii_lowercase());
                sum <= FEW && !mixed && !words::is_fixed(key)
            })
            .map(|(_, child)| child)
            .collect();
        if members.len() * 4 >= count * 3 { members } else { Vec::new() }
    }

    /// What follows any of `nodes`: keys below and methods at them.
    fn shape(&self, nodes: &[NodeId]) -> (BTreeSet<&str>, BTreeSet<u8>) {
        let mut keys = BTreeSet::new();
        let mut methods = BTreeSet::new();
        for node in nodes.iter().filter_map(|&node| self.node(node)) {
            methods.extend(node.endpoints.iter().map(|(method, _)| *method));
            for key in node.children.keys() {
                keys.insert(if words::is_numbered_word(key) { VALUE } else { &**key });
            }
        }
        (keys, methods)
    }

    fn fits(&self, node: NodeId, (keys, methods): &(BTreeSet<&str>, BTreeSet<u8>)) -> bool {
        self.node(node).is_some_and(|node| {
            node.endpoints.iter().all(|(method, _)| methods.contains(method))
                && node.children.keys().all(|key| {
                    keys.contains(&**key)
                        || keys.contains(VALUE)
                            && (words::is_numbered_word(key) || words::is_plain_word(key))
                })
        })
    }

    /// Moves all of `from` to `into` and frees it.
    fn merge(&mut self, from: NodeId, into: NodeId, merge: &mut Merge) {
        let Some(node) = self.node_mut(from).map(std::mem::take) else { return };
        if let Some(parent) = self.node_mut(node.parent) {
            parent.children.remove(&node.key);
        }
        self.free.push(from);
        for (method, endpoint) in node.endpoints {
            match self.endpoint(into, method) {
                Some(kept) => merge.merged.push((endpoint, kept)),
                None => self.set_endpoint(into, method, endpoint),
            }
        }
        for (key, child) in node.children {
            let same = self.child_by_key(into, &key);
            if let Some(moved) = self.node_mut(child) {
                moved.parent = into;
            }
            if let Some(same) = same {
                let kind = self.node(child).and_then(|child| child.kind);
                // The key must not be removed from `into`, which has it from `same`.
                self.merge_below(child, same, merge);
                if let (Some(kind), Some(same)) = (kind, self.node_mut(same)) {
                    same.kind = Some(same.kind.map_or(kind, |known| known.join(kind)));
                }
            } else if let Some(into) = self.node_mut(into) {
                into.children.insert(key, child);
            }
        }
        if let Some(into) = self.node_mut(into) {
            into.names |= node.names;
        }
    }

    fn merge_below(&mut self, from: NodeId, into: NodeId, merge: &mut Merge) {
        if let Some(node) = self.node_mut(from) {
            // Its parent has no child of this key: the empty key is the root's.
            node.key = Box::default();
        }
        self.merge(from, into, merge);
    }
}
