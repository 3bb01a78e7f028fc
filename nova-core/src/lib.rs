//! A filesystem for byte-addressable persistent memory, in user space, over one [`Mapping`]: NOVA's way of doing it.
//!
//! ```
//! use nova_core::{FormatOptions, MountOptions};
//! use pmem_map::Mapping;
//!
//! # fn main() -> Result<(), nova_core::Error> {
//! let nova = FormatOptions::new().format(Mapping::memfd(8 << 20)?, MountOptions::new())?;
//! nova.create_dir_all("/a/b")?;
//! let file = nova.create_file("/a/b/hello")?;
//! file.write_at(0, b"hello, world")?; // durable here, all of it or nothing
//! file.append(b"!")?;
//! assert_eq!(nova.read_file("/a/b/hello")?, b"hello, world!");
//!
//! // A mapped file belongs to its program: loads and stores go straight to the volume.
//! file.set_len(8192)?;
//! let mut mapping = file.map()?;
//! mapping.write(4096, b"stored")?;
//! mapping.persist(4096..4102)?;
//! assert!(file.write_at(0, b"no").is_err(), "the mapping has the lease");
//! drop((mapping, file));
//!
//! let mapping = nova.unmount()?;
//! let nova = MountOptions::new().mount(mapping)?;
//! assert!(nova.mount_report().clean);
//! assert_eq!(nova.open("/a/b/hello")?.read_to_end()?[4096..4102], *b"stored");
//! # Ok(()) }
//! ```
//!
//! # What is guaranteed
//!
//! When a call returns, what it did is durable, as far as the mapping's [`Durability`] goes; a crash during a
//! call leaves what was before it, or what is after it: for every call, with any number of inodes, and for a write of any length. `relaxed`
//! ([`MountOptions::in_place`], [`flags::IN_PLACE`]) gives up the atomicity of overwritten data, and nothing else.
//!
//! | | drains |
//! |---|---|
//! | create, mkdir, mknod, symlink, link, unlink, rmdir, rename, setattr, xattrs | 1 |
//! | write, append of up to 2,048 bytes (more on a disk) | 1 |
//! | write, append of more | 2 |
//! | read, readdir, readlink | 0; 1 if the access time changes |
//! | lookup, stat | 0 |
//! | reflink of any length, truncate, fallocate | 1; 2 if a shared block has to be copied |
//! | snapshot | 2; deleting one 1, and later 2 to merge what is saved for it into an older one |
//! | rolling back to a snapshot | 2 for each inode that was changed since, and a mount |
//!
//! On an ordinary file a drain is a device flush, and calls of several threads share them. `emulate_pmem` of `pmem_map::MapOptions` treats such a
//! file as persistent memory: fast, and durable as far as the process goes.
//!
//! # Where to start
//!
//! [`FormatOptions`] and [`MountOptions`] yield a [`Nova`]; its path calls ([`Nova::create_file`], [`Nova::open`], ...) and [`File`] are for programs; its
//! inode calls ([`Nova::lookup`], [`Nova::create`], ...) with [`Credentials`] are for who serves others. FORMAT.md has the bytes and the protocol.
//!
//! # Modules, in reading order
//!
//! `format`, `media` (on `crc` and `guard`): the bytes; `commit`: a batch becomes a record; `alloc`, `table`: free blocks, inode numbers; `log`, `inode`, `names`,
//! `extents`, `attributes`: a log and its index; `volume`, `superblock`, `mkfs`, `options`, `mount`, `recovery`, `checkpoint`: a volume's life; then `snapshot`, the volume as it was; then what users call: `namespace` and `make`,
//! `rename`, `file`, `read` (on `clock`), `write` (on `edit` and [`ordering`]), `space`, `copy`, `map` (on `contiguous` and `leased`), `lend`, `atomic`, `attr`, `path`; [`integrity`] protects
//! content; and `fsck` checks all of it.

#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("the media format is little-endian, and structures are stored as they are in memory");

mod crc;
mod error;
mod format;
mod guard;
mod media;
mod types;

mod alloc;
mod clock;
mod commit;
pub mod ordering;
mod quota;
mod shares;
mod table;

mod attributes;
mod extents;
mod inode;
mod log;
mod names;

mod checkpoint;
mod mkfs;
mod mount;
mod options;
mod recovery;
mod snapshot;
mod superblock;
mod volume;

mod acl;
mod atomic;
mod attr;
mod collect;
mod contiguous;
mod copy;
mod edit;
mod file;
mod fsck;
pub mod integrity;
mod leased;
mod lend;
mod make;
mod map;
mod namespace;
mod path;
mod permission;
mod read;
mod rename;
mod rules;
mod space;
mod write;

pub use atomic::AtomicMapping;
pub use attr::{AttributeMode, flags};
pub use collect::Collections;
pub use error::{Code, Error, Result};
pub use file::{Access, File};
pub use fsck::{Anatomy, FileAnatomy, FileExtent, FsckReport, Holds, Stretch};
pub use guard::WriteProtection;
pub use integrity::{
    Repairs,
    scrub::{Scrub, ScrubOptions, ScrubProgress, ScrubReport},
};
pub use lend::LentFile;
pub use map::ReadMapping;
pub use mkfs::FormatOptions;
pub use mount::{Damage, MountReport};
pub use options::{AccessTimes, MountOptions};
pub use quota::{Quota, Usage};
#[doc(hidden)]
pub use rules::Rule;
pub use snapshot::{
    Change, Changed, ChangedAttributes, ChangedRange, Cleaning, Holder, ReceiveReport, SendReport,
    SnapshotInfo,
};
pub use types::{Allocate, Credentials, DirEntry, Kind, Rename, Seek, SetAttr, Stat, StatFs, Time};

