//! Which route the inventory finds for each path, to score it: a path a line in,
//! `path<TAB>route` out. An empty line, which is written back, ends a service; its
//! routes are told once all of its paths are known.

use std::io::{self, BufRead as _, BufWriter, Write};

use apiscope::inventory::template::{Inserted, Path, Trie};

/// Nodes of a service; more than any has.
const NODES: usize = 1 << 20;

/// All calls are of one method.
const METHOD: u8 = 0;

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut service = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            write_routes(&service, &mut out)?;
            writeln!(out)?;
            service.clear();
        } else {
            service.push(line);
        }
    }
    write_routes(&service, &mut out)?;
    out.flush()
}

/// Feeds the paths of a service as an inventory does, then looks each of them up.
fn write_routes(paths: &[String], out: &mut impl Write) -> io::Result<()> {
    let mut trie = Trie::new(NODES);
    let mut calls: Vec<u64> = Vec::new();
    for path in paths.iter().filter_map(|path| Path::parse(path)) {
        let Some(Inserted { node, grown, .. }) = trie.insert(&path) else { continue };
        let endpoint = trie.endpoint(node, METHOD).unwrap_or_else(|| {
            let endpoint = u32::try_from(calls.len()).unwrap_or(u32::MAX);
            trie.set_endpoint(node, METHOD, endpoint);
            calls.push(0);
            endpoint
        });
        count(&mut calls, endpoint, 1);
        let merge = grown.and_then(|level| trie.settle(level, &|endpoint| at(&calls, endpoint)));
        for (from, into) in merge.into_iter().flat_map(|merge| merge.merged) {
            let gone = at(&calls, from);
            count(&mut calls, into, gone);
        }
    }
    for path in paths {
        let parsed = Path::parse(path);
        let node = parsed.and_then(|path| trie.find(&path));
        let route = node.map_or_else(|| path.clone(), |node| trie.route(node).0);
        writeln!(out, "{path}\t{route}")?;
    }
    Ok(())
}

fn at(calls: &[u64], endpoint: u32) -> u64 {
    calls.get(endpoint as usize).copied().unwrap_or_default()
}

fn count(calls: &mut [u64], endpoint: u32, more: u64) {
    if let Some(calls) = calls.get_mut(endpoint as usize) {
        *calls += more;
    }
}
