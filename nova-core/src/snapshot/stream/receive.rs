//! Reading a stream: who may receive it, how far it has come, and the snapshot at its end.

use super::{
    ReceiveReport,
    apply::Receiver,
    frame::{Found, Frame, FrameReader, Header, Moment},
    memory::{Memory, Progress},
};
use crate::{Code, Credentials, Error, Nova, Result, SnapshotInfo, format::ROOT};
use std::io::Read;

/// Frames after which it is made durable how far this has come.
const OFTEN: u64 = 16;

impl Nova {
    /// Receives a snapshot that [`send`](Nova::send) wrote: makes the live files what it has, and a snapshot of the same name. Durable on return.
    ///
    /// A whole snapshot is received by a volume without files; an increment by one that has received its base (or is a copy of the sender), and whose live files are the base's.
    /// Nobody else may change files meanwhile. If it ends early, by an error or a crash, the live files are in between, and no
    /// snapshot is made; the same stream, given again, goes on. To do without, [`rollback`](Nova::rollback) to the base.
    ///
    /// # Errors
    ///
    /// [`Error::NotAStream`], [`Error::StreamVersion`], [`Code::Exists`] for another snapshot of this name, [`Error::WrongBase`], [`Error::BaseChanged`],
    /// [`Error::ReceiverNotEmpty`], [`Code::ReadOnly`]: nothing was changed. [`Error::StreamDamaged`], [`Error::StreamTruncated`],
    /// [`Error::StreamIo`]: what came before it was received. [`Error::StreamForeign`]: nothing more was. [`Error::Receive`] for
    /// what the volume cannot do, as [`Code::NoSpace`].
    pub fn receive(&self, from: &mut impl Read) -> Result<ReceiveReport> {
        self.volume().writable()?;
        let mut frames = FrameReader::new(from)?;
        let header = frames.header.clone();
        let mut memory = Memory::load(self)?;
        let source = header.source(&header.snapshot);
        let fresh = Progress { seed: frames.seed, chain: 0, applied: 0, snapshot: source };
        if let Some(snapshot) = find(self, &header.snapshot.name)? {
            if !memory.knows(source, snapshot.epoch) {
                return Err(Code::Exists.into());
            }
            let bytes = frames.offset();
            return Ok(ReceiveReport { snapshot, applied: 0, skipped: 0, bytes, was_there: true });
        }
        // Whoever rolled back to it has the memory of when it was about to be made, and files that may have changed since.
        let is_made = memory.was_made(source, self.volume().epoch());
        let is_begun = |progress: &Progress| (progress.seed, progress.snapshot) == (fresh.seed, source);
        let begun = memory.progress.filter(|progress| is_begun(progress) && !is_made);
        check_target(self, &header, &memory, begun.is_some())?;
        let base = header.base.as_ref().map(|base| self.mount_snapshot(&base.name)).transpose()?;
        if begun.is_none() {
            memory.progress = Some(fresh);
            memory.save(self)?;
        }
        let mut receiving = Receiving {
            receiver: Receiver::new(self, base, frames.seed),
            nova: self,
            memory,
            skipped: begun.map_or(0, |progress| progress.applied),
            expected: begun.map_or(0, |progress| progress.chain),
            progress: fresh,
            saved: begun.unwrap_or(fresh).applied,
        };
        let received = receiving.run(&mut frames);
        if received.is_err() {
            // What is not remembered is applied again.
            let _ = receiving.save();
        }
        let end = received?;
        let Receiving { receiver, memory, skipped, .. } = receiving;
        drop(receiver);
        let snapshot = finish(self, memory, &header).map_err(|error| Error::Receive {
            frame: end.number,
            offset: end.offset,
            source: error.into(),
        })?;
        let applied = end.number + 1 - skipped;
        Ok(ReceiveReport { snapshot, applied, skipped, bytes: frames.offset(), was_there: false })
    }
}

