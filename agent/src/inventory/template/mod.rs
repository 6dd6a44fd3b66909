//! Paths into templates: `/users/7` becomes `/users/{userId}`. Values with a shape
//! are told at once, names only by their many siblings; then what was created for
//! each of them is merged.

pub mod name;
mod path;
pub mod segment;
mod token;

use std::collections::{BTreeMap, BTreeSet};

pub use path::Path;
pub use segment::Kind;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Siblings from which on free words at one level may be values.
const SIBLINGS: usize = 32;
/// Siblings such as `alice42` from which on they are values.
const NUMBERED: usize = 2;
/// Calls up to which a sibling is one of many, not a place of its own.
const FEW: u64 = 8;
/// Key of a segment that is a value as a whole.
const VALUE: &str = "{}";
/// Node of the path `/`.
const ROOT: NodeId = 0;

/// Place in a [`Trie`]; valid until the node is merged away.
pub type NodeId = u32;

/// A parameter of a route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name in the route.
    pub name: String,
    /// What its values look like.
    pub kind: Kind,
}

/// What became of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inserted {
    /// Its node.
    pub node: NodeId,
    /// The level that got a new word, for [`Trie::settle`].
    pub grown: Option<NodeId>,
    /// A parameter turned out to be of another kind than was known.
    pub kinds_changed: bool,
}

/// What a merge of siblings did to endpoints.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Merge {
    /// Endpoints that are now counted under another: from, into.
    pub merged: Vec<(u32, u32)>,
    /// Nodes at or under the merged level: routes of their endpoints changed.
    pub nodes: Vec<NodeId>,
}

