//! What the kernel has no system call for, asked of the daemon by an ioctl: snapshots and quotas, on any open file of the mount; and modes of `fallocate` that the
//! kernel does not pass on, on the file that they are of.
//!
//! Argument and answer of [`CONTROL`] are a [`Message`], with a [`Request`] or an [`Answer`] as JSON in it. Root and the daemon's own user may ask; of a file, who has it
//! open to write. What fails is the ioctl's error. A snapshot may take seconds, if programs have to hold up their stores for it: nobody else waits meanwhile.

use crate::handles::Open;
use bytemuck::{Pod, Zeroable};
use nova_core::{Allocate, Code, Error, Nova, Quota, Result, SnapshotInfo, Usage};
use serde::{Deserialize, Serialize};

/// First word of every message: `novaCTRL`, as bytes.
const MAGIC: u64 = u64::from_le_bytes(*b"novaCTRL");
/// Bytes of JSON.
const ROOM: usize = 8192 - 16;
/// Most lines of an answer: what fits with the longest names.
const LINES: usize = 8;

/// The ioctl's number: `_IOWR('N', 0xd2, struct Message)`.
pub const CONTROL: u32 = 3 << 30 | (size_of::<Message>() as u32) << 16 | (b'N' as u32) << 8 | 0xd2;

/// Argument and answer of [`CONTROL`].
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Message {
    magic: u64,
    version: u32,
    len: u32,
    json: [u8; ROOM],
}

const _: () = assert!(size_of::<Message>() == 8192);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// A snapshot of all files.
    CreateSnapshot {
        /// Its name.
        name: String,
    },
    /// One snapshot less.
    DeleteSnapshot {
        /// Its name.
        name: String,
    },
    /// Which snapshots there are, oldest first.
    Snapshots {
        /// How many are known already.
        skip: usize,
    },
    /// What users and groups use, and may.
    Quotas {
        /// How many are known already.
        skip: usize,
    },
    /// A limit for a user or a group.
    SetQuota {
        /// Whose.
        who: Who,
        /// Bytes of data, in whole blocks; 0: any number. `None`: as it was.
        bytes: Option<u64>,
        /// Files; 0: any number. `None`: as it was.
        files: Option<u64>,
    },
    /// Takes whole blocks out of the open file: what follows moves up ([`Allocate::Collapse`]).
    Collapse {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Puts whole blocks that read as zeros into the open file: what follows moves down ([`Allocate::Insert`]).
    Insert {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
}

impl Request {
    /// Whether it is of the open file, and not of the volume.
    pub(crate) fn is_of_a_file(&self) -> bool {
        matches!(self, Request::Collapse { .. } | Request::Insert { .. })
    }
}

/// A user or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// A user, by number.
    User(u32),
    /// A group, by number.
    Group(u32),
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// It is done, and durable. So many bytes are free now.
    Done {
        /// Bytes that nothing has.
        free: u64,
    },
    /// Some of the snapshots; all, if none.
    Snapshots(Vec<Snapshot>),
    /// Some of the limits; all, if none.
    Quotas(Vec<Limit>),
}

/// A snapshot, in bytes: see [`nova_core::SnapshotInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Which one it is.
    pub epoch: u64,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: i64,
    /// Bytes that were in use then.
    pub used: u64,
    /// Bytes that it alone has.
    pub unique: u64,
    /// Bytes that are saved for it.
    pub saved: u64,
}

/// What somebody uses, and may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Who.
    pub who: Who,
    /// Bytes of data.
    pub bytes: u64,
    /// How many there may be; 0: any number.
    pub byte_limit: u64,
    /// Files.
    pub files: u64,
    /// How many there may be; 0: any number.
    pub file_limit: u64,
}

impl Message {
    /// A request; `None` for one that is too long.
    pub fn asking(request: &Request) -> Option<Box<Message>> {
        Message::of(request)
    }

    /// The answer that is in it; `None` for what is none.
    pub fn answer(&self) -> Option<Answer> {
        self.read()
    }

    fn of(value: &impl Serialize) -> Option<Box<Message>> {
        let json = serde_json::to_vec(value).ok()?;
        let mut message = Box::new(Message::zeroed());
        message.json.get_mut(..json.len())?.copy_from_slice(&json);
        (message.magic, message.version, message.len) = (MAGIC, 1, json.len() as u32);
        Some(message)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self) -> Option<T> {
        if self.magic != MAGIC || self.version != 1 {
            return None;
        }
        serde_json::from_slice(self.json.get(..self.len as usize)?).ok()
    }

