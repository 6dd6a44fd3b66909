//! Paths into templates: `/users/7` becomes `/users/{userId}`. Values with a shape
//! are told at once, names only by their many siblings; then what was created for
//! each of them is merged.

pub mod name;
mod path;
pub mod segment;
mod settle;
mod token;
mod words;

use std::collections::BTreeMap;

pub use path::Path;
pub use segment::Kind;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

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
                    let names = self.node(at)?.names && !words::is_fixed(&segment.key);
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
                noun = Some(&*node.key).filter(|key| !words::is_version(key));
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

    fn child(&self, at: NodeId, segment: &path::Segment<'_>) -> Option<NodeId> {
        let node = self.node(at)?;
        if let Some(child) = node.children.get(&*segment.key) {
            return Some(*child);
        }
        if segment.kind.is_some() {
            return None;
        }
        let (stem, ending) = segment::split_ending(&segment.key);
        if !ending.is_empty() && !words::is_fixed(stem) {
            let child = node.children.get(&*format!("{VALUE}{ending}")).copied();
            let names = |id: &NodeId| self.node(*id).is_some_and(|it| it.kind == Some(Kind::Name));
            if let Some(child) = child.filter(names) {
                return Some(child);
            }
        }
        let name = node.names && !words::is_fixed(&segment.key);
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