/// The templates of one service, with the endpoints at their ends.
#[derive(Debug)]
pub struct Trie {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Node {
    parent: NodeId,
    /// Fixed text, or text with `{}` for the value.
    key: Box<str>,
    kind: Option<Kind>,
    children: BTreeMap<Box<str>, NodeId>,
    /// Free words below are values.
    names: bool,
    /// Method and endpoint.
    endpoints: SmallVec<[(u8, u32); 2]>,
}

impl Trie {
    /// An empty trie of at most `limit` nodes.
    pub fn new(limit: usize) -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new(), limit: limit.max(1) }
    }

    /// The node of a path whose template is known.
    pub fn find(&self, path: &Path<'_>) -> Option<NodeId> {
        path.segments.iter().try_fold(ROOT, |at, segment| self.child(at, segment))
    }

    /// The node of a path, created when needed; `None` when the trie is full.
    pub fn insert(&mut self, path: &Path<'_>) -> Option<Inserted> {
        let mut at = ROOT;
        let mut grown = None;
        let mut kinds_changed = false;
        for segment in &path.segments {
            let next = match self.child(at, segment) {
                Some(next) => next,
                None if self.nodes.len() - self.free.len() >= self.limit => return None,
                None => {
                    let names = self.node(at)?.names && !segment::is_fixed(&segment.key);
                    let (key, kind) = match segment.kind {
                        None if names => (VALUE, Some(Kind::Name)),
                        kind => (&*segment.key, kind),
                    };
                    if kind.is_none() {
                        grown = grown.or(Some(at));
                    }
                    self.add(at, key, kind)?
                }
            };
            if let Some(kind) = segment.kind {
                let node = self.node_mut(next)?;
                let joined = Some(node.kind.map_or(kind, |known| known.join(kind)));
                kinds_changed |= node.kind != joined;
                node.kind = joined;
            }
            at = next;
        }
        Some(Inserted { node: at, grown, kinds_changed })
    }

    /// Puts back a route of an earlier run, so that it applies to new calls.
    pub fn restore(&mut self, path: &Path<'_>) -> Option<NodeId> {
        let end = self.insert(path)?.node;
        let mut at = end;
        while at != ROOT {
            let node = self.node(at)?;
            let names = &*node.key == VALUE && node.kind == Some(Kind::Name);
            at = node.parent;
            if names {
                self.node_mut(at)?.names = true;
            }
        }
        Some(end)
    }

    /// The endpoint of a method at a node.
    pub fn endpoint(&self, node: NodeId, method: u8) -> Option<u32> {
        let endpoints = &self.node(node)?.endpoints;
        endpoints.iter().find(|(known, _)| *known == method).map(|(_, endpoint)| *endpoint)
    }

    /// All endpoints at a node.
    pub fn endpoints(&self, node: NodeId) -> impl Iterator<Item = u32> + '_ {
        self.node(node).into_iter().flat_map(|node| node.endpoints.iter().map(|(_, id)| *id))
    }

    /// Puts an endpoint at a node.
    pub fn set_endpoint(&mut self, node: NodeId, method: u8, endpoint: u32) {
        if let Some(node) = self.node_mut(node) {
            node.endpoints.push((method, endpoint));
        }
    }

    /// Route of a node, with its parameters.
    pub fn route(&self, node: NodeId) -> (String, Vec<Parameter>) {
        let mut levels = Vec::new();
        let mut at = node;
        while at != ROOT
            && let Some(node) = self.node(at)
        {
            levels.push(node);
            at = node.parent;
        }
        let mut route = String::new();
        let mut names: Vec<String> = Vec::new();
        let mut kinds = Vec::new();
        let mut noun: Option<&str> = None;
        for node in levels.into_iter().rev() {
            route.push('/');
            let Some((prefix, suffix)) = node.key.split_once(VALUE) else {
                route.push_str(&node.key);
                noun = Some(&*node.key).filter(|key| !segment::is_version(key));
                continue;
            };
            let own = prefix.trim_end_matches(['\'', '=', '(']);
            let own = own.rsplit('(').next().filter(|own| !own.is_empty());
            let name = name::parameter(own.or(noun), &names);
            route.push_str(prefix);
            route.push('{');
            route.push_str(&name);
            route.push('}');
            route.push_str(suffix);
            names.push(name);
            kinds.push(node.kind.unwrap_or(Kind::Text));
        }
        if route.is_empty() {
            route.push('/');
        }
        let parameters =
            names.into_iter().zip(kinds).map(|(name, kind)| Parameter { name, kind }).collect();
        (route, parameters)
    }

    /// Merges the words below `at` when there are so many that they are values;
    /// `calls` tells how often an endpoint was called.
    pub fn settle(&mut self, at: NodeId, calls: &dyn Fn(u32) -> u64) -> Option<Merge> {
        let mut merge = Merge::default();
        if !self.settle_level(at, calls, &mut merge) {
            return None;
        }
        let below = self.child_by_key(at, VALUE)?;
        self.visit(below, &mut |node| merge.nodes.push(node));
        Some(merge)
    }

    fn settle_level(&mut self, at: NodeId, calls: &dyn Fn(u32) -> u64, merge: &mut Merge) -> bool {
        let members = self.members(at, calls);
        if members.is_empty() {
            return false;
        }
        let Some(into) = self.child_by_key(at, VALUE).or_else(|| {
            // The members leave at once, so this is within the limit.
            self.add(at, VALUE, Some(Kind::Name))
        }) else {
            return false;
        };
        if let Some(node) = self.node_mut(into) {
            node.kind = Some(Kind::Name);
        }
        for member in members {
            self.merge(member, into, merge);
        }
        if let Some(node) = self.node_mut(at) {
            node.names = true;
        }
        // What was spread over the members is now together.
        let mut levels = Vec::new();
        self.visit(into, &mut |node| levels.push(node));
        for level in levels {
            // A level may have been merged away by one before it.
            if self.node(level).is_some_and(|node| !node.key.is_empty()) {
                self.settle_level(level, calls, merge);
            }
        }
        true
    }

    /// Children of `at` that are values, by their number and likeness.
    fn members(&self, at: NodeId, calls: &dyn Fn(u32) -> u64) -> Vec<NodeId> {
        let Some(level) = self.node(at).filter(|_| at != ROOT) else { return Vec::new() };
        let words = || level.children.iter().filter(|(key, _)| !key.contains('{'));
        let numbered: Vec<NodeId> = words()
            .filter(|(key, _)| segment::is_numbered_word(key))
            .map(|(_, child)| *child)
            .collect();
        if numbered.len() >= NUMBERED {
            let shape = self.shape(&numbered);
            return words()
                .filter(|(key, child)| {
                    numbered.contains(child)
                        || segment::is_plain_word(key) && self.fits(**child, &shape)
                })
                .map(|(_, child)| *child)
                .collect();
        }
        let count = words().count();
        if count < SIBLINGS {
            return Vec::new();
        }
        let members: Vec<NodeId> = words()
            .filter(|(key, child)| {
                let mut sum = 0_u64;
                self.visit(**child, &mut |node| {
                    sum = self.endpoints(node).fold(sum, |sum, id| sum.saturating_add(calls(id)));
                });
                // Names of procedures (`getUser`) are fixed, however many there are.
                let mixed = key.bytes().skip(1).any(|byte| byte.is_ascii_uppercase())
                    && key.bytes().any(|byte| byte.is_ascii_lowercase());
                sum <= FEW && !mixed && !segment::is_fixed(key)
            })
            .map(|(_, child)| *child)
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
                keys.insert(if segment::is_numbered_word(key) { VALUE } else { &**key });
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
                            && (segment::is_numbered_word(key) || segment::is_plain_word(key))
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

    fn child(&self, at: NodeId, segment: &path::Segment<'_>) -> Option<NodeId> {
        let node = self.node(at)?;
        if let Some(child) = node.children.get(&*segment.key) {
            return Some(*child);
        }
        let name = segment.kind.is_none() && node.names && !segment::is_fixed(&segment.key);
        name.then(|| node.children.get(VALUE).copied()).flatten()
    }

    fn child_by_key(&self, at: NodeId, key: &str) -> Option<NodeId> {
        self.node(at)?.children.get(key).copied()
    }

    fn add(&mut self, parent: NodeId, key: &str, kind: Option<Kind>) -> Option<NodeId> {
        let node = Node { parent, key: key.into(), kind, ..Node::default() };
        let id = if let Some(id) = self.free.pop() {
            *self.node_mut(id)? = node;
            id
        } else {
            let id = NodeId::try_from(self.nodes.len()).ok()?;
            self.nodes.push(node);
            id
        };
        self.node_mut(parent)?.children.insert(key.into(), id);
        Some(id)
    }

    /// Calls `each` for `at` and all nodes below; at most 32 levels deep.
    fn visit(&self, at: NodeId, each: &mut dyn FnMut(NodeId)) {
        each(at);
        if let Some(node) = self.node(at) {
            for child in node.children.values() {
                self.visit(*child, each);
            }
        }
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }
}

#[cfg(test)]
mod tests;
