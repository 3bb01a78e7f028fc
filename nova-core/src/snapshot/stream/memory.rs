//! What a volume remembers of streams: how far the one that is being received has come, and which snapshots came from where. An internal attribute of
//! the root: so it is durable, and rolled back with what it speaks of.

use super::{frame::Source, parts::Parts};
use crate::{Error, Nova, Result, attributes::INTERNAL, format::ROOT};

/// The attribute.
pub(crate) const NAME: &[u8] = b"stream";
const VERSION: u32 = 1;
/// Snapshots that are remembered: the newest ones.
const MOST: usize = 64;

/// A stream that was not received to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The checksum that its frames begin with.
    pub(super) seed: u32,
    /// Of all frames that were applied, the checksums' checksum.
    pub(super) chain: u32,
    /// Frames that were applied. There may have been more.
    pub(super) applied: u64,
    pub(super) snapshot: Source,
}

/// A snapshot that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Received {
    source: Source,
    /// Of the snapshot here.
    epoch: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) progress: Option<Progress>,
    received: Vec<Received>,
}

impl Memory {
    pub(super) fn load(nova: &Nova) -> Result<Memory> {
        let volume = nova.volume();
        let root = volume.inode(ROOT)?;
        let state = volume.read_state(&root)?;
        match state.attributes.get(&(INTERNAL, NAME.to_vec())) {
            None => Ok(Memory::default()),
            Some(value) => decode(value).or_else(|why| Error::damaged("attribute entry", root.at, why)),
        }
    }

    /// Makes it durable. 1 drain.
    pub(super) fn save(&self, nova: &Nova) -> Result<()> {
        let volume = nova.volume();
        let root = volume.inode(ROOT)?;
        let mut state = volume.write_state(&root)?;
        let (identity, status) = (state.identity, state.status);
        let key = (INTERNAL, NAME.to_vec());
        volume.put_attribute(&root, &mut state, key, Some(&self.encode()), identity, status)
    }

    /// Whether the snapshot of this epoch is what `source` sent.
    pub(super) fn knows(&self, source: Source, epoch: u64) -> bool {
        self.received.contains(&Received { source, epoch })
    }

    /// Whether a snapshot was made of it, in an epoch before `now`; there or not by now.
    pub(super) fn was_made(&self, source: Source, now: u64) -> bool {
        self.received.iter().any(|one| one.source == source && one.epoch < now)
    }

    pub(super) fn remember(&mut self, source: Source, epoch: u64) {
        self.received.retain(|one| one.source != source && one.epoch != epoch);
        self.received.push(Received { source, epoch });
        let more = self.received.len().saturating_sub(MOST);
        self.received.drain(..more);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        bytes.extend(u32::from(self.progress.is_some()).to_le_bytes());
        if let Some(Progress { seed, chain, applied, snapshot }) = self.progress {
            [seed, chain].into_iter().for_each(|one| bytes.extend(one.to_le_bytes()));
            bytes.extend(applied.to_le_bytes());
            put_source(&mut bytes, snapshot);
        }
        bytes.extend((self.received.len() as u32).to_le_bytes());
        for Received { source, epoch } in &self.received {
            put_source(&mut bytes, *source);
            bytes.extend(epoch.to_le_bytes());
        }
        bytes
    }
}

fn put_source(to: &mut Vec<u8>, Source { volume, epoch, created }: Source) {
    to.extend(volume);
    to.extend(epoch.to_le_bytes());
    to.extend(created.to_le_bytes());
}

fn source(parts: &mut Parts<'_>) -> Option<Source> {
    Some(Source { volume: parts.array()?, epoch: parts.u64()?, created: parts.i64()? })
}

/// Whether a value can be this attribute's.
pub(crate) fn check(value: &[u8]) -> Result<(), &'static str> {
    decode(value).map(drop)
}

fn decode(value: &[u8]) -> Result<Memory, &'static str> {
    let read = || {
        let mut parts = Parts(value);
        let (version, is_there) = (parts.u32()?, parts.u32()?);
        let progress = match (version, is_there) {
            (VERSION, 0) => None,
            (VERSION, 1) => {
                let (seed, chain, applied) = (parts.u32()?, parts.u32()?, parts.u64()?);
                Some(Progress { seed, chain, applied, snapshot: source(&mut parts)? })
            }
            _ => return None,
        };
        let count = parts.u32()? as usize;
        let mut one = || Some(Received { source: source(&mut parts)?, epoch: parts.u64()? });
        let received = (0..count.min(MOST + 1)).map(|_| one()).collect::<Option<Vec<_>>>()?;
        parts.end(Memory { progress, received })
    };
    read().ok_or("what it remembers of streams cannot be read")
}