    /// The request that is in these bytes.
    pub(crate) fn asked(bytes: &[u8]) -> Option<Request> {
        let mut message = Message::zeroed();
        if bytes.len() != size_of::<Message>() {
            return None;
        }
        bytemuck::bytes_of_mut(&mut message).copy_from_slice(bytes);
        message.read()
    }
}

impl From<Who> for Quota {
    fn from(who: Who) -> Quota {
        match who {
            Who::User(id) => Quota::User(id),
            Who::Group(id) => Quota::Group(id),
        }
    }
}

impl From<(Quota, Usage)> for Limit {
    fn from((quota, usage): (Quota, Usage)) -> Limit {
        Limit {
            who: match quota {
                Quota::User(id) => Who::User(id),
                Quota::Group(id) => Who::Group(id),
            },
            bytes: usage.blocks * BLOCK,
            byte_limit: usage.block_limit * BLOCK,
            files: usage.inodes,
            file_limit: usage.inode_limit,
        }
    }
}

impl From<SnapshotInfo> for Snapshot {
    fn from(SnapshotInfo { name, epoch, created, used, unique, saved }: SnapshotInfo) -> Snapshot {
        let [used, unique, saved] = [used, unique, saved].map(|blocks| blocks * BLOCK);
        Snapshot { name, epoch, created_ns: created, used, unique, saved }
    }
}

/// Sets what somebody may have, in bytes and files, in place of what is not `None`. Durable on return.
pub fn set_quota(nova: &Nova, who: Who, bytes: Option<u64>, files: Option<u64>) -> Result<()> {
    let before = nova.quota(who.into());
    let blocks = bytes.map_or(before.block_limit, |bytes| bytes.div_ceil(BLOCK));
    nova.set_quota(who.into(), blocks, files.unwrap_or(before.inode_limit))
}

const BLOCK: u64 = nova_core::BLOCK;

/// Does what is asked for, of `open` if it is of a file. Durable on return.
pub(crate) fn answer(nova: &Nova, open: Option<&Open>, request: Request) -> Result<Box<Message>> {
    let allocate = |offset, len, how| {
        let open = open.filter(|open| open.writes).ok_or(Error::Posix(Code::NoAccess))?;
        open.file.allocate(offset, len, how).map(|()| done(nova))
    };
    let answer = match request {
        Request::Collapse { offset, len } => allocate(offset, len, Allocate::Collapse)?,
        Request::Insert { offset, len } => allocate(offset, len, Allocate::Insert)?,
        Request::CreateSnapshot { name } => nova.create_snapshot(&name).map(|_| done(nova))?,
        Request::DeleteSnapshot { name } => nova.delete_snapshot(&name).map(|_| done(nova))?,
        Request::Snapshots { skip } => Answer::Snapshots(
            nova.snapshots().into_iter().skip(skip).take(LINES).map(Snapshot::from).collect(),
        ),
        Request::Quotas { skip } => {
            Answer::Quotas(nova.quotas().into_iter().skip(skip).take(LINES).map(Limit::from).collect())
        }
        Request::SetQuota { who, bytes, files } => set_quota(nova, who, bytes, files).map(|()| done(nova))?,
    };
    Message::of(&answer).ok_or(Error::Posix(Code::Overflow))
}

fn done(nova: &Nova) -> Answer {
    Answer::Done { free: nova.statfs().free * BLOCK }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_answers_fit() {
        // Of three bytes each, which stand for one that is no text.
        let name = "\u{fffd}".repeat(255);
        let (big, small) = (u64::MAX, i64::MIN);
        let one = Snapshot { name, epoch: big, created_ns: small, used: big, unique: big, saved: big };
        assert!(Message::of(&Answer::Snapshots(vec![one; LINES])).is_some());
        let who = Who::Group(u32::MAX);
        let one = Limit { who, bytes: big, byte_limit: big, files: big, file_limit: big };
        assert!(Message::of(&Answer::Quotas(vec![one; LINES])).is_some());
    }

    #[test]
    fn a_request_is_what_was_asked_and_garbage_is_none() {
        let request = Request::SetQuota { who: Who::User(7), bytes: Some(1 << 20), files: None };
        let message = Message::asking(&request).unwrap();
        let bytes = bytemuck::bytes_of(&*message);
        assert_eq!(Message::asked(bytes), Some(request));
        for (byte, changed) in [(0, 1), (8, 2), (12, 3), (13, 255), (16, 1)] {
            let mut other = bytes.to_vec();
            other[byte] ^= changed;
            assert_eq!(Message::asked(&other), None, "{byte}");
        }
        assert_eq!(Message::asked(&bytes[1..]), None);
        assert!(Message::asking(&Request::CreateSnapshot { name: "x".repeat(10_000) }).is_none());
    }
}
