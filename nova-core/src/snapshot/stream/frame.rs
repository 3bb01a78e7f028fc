//! The bytes of a stream: a header, then frames, each with its number and a checksum that begins with the header's.

use super::parts::{Parts, put_bytes};
use crate::{Code, Error, Result};
use std::io::{ErrorKind, Read, Write};

const MAGIC: &[u8; 8] = b"NOVASEND";
const VERSION: u32 = 1;
/// Bytes of a header in front of its payload: magic, version, length, checksum.
const HEADER: usize = 20;
/// Bytes of a frame in front of its payload: checksum, kind, sequence number, length.
const HEAD: usize = 20;
/// Bytes of a payload: one part of content, and a path.
const MOST: usize = 4 << 20;

/// A snapshot, as its own volume has it. No two snapshots have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) volume: [u8; 16],
    pub(super) epoch: u64,
    pub(super) created: i64,
}

/// Which snapshot a stream has, and from which one on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) volume: [u8; 16],
    pub(super) base: Option<Moment>,
    pub(super) snapshot: Moment,
}

/// A snapshot of the sender's volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) epoch: u64,
    pub(super) created: i64,
    pub(super) name: String,
}

impl Header {
    pub(super) fn source(&self, moment: &Moment) -> Source {
        Source { volume: self.volume, epoch: moment.epoch, created: moment.created }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.volume.to_vec();
        bytes.extend(u32::from(self.base.is_some()).to_le_bytes());
        for Moment { epoch, created, name } in self.base.iter().chain([&self.snapshot]) {
            bytes.extend(epoch.to_le_bytes());
            bytes.extend(created.to_le_bytes());
            put_bytes(&mut bytes, name.as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Header> {
        let mut parts = Parts(bytes);
        let volume = parts.array()?;
        let moment = |parts: &mut Parts<'_>| {
            let (epoch, created) = (parts.u64()?, parts.i64()?);
            Some(Moment { epoch, created, name: String::from_utf8(parts.bytes()?).ok()? })
        };
        let base = match parts.u32()? {
            0 => None,
            1 => Some(moment(&mut parts)?),
            _ => return None,
        };
        let snapshot = moment(&mut parts)?;
        parts.end(Header { volume, base, snapshot })
    }
}

/// What a file has beside names, content and extended attributes. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) flags: u32,
    pub(crate) accessed: i64,
    pub(crate) modified: i64,
    pub(crate) changed: i64,
    pub(crate) created: i64,
}

/// One step. Done again, with those that follow it, it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// What the base has at `path` gets other names: it is kept as `ino`.
    Hold { ino: u64, path: Vec<u8> },
    /// A name of the base is gone.
    Gone { path: Vec<u8> },
    /// A new file, of the kind that the mode says.
    Make { path: Vec<u8>, mode: u32, device: u64, target: Vec<u8> },
    /// A further name of a new file.
    Link { path: Vec<u8>, existing: Vec<u8> },
    /// What was kept as `ino` has this name.
    Place { path: Vec<u8>, ino: u64 },
    /// What was kept has its names: nothing is kept any more.
    Clean,
    /// A file's length.
    Size { path: Vec<u8>, size: u64 },
    /// Content.
    Data { path: Vec<u8>, offset: u64, bytes: Vec<u8> },
    /// No content: zeros, without blocks.
    Hole { path: Vec<u8>, start: u64, end: u64 },
    /// Extended attributes of other names are gone.
    Keep { path: Vec<u8>, names: Vec<Vec<u8>> },
    /// An extended attribute, or an access control list.
    Attribute { path: Vec<u8>, name: Vec<u8>, value: Vec<u8> },
    /// Mode, owner, flags and times.
    Lines { path: Vec<u8>, lines: Lines },
    /// That is all: so many frames before this one, with so many bytes of content.
    End { frames: u64, content: u64 },
}

