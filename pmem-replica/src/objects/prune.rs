//! Pruning: old versions go, and chunks that nobody has.

use super::{Error, Manifest, Result, Store, manifest::chain};
use std::collections::HashSet;

/// What stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many of each volume's snapshots, and of each pool, the newest; and what they go on from.
    pub newest: usize,
    /// Pushes and prunes that have not ended are dead: what they sent and did not finish goes, too.
    pub force: bool,
}

/// What is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// What stays.
    pub kept: usize,
    /// What is gone, newest first.
    pub removed: Vec<Manifest>,
    /// Chunks that are gone.
    pub chunks: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Removes old versions, and then chunks that no manifest names. Wherever it is cut short, everything that has a manifest is whole.
    ///
    /// # Errors
    ///
    /// A manifest that cannot be read: what it needs is not known, and nothing was removed. [`Error::PushUnderWay`]; [`Error::Storage`].
    pub fn prune(&self, keep: Keep) -> Result<Pruned> {
        let _mark = self.mark_prune(keep.force)?;
        let listed = self.list()?;
        if let Some(error) = listed.unreadable.into_iter().next() {
            return Err(error);
        }
        let kept = kept(&listed.manifests, keep.newest);
        let (kept, mut removed): (Vec<Manifest>, Vec<Manifest>) =
            listed.manifests.into_iter().partition(|one| kept.contains(&one.label.path()));
        removed.reverse(); // what goes on from another one goes before it
        for manifest in &removed {
            self.delete(&manifest.label.path())?;
        }
        let named: HashSet<String> =
            kept.iter().flat_map(|one| &one.chunks).map(|chunk| chunk.path()).collect();
        let mut pruned = Pruned { kept: kept.len(), removed, ..Pruned::default() };
        for (path, bytes) in self.names("chunks/")? {
            if !named.contains(&path) {
                self.delete(&path)?;
                pruned.chunks += 1;
                pruned.bytes += bytes;
            }
        }
        self.clear_partial()?;
        Ok(pruned)
    }

    /// What writers left that were killed. (Nobody is writing but this.)
    fn clear_partial(&self) -> Result<()> {
        let Some(folder) = self.place.partial() else { return Ok(()) };
        for entry in folder.read_dir().map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(Error::io(&path))?;
        }
        Ok(())
    }
}

/// The names of the newest `newest` of each source, and of what they need.
fn kept(all: &[Manifest], newest: usize) -> HashSet<String> {
    let mut kept = HashSet::new();
    for of_one in all.chunk_by(|a, b| (a.label.kind, &a.label.source) == (b.label.kind, &b.label.source)) {
        for manifest in of_one.iter().rev().take(newest) {
            kept.insert(manifest.label.path());
            // (Of one that lacks something all that it has stays.)
            let needed = chain(of_one, manifest).unwrap_or_else(|_| of_one.iter().collect());
            kept.extend(needed.iter().map(|one| one.label.path()));
        }
    }
    kept
}
