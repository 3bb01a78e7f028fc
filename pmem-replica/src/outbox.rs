//! The outbox: a file beside the pool with the records that the stream has not acknowledged.
//!
//! Records are appended when they are committed, by the committing thread, and dropped when the stream has them. A process that
//! is killed loses none: what it had appended is in the file, and the last commits, which it may not have appended, are told again by the
//! pool's recovery ([`Recovered`]) before the pool forgets them; they become one record.
//!
//! The file is a sequence of frames: length (u32), XXH3-64 of what follows, kind (u8), content. The first is a [`Base`]. A frame that is
//! cut off at the end is one that was being written, and does not count.

use crate::{
    Error, Result,
    record::{self, Changes, LogPosition, Record},
};
use pmem_alloc::Grown;
use pmem_tx::Recovered;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

/// What the records after it continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    /// Which stream.
    pub(crate) stream: u64,
    /// Which pool.
    pub(crate) pool: u64,
    /// The record before.
    pub(crate) number: u64,
    /// What of the pool's log that is.
    pub(crate) log: LogPosition,
}

/// An encoded record.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
}

const BASE: u8 = 0;
const RECORD: u8 = 1;
const PREFIX: usize = 13;

/// Bytes of a file that is made anew when nothing in it waits.
const LONG: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Outbox {
    path: PathBuf,
    file: File,
    len: u64,
    last: Base,
}

/// Where the outbox of a pool is.
pub(crate) fn path_of(pool: &Path) -> PathBuf {
    let mut name = pool.file_name().unwrap_or_default().to_os_string();
    name.push(".outbox");
    pool.with_file_name(name)
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(PREFIX + content.len());
    frame.extend_from_slice(&(content.len() as u32).to_le_bytes());
    frame.extend_from_slice(&[0; 8]);
    frame.push(kind);
    frame.extend_from_slice(content);
    let sum = xxh3_64(&frame[12..]);
    frame[4..12].copy_from_slice(&sum.to_le_bytes());
    frame
}

impl Outbox {
    /// A new outbox, in place of one that is there. Durable on return.
    pub(crate) fn create(path: &Path, base: Base) -> Result<Outbox> {
        Outbox::create_with(path, base, &[])
    }

    /// The same with records, the last of which is `last`'s.
    fn create_with(path: &Path, last: Base, records: &[Sealed]) -> Result<Outbox> {
        let next = path.with_extension("outbox-new");
        let number = records.first().map_or(last.number, |first| first.number - 1);
        let mut content = base_frame(Base { number, ..last });
        records.iter().for_each(|sealed| content.extend(frame(RECORD, &sealed.bytes)));
        if !records.is_empty() {
            content.extend(base_frame(last)); // the log may be in its next generation
        }
        let made = || {
            let mut file = File::options().create(true).truncate(true).write(true).open(&next)?;
            file.write_all(&content)?;
            file.sync_all()?;
            std::fs::rename(&next, path)?;
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                File::open(folder)?.sync_all()?;
            }
            Ok(file)
        };
        let file = made().map_err(Error::io(path))?;
        Ok(Outbox { path: path.into(), file, len: content.len() as u64, last })
    }

    /// The outbox at `path`, and the records in it.
    pub(crate) fn open(path: &Path) -> Result<(Outbox, Vec<Sealed>)> {
        let bytes = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoOutbox { path: path.into() });
            }
            read => read.map_err(Error::io(path))?,
        };
        let (mut at, mut last, mut records) = (0, None::<Base>, Vec::new());
        let damaged = |at: usize, what| Error::DamagedOutbox { path: path.into(), offset: at as u64, what };
        while let Some((kind, content)) = next_frame(&bytes[at..]) {
            match (kind, &mut last) {
                (BASE, last) => {
                    let base: Base =
                        postcard::from_bytes(content).map_err(|_| damaged(at, "a base that is none"))?;
                    *last = Some(base);
                }
                (RECORD, Some(last)) => {
                    let (Record { number, log, .. }, _, rest) =
                        record::decode(content).ok_or_else(|| damaged(at, "a record that is none"))?;
                    if number != last.number + 1 || !rest.is_empty() {
                        return Err(damaged(at, "a record out of order"));
                    }
                    (last.number, last.log) = (number, log);
                    records.push(Sealed { number, bytes: content.to_vec() });
                }
                _ => return Err(damaged(at, "a frame of an unknown kind")),
            }
            at += PREFIX + content.len();
        }
        let last = last.ok_or_else(|| damaged(0, "there is no base"))?;
        let file = File::options().append(true).open(path).map_err(Error::io(path))?;
        file.set_len(at as u64).map_err(Error::io(path))?;
        Ok((Outbox { path: path.into(), file, len: at as u64, last }, records))
    }

    /// The record it ends with.
    pub(crate) fn last(&self) -> Base {
        self.last
    }

    fn append(&mut self, kind: u8, content: &[u8]) -> Result<()> {
        self.write(&frame(kind, content))
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        self.file.write_all(frame).map_err(Error::io(&self.path))?;
        self.len += frame.len() as u64;
        Ok(())
    }

    /// Appends what a transaction changed. Survives the process on return.
    pub(crate) fn push(&mut self, changes: Changes, log: LogPosition) -> Result<Sealed> {
        let number = self.last.number + 1;
        let bytes = changes.encode(number, log);
        self.append(RECORD, &bytes)?;
        (self.last.number, self.last.log) = (number, log);
        Ok(Sealed { number, bytes })
    }

    /// The pool has grown.
    pub(crate) fn push_growth(&mut self, segments: &[Grown], size: u64) -> Result<Sealed> {
        let number = self.last.number + 1;
        let bytes = record::encode_growth(number, self.last.log, segments, size);
        self.append(RECORD, &bytes)?;
        self.last.number = number;
        Ok(Sealed { number, bytes })
    }

    /// The pool was opened, and this is what it left before: appends what is missing here. Durable on return.
    pub(crate) fn catch_up(&mut self, recovered: &Recovered<'_>) -> Result<Option<Sealed>> {
        let (generation, first, newest) = (recovered.generation(), recovered.first(), recovered.newest());
        let known = self.last.log;
        let gap = || Error::OutboxGap {
            generation,
            first,
            newest,
            known_generation: known.generation,
            known: known.seq,
        };
        // An opening that was cut short here has said so already.
        let again = known.seq == 0 && known.generation == generation.wrapping_add(1);
        let mut missed = None;
        if !again {
            if self.last.pool != recovered.identity()
                || known.generation != generation
                || known.seq > newest
                || first > known.seq + 1
            {
                return Err(gap());
            }
            if newest > known.seq {
                let mut changes = Changes::default();
                recovered.for_each(|at, bytes| changes.add(at, bytes));
                missed = Some(self.push(changes, LogPosition { generation, seq: newest })?);
            }
            let next = LogPosition { generation: generation.wrapping_add(1), seq: 0 };
            let base = Base { log: next, ..self.last };
            let frame = base_frame(base);
            self.write(&frame)?;
            self.last = base;
        }
        self.file.sync_all().map_err(Error::io(&self.path))?;
        Ok(missed)
    }

    /// Begins a new file, with the records that wait still, if this one is long and they are a small part of it.
    pub(crate) fn shorten(
        &mut self,
        waiting_bytes: u64,
        waiting: impl FnOnce() -> Vec<Sealed>,
    ) -> Result<()> {
        if self.len > LONG && self.len > 4 * waiting_bytes {
            *self = Outbox::create_with(&self.path, self.last, &waiting())?;
        }
        Ok(())
    }
}

