//! Serves a [`nova_core`] filesystem to the kernel, through `/dev/fuse`.
//!
//! ```no_run
//! use nova_core::{FormatOptions, MountOptions};
//! use nova_fuse::{Options, Server};
//! use pmem_map::Mapping;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let nova = FormatOptions::new().format(Mapping::memfd(64 << 20)?, MountOptions::new())?;
//! let server = Server::mount(nova, "/mnt/nova", &Options::new())?;
//! // ... programs use /mnt/nova ...
//! let nova = server.unmount()?; // and nobody else has it now
//! nova.unmount()?;
//! # Ok(()) }
//! ```
//!
//! # What is guaranteed
//!
//! What `nova_core` guarantees, to every program: when a system call that changes something returns, the change is durable, all of it or
//! nothing (a `write` of up to 1 MiB; the kernel splits larger ones). So `fsync` has nothing to do. Reads and writes pass the page cache by; a shared `mmap`
//! goes through it, and is durable with `msync`.
//!
//! A program that uses `pmem_map` has the file's bytes themselves: `MapOptions::open` on the mount maps the volume's image where the file is
//! ([`pmem_map::lease`]), so that its loads and stores pass by the kernel's pages and this daemon, as those of
//! [`File::map`](nova_core::File::map) do. For that it has to be root's or the daemon's own user's, and the image in a file. While a file is lent so, checksums and parity of its
//! content are off; truncating it, punching holes, and mapping it again is `ETXTBSY`; writing it goes in place. A snapshot waits until the program has held up its stores, two
//! seconds at most: then it is refused with `EBUSY` ([`nova_core::Error::Lent`]). The lease ends when the kernel releases the file, as it does when the program dies.
//!
//! Permissions are checked by the kernel (`default_permissions`), access control lists too (`FUSE_POSIX_ACL`). The daemon's own user sees the mount, and everybody
//! with [`Options::allow_other`].
//!
//! # What the kernel does not carry
//!
//! `O_TMPFILE` is `EOPNOTSUPP`; there is no birth time in `statx`; `FICLONE` is `EOPNOTSUPP` (use `copy_file_range`, which shares blocks); `fallocate` that collapses or inserts a range is `EOPNOTSUPP`. Those two, quotas
//! and snapshots are to be had by an ioctl of our own ([`control`]; `nova range`, `quota` and `snapshot` use it); file locks are the kernel's own, and end with the mount.
//!
//! # Modules, in reading order
//!
//! `convert`: attributes, times and errors, there and back; `handles`: what the kernel holds; `filesystem`: its requests; `ioctl`: flags; `lending`: files that
//! programs map in the image; `hold`: how their stores are held up; [`control`]: what there is no system call for; [`report`]: what a file is, for `nova stat`; [`stats`]: what it has done, for `nova top`.

#![forbid(unsafe_code)]

pub mod control;
mod convert;
mod filesystem;
mod handles;
mod hold;
mod ioctl;
mod lending;
pub mod report;
pub mod stats;

pub use lending::Lease;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use nova_core::Nova;
use std::{io, path::Path};

/// How to serve a filesystem.
#[derive(Clone, Debug)]
pub struct Options {
    allow_other: bool,
    page_cache: bool,
    threads: usize,
    name: String,
}

impl Default for Options {
    fn default() -> Options {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Options { allow_other: false, page_cache: false, threads, name: "nova".into() }
    }
}

impl Options {
    /// As many threads as there are processors; for the daemon's own user.
    pub fn new() -> Options {
        Options::default()
    }

    /// Whether other users see it. (Who is not root needs `user_allow_other` in `/etc/fuse.conf`.)
    pub fn allow_other(mut self, allow: bool) -> Options {
        self.allow_other = allow;
        self
    }

    /// Whether the kernel keeps pages of files: what is read again costs no request then. Writing is as durable as without. Programs cannot map files in the image
    /// (`EBUSY`), for these pages would not have what they store.
    pub fn page_cache(mut self, keep: bool) -> Options {
        self.page_cache = keep;
        self
    }

    /// Threads that serve requests.
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = threads.max(1);
        self
    }

    /// What `mount` and `df` show as the source.
    pub fn source(mut self, name: impl Into<String>) -> Options {
        self.name = name.into();
        self
    }
}

/// Why a filesystem could not be served, or not be taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the kernel says.
    #[error("cannot serve it at {}: {source}; it takes /dev/fuse, and root or fusermount3", mountpoint.display())]
    Mount {
        /// Where it was to be.
        mountpoint: std::path::PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Serving ended with an error.
    #[error("serving ended with an error: {0}")]
    Session(io::Error),
}

/// A filesystem that is being served, by threads of this process. Dropping it unmounts.
pub struct Server {
    nova: Nova,
    session: Option<BackgroundSession>,
}

impl Server {
    /// Serves `nova` at `mountpoint`, a directory. Returns when it is there.
    pub fn mount(nova: Nova, mountpoint: impl AsRef<Path>, options: &Options) -> Result<Server, Error> {
        let mountpoint = mountpoint.as_ref();
        let mut config = Config::default();
        config.n_threads = Some(options.threads);
        config.clone_fd = options.threads > 1;
        config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.mount_options = vec![
            MountOption::FSName(options.name.clone()),
            MountOption::Subtype("nova".into()),
            MountOption::DefaultPermissions,
            if nova.is_read_only() { MountOption::RO } else { MountOption::RW },
        ];
        if options.allow_other {
            // Device files and set-id bits are as on any other filesystem, for root alone can mount it so.
            config.mount_options.extend([MountOption::Dev, MountOption::Suid]);
        }
        let filesystem = filesystem::Served::new(nova.clone(), options.page_cache);
        let session = fuser::spawn_mount(filesystem, mountpoint, &config)
            .map_err(|source| Error::Mount { mountpoint: mountpoint.into(), source })?;
        tracing::info!(?mountpoint, threads = options.threads, read_only = nova.is_read_only(), "serving");
        Ok(Server { nova, session: Some(session) })
    }

    /// The filesystem, which may be used beside the mount.
    pub fn nova(&self) -> &Nova {
        &self.nova
    }

    /// Whether it is still mounted: nobody has unmounted it from outside.
    pub fn is_served(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.guard.is_finished())
    }

    /// Waits until somebody unmounts it (`umount`); then the filesystem is the caller's alone.
    pub fn wait(mut self) -> Result<Nova, Error> {
        if let Some(session) = self.session.take() {
            join(session).map_err(Error::Session)?;
        }
        Ok(self.nova.clone())
    }

    /// Unmounts, unless somebody has; then the filesystem is the caller's alone. While programs use the mount, it is gone from its place,
    /// and this waits for them.
    pub fn unmount(mut self) -> Result<Nova, Error> {
        if let Some(session) = self.session.take() {
            end(session).map_err(Error::Session)?;
        }
        tracing::info!("unmounted");
        Ok(self.nova.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = end(session);
        }
    }
}

/// Unmounts, unless somebody has, and waits for the end.
fn end(session: BackgroundSession) -> io::Result<()> {
    if session.guard.is_finished() { join(session) } else { session.umount_and_join() }
}

/// Waits until somebody has unmounted it.
fn join(mut session: BackgroundSession) -> io::Result<()> {
    let nobody = std::thread::spawn(|| Ok(()));
    let serving = std::mem::replace(&mut session.guard, nobody);
    let ended = serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // What is dropped unmounts whatever is at its place by now, which may be somebody else's.
    std::mem::forget(session);
    ended
}
