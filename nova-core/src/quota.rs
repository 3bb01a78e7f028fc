//! Who uses how much, and how much they may use.

use crate::{Code, Result, format::Identity};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Whose quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quota {
    /// Of a user.
    User(u32),
    /// Of a group.
    Group(u32),
}

/// What is used, and may be used. Blocks are of 4,096 bytes, and those of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks of files.
    pub blocks: u64,
    /// Files.
    pub inodes: u64,
    /// Blocks that there may be; 0: any number.
    pub block_limit: u64,
    /// Files that there may be; 0: any number.
    pub inode_limit: u64,
}

impl Usage {
    fn add(&mut self, blocks: i64, inodes: i64) {
        self.blocks = self.blocks.saturating_add_signed(blocks);
        self.inodes = self.inodes.saturating_add_signed(inodes);
    }
}

#[derive(Default)]
pub(crate) struct Quotas(Mutex<FxHashMap<Quota, Usage>>);

impl Quotas {
    /// Charges a file's owners, both or none. [`Code::QuotaExceeded`] if it is more than they may have; what becomes less is always right.
    pub(crate) fn charge(&self, who: &Identity, blocks: i64, inodes: i64) -> Result<()> {
        self.charge_ids(who.uid, who.gid, blocks, inodes)
    }

    pub(crate) fn charge_ids(&self, uid: u32, gid: u32, blocks: i64, inodes: i64) -> Result<()> {
        self.charge_all([Quota::User(uid), Quota::Group(gid)], blocks, inodes)
    }

    /// Different ones, all or none.
    fn charge_all<const N: usize>(&self, ids: [Quota; N], blocks: i64, inodes: i64) -> Result<()> {
        if blocks == 0 && inodes == 0 {
            return Ok(());
        }
        let mut rows = self.0.lock();
        let exceeds = |usage: &Usage| {
            let over = |used: u64, more: i64, limit: u64| {
                more > 0 && limit != 0 && used.saturating_add_signed(more) > limit
            };
            over(usage.blocks, blocks, usage.block_limit) || over(usage.inodes, inodes, usage.inode_limit)
        };
        let mut found = rows.get_disjoint_mut(ids.each_ref());
        if found.iter().flatten().any(|usage| exceeds(usage)) {
            return Err(Code::QuotaExceeded.into());
        }
        for usage in found.iter_mut().flatten() {
            usage.add(blocks, inodes);
        }
        let missing = found.map(|usage| usage.is_none());
        for (id, _) in ids.into_iter().zip(missing).filter(|(_, missing)| *missing) {
            rows.entry(id).or_default().add(blocks, inodes);
        }
        Ok(())
    }

    /// What was charged is so after all, whatever the limits say by now.
    pub(crate) fn restore(&self, who: &Identity, blocks: i64, inodes: i64) {
        self.adjust([Quota::User(who.uid), Quota::Group(who.gid)], blocks, inodes);
    }

    fn adjust(&self, ids: impl IntoIterator<Item = Quota>, blocks: i64, inodes: i64) {
        let mut rows = self.0.lock();
        for id in ids {
            rows.entry(id).or_default().add(blocks, inodes);
        }
    }

    /// Charges a file to its new owners instead of the old ones; who owns it before and after has neither more nor less.
    pub(crate) fn transfer(&self, from: &Identity, to: &Identity, blocks: i64) -> Result<()> {
        let pairs =
            [(Quota::User(from.uid), Quota::User(to.uid)), (Quota::Group(from.gid), Quota::Group(to.gid))];
        let moved = || pairs.into_iter().filter(|(from, to)| from != to);
        let mut charged = Vec::new();
        for (_, to) in moved() {
            if let Err(error) = self.charge_all([to], blocks, 1) {
                self.adjust(charged, -blocks, -1);
                return Err(error);
            }
            charged.push(to);
        }
        self.adjust(moved().map(|(from, _)| from), -blocks, -1);
        Ok(())
    }

    pub(crate) fn usage(&self, who: Quota) -> Usage {
        self.0.lock().get(&who).copied().unwrap_or_default()
    }

    pub(crate) fn set_limits(&self, who: Quota, block_limit: u64, inode_limit: u64) {
        let mut rows = self.0.lock();
        let usage = rows.entry(who).or_default();
        (usage.block_limit, usage.inode_limit) = (block_limit, inode_limit);
    }

    pub(crate) fn set_usage(&self, who: Quota, blocks: u64, inodes: u64) {
        let mut rows = self.0.lock();
        let usage = rows.entry(who).or_default();
        (usage.blocks, usage.inodes) = (blocks, inodes);
    }

    /// All rows that say something, in order.
    pub(crate) fn all(&self) -> Vec<(Quota, Usage)> {
        let rows = self.0.lock();
        let rows = rows.iter().filter(|(_, usage)| **usage != Usage::default());
        let mut all: Vec<_> = rows.map(|(who, usage)| (*who, *usage)).collect();
        all.sort_unstable_by_key(|(who, _)| *who);
        all
    }

    /// Limits of all who have any, as the root directory keeps them.
    pub(crate) fn encode_limits(&self) -> Vec<u8> {
        let limited =
            self.all().into_iter().filter(|(_, usage)| usage.block_limit != 0 || usage.inode_limit != 0);
        let mut bytes = Vec::new();
        for (who, usage) in limited {
            let (kind, id) = number(who);
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
            bytes.extend_from_slice(&usage.block_limit.to_le_bytes());
            bytes.extend_from_slice(&usage.inode_limit.to_le_bytes());
        }
        bytes
    }

    /// What [`encode_limits`](Quotas::encode_limits) made.
    pub(crate) fn decode_limits(&self, bytes: &[u8]) {
        for row in bytes.chunks_exact(24) {
            let word = |at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("eight bytes"));
            let (kind, id) = (word(0) as u32, (word(0) >> 32) as u32);
            if let Some(who) = quota(kind, id) {
                self.set_limits(who, word(8), word(16));
            }
        }
    }
}

/// Whether bytes can be limits; if not, why.
pub(crate) fn check_limits(bytes: &[u8]) -> std::result::Result<(), &'static str> {
    let is_kind = |row: &[u8]| matches!(row[..4], [1 | 2, 0, 0, 0]);
    match bytes.len() % 24 {
        0 if bytes.chunks_exact(24).all(is_kind) => Ok(()),
        0 => Err("limits of what is neither a user nor a group"),
        _ => Err("a part of a limit"),
    }
}

/// A row's kind and id on media.
pub(crate) fn number(who: Quota) -> (u32, u32) {
    match who {
        Quota::User(id) => (1, id),
        Quota::Group(id) => (2, id),
    }
}

pub(crate) fn quota(kind: u32, id: u32) -> Option<Quota> {
    match kind {
        1 => Some(Quota::User(id)),
        2 => Some(Quota::Group(id)),
        _ => None,
    }
}
