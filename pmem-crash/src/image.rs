//! What a power failure left.

use pmem_map::{Granularity, MapOptions, Mapping};
use std::{fs, io, path::Path};

/// What a power failure left: the file's bytes (and with them its length), and whether it has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) named: bool,
}

impl Image {
    /// An existing file of these bytes.
    pub fn new(bytes: Vec<u8>) -> Image {
        Image { bytes, named: true }
    }

    /// An existing file of `len` zero bytes.
    pub fn zeroed(len: u64) -> Image {
        Image::new(vec![0; usize::try_from(len).expect("an image fits into memory")])
    }

    /// No file.
    pub fn absent() -> Image {
        Image { bytes: Vec::new(), named: false }
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file's name survived. Always so for an exploration of mappings.
    pub fn exists(&self) -> bool {
        self.named
    }

    /// An anonymous mapping of these bytes; the part of its last page beyond them is zero.
    ///
    /// # Errors
    ///
    /// Those of [`Mapping::anonymous`].
    pub fn to_mapping(&self) -> pmem_map::Result<Mapping> {
        self.to_mapping_of(Granularity::CacheLine)
    }

    /// As a disk's, if `granularity` is [`Granularity::Page`].
    pub(crate) fn to_mapping_of(&self, granularity: Granularity) -> pmem_map::Result<Mapping> {
        let options = MapOptions::new().len(self.bytes.len() as u64);
        let mut mapping = options.emulate_pages(granularity == Granularity::Page).anonymous()?;
        mapping.as_mut_slice()[..self.bytes.len()].copy_from_slice(&self.bytes);
        Ok(mapping)
    }

    /// Makes `path` this image: a new file of these bytes in place of what was there, or no file.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if self.named { fs::write(path, &self.bytes) } else { Ok(()) }
    }
}
