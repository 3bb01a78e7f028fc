//! A pool that is being made: nothing of it counts before its magic, which is stored last.
//!
//! Creation, backup and compaction make pools, and all by these steps. A crash before the last leaves no pool; a crash in it
//! leaves a whole one.

use crate::{
    Result,
    format::{COPIES, Geometry, MAGIC},
    media::Media,
};
use pmem_map::{Mapping, PAGE};
use pmem_tx::engine::{Log, LogOptions};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

/// Who a new pool is: identity and birth.
#[derive(Clone, Copy)]
pub(crate) struct Birth {
    pub(crate) identity: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

impl Birth {
    /// Of a pool that is like no other; or of the same one each time, if `identity` says which.
    pub(crate) fn new(identity: Option<u64>) -> Birth {
        match identity {
            Some(identity) => Birth { identity, created: 0 },
            None => {
                // `RandomState` is seeded by the system.
                let mut hasher = RandomState::new().build_hasher();
                hasher.write_u32(std::process::id());
                let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
                Birth { identity: hasher.finish().max(1), created }
            }
        }
    }
}

/// Step 1: whatever was here is no pool any more, before any part of it is overwritten. One drain.
pub(crate) fn clear_magics(mapping: &mut Mapping) -> Result<()> {
    for copy in COPIES {
        mapping.write(copy, &[0; 8])?;
        mapping.flush(copy..copy + 8)?;
    }
    Ok(mapping.drain()?)
}

/// Zeroes whole pages, and flushes them: what is zero already may not be durable.
pub(crate) fn zero(mapping: &mut Mapping, range: Range<u64>) -> Result<()> {
    for at in range.step_by(PAGE as usize) {
        if mapping.as_slice()[at as usize..(at + PAGE) as usize].iter().any(|&byte| byte != 0) {
            mapping.write(at, &[0; PAGE as usize])?;
        }
        mapping.flush(at..at + PAGE)?;
    }
    Ok(())
}

/// Step 2: the headers, without their magic. Drains them and all that was flushed before.
pub(crate) fn write_headers(mapping: &mut Mapping, header: &[u8]) -> Result<()> {
    for copy in COPIES {
        mapping.write(copy, header)?;
        mapping.flush(copy..copy + header.len() as u64)?;
    }
    Ok(mapping.drain()?)
}

/// Steps 3 and 4: a log of this pool's identity, which no record of another counts in; then the magics. Durable on
/// return.
pub(crate) fn finish(media: &Media, geometry: &Geometry, identity: u64, options: LogOptions) -> Result<Log> {
    let log = media.create_log(geometry.log(), identity, options)?;
    for copy in COPIES {
        media.store_word(copy, MAGIC);
        media.region().flush(copy..copy + 8)?;
    }
    media.region().drain()?;
    Ok(log)
}