use pmem_map::{Counters, Durability, Granularity, Mapping};
use snapshot::Cleaner;
use std::sync::{Arc, OnceLock};
use volume::Volume;

/// The root directory's inode number.
pub const ROOT: u64 = format::ROOT;
/// Bytes of a block.
pub const BLOCK: u64 = format::BLOCK;

/// A mounted volume. Cheap to clone; calls may come from any number of threads at once.
///
/// The last one that is dropped unmounts, as [`unmount`](Nova::unmount) does, but tells nobody of errors.
#[derive(Clone)]
pub struct Nova(Arc<Mounted>);

struct Mounted {
    /// Stopped before the volume is unmounted: it has it, too.
    cleaner: Cleaner,
    volume: Arc<Volume>,
    took: OnceLock<std::time::Duration>,
}

impl Nova {
    pub(crate) fn over(volume: Volume) -> Nova {
        let (cleaner, volume) = (Cleaner::default(), Arc::new(volume));
        Nova(Arc::new(Mounted { cleaner, volume, took: OnceLock::new() }))
    }

    /// The volume, of which this is the only handle.
    pub(crate) fn into_volume(self) -> Result<Volume> {
        let handles = Arc::strong_count(&self.0) - 1;
        let Mounted { cleaner, volume, .. } =
            Arc::try_unwrap(self.0).map_err(|_| Error::InUse { handles })?;
        cleaner.stop();
        Ok(Arc::into_inner(volume).expect("nobody but its cleaner has it beside the handles"))
    }

    pub(crate) fn volume(&self) -> &Volume {
        &self.0.volume
    }

    pub(crate) fn set_mount_time(&self, took: std::time::Duration) {
        let _ = self.0.took.set(took);
    }

    /// Formats all of a mapping, with the default options: [`FormatOptions::format`].
    pub fn format(mapping: Mapping) -> Result<Nova> {
        FormatOptions::new().format(mapping, MountOptions::new())
    }

    /// Mounts a volume to write, with the default options: [`MountOptions::mount`].
    pub fn mount(mapping: Mapping) -> Result<Nova> {
        MountOptions::new().mount(mapping)
    }

    /// Unmounts, and gives the mapping back: the next mount need not scan. What deleted snapshots have left it goes on to clean up. 4 drains, and 2 if there are records to retire.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while there are files, mappings of files, or clones of this: the volume stays mounted as long as they live. A snapshot gives the mapping
    /// back if the volume that it is of is gone, else this is the error, too.
    pub fn unmount(self) -> Result<Mapping> {
        let mut volume = self.into_volume()?;
        volume.close()?;
        // The volume that a snapshot is of has it, too.
        volume.into_mapping().ok_or(Error::InUse { handles: 1 })
    }

    /// What mounting found and did.
    pub fn mount_report(&self) -> MountReport {
        let took = self.0.took.get().copied().unwrap_or_default();
        MountReport { took, ..self.volume().report.clone() }
    }

    /// Whether nothing may be written: by the options, or because mounting met damage.
    pub fn is_read_only(&self) -> bool {
        self.volume().read_only
    }

    /// The volume's name for people.
    pub fn label(&self) -> String {
        let label = &self.volume().superblock.label;
        let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        String::from_utf8_lossy(&label[..end]).into_owned()
    }

    /// What tells this volume from others.
    pub fn identity(&self) -> [u8; 16] {
        self.volume().superblock.identity
    }

    /// Bytes of the volume, with superblocks and journal.
    pub fn size(&self) -> u64 {
        self.volume().superblock.length
    }

    /// Stripes that the volume was formatted with.
    pub fn stripes(&self) -> u32 {
        self.volume().superblock.stripes
    }

    /// Lines, drains and bytes since the volume was mapped.
    pub fn counters(&self) -> Counters {
        self.volume().media.region().counters()
    }

    /// What makes a store durable here.
    pub fn granularity(&self) -> Granularity {
        self.volume().media.region().granularity()
    }

    /// How the volume's bytes are protected against stray stores of the program.
    pub fn write_protection(&self) -> WriteProtection {
        self.volume().media.write_protection()
    }

    /// What a call that returned survives.
    pub fn durability(&self) -> Durability {
        self.volume().media.region().durability()
    }

    /// Everything is durable when a call returns. This retires the journal too, so that a mount after a crash has nothing to replay, and what was freed is
    /// free; also what deleted snapshots have left. 2 drains, or none; and what [`clean`](Nova::clean) takes.
    pub fn sync(&self) -> Result<()> {
        self.volume().health()?;
        if self.volume().options.cleaning != Cleaning::ByHand {
            self.volume().clean_up()?;
        }
        self.volume().settle()
    }

    /// For tests: the allocation after `allocations` more finds no space, once. `None`: none. Whether the last one asked for was met.
    #[doc(hidden)]
    pub fn fail_allocation(&self, allocations: Option<u32>) -> bool {
        self.volume().fail_allocation(allocations)
    }
}

impl std::fmt::Debug for Nova {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nova").field("label", &self.label()).finish_non_exhaustive()
    }
}
