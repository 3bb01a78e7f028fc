//! What a check found.

use crate::{Damage, Error};
use std::fmt;

/// What [`Nova::fsck`](crate::Nova::fsck) found, and what a repair did about it. Printing it lists the problems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FsckReport {
    /// What does not hold. Empty: nothing.
    pub problems: Vec<Damage>,
    /// What a repair did, each a sentence. Empty after a check.
    pub repairs: Vec<String>,
    /// What could not be kept: names, files, parts of them.
    pub lost: Vec<String>,
    /// Inodes in use, directories and orphans among them.
    pub inodes: u64,
    /// Directories.
    pub directories: u64,
    /// Names.
    pub names: u64,
    /// Files without a name, which somebody has open or the next mount to write removes.
    pub orphans: u64,
    /// Blocks of data, counted once.
    pub data_blocks: u64,
    /// Blocks of data that have more than one owner.
    pub shared_blocks: u64,
    /// Log pages, and blocks of the inode table.
    pub metadata_blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Inodes that operations held, each time the check came by: what DRAM says of them was not compared.
    pub busy: u64,
}

impl FsckReport {
    /// Whether everything holds.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for FsckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} inodes, {} of them directories, {} without a name; {} names",
            self.inodes, self.directories, self.orphans, self.names
        )?;
        writeln!(
            f,
            "blocks: {} of data, {} of them shared; {} of metadata; {} free",
            self.data_blocks, self.shared_blocks, self.metadata_blocks, self.free_blocks
        )?;
        if self.busy > 0 {
            writeln!(f, "{} inodes were in use, and are compared with media alone", self.busy)?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        for repair in &self.repairs {
            writeln!(f, "repaired: {repair}")?;
        }
        for lost in &self.lost {
            writeln!(f, "lost: {lost}")?;
        }
        match self.problems.len() {
            0 => write!(f, "no problems"),
            1 => write!(f, "1 problem"),
            many => write!(f, "{many} problems"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)?;
        if self.ino != 0 {
            write!(f, ", inode {}", self.ino)?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Problems as they are met.
#[derive(Default)]
pub(crate) struct Problems(pub(crate) Vec<Damage>);

impl Problems {
    pub(crate) fn add(&mut self, what: &'static str, offset: u64, ino: u64, why: impl Into<String>) {
        self.0.push(Damage { what, offset, ino, why: why.into() });
    }

    pub(crate) fn error(&mut self, ino: u64, error: Error) {
        self.0.push(crate::recovery::damage_of(ino, error));
    }
}
