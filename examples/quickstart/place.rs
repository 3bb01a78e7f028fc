//! Where the pool is: a file that is removed in the end, unless it is to be kept.

use crate::{Arguments, Result, corpus::Corpus, index};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The pool's file.
pub(crate) struct Place {
    path: PathBuf,
    /// The folder that was made for it, if the user named no file.
    folder: Option<TempDir>,
    keep: bool,
}

impl Place {
    /// A pool that was there before, and will be there afterwards.
    pub(crate) fn kept(path: &Path) -> Place {
        Place { path: path.into(), folder: None, keep: true }
    }

    /// Makes a pool where the arguments say, else in shared memory, else in the temporary folder.
    pub(crate) fn create(arguments: &Arguments, corpus: &Corpus) -> Result<Place> {
        let size = arguments.size.unwrap_or_else(|| size_for(corpus));
        if let Some(path) = &arguments.pool {
            index::create(path, size).map_err(|error| format!("{}: {error}", path.display()))?;
            return Ok(Place { path: path.clone(), folder: None, keep: false });
        }
        let mut failures = Vec::new();
        for folder in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
            let place = TempDir::with_prefix_in("pmem-quickstart-", &folder)
                .map_err(|error| error.to_string())
                .and_then(|folder| {
                    let path = folder.path().join("index.pool");
                    index::create(&path, size).map_err(|error| error.to_string())?;
                    Ok(Place { path, folder: Some(folder), keep: false })
                });
            match place {
                Ok(place) => return Ok(place),
                Err(error) => failures.push(format!("{}: {error}", folder.display())),
            }
        }
        Err(format!("no place for a pool ({}); give one with --pool", failures.join("; ")).into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(&mut self) {
        if let Some(folder) = self.folder.take() {
            _ = folder.keep();
        }
        self.keep = true;
        println!("pool kept: {}", self.path.display());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.folder.is_none() && !self.keep {
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Bytes for both trees, half full, and for a log (a 64th of the pool) of which the largest transaction may take a
/// third.
fn size_for(corpus: &Corpus) -> u64 {
    let trees = corpus.postings * 400 + (8 << 20);
    let log = corpus.seen.iter().map(|file| file.words).max().unwrap_or(0) * 500 * 3;
    trees.max(log * 64).next_multiple_of(1 << 20)
}