impl Frame {
    fn kind(&self) -> u32 {
        match self {
            Frame::Hold { .. } => 1,
            Frame::Gone { .. } => 2,
            Frame::Make { .. } => 3,
            Frame::Link { .. } => 4,
            Frame::Place { .. } => 5,
            Frame::Clean => 6,
            Frame::Size { .. } => 7,
            Frame::Data { .. } => 8,
            Frame::Hole { .. } => 9,
            Frame::Keep { .. } => 10,
            Frame::Attribute { .. } => 11,
            Frame::Lines { .. } => 12,
            Frame::End { .. } => 13,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        match self {
            Frame::Hold { ino, path } | Frame::Place { path, ino } => {
                put_bytes(&mut to, path);
                to.extend(ino.to_le_bytes());
            }
            Frame::Gone { path } => put_bytes(&mut to, path),
            Frame::Make { path, mode, device, target } => {
                put_bytes(&mut to, path);
                to.extend(mode.to_le_bytes());
                to.extend(device.to_le_bytes());
                put_bytes(&mut to, target);
            }
            Frame::Link { path, existing } => {
                [path, existing].into_iter().for_each(|one| put_bytes(&mut to, one));
            }
            Frame::Clean => {}
            Frame::Size { path, size } => {
                put_bytes(&mut to, path);
                to.extend(size.to_le_bytes());
            }
            Frame::Data { path, offset, bytes } => {
                put_bytes(&mut to, path);
                to.extend(offset.to_le_bytes());
                put_bytes(&mut to, bytes);
            }
            Frame::Hole { path, start, end } => {
                put_bytes(&mut to, path);
                [start, end].into_iter().for_each(|one| to.extend(one.to_le_bytes()));
            }
            Frame::Keep { path, names } => {
                put_bytes(&mut to, path);
                to.extend((names.len() as u32).to_le_bytes());
                names.iter().for_each(|name| put_bytes(&mut to, name));
            }
            Frame::Attribute { path, name, value } => {
                [path, name, value].into_iter().for_each(|one| put_bytes(&mut to, one));
            }
            Frame::Lines { path, lines } => {
                put_bytes(&mut to, path);
                let Lines { mode, uid, gid, flags, accessed, modified, changed, created } = lines;
                [mode, uid, gid, flags].into_iter().for_each(|one| to.extend(one.to_le_bytes()));
                [accessed, modified, changed, created]
                    .into_iter()
                    .for_each(|one| to.extend(one.to_le_bytes()));
            }
            Frame::End { frames, content } => {
                [frames, content].into_iter().for_each(|one| to.extend(one.to_le_bytes()));
            }
        }
        to
    }

    fn decode(kind: u32, bytes: &[u8]) -> Option<Frame> {
        let mut from = Parts(bytes);
        let frame = match kind {
            1 => Frame::Hold { path: from.bytes()?, ino: from.u64()? },
            2 => Frame::Gone { path: from.bytes()? },
            3 => {
                let (path, mode, device) = (from.bytes()?, from.u32()?, from.u64()?);
                Frame::Make { path, mode, device, target: from.bytes()? }
            }
            4 => Frame::Link { path: from.bytes()?, existing: from.bytes()? },
            5 => Frame::Place { path: from.bytes()?, ino: from.u64()? },
            6 => Frame::Clean,
            7 => Frame::Size { path: from.bytes()?, size: from.u64()? },
            8 => Frame::Data { path: from.bytes()?, offset: from.u64()?, bytes: from.bytes()? },
            9 => Frame::Hole { path: from.bytes()?, start: from.u64()?, end: from.u64()? },
            10 => {
                let (path, count) = (from.bytes()?, from.u32()?);
                let names = (0..count).map(|_| from.bytes()).collect::<Option<_>>()?;
                Frame::Keep { path, names }
            }
            11 => Frame::Attribute { path: from.bytes()?, name: from.bytes()?, value: from.bytes()? },
            12 => {
                let path = from.bytes()?;
                let (mode, uid, gid, flags) = (from.u32()?, from.u32()?, from.u32()?, from.u32()?);
                let (accessed, modified) = (from.i64()?, from.i64()?);
                let (changed, created) = (from.i64()?, from.i64()?);
                let lines = Lines { mode, uid, gid, flags, accessed, modified, changed, created };
                Frame::Lines { path, lines }
            }
            13 => Frame::End { frames: from.u64()?, content: from.u64()? },
            _ => return None,
        };
        from.end(frame)
    }
}

/// Writes a stream.
pub(super) struct FrameWriter<'w, W> {
    to: &'w mut W,
    seed: u32,
    pub(super) frames: u64,
    pub(super) content: u64,
    pub(super) bytes: u64,
}

