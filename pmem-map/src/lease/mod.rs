//! Leases: a file of a mounted volume, lent by the daemon that serves it, so that loads and stores of another process go straight to the
//! volume's image.
//!
//! Through FUSE alone there is no such mapping: the kernel keeps pages of its own, `MAP_SYNC` is refused, and `msync` is a write of the daemon's. So a
//! daemon that has its volume in a file, the *image*, lends the file's bytes instead: it answers where in the image they are, and the process
//! maps the image there. [`MapOptions::open`](crate::MapOptions::open) asks by itself; this module is the protocol, for daemons.
//!
//! # The protocol, version 1
//!
//! One ioctl on the open file, [`LEASE`], whose argument and answer are a [`Page`]; all numbers are the machine's own, for both ends are on one.
//!
//! | asked | [`what`](Page::what) | `first` | `len` | answered |
//! |---|---|---|---|---|
//! | lend the file, or say again what is lent | [`TAKE`] | extents to skip | 0 | where the image is, how many extents there are, and up to [`EXTENTS`] of them from `first` on |
//! | lend more, and extend the file for it | [`GROW`] | extents to skip | bytes there are to be | the same, of what is lent now |
//! | take it back: nothing is mapped any more | [`END`] | 0 | 0 | nothing |
//! | no store proceeds now | [`HELD`] | 0 | 0 | `len`: [`WAIT`], [`COPY`] or [`GO_ON`] |
//! | the page at `first`, in bytes of the file, is about to be stored to | [`KEEP`] | its offset | 0 | nothing; it may be |
//!
//! Extents follow each other in the file, and are whole pages; there is a block of the file's own behind every byte of them. What was answered once stays as it is:
//! growing adds extents behind. A page has less than the 16 KiB that an ioctl's number has room for; who needs more asks again.
//!
//! *Who asks* opens `/proc/PID/fd/DESCRIPTOR` of the answer, compares device and inode with those that were answered, and maps the extents side by side. It then
//! locks one byte of the image ([`LEASED_BYTE`], shared, an open-file-description lock), and asks again: only if the daemon still answers is the mapping good. As
//! long as anybody holds that lock, nobody opens the image anew with this crate: a daemon that was killed is not started again beside processes that still
//! store to its image.
//!
//! *The lease* is the open file's: it lasts until it is given back, or the kernel releases the file, and so ends with the process in any case. (Who gives it back
//! knows that the daemon knows; the kernel's release comes when it comes, and not before a forked child has closed its copy of the descriptor.) A mapping of one page of the file itself,
//! which nobody may touch, keeps the file open as long as the image is mapped, even if the program closes all its descriptors.
//!
//! *Snapshots.* Stores of one moment are a snapshot's, and none that follow. So the daemon asks who has a lease to hold its stores up: the open file becomes
//! urgent (`POLLPRI`). A thread of the process protects all its pages, lets no store proceed ([`FirstStores`](crate::FirstStores)), and says [`HELD`], again and again while it is told to
//! [`WAIT`]. When all have said so the daemon makes the snapshot. Told to [`COPY`], the process lets stores proceed, each first one to a page after it has asked the daemon to
//! [`KEEP`] what is there; told to [`GO_ON`], as if nothing had been. Nobody waits for a process for longer than two seconds: then the snapshot is refused. (A process whose daemon is
//! killed is ended by its next store to a page that a snapshot needs, for nobody could keep it.)
//!
//! *The daemon*, while the lease lasts, moves and frees none of these blocks, verifies and protects none of their content, stores to them only for who
//! writes to the file, in place, and refuses what cannot be had meanwhile:
//!
//! | error | what it says | what [`MapOptions::open`](crate::MapOptions::open) does |
//! |---|---|---|
//! | `ENOTTY`, `ENOSYS`, `EOPNOTSUPP`, `EINVAL` | no such ioctl, another version, an image that is in no file | maps the file through the kernel's pages, granularity `Page` |
//! | `EPERM`, `EACCES` | not for this user | the same |
//! | `EBUSY` | the mount keeps pages in the kernel, which would not see the stores | the same |
//! | `ETXTBSY` | mapped by somebody else | asks again for a second, for that may have ended just now; then fails |
//! | others | no space, damage, the daemon is gone, ... | fails |
//!
//! # Trust
//!
//! Who has a lease maps the image itself, and could map all of it: nothing but its own care keeps it to the extents. So a daemon lends to root and
//! to its own user only (who can read and write the image anyway), and to nobody else, whatever the file's mode says. In turn, who asks believes a daemon
//! no more than it must: extents are checked against the image's length and each other, and the image is opened with the asker's own rights.

mod client;
mod keeper;
mod pin;

pub(crate) use client::{Asked, Leased, ask};

use crate::system;
use bytemuck::{Pod, Zeroable};
use std::{fs::File, io};