fn find(nova: &Nova, name: &str) -> Result<Option<SnapshotInfo>> {
    match nova.snapshot(name) {
        Err(Error::Posix(Code::NotFound)) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether the volume is one to receive this.
fn check_target(nova: &Nova, header: &Header, memory: &Memory, begun: bool) -> Result<()> {
    let Some(base) = &header.base else {
        let names = nova.readdir(ROOT, 2, usize::MAX, &Credentials::ROOT)?.len();
        return if begun || names == 0 { Ok(()) } else { Err(Error::ReceiverNotEmpty { names }) };
    };
    let Moment { epoch, created, name } = base;
    let wrong = |why| Error::WrongBase { base: name.clone(), why };
    let here = find(nova, name)?.ok_or(wrong("there is none; receive that one first"))?;
    let is_copy = header.volume == nova.identity() && (here.epoch, here.created) == (*epoch, *created);
    if !is_copy && !memory.knows(header.source(base), here.epoch) {
        return Err(wrong("the one of this name is another; receive the sender's on another volume"));
    }
    let changes = if begun { 0 } else { nova.diff(name, None)?.len() };
    if changes > 0 { Err(Error::BaseChanged { base: name.clone(), changes }) } else { Ok(()) }
}

/// Remembers what the snapshot is, makes it, and forgets how far it had come.
///
/// In this order: who rolls back to the snapshot has the memory that it is of.
fn finish(nova: &Nova, mut memory: Memory, header: &Header) -> Result<SnapshotInfo> {
    let source = header.source(&header.snapshot);
    let epoch = nova.volume().epoch();
    memory.remember(source, epoch);
    memory.save(nova)?;
    let made = nova.create_snapshot(&header.snapshot.name)?;
    memory.progress = None;
    memory.remember(source, made.epoch);
    match memory.save(nova) {
        // It says that the snapshot was made, with or without the rest.
        Err(_) if made.epoch == epoch => {}
        saved => saved?,
    }
    Ok(made)
}

struct Receiving<'n> {
    receiver: Receiver<'n>,
    nova: &'n Nova,
    memory: Memory,
    /// Frames that were applied before.
    skipped: u64,
    /// Their checksum.
    expected: u32,
    /// What was read, and applied.
    progress: Progress,
    /// Frames that are known to be applied, durably.
    saved: u64,
}

impl Receiving<'_> {
    /// Applies all frames; returns the last one.
    fn run(&mut self, frames: &mut FrameReader<'_, impl Read>) -> Result<Found> {
        loop {
            self.compare()?;
            let Found { frame, number, offset, checksum } = frames.next()?;
            let is_end = matches!(frame, Frame::End { .. });
            if is_end && number < self.skipped {
                return Err(Error::StreamForeign { frame: self.skipped });
            }
            if is_end {
                self.save()?;
                return Ok(Found { frame, number, offset, checksum });
            }
            if number >= self.skipped {
                let failed = |source| Error::Receive { frame: number, offset, source: Box::new(source) };
                self.receiver.apply(frame).map_err(failed)?;
            }
            self.progress.chain = crc32c::crc32c_append(self.progress.chain, &checksum.to_le_bytes());
            self.progress.applied = number + 1;
            if self.progress.applied >= self.saved + OFTEN {
                let failed = |source| Error::Receive { frame: number, offset, source: Box::new(source) };
                self.save().map_err(failed)?;
            }
        }
    }

    /// What was skipped is what was applied before.
    fn compare(&self) -> Result<()> {
        let is_at = self.progress.applied == self.skipped;
        if is_at && self.progress.chain != self.expected {
            return Err(Error::StreamForeign { frame: self.skipped });
        }
        Ok(())
    }

    /// Makes it durable how far this has come.
    fn save(&mut self) -> Result<()> {
        if self.progress.applied <= self.saved {
            return Ok(());
        }
        self.memory.progress = Some(self.progress);
        self.memory.save(self.nova)?;
        self.saved = self.progress.applied;
        Ok(())
    }
}
