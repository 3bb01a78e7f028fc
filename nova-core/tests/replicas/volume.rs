//! A volume with replicas whose bytes are known from outside. Where copies are is said here by FORMAT.md: a block behind.

use nova_core::{AccessTimes, AttributeMode, Credentials, FormatOptions, MountOptions, Nova};
use pmem_map::{MapOptions, Mapping};
use std::{fs::File, ops::Range, os::unix::fs::FileExt, sync::Arc};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const BLOCKS: u64 = 512;
const WHO: &Credentials = &Credentials::ROOT;

/// The bytes of a volume in memory.
pub(crate) struct Memory(Arc<File>);

pub(crate) fn options() -> MountOptions {
    MountOptions::new().threads(1).access_times(AccessTimes::Never)
}

impl Memory {
    pub(crate) fn of(mapping: &Mapping) -> Memory {
        let all = 0..mapping.len();
        Memory(mapping.extents(std::slice::from_ref(&all)).unwrap().remove(0).file)
    }

    pub(crate) fn read(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.0.read_exact_at(&mut bytes, range.start).unwrap();
        bytes
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }

    pub(crate) fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at..at + 8).try_into().unwrap())
    }

    pub(crate) fn all(&self) -> Vec<u8> {
        self.read(0..BLOCKS * BLOCK)
    }

    /// The block that has this magic behind its checksum.
    pub(crate) fn find(&self, magic: &[u8; 4]) -> u64 {
        let all = self.all();
        let blocks = (3..BLOCKS).map(|block| block * BLOCK);
        blocks.clone().find(|at| all[*at as usize + 4..].starts_with(magic)).expect("there is one")
    }
}

/// A volume of these bytes, with what happens to them.
pub(crate) fn mapped(bytes: &[u8]) -> (Memory, Mapping) {
    let mut mapping = MapOptions::new().len(BLOCKS * BLOCK).memfd().unwrap();
    mapping.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    (Memory::of(&mapping), mapping)
}

pub(crate) const DIR: &str = "/dir";
pub(crate) const FILE: &str = "/dir/file";
pub(crate) const LINK: &str = "/link";

pub(crate) fn target() -> String {
    "a/".repeat(400)
}

/// A volume that has everything: directories, a file with many extents and attributes, a link, a snapshot with a log.
pub(crate) fn filled() -> (Memory, Nova) {
    let (memory, mapping) = mapped(&[]);
    let nova = FormatOptions::new().stripes(1).replicas(true).format(mapping, options()).unwrap();
    nova.create_dir(DIR).unwrap();
    let file = nova.create_file(FILE).unwrap();
    for n in 0..5 {
        file.write_at(n * 3 * BLOCK, &[n as u8 + 1; 5000]).unwrap();
    }
    let ino = nova.metadata(FILE).unwrap().ino;
    nova.set_attribute(ino, b"user.color", b"blue", AttributeMode::Set, WHO).unwrap();
    nova.symlink_path(target(), LINK).unwrap();
    nova.create_snapshot("before").unwrap();
    nova.write_file("/later", b"later").unwrap();
    nova.write_file(FILE, b"all of it new").unwrap();
    (memory, nova)
}

/// What is right of it, read through the API; or what stands in the way.
pub(crate) fn read_all(nova: &Nova) -> Result<(), nova_core::Error> {
    assert_eq!(nova.read_file(FILE)?, b"all of it new");
    assert_eq!(nova.read_file("/later")?, b"later");
    assert_eq!(nova.attribute(nova.metadata(FILE)?.ino, b"user.color", WHO)?, b"blue");
    assert_eq!(nova.readlink(nova.symlink_metadata(LINK)?.ino)?, target().as_bytes());
    let mut names: Vec<Vec<u8>> = nova.read_dir("/")?.into_iter().map(|entry| entry.name).collect();
    names.sort();
    assert_eq!(names, [&b"dir"[..], b"later", b"link"]);
    let past = nova.mount_snapshot("before")?;
    let old = past.read_file(FILE)?;
    assert!((0..5).all(|n| old[n * 3 * BLOCK as usize..][..5000].iter().all(|byte| *byte == n as u8 + 1)));
    assert_eq!(past.readlink(past.symlink_metadata(LINK)?.ino)?, target().as_bytes());
    assert!(past.read_file("/later").is_err());
    Ok(())
}
