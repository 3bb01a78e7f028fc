//! Pulling: chunks, each compared with its checksum.

use super::{Error, Manifest, Result, Store, manifest::Chunk};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// The content of an object, chunk by chunk.
#[derive(Debug)]
pub struct Content<'s> {
    store: &'s Store,
    manifest: &'s Manifest,
    next: usize,
    chunk: Vec<u8>,
    at: usize,
}

/// What was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// Bytes that were fetched.
    pub fetched: u64,
    /// Bytes that an earlier pull had fetched.
    pub kept: u64,
}

impl Store {
    /// An object's content. What is read is what was written; a chunk that is missing or damaged is an error (in the [`std::io::Error`]
    /// is an [`Error`]), with everything before it read.
    pub fn content<'s>(&'s self, manifest: &'s Manifest) -> Content<'s> {
        Content { store: self, manifest, next: 0, chunk: Vec::new(), at: 0 }
    }

    fn chunk(&self, manifest: &Manifest, number: usize) -> Result<Vec<u8>> {
        let (chunk, name) = (&manifest.chunks[number], manifest.label.name.clone());
        let path = chunk.path();
        let Some(bytes) = self.get(&path)? else { return Err(Error::MissingChunk { name, number, path }) };
        let why = match bytes.len() as u64 {
            len if len < chunk.length => "it is cut off",
            len if len > chunk.length => "it is too long",
            _ if Chunk::of(&bytes) != *chunk => "its checksum is wrong",
            _ => return Ok(bytes),
        };
        Err(Error::DamagedChunk { name, number, path, why })
    }

    /// Writes an object's content to a new file, which is there as a whole and durably, or not at all. What an earlier call had fetched
    /// before it was cut short is beside it (`.pulling`), and is not fetched again. `each` is told the bytes of each chunk that is done.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyThere`], [`Error::MissingChunk`], [`Error::DamagedChunk`], [`Error::Storage`], [`Error::Io`].
    pub fn pull_file(&self, manifest: &Manifest, path: &Path, mut each: impl FnMut(u64)) -> Result<Pulled> {
        let refused = || Error::AlreadyThere { path: path.into() };
        if path.symlink_metadata().is_ok() {
            return Err(refused());
        }
        let partial = partial_of(path);
        // Killed between the file's two names: it has its own by now, and may be in use under another.
        if partial.metadata().is_ok_and(|found| found.nlink() > 1) {
            std::fs::remove_file(&partial).map_err(Error::io(&partial))?;
        }
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&partial);
        let file = opened.map_err(Error::io(&partial))?;
        let mut pulled = Pulled { fetched: 0, kept: 0 };
        let mut at = 0;
        file.set_len(manifest.length).map_err(Error::io(&partial))?;
        for (number, chunk) in manifest.chunks.iter().enumerate() {
            let mut there = vec![0; chunk.length as usize];
            file.read_exact_at(&mut there, at).map_err(Error::io(&partial))?;
            if Chunk::of(&there) == *chunk {
                pulled.kept += chunk.length;
            } else {
                let bytes = self.chunk(manifest, number)?;
                file.write_all_at(&bytes, at).map_err(Error::io(&partial))?;
                pulled.fetched += chunk.length;
            }
            at += chunk.length;
            each(chunk.length);
        }
        file.sync_all().map_err(Error::io(&partial))?;
        // A link, and not a renaming, so that nothing is replaced.
        std::fs::hard_link(&partial, path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => refused(),
            _ => Error::io(path)(error),
        })?;
        std::fs::remove_file(&partial).map_err(Error::io(&partial))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
        Ok(pulled)
    }
}

/// What of a file was pulled so far.
fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".pulling");
    path.with_file_name(name)
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.chunk.len() && self.next < self.manifest.chunks.len() {
            (self.chunk, self.at) = (self.store.chunk(self.manifest, self.next)?, 0);
            self.next += 1;
        }
        let len = into.len().min(self.chunk.len() - self.at);
        into[..len].copy_from_slice(&self.chunk[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
