//! What a power failure left.

use pmem_map::{Granularity, MapOptions, Mapping};
use std::{fs, io, path::Path};

/// What a power failure left: the file's bytes (and with them its length), and whether it has a name.
///
/// Or what the end of a process left, while the machine stayed up: then more is visible than is durable, see
/// [`Image::with_durable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) named: bool,
    /// What is durable for certain, if that is not `bytes`. As long as they are.
    pub(crate) durable: Option<Vec<u8>>,
}

impl Image {
    /// An existing file of these bytes.
    pub fn new(bytes: Vec<u8>) -> Image {
        Image { bytes, named: true, durable: None }
    }

    /// The same file, of which only `durable` is durable for certain (cut, or filled with zeros, to its length): each
    /// 8-byte word that differs may be lost until somebody flushes its line and drains.
    ///
    /// So does a process leave a file that was killed between its stores and its drain, in `msync` say: whoever opens it next sees the
    /// stores, and must not believe in them. An exploration may start with such an image.
    pub fn with_durable(self, mut durable: Vec<u8>) -> Image {
        durable.resize(self.bytes.len(), 0);
        Image { durable: Some(durable).filter(|durable| *durable != self.bytes), ..self }
    }

    /// What is durable for certain.
    pub fn durable_bytes(&self) -> &[u8] {
        self.durable.as_deref().unwrap_or(&self.bytes)
    }

    /// An existing file of `len` zero bytes.
    pub fn zeroed(len: u64) -> Image {
        Image::new(vec![0; usize::try_from(len).expect("an image fits into memory")])
    }

    /// No file.
    pub fn absent() -> Image {
        Image { bytes: Vec::new(), named: false, durable: None }
    }

    /// All bytes, as a reader sees them.
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

    /// As [`to_mapping`](Image::to_mapping), as if of a medium with this granularity.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn to_mapping_of(&self, granularity: Granularity) -> pmem_map::Result<Mapping> {
        self.filled(MapOptions::new().len(self.bytes.len() as u64).granularity(granularity).anonymous()?)
    }

    /// As [`to_mapping_of`](Image::to_mapping_of), but of memory that can be mapped a second time.
    pub(crate) fn to_traceable_mapping(&self, granularity: Granularity) -> pmem_map::Result<Mapping> {
        self.filled(MapOptions::new().len(self.bytes.len() as u64).granularity(granularity).memfd()?)
    }

    fn filled(&self, mut mapping: Mapping) -> pmem_map::Result<Mapping> {
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
