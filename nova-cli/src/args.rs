//! What the command line can say.

use crate::{bench, check, crash, debug, docs, files::Place, map, pool, scrub, size::Size, top};
#[cfg(feature = "replica")]
use crate::{remote, replica};
use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;

/// Volumes and pools on persistent memory, and on files that stand in for it.
#[derive(Parser)]
#[command(name = "nova", version, propagate_version = true, after_long_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// At the end of `--help`, and of the man page.
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  an error, which is on stderr
  2  wrong arguments
  4  something is wrong with what was checked, and still is (fsck, scrub, pool check, pool repair, crash replay,
     remote list); or slower than before (bench --compare)

Colours and progress bars are for terminals alone; NO_COLOR turns colours off.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a volume in a file (or on a DAX device)
    Mkfs(Mkfs),
    /// Serves a volume at a directory, until it is unmounted or this is interrupted
    Mount(Mount),
    /// Unmounts a directory
    Umount {
        /// The directory
        dir: PathBuf,
    },
    /// Says what a volume is, and what opening it would have to recover
    Info {
        /// The volume
        image: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Says how full a volume is
    Df {
        /// The volume
        image: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Lists a directory of a volume that is not mounted
    Ls {
        /// IMAGE or IMAGE:/PATH
        place: Place,
        /// With modes, owners, sizes
        #[arg(short, long)]
        long: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// As it was when this snapshot was made
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
    },
    /// Prints a file of a volume that is not mounted
    Cat {
        /// IMAGE:/PATH
        place: Place,
        /// As it was when this snapshot was made
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
    },
    /// Copies a file into or out of a volume that is not mounted
    Cp {
        /// PATH or IMAGE:/PATH
        from: Place,
        /// PATH or IMAGE:/PATH
        to: Place,
        /// Out of the volume, as it was when this snapshot was made
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
    },
    /// Checks everything that a volume's metadata says
    Fsck(check::Fsck),
    /// Says what a file of a volume is; of one that is mounted, who has mapped it, too
    Stat {
        /// IMAGE:/PATH, or the path of a file of a mounted volume
        place: Place,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows what users and groups use, or limits it
    Quota(Quota),
    /// Takes blocks out of a file, or puts some in: what follows moves
    Range {
        #[command(subcommand)]
        command: Range,
    },
    /// Keeps a volume as it is, beside what it becomes
    Snapshot {
        #[command(subcommand)]
        command: Snapshot,
    },
    /// Reads all of a volume, and repairs what can be repaired
    Scrub(scrub::Scrub),
    /// Looks into pools, and cares for them
    Pool {
        #[command(subcommand)]
        command: pool::Command,
    },
    /// Looks after snapshots and pools that were pushed to a folder or a bucket
    #[cfg(feature = "replica")]
    Remote {
        #[command(subcommand)]
        command: remote::Command,
    },
    /// Looks after pools that are replicated through NATS JetStream
    #[cfg(feature = "replica")]
    Replica {
        #[command(subcommand)]
        command: replica::Command,
    },
    /// Draws what is where in a volume, or where one of its files is
    Map(map::Map),
    /// Damages volumes on purpose, to see that it is found
    Debug {
        #[command(subcommand)]
        command: debug::Debug,
    },
    /// Shows what mounts are doing: requests and their latencies, drains, space
    Top(top::Top),
    /// Looks at what a power failure left
    Crash {
        #[command(subcommand)]
        command: crash::Crash,
    },
    /// Measures what atomicity costs, beside raw mapped memory and other stores
    Bench(bench::Bench),
    /// Prints what a shell needs to complete commands
    Completions(docs::Completions),
    /// Prints the man page, or writes all of them
    Man(docs::Man),
}

impl Command {
    /// Whether there is nothing that it has to end properly: no mount, no change, no connection.
    pub(crate) fn only_prints(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Info { .. } | Df { .. } | Ls { .. } | Cat { .. } | Stat { .. } | Map(_) | Completions(_) | Man(_)
        )
    }
}

#[derive(ClapArgs)]
pub(crate) struct Mkfs {
    /// The file; made if it is missing
    pub(crate) image: PathBuf,
    /// Its size, as 64M or 1G; of a file that is there, its own
    #[arg(long)]
    pub(crate) size: Option<Size>,
    /// Parts that threads work in side by side
    #[arg(long)]
    pub(crate) stripes: Option<u32>,
    /// Bytes of the journal
    #[arg(long)]
    pub(crate) journal: Option<Size>,
    /// Checksums of content, which every read verifies: 1.6 % of the space
    #[arg(long)]
    pub(crate) checksums: bool,
    /// Checksums, and parity that damaged content is repaired from: 14 % of the space
    #[arg(long)]
    pub(crate) parity: bool,
    /// A second copy of all metadata, which damage is repaired from
    #[arg(long)]
    pub(crate) replicas: bool,
    /// A name for people
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// Even if something is there already
    #[arg(long)]
    pub(crate) force: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct Mount {
    /// The volume
    pub(crate) image: PathBuf,
    /// An empty directory
    pub(crate) dir: PathBuf,
    /// Nothing is written
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Everything as it was when this snapshot was made; nothing is written
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Other users see it, too
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// The kernel keeps pages of files: reading again is fast, and programs cannot map files in the volume itself
    #[arg(long)]
    pub(crate) page_cache: bool,
    /// Overwriting goes in place: durable, not atomic
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Treat the page cache as persistent memory: fast, and what is durable survives this program only
    #[arg(long)]
    pub(crate) emulate_pmem: bool,
    /// Return when it is mounted
    #[arg(long)]
    pub(crate) background: bool,
    /// Threads that serve requests
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Log to stderr what is done; twice: errors too; three times: every request
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Blocks of a file.
#[derive(Subcommand)]
pub(crate) enum Range {
    /// Takes them out: what follows moves up
    Collapse(Blocks),
    /// Puts some in that read as zeros: what follows moves down
    Insert(Blocks),
}

#[derive(ClapArgs)]
pub(crate) struct Blocks {
    /// A file of a mount; or IMAGE:/PATH
    pub(crate) file: Place,
    /// Where, in bytes: a multiple of 4096
    pub(crate) offset: Size,
    /// How many bytes: a multiple of 4096
    pub(crate) len: Size,
}

#[derive(ClapArgs)]
pub(crate) struct Quota {
    /// The volume; or the directory where it is mounted
    pub(crate) image: PathBuf,
    /// Limits this user
    #[arg(long, conflicts_with = "group")]
    pub(crate) user: Option<u32>,
    /// Limits this group
    #[arg(long)]
    pub(crate) group: Option<u32>,
    /// Bytes of data that they may have; 0: any number
    #[arg(long)]
    pub(crate) space: Option<Size>,
    /// Files that they may have; 0: any number
    #[arg(long)]
    pub(crate) files: Option<u64>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Snapshot {
    /// Makes a snapshot of all files
    Create {
        /// The volume; or the directory where it is mounted
        image: PathBuf,
        /// The snapshot's name
        name: String,
    },
    /// Lists snapshots, oldest first, with what they cost
    List {
        /// The volume; or the directory where it is mounted
        image: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Says what changed since a snapshot
    Diff {
        /// The volume
        image: PathBuf,
        /// The older snapshot
        from: String,
        /// The newer one; otherwise the files as they are
        to: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Writes a snapshot, or what changed since another one, as a stream that another volume can receive
    Send {
        /// The volume
        image: PathBuf,
        /// The snapshot's name
        name: String,
        /// Only what changed since this snapshot, which the receiver has
        #[arg(long, value_name = "BASE")]
        from: Option<String>,
        /// A new file; otherwise standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Makes the files, and a snapshot, what a stream has; a stream that broke off goes on when it is given again
    Receive {
        /// The volume, not mounted: empty, or with the files of the snapshot from which the stream goes on
        image: PathBuf,
        /// The stream; otherwise standard input
        stream: Option<PathBuf>,
    },
    /// Pushes a snapshot to a folder or a bucket: what changed since the newest one that is there
    #[cfg(feature = "replica")]
    Push(remote::SnapshotPush),
    /// Pulls a snapshot, and those that it goes on from; a pull that broke off goes on when it is done again
    #[cfg(feature = "replica")]
    Pull(remote::SnapshotPull),
    /// Makes the files what they were when a snapshot was made; what came later is lost, unless a snapshot has it
    Rollback {
        /// The volume, not mounted
        image: PathBuf,
        /// The snapshot's name
        name: String,
        /// Without asking
        #[arg(long)]
        force: bool,
    },
    /// Deletes a snapshot, and frees what only it had
    Delete {
        /// The volume; or the directory where it is mounted
        image: PathBuf,
        /// The snapshot's name
        name: String,
    },
}
