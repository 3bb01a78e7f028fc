//! The table's own block: what it holds, where its root is, how many entries there are, the key of its hash.

use super::bucket::bucket_layout;
use crate::{damage::corrupt, stored::Shape};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Result, Stored};
use siphasher::sip::SipHasher13;

const MAGIC: u64 = u64::from_le_bytes(*b"PHashMap");
const VERSION: u16 = 1;

/// The header, as it is on media (see `format/hash.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    slots: u8,
    bits: u8,
    key_align: u8,
    value_align: u8,
    pub(crate) root: u64,
    pub(crate) len: u64,
    key_size: u16,
    value_size: u16,
    bucket_size: u32,
    pub(crate) hash_key: [u64; 2],
    reserved: u64,
}

const _: () = assert!(size_of::<Header>() == 64);
pub(crate) const ROOT: u64 = 16;
pub(crate) const LEN: u64 = 24;
const _: () = assert!(std::mem::offset_of!(Header, root) as u64 == ROOT);
const _: () = assert!(std::mem::offset_of!(Header, len) as u64 == LEN);

/// Entries that a hash table cannot hold: too few would fit in the largest bucket.
#[derive(Debug, thiserror::Error)]
#[error(
    "a hash map cannot hold keys of {key_size} bytes (aligned to {key_align}) with values of {value_size} bytes (aligned \
     to {value_align}): at most about 4,080 for both, aligned to 64; store a `Ptr` to the large part"
)]
pub struct EntryTooLarge {
    /// Size of the key, bytes.
    pub key_size: usize,
    /// Alignment of the key, bytes.
    pub key_align: usize,
    /// Size of the value, bytes.
    pub value_size: usize,
    /// Alignment of the value, bytes.
    pub value_align: usize,
}

impl Header {
    /// The header of an empty table; [`EntryTooLarge`], as the reason of an abort, if there is no layout.
    pub(crate) fn new<K: Stored, V: Stored>(hash_key: [u64; 2]) -> Result<Header> {
        if !Self::has_layout::<K, V>() {
            return Err(Error::abort(EntryTooLarge {
                key_size: Shape::of::<K>().size,
                key_align: Shape::of::<K>().align,
                value_size: Shape::of::<V>().size,
                value_align: Shape::of::<V>().align,
            }));
        }
        Ok(Header { hash_key, ..Self::empty::<K, V>() })
    }

    const fn has_layout<K: Stored, V: Stored>() -> bool {
        bucket_layout::<K, V>().slots > 0
    }

    /// The header of an empty table without a hash key, if there is a layout.
    const fn empty<K: Stored, V: Stored>() -> Header {
        let (key, value, layout) = (Shape::of::<K>(), Shape::of::<V>(), bucket_layout::<K, V>());
        // All of these are small: buckets have at most 16 KiB.
        Header {
            magic: MAGIC,
            version: VERSION,
            flags: 0,
            slots: layout.slots as u8,
            bits: layout.bits as u8,
            key_align: key.align as u8,
            value_align: value.align as u8,
            root: 0,
            len: 0,
            key_size: key.size as u16,
            value_size: value.size as u16,
            bucket_size: layout.bucket as u32,
            hash_key: [0; 2],
            reserved: 0,
        }
    }

    /// Checks a header that was read at `at`.
    #[inline]
    pub(crate) fn check<K: Stored, V: Stored>(&self, at: u64) -> Result<()> {
        let Header { root, len, hash_key, .. } = *self;
        let expected = Header { root, len, hash_key, ..const { Self::empty::<K, V>() } };
        if const { Self::has_layout::<K, V>() }
            && bytemuck::bytes_of(self) == bytemuck::bytes_of(&expected)
            && (root != 0 || len == 0)
        {
            return Ok(());
        }
        Err(self.fault::<K, V>(at))
    }

    /// What is wrong with it.
    #[cold]
    fn fault<K: Stored, V: Stored>(&self, at: u64) -> Error {
        let expected = match Header::new::<K, V>([0; 2]) {
            Ok(expected) => expected,
            Err(no_layout) => return no_layout,
        };
        if self.magic != MAGIC {
            return corrupt(at, "the header of a PHashMap", format!("magic {:#x}", self.magic));
        }
        if (self.version, self.flags) != (VERSION, 0) {
            return corrupt(
                at,
                format!("format version {VERSION} without flags (a newer program wrote this?)"),
                format!("version {}, flags {:#x}", self.version, self.flags),
            );
        }
        if self.root == 0 && self.len != 0 {
            return corrupt(at, "a root", format!("none, and {} entries", self.len));
        }
        corrupt(at, format!("{expected:?} but for root, len and hash key"), format!("{self:?}"))
    }
}

/// The key of a new table's hash: of the pool's identity, which is random, and the table's place in it.
pub(crate) fn hash_key(pool: u64, at: u64) -> [u64; 2] {
    [0, 1].map(|half| SipHasher13::new_with_keys(pool, half).hash(&at.to_le_bytes()))
}
