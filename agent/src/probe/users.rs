//! Which processes map files that have TLS functions.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::file::FileId;

/// Processes that are remembered, at most.
const PROCESSES_MAX: usize = 65536;

/// Files of one process, at most.
const FILES_MAX: usize = 16;

/// Files of a process, in the order in which they were found.
pub(super) type Files = SmallVec<[FileId; 2]>;

/// Files with TLS functions by the processes that map them, as far as these were looked
/// at.
#[derive(Debug, Default)]
pub(super) struct Users {
    files: HashMap<u32, Files>,
    /// How many processes map each file.
    counts: HashMap<FileId, usize>,
}

impl Users {
    /// A process maps a file.
    pub(super) fn add(&mut self, pid: u32, key: FileId) {
        if self.files.len() >= PROCESSES_MAX {
            *self = Self::default();
        }
        let files = self.files.entry(pid).or_default();
        if files.len() < FILES_MAX && !files.contains(&key) {
            files.push(key);
            *self.counts.entry(key).or_default() += 1;
        }
    }

    /// A child maps what its parent maps.
    pub(super) fn forked(&mut self, parent: u32, child: u32) -> Files {
        let files = self.files.get(&parent).cloned().unwrap_or_default();
        self.left(child);
        for &key in &files {
            self.add(child, key);
        }
        files
    }

    /// A process has ended, or runs another program: what it had mapped until then.
    pub(super) fn left(&mut self, pid: u32) -> Files {
        let files = self.files.remove(&pid).unwrap_or_default();
        for key in &files {
            if let Some(count) = self.counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(key);
                }
            }
        }
        files
    }

    /// Whether a process maps a file.
    pub(super) fn has(&self, key: FileId) -> bool {
        self.counts.contains_key(&key)
    }

    /// Processes that map a file.
    pub(super) fn of(&self, key: FileId) -> Vec<u32> {
        let users = self.files.iter().filter(|(_, files)| files.contains(&key));
        users.map(|(pid, _)| *pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_what_its_parent_has_until_it_runs_another_program() {
        let [a, b] = [1, 2].map(|inode| FileId { inode, ..FileId::default() });
        let mut users = Users::default();
        users.add(7, a);
        users.add(7, b);
        users.add(7, a);
        assert_eq!(users.forked(7, 8).as_slice(), [a, b]);
        users.left(8);
        users.add(8, b);
        assert_eq!((users.of(a), users.of(b).len()), (vec![7], 2));
        assert!(users.has(a) && users.has(b));
        assert_eq!(users.left(7).as_slice(), [a, b]);
        assert!(!users.has(a) && users.has(b));
        users.left(8);
        assert!(!users.has(b) && users.counts.is_empty());
        assert!(users.forked(7, 8).is_empty() && users.of(b).is_empty());
    }
}
