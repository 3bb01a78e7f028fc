//! Pushing: chunks that are not there, then the manifest.

use super::{
    Result, Store,
    manifest::{Chunk, Label, Manifest},
    mark::{self, Mark},
};
use std::io::Write;

/// Takes the content of an object. Dropped before [`finish`](Push::finish), it leaves chunks that the next push finds, and nothing that
/// others see.
#[derive(Debug)]
pub struct Push<'s> {
    store: &'s Store,
    manifest: Manifest,
    /// The next chunk, as far as it has come.
    buffer: Vec<u8>,
    sent: u64,
    found: u64,
    mark: Mark<'s>,
}

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The object, which others see now.
    pub manifest: Manifest,
    /// Bytes of chunks that were sent.
    pub sent: u64,
    /// Bytes of chunks that were there already.
    pub found: u64,
}

impl Store {
    /// Begins to push an object; its content is written to what is returned. The same label, pushed again, takes the place of what is there.
    ///
    /// # Errors
    ///
    /// [`Error::PruneUnderWay`](super::Error::PruneUnderWay), [`Error::Storage`](super::Error::Storage).
    pub fn push(&self, label: Label) -> Result<Push<'_>> {
        let mark = self.mark_push(&label)?;
        let chunk = label.kind.chunk();
        let manifest = Manifest { label, pushed: mark::now(), length: 0, chunk, chunks: Vec::new() };
        Ok(Push { store: self, manifest, buffer: Vec::new(), sent: 0, found: 0, mark })
    }
}

impl Push<'_> {
    /// That was all: makes it visible. Durable on return.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`](super::Error::Storage): nothing is visible then, or all.
    pub fn finish(mut self) -> Result<Pushed> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        let Push { store, manifest, sent, found, mark, .. } = self;
        store.put(&manifest.label.path(), manifest.encode())?;
        drop(mark);
        Ok(Pushed { manifest, sent, found })
    }

    /// Sends the chunk that is in the buffer, unless it is there.
    fn send(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        let chunk = Chunk::of(&bytes);
        let path = chunk.path();
        if self.store.length(&path)? == Some(chunk.length) {
            self.found += chunk.length;
        } else {
            self.store.put(&path, bytes)?;
            self.sent += chunk.length;
        }
        self.manifest.length += chunk.length;
        self.manifest.chunks.push(chunk);
        Ok(())
    }
}

impl Write for Push<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let most = self.manifest.chunk as usize;
        let taken = bytes.len().min(most - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == most {
            self.send()?;
        }
        Ok(taken)
    }

    /// Nothing: what is no whole chunk is sent at the end.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
