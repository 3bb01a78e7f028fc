//! Formatting: a new volume in a mapping.

use crate::{
    Error, MountOptions, Nova, Result,
    commit::Journal,
    format::*,
    mount::mount,
    namespace,
    rules::Rule,
    superblock::{journal_identity, media_of, superblock_sum},
    table,
    volume::data_blocks,
};
use bytemuck::Zeroable;
use pmem_map::{Mapping, Region};
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// How to format a volume.
#[derive(Clone, Debug, Default)]
pub struct FormatOptions {
    stripes: Option<u32>,
    journal: Option<u64>,
    label: String,
    checksums: bool,
    parity: bool,
    replicas: bool,
}

impl FormatOptions {
    /// Stripes and journal by the volume's size, no label.
    pub fn new() -> FormatOptions {
        FormatOptions::default()
    }

    /// Parts that threads work in side by side: 1 to 62. Otherwise one for each 8 MiB, at most 8.
    pub fn stripes(mut self, stripes: u32) -> FormatOptions {
        self.stripes = Some(stripes);
        self
    }

    /// Bytes of the journal: whole blocks, at least 8,192. An operation's record may be a third of it. Otherwise a 32nd of the
    /// volume, at most 8 MiB.
    pub fn journal(mut self, bytes: u64) -> FormatOptions {
        self.journal = Some(bytes);
        self
    }

    /// A name for people: at most 32 bytes.
    pub fn label(mut self, label: impl Into<String>) -> FormatOptions {
        self.label = label.into();
        self
    }

    /// Whether content has checksums, which every read verifies: damage is an error, never content ([`integrity`](crate::integrity)). Takes 1.6 % of the
    /// space. Metadata always has them. Off, unless set.
    pub fn checksums(mut self, on: bool) -> FormatOptions {
        self.checksums = on;
        self
    }

    /// Whether content has parity, which damage of up to 512 bytes in a block is repaired from, and checksums. Takes 14.1 % of what content takes.
    /// Off, unless set.
    pub fn parity(mut self, on: bool) -> FormatOptions {
        self.parity = on;
        self
    }

    /// Whether metadata has replicas, which it is repaired from wherever it is damaged: as it is read, and by scrubbing. Twice the space that metadata takes, and the
    /// lines that a record and its application take; no drain. Off, unless set.
    pub fn replicas(mut self, on: bool) -> FormatOptions {
        self.replicas = on;
        self
    }

    fn features(&self) -> u64 {
        let checksums = if self.checksums || self.parity { feature::CHECKSUMS } else { 0 };
        checksums | if self.parity { feature::PARITY } else { 0 }
    }

    /// Formats all of the mapping, and mounts it. What was there is gone. Durable on return; a crash leaves no volume, or a complete one.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`] for fewer than 24 blocks, and for what does not fit.
    pub fn format(&self, mapping: Mapping, options: MountOptions) -> Result<Nova> {
        let region = Arc::new(mapping.into_region());
        let length = region.len() / BLOCK * BLOCK;
        let bad = |why| Err(Error::BadSize { length, why });
        if length < 24 * BLOCK {
            return bad("a volume has at least 24 blocks of 4,096 bytes");
        }
        let stripes = self.stripes.unwrap_or((length / (8 << 20)).clamp(1, 8) as u32);
        if !(1..=MAX_STRIPES).contains(&stripes) {
            return bad("a volume has 1 to 62 stripes");
        }
        let least = if self.replicas { 8 * BLOCK } else { 5 * BLOCK };
        let journal_len = self.journal.unwrap_or((length / 32).clamp(least, 8 << 20) / BLOCK * BLOCK);
        if journal_len % BLOCK != 0 || journal_len < 2 * BLOCK || journal_len > length / 2 {
            return bad("the journal has whole blocks, at least two, and at most half of the volume");
        }
        if self.features() != 0 && journal_len < 4 * BLOCK {
            return bad("where content is protected, the journal has at least four blocks");
        }
        if self.replicas && journal_len < 8 * BLOCK {
            return bad("where metadata has replicas, the journal has at least eight blocks");
        }
        if self.label.len() > 32 {
            return bad("a label has at most 32 bytes");
        }
        let mut label = [0; 32];
        label[..self.label.len()].copy_from_slice(self.label.as_bytes());
        let random = || RandomState::new().hash_one(Instant::now());
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&random().to_le_bytes());
        identity[8..].copy_from_slice(&random().to_le_bytes());
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        let mut superblock = Superblock {
            version: VERSION,
            magic: MAGIC,
            identity,
            length,
            block_size: BLOCK as u32,
            stripes,
            journal_len,
            read_only: self.features(),
            incompatible: if self.replicas { feature::REPLICAS } else { 0 },
            created,
            label,
            ..Superblock::zeroed()
        };
        superblock.journal = superblock.behind_state();
        write(&region, &superblock, options.broken)?;
        mount(region, options)
    }
}

/// Stores a new volume. See FORMAT.md, "Format".
fn write(region: &Arc<Region>, superblock: &Superblock, broken: Option<Rule>) -> Result<()> {
    let media = media_of(region, superblock);
    let replica = superblock.length - BLOCK;
    // The primary first: what it still says leads to the replica of what was there, which may be elsewhere.
    let before = media.load::<Superblock>(0)?;
    let named = Some(before.length.wrapping_sub(BLOCK)).filter(|at| at % BLOCK == 0 && *at < replica);
    let is_void = broken == Some(Rule::MagicsAway);
    for at in [Some(0), named, Some(replica)].into_iter().flatten().filter(|_| !is_void) {
        media.store_magic(at + MAGIC_AT, 0)?;
    }
    let store_copies = |magic: u64| {
        [0, replica].into_iter().try_for_each(|at| {
            let copy = Superblock { checksum: superblock_sum(at, superblock), magic, ..*superblock };
            media.store_superblock(at, bytemuck::bytes_of(&copy))
        })
    };
    if broken == Some(Rule::MagicLast) {
        store_copies(MAGIC)?;
    }
    // The first segment of the first stripe follows the journal, and has the root.
    let blocks = data_blocks(superblock);
    let segment = blocks.start * BLOCK;
    media.zero(STATE, media.copies() * BLOCK);
    media.zero(segment, media.copies() * BLOCK);
    let state = VolumeState { epoch: 1, ..VolumeState::zeroed() };
    for at in [STATE, STATE_COPY] {
        media.store_twice(at, bytemuck::bytes_of(&media.sealed(at, state)));
    }
    for stripe in 0..u64::from(superblock.stripes) {
        let at = table::stripe_line(stripe);
        let first = if stripe == 0 { segment } else { 0 };
        let head = StripeHead { stripe: stripe as u32, segment: first, ..StripeHead::zeroed() };
        media.store_twice(at, bytemuck::bytes_of(&media.sealed(at, head)));
    }
    let header = table::header(&media, segment, 0, media.copies(), 0, 0);
    media.store_twice(segment, bytemuck::bytes_of(&header));
    let root = segment + LINE;
    let (identity, status) = namespace::root(superblock.created);
    media.store_twice(root, bytemuck::bytes_of(&media.sealed(root, identity)));
    media.store_twice(root + LINE, bytemuck::bytes_of(&media.sealed(root + LINE, status)));
    let area = superblock.journal..superblock.journal + superblock.journal_len;
    Journal::create(region.clone(), area, journal_identity(superblock))?;
    store_copies(0)?;
    media.drain()?;
    for at in [0, replica] {
        media.store_magic(at + MAGIC_AT, MAGIC)?;
    }
    Ok(())
}