impl<'w, W: Write> FrameWriter<'w, W> {
    pub(super) fn new(to: &'w mut W, header: &Header) -> Result<FrameWriter<'w, W>> {
        let payload = header.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((payload.len() as u32).to_le_bytes());
        let seed = crc32c::crc32c_append(crc32c::crc32c(&bytes), &payload);
        bytes.extend(seed.to_le_bytes());
        bytes.extend(payload);
        to.write_all(&bytes).map_err(Error::StreamIo)?;
        Ok(FrameWriter { to, seed, frames: 0, content: 0, bytes: bytes.len() as u64 })
    }

    pub(super) fn put(&mut self, frame: &Frame) -> Result<()> {
        let payload = frame.encode();
        if payload.len() > MOST {
            return Err(Code::NameTooLong.into());
        }
        let mut bytes = vec![0; 4];
        bytes.extend(frame.kind().to_le_bytes());
        bytes.extend(self.frames.to_le_bytes());
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        let checksum = crc32c::crc32c_append(self.seed, &bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        self.to.write_all(&bytes).map_err(Error::StreamIo)?;
        self.frames += 1;
        self.bytes += bytes.len() as u64;
        if let Frame::Data { bytes, .. } = frame {
            self.content += bytes.len() as u64;
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<(u64, u64, u64)> {
        self.put(&Frame::End { frames: self.frames, content: self.content })?;
        self.to.flush().map_err(Error::StreamIo)?;
        Ok((self.frames, self.content, self.bytes))
    }
}

/// A frame, and where it is in the stream.
pub(super) struct Found {
    pub(super) frame: Frame,
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) checksum: u32,
}

/// Reads a stream.
pub(super) struct FrameReader<'r, R> {
    from: &'r mut R,
    pub(super) header: Header,
    pub(super) seed: u32,
    next: u64,
    offset: u64,
    content: u64,
}

impl<'r, R: Read> FrameReader<'r, R> {
    pub(super) fn new(from: &'r mut R) -> Result<FrameReader<'r, R>> {
        let mut head = [0; HEADER];
        let found = read_whole(from, &mut head)?;
        if found < MAGIC.len() && MAGIC.starts_with(&head[..found]) {
            return Err(Error::StreamTruncated { frame: 0, offset: found as u64 });
        }
        if head[..MAGIC.len()] != *MAGIC {
            return Err(Error::NotAStream);
        }
        if found < HEADER {
            return Err(Error::StreamTruncated { frame: 0, offset: found as u64 });
        }
        let mut parts = Parts(&head[MAGIC.len()..]);
        let words = (parts.u32(), parts.u32(), parts.u32());
        let (Some(version), Some(len), Some(seed)) = words else { unreachable!("three words of 12 bytes") };
        if version != VERSION {
            return Err(Error::StreamVersion { version });
        }
        let damaged = |why| Error::StreamDamaged { frame: 0, offset: 0, why };
        if len as usize > MOST {
            return Err(damaged("the header's length cannot be"));
        }
        let mut payload = vec![0; len as usize];
        let found = read_whole(from, &mut payload)?;
        if found < payload.len() {
            return Err(Error::StreamTruncated { frame: 0, offset: (HEADER + found) as u64 });
        }
        if crc32c::crc32c_append(crc32c::crc32c(&head[..HEADER - 4]), &payload) != seed {
            return Err(damaged("the header's checksum is wrong"));
        }
        let header = Header::decode(&payload).ok_or(damaged("the header cannot be read"))?;
        let offset = (HEADER + payload.len()) as u64;
        Ok(FrameReader { from, header, seed, next: 0, offset, content: 0 })
    }

    /// Bytes that were read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame, checked.
    pub(super) fn next(&mut self) -> Result<Found> {
        let (number, offset) = (self.next, self.offset);
        let damaged = |why| Error::StreamDamaged { frame: number, offset, why };
        let mut bytes = vec![0; HEAD];
        self.read(&mut bytes, number)?;
        let mut parts = Parts(&bytes);
        let (checksum, kind, sequence) = (parts.u32(), parts.u32(), parts.u64());
        let len = parts.u32().map_or(0, |len| len as usize);
        if len > MOST {
            return Err(damaged("its length cannot be"));
        }
        bytes.resize(HEAD + len, 0);
        self.read(&mut bytes[HEAD..], number)?;
        if checksum != Some(crc32c::crc32c_append(self.seed, &bytes[4..])) {
            return Err(damaged("its checksum is wrong"));
        }
        if sequence != Some(number) {
            return Err(damaged("it is another one: frames are missing, or there twice"));
        }
        let frame = kind.and_then(|kind| Frame::decode(kind, &bytes[HEAD..]));
        let frame = frame.ok_or(damaged("its payload cannot be read"))?;
        match &frame {
            Frame::Data { bytes, .. } => self.content += bytes.len() as u64,
            Frame::End { frames, content } if (*frames, *content) != (number, self.content) => {
                return Err(damaged("its totals are not those of what came before"));
            }
            _ => {}
        }
        self.next += 1;
        Ok(Found { frame, number, offset, checksum: checksum.unwrap_or_default() })
    }

    fn read(&mut self, into: &mut [u8], frame: u64) -> Result<()> {
        let found = read_whole(self.from, into)?;
        self.offset += found as u64;
        if found < into.len() {
            return Err(Error::StreamTruncated { frame, offset: self.offset });
        }
        Ok(())
    }
}

/// Reads as much as there is.
fn read_whole(from: &mut impl Read, into: &mut [u8]) -> Result<usize> {
    let mut found = 0;
    while found < into.len() {
        match from.read(&mut into[found..]) {
            Ok(0) => break,
            Ok(more) => found += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::StreamIo(error)),
        }
    }
    Ok(found)
}