fn base_frame(base: Base) -> Vec<u8> {
    frame(BASE, &postcard::to_stdvec(&base).expect("plain data into memory"))
}

/// Kind and content of the frame that `bytes` begin with; `None` if that is none, or is cut off.
fn next_frame(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<12>()?;
    let len = u32::from_le_bytes(prefix[..4].try_into().expect("four bytes")) as usize;
    let body = rest.get(..len.checked_add(1)?)?;
    (xxh3_64(body).to_le_bytes() == prefix[4..]).then_some((body[0], &body[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Base = Base { stream: 5, pool: 6, number: 10, log: LogPosition { generation: 1, seq: 3 } };

    fn push(outbox: &mut Outbox, bytes: usize) -> Sealed {
        let seq = outbox.last().log.seq + 1;
        let mut changes = Changes::default();
        changes.add(4096, &vec![seq as u8; bytes]);
        outbox.push(changes, LogPosition { generation: 1, seq }).unwrap()
    }

    fn numbers(records: &[Sealed]) -> Vec<u64> {
        records.iter().map(|sealed| sealed.number).collect()
    }

    #[test]
    fn what_was_appended_is_there_and_a_frame_that_was_cut_off_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.outbox");
        let mut outbox = Outbox::create(&path, BASE).unwrap();
        let mut ends = vec![outbox.len];
        for _ in 0..3 {
            push(&mut outbox, 80);
            ends.push(outbox.len);
        }
        drop(outbox);
        let bytes = std::fs::read(&path).unwrap();
        for cut in ends[0]..=bytes.len() as u64 {
            std::fs::write(&path, &bytes[..cut as usize]).unwrap();
            let (mut outbox, records) = Outbox::open(&path).unwrap();
            let whole = ends.iter().filter(|&&end| end <= cut).count() as u64 - 1;
            assert_eq!(numbers(&records), (11..11 + whole).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(push(&mut outbox, 8).number, 11 + whole);
            assert_eq!(Outbox::open(&path).unwrap().1.len() as u64, whole + 1);
        }
        std::fs::write(&path, &bytes[..ends[0] as usize - 1]).unwrap();
        assert!(matches!(Outbox::open(&path), Err(Error::DamagedOutbox { .. })));
    }

    #[test]
    fn a_long_file_is_shortened_to_what_waits_though_more_comes_all_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.outbox");
        let mut outbox = Outbox::create(&path, BASE).unwrap();
        let mut waiting = std::collections::VecDeque::new();
        let mut longest = 0;
        for _ in 0..400 {
            waiting.push_back(push(&mut outbox, 64 << 10));
            if waiting.len() > 3 {
                waiting.pop_front();
            }
            let bytes = waiting.iter().map(|sealed| sealed.bytes.len() as u64).sum();
            outbox.shorten(bytes, || waiting.iter().cloned().collect()).unwrap();
            longest = longest.max(outbox.len);
        }
        assert!(longest < LONG + (1 << 20), "{longest} bytes");
        let last = outbox.last();
        let (mut outbox, records) = Outbox::open(&path).unwrap();
        let kept: Vec<u64> = numbers(&records).into_iter().rev().take(3).rev().collect();
        assert_eq!(kept, waiting.iter().map(|sealed| sealed.number).collect::<Vec<_>>());
        assert_eq!((outbox.last(), push(&mut outbox, 8).number), (last, 411));
    }
}
