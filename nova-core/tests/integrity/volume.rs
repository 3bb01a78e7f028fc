//! A volume whose bytes are known from outside: where content and what protects it are is computed here from FORMAT.md, not by the code under test.

use nova_core::{AccessTimes, Error, FormatOptions, MountOptions, Nova};
use pmem_map::{MapOptions, Mapping};
use std::{fs::File, ops::Range, os::unix::fs::FileExt, sync::Arc};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const STRIPE: u64 = 512;

/// What protects a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protected {
    Checksums,
    Parity,
}

/// The bytes of a volume in memory.
pub(crate) struct Memory {
    file: Arc<File>,
    pub(crate) len: u64,
}

pub(crate) fn options() -> MountOptions {
    MountOptions::new().access_times(AccessTimes::Never)
}

pub(crate) fn volume(blocks: u64, protected: Protected) -> (Memory, Nova) {
    let mapping = MapOptions::new().len(blocks * BLOCK).memfd().unwrap();
    let all = 0..mapping.len();
    let file = mapping.extents(std::slice::from_ref(&all)).unwrap().remove(0).file;
    let format = FormatOptions::new().stripes(1).checksums(true).parity(protected == Protected::Parity);
    let nova = format.format(mapping, options()).unwrap();
    assert_eq!(nova.protection(), (true, protected == Protected::Parity));
    (Memory { file, len: blocks * BLOCK }, nova)
}

impl Memory {
    pub(crate) fn read(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start).unwrap();
        bytes
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    pub(crate) fn all(&self) -> Vec<u8> {
        self.read(0..self.len)
    }

    fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at..at + 8).try_into().unwrap())
    }

    /// As if the process had been killed now.
    pub(crate) fn killed(&self) -> Mapping {
        let mut mapping = MapOptions::new().len(self.len).memfd().unwrap();
        mapping.as_mut_slice().copy_from_slice(&self.all());
        mapping
    }

    /// Where content is that begins with these bytes, at the beginning of a block.
    pub(crate) fn find(&self, content: &[u8]) -> u64 {
        let bytes = self.all();
        let content = &content[..content.len().min(64)];
        let first = self.layout().0 * BLOCK;
        let found: Vec<u64> = (first..self.len)
            .step_by(BLOCK as usize)
            .filter(|at| bytes[*at as usize..].starts_with(content))
            .collect();
        assert_eq!(found.len(), 1, "content that is in one place");
        found[0]
    }

    /// The first block that can be owned, where checksums begin, and where parity begins.
    fn layout(&self) -> (u64, u64, u64) {
        let area = self.word(72) + self.word(80);
        let has_parity = self.word(24) & 2 != 0;
        let end = self.len / BLOCK - 1;
        let pages = |bytes: u64| bytes.div_ceil(BLOCK);
        let sums = |blocks: u64| pages(blocks * 64);
        let parity = |blocks: u64| if has_parity { pages(blocks * STRIPE) } else { 0 };
        let space = end - area / BLOCK;
        let blocks = (1..space).rev().find(|n| n + sums(*n) + parity(*n) <= space).unwrap();
        (end - blocks, area, area + sums(blocks) * BLOCK)
    }

    /// The line of checksums of the block at `at`.
    pub(crate) fn line(&self, at: u64) -> u64 {
        let (first, sums, _) = self.layout();
        sums + (at / BLOCK - first) * 64
    }

    /// The parity of the block at `at`.
    pub(crate) fn parity(&self, at: u64) -> u64 {
        let (first, _, parity) = self.layout();
        parity + (at / BLOCK - first) * STRIPE
    }
}

/// Bytes of which no two blocks and no two stripes are the same.
pub(crate) fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

pub(crate) fn is_damaged<T>(result: &Result<T, Error>) -> bool {
    match result {
        Err(Error::Damaged { .. }) => true,
        Err(Error::At { source, .. }) => matches!(**source, Error::Damaged { .. }),
        _ => false,
    }
}