/// First word of every page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"pmemLEAS");
/// Version of the protocol.
pub const VERSION: u32 = 1;
/// Most extents of one page.
pub const EXTENTS: usize = 1000;
/// [`Page::what`]: lend the file.
pub const TAKE: u32 = 0;
/// [`Page::what`]: extend the file, and lend that too.
pub const GROW: u32 = 1;
/// [`Page::what`]: the lease ends.
pub const END: u32 = 2;
/// [`Page::what`]: no store proceeds.
pub const HELD: u32 = 3;
/// [`Page::what`]: what a page has is to be kept.
pub const KEEP: u32 = 4;
/// [`Page::len`] of the answer to [`HELD`]: no snapshot is made, or none any more.
pub const GO_ON: u64 = 0;
/// [`Page::len`] of the answer to [`HELD`]: others are waited for, or it is being made.
pub const WAIT: u64 = 1;
/// [`Page::len`] of the answer to [`HELD`]: it is made.
pub const COPY: u64 = 2;
/// The byte of the image that is locked as long as somebody has mapped it by a lease: beyond the end of the longest file.
pub const LEASED_BYTE: u64 = i64::MAX as u64 - 1;

/// The ioctl's number: `_IOWR('N', 0xd1, struct Page)`.
pub const LEASE: u32 = 3 << 30 | (size_of::<Page>() as u32) << 16 | (b'N' as u32) << 8 | 0xd1;

/// Whether some process has mapped parts of this image by a lease, for the daemon: the lock of [`LEASED_BYTE`] is held.
pub fn is_held(image: &File) -> io::Result<bool> {
    system::is_leased(image)
}

/// Lets the kernel ask the daemon for the length and times of this file, instead of what it remembers of them: for who had the daemon change them by an ioctl.
pub fn refresh(file: &File) -> io::Result<()> {
    system::refresh(file)
}

/// Argument and answer of [`LEASE`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Page {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// [`TAKE`], [`GROW`], [`END`], [`HELD`] or [`KEEP`].
    pub what: u32,
    /// Number of the first extent that is asked for, counted from 0.
    pub first: u64,
    /// Asked: bytes that the file is to have, for [`GROW`]. Answered: bytes of the file that are lent; the last extent may have more.
    pub len: u64,
    /// Answered: device that the image is on, as `stat` has it.
    pub device: u64,
    /// Answered: its inode there.
    pub inode: u64,
    /// Answered: the daemon.
    pub pid: u32,
    /// Answered: the daemon's descriptor of the image.
    pub descriptor: u32,
    /// Answered: extents of all that is lent.
    pub extents: u32,
    /// Answered: extents in this page.
    pub count: u32,
    /// Answered: these.
    pub places: [Place; EXTENTS],
}

/// An extent of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Place {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

const _: () = assert!(size_of::<Page>() == 64 + 16 * EXTENTS && size_of::<Page>() < 1 << 14);

impl Page {
    /// A question.
    pub fn asking(what: u32, first: u64, len: u64) -> Box<Page> {
        let mut page = Box::new(Page::zeroed());
        page.ask(what, first, len);
        page
    }

    /// Makes it a question.
    pub(crate) fn ask(&mut self, what: u32, first: u64, len: u64) {
        (self.magic, self.version, self.what, self.first, self.len) = (MAGIC, VERSION, what, first, len);
    }

    /// A question that has arrived; `None` for what is none of this version.
    pub fn asked(bytes: &[u8]) -> Option<Box<Page>> {
        let mut page = Box::new(Page::zeroed());
        if bytes.len() != size_of::<Page>() {
            return None;
        }
        bytemuck::bytes_of_mut(&mut *page).copy_from_slice(bytes);
        (page.magic == MAGIC && page.version == VERSION && page.what <= KEEP).then_some(page)
    }

    /// Puts in the extents that were asked for, of all that are lent.
    pub fn answer(&mut self, len: u64, all: &[Place]) {
        let first = usize::try_from(self.first).unwrap_or(usize::MAX).min(all.len());
        let some = &all[first..all.len().min(first.saturating_add(EXTENTS))];
        self.places.fill(Place::default());
        self.places[..some.len()].copy_from_slice(some);
        (self.len, self.extents, self.count) = (len, all.len() as u32, some.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_together_have_all_extents_in_order() {
        for all in [0, 1, EXTENTS, EXTENTS + 1, 2 * EXTENTS + 7] {
            let all: Vec<Place> = (0..all as u64).map(|n| Place { offset: n * 8192, len: 4096 }).collect();
            let mut got = Vec::new();
            loop {
                let question = Page::asking(TAKE, got.len() as u64, 0);
                let mut page = Page::asked(bytemuck::bytes_of(&*question)).unwrap();
                page.answer(1 << 20, &all);
                got.extend_from_slice(&page.places[..page.count as usize]);
                if got.len() >= page.extents as usize {
                    break;
                }
            }
            assert!(got == all, "{}", all.len());
        }
        let mut beyond = Page::asking(TAKE, u64::MAX, 0);
        beyond.answer(1, &[Place { offset: 0, len: 4096 }]);
        assert_eq!((beyond.count, beyond.extents), (0, 1));
    }

    #[test]
    fn other_versions_lengths_and_wishes_are_no_question() {
        let page = Page::asking(GROW, 0, 5);
        let bytes = bytemuck::bytes_of(&*page);
        assert!(Page::asked(bytes).is_some());
        assert!(Page::asked(&bytes[1..]).is_none());
        for byte in [0, 8, 12] {
            let mut other = bytes.to_vec();
            other[byte] ^= 0x40;
            assert!(Page::asked(&other).is_none(), "{byte}");
        }
    }
}
