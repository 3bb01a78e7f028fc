//! The superblock and its replica: found, and believed if its numbers can be.

use crate::{Error, Result, format::*, media::Media, volume::data_blocks};
use pmem_map::Region;
use std::sync::Arc;

/// The checksum of a superblock at `at`: seeded with nothing.
pub(crate) fn superblock_sum(at: u64, superblock: &Superblock) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytemuck::bytes_of(superblock)[4..]), &at.to_le_bytes())
}

pub(crate) fn journal_identity(superblock: &Superblock) -> u64 {
    u64::from_le_bytes(superblock.identity[..8].try_into().expect("eight bytes"))
}

/// The superblock, and where a bad copy of it is.
pub(crate) fn find(region: &Arc<Region>) -> Result<(Superblock, Option<u64>)> {
    let media = Media::new(region.clone(), region.len(), &[0; 16]);
    let load = |at: u64| -> Option<Superblock> {
        let superblock = media.load::<Superblock>(at).ok()?;
        let good = superblock.magic == MAGIC && superblock.checksum == superblock_sum(at, &superblock);
        good.then_some(superblock)
    };
    if let Some(primary) = load(0) {
        let replica = primary.length.wrapping_sub(BLOCK);
        let bad = load(replica).is_none_or(|found| found.identity != primary.identity);
        return Ok((primary, bad.then_some(replica)));
    }
    // The replica is the volume's last block: the mapping's, or the one that the damaged primary names.
    let named = media.load::<Superblock>(0).map_or(0, |primary| primary.length);
    for end in [region.len() / BLOCK * BLOCK, named] {
        let at = end.wrapping_sub(BLOCK);
        if let Some(replica) = load(at).filter(|replica| replica.length == end) {
            return Ok((replica, Some(0)));
        }
    }
    Err(Error::NotAVolume { why: "neither superblock is one" })
}

/// The bytes of a volume.
pub(crate) fn media_of(region: &Arc<Region>, superblock: &Superblock) -> Media {
    Media::new(region.clone(), superblock.length, &superblock.identity)
        .naming(data_blocks(superblock))
        .replicated(superblock.has_replicas().then(Arc::default))
}

/// Whether a superblock's numbers can be.
pub(crate) fn check(superblock: &Superblock, mapped: u64) -> Result<()> {
    let Superblock { version, length, stripes, journal, journal_len, .. } = *superblock;
    if version != VERSION || superblock.incompatible & !feature::REPLICAS != 0 {
        return Err(Error::Unsupported { version, features: superblock.incompatible });
    }
    if length > mapped {
        return Err(Error::Truncated { length, mapped });
    }
    let right = superblock.block_size == BLOCK as u32
        && (1..=MAX_STRIPES).contains(&stripes)
        && length % BLOCK == 0
        && length >= 24 * BLOCK
        && journal == superblock.behind_state()
        && journal_len % BLOCK == 0
        && journal_len >= 2 * BLOCK
        && journal_len <= length / 2
        && superblock.read_only & (feature::CHECKSUMS | feature::PARITY) != feature::PARITY;
    if right { Ok(()) } else { Error::damaged("superblock", 0, "its numbers contradict each other") }
}
