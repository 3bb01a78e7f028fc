//! Volumes of a case's own, and bytes to tell apart.

use crate::kit::*;
use nova_core::*;
use pmem_map::{MapOptions, Mapping};
use std::{fs::File as Memory, os::unix::fs::FileExt, sync::Arc};

/// One block.
pub(crate) const B: u64 = BLOCK;

/// Bytes that differ from place to place, without a zero among them.
pub(crate) fn pattern(seed: u64, len: u64) -> Vec<u8> {
    (0..len).map(|at| ((seed * 89 + at * 7 + at / 251) % 255) as u8 + 1).collect()
}

/// All bytes of a file.
pub(crate) fn all(file: &File) -> Vec<u8> {
    file.read_to_end().unwrap()
}

/// Bytes of a file.
pub(crate) fn part(file: &File, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0xee; len as usize];
    let read = file.read_at(offset, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

/// Panics unless both are the same; says where they are not.
#[track_caller]
pub(crate) fn same(is: &[u8], expected: &[u8]) {
    assert_eq!(is.len(), expected.len(), "the length");
    let differs = is.iter().zip(expected).position(|(is, expected)| is != expected);
    if let Some(at) = differs {
        panic!("byte {at} of {} is {} instead of {}", is.len(), is[at], expected[at]);
    }
}

/// What a file has to be, beside what it is.
pub(crate) struct Twin {
    pub(crate) file: File,
    pub(crate) bytes: Vec<u8>,
}

impl Twin {
    pub(crate) fn new(fs: &Fs, name: &str, bytes: Vec<u8>) -> Twin {
        Twin { file: fs.with(name, &bytes), bytes }
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.file.write_at(offset, bytes).unwrap();
        let end = offset as usize + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset as usize..end].copy_from_slice(bytes);
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        self.file.set_len(len).unwrap();
        self.bytes.resize(len as usize, 0);
    }

    pub(crate) fn zero(&mut self, offset: u64, len: u64) {
        self.bytes[offset as usize..(offset + len) as usize].fill(0);
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        assert_eq!(self.file.len().unwrap(), self.bytes.len() as u64, "the size");
        same(&all(&self.file), &self.bytes);
    }
}

/// A volume to mount and mount again.
pub(crate) fn volume(bytes: u64, mount: &MountOptions) -> Fs {
    let mapping = Mapping::memfd(bytes).unwrap();
    Fs { nova: FormatOptions::new().stripes(2).format(mapping, mount.clone()).unwrap() }
}

impl Fs {
    /// Unmounts, and mounts with other options.
    pub(crate) fn again(self, mount: &MountOptions) -> Fs {
        let nova = mount.mount(self.nova.unmount().unwrap()).unwrap();
        assert!(nova.mount_report().clean, "{:?}", nova.mount_report());
        Fs { nova }
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        let report = self.nova.fsck().unwrap();
        assert!(report.is_clean(), "{report}");
    }

    /// Free blocks, once what was freed is.
    pub(crate) fn free(&self) -> u64 {
        self.nova.sync().unwrap();
        self.statfs().free
    }
}

/// A volume, and the memory that it is in.
pub(crate) struct Killable {
    pub(crate) fs: Fs,
    pub(crate) memory: Arc<Memory>,
    pub(crate) bytes: u64,
}

impl Killable {
    pub(crate) fn new(bytes: u64) -> Killable {
        let mapping = MapOptions::new().len(bytes).memfd().unwrap();
        let whole = 0..mapping.len();
        let memory = mapping.extents(std::slice::from_ref(&whole)).unwrap().remove(0).file;
        let nova = FormatOptions::new().stripes(2).format(mapping, MountOptions::new()).unwrap();
        Killable { fs: Fs { nova }, memory, bytes }
    }

    /// What mounting finds in the bytes as they are: it has to scan.
    pub(crate) fn killed(&self) -> Fs {
        let mut mapping = Mapping::memfd(self.bytes).unwrap();
        self.memory.read_exact_at(mapping.as_mut_slice(), 0).unwrap();
        let nova = Nova::mount(mapping).unwrap();
        let report = nova.mount_report();
        assert!(!report.clean && report.damage.is_empty(), "{report:?}");
        Fs { nova }
    }
}
