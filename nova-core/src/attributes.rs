//! Extended attributes: in the inode's log, in parts that each fit a page.

use crate::{
    Code, Error, Result,
    commit::Batch,
    format::{AttributeHead, BLOCK, LINE, MAX_ATTRIBUTE, MAX_NAME, kind},
    log::{self, Append, Rewrite},
    media::Media,
};
use std::collections::BTreeMap;

/// Namespaces, by their numbers on media.
const NAMESPACES: [(&str, u8); 4] = [("user.", 1), ("trusted.", 2), ("security.", 3), ("system.", 4)];
/// What the volume itself keeps; no name leads here.
pub(crate) const INTERNAL: u8 = 0;
pub(crate) const USER: u8 = 1;
pub(crate) const TRUSTED: u8 = 2;
pub(crate) const SYSTEM: u8 = 4;

/// Namespace and the rest of the name.
pub(crate) type Key = (u8, Vec<u8>);

/// The name of a symbolic link's target, where metadata has replicas. Elsewhere it is content.
pub(crate) const TARGET: &[u8] = b"target";

/// Its key.
pub(crate) fn target_key() -> Key {
    (INTERNAL, TARGET.to_vec())
}

/// `user.x` as namespace and rest. [`Code::NotSupported`] for other namespaces.
pub(crate) fn key(name: &[u8]) -> Result<Key> {
    for (prefix, number) in NAMESPACES {
        if let Some(rest) = name.strip_prefix(prefix.as_bytes()) {
            return match rest.len() {
                0 => Err(Code::Invalid.into()),
                _ if name.len() > MAX_NAME => Err(Code::Range.into()),
                _ if rest.contains(&0) => Err(Code::Invalid.into()),
                _ => Ok((number, rest.to_vec())),
            };
        }
    }
    Err(Code::NotSupported.into())
}

/// The name of a key; `None` for what is the volume's own.
pub(crate) fn full_name((namespace, rest): &Key) -> Option<Vec<u8>> {
    let (prefix, _) = NAMESPACES.iter().find(|(_, number)| number == namespace)?;
    Some([prefix.as_bytes(), rest].concat())
}

/// One part of a value: where it is, and on which page.
#[derive(Clone, Copy, Debug)]
struct Part {
    at: u64,
    page: u32,
}

/// A value, as it is in the log.
#[derive(Clone, Debug)]
struct Stored {
    parts: Vec<Option<Part>>,
    value: Vec<u8>,
}

/// The attributes of one inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes(BTreeMap<Key, Stored>);

/// Bytes of a value that one entry takes beside a name.
fn room(name: &[u8]) -> usize {
    (BLOCK - LINE) as usize - size_of::<AttributeHead>() - name.len()
}

impl Attributes {
    pub(crate) fn get(&self, key: &Key) -> Option<&[u8]> {
        self.0.get(key).map(|stored| &*stored.value)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }

    /// Whether both are the same values, at the same places.
    pub(crate) fn same(&self, other: &Attributes) -> bool {
        let parts = |stored: &Stored| -> Vec<Option<u64>> {
            stored.parts.iter().map(|part| part.map(|part| part.at)).collect()
        };
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((key, one), (other_key, other))| {
                key == other_key && one.value == other.value && parts(one) == parts(other)
            })
    }

    /// Lines that they take in a log.
    pub(crate) fn lines(&self) -> u64 {
        let lines = |(key, stored): (&Key, &Stored)| {
            let names = (size_of::<AttributeHead>() + key.1.len() + LINE as usize) * stored.parts.len();
            ((names + stored.value.len()) as u64).div_ceil(LINE)
        };
        self.0.iter().map(lines).sum()
    }

    /// A part that a scan met.
    pub(crate) fn take_part(
        &mut self,
        head: &AttributeHead,
        name: &[u8],
        value: &[u8],
        at: u64,
        page: u32,
    ) -> Result<()> {
        let (part, parts) = (usize::from(head.part), usize::from(head.parts));
        let len = head.value_len as usize;
        let room = room(name);
        let start = part * room;
        let expected = len.saturating_sub(start).min(room);
        let right = name.len() <= MAX_NAME
            && part < parts
            && len <= MAX_ATTRIBUTE
            && parts == len.div_ceil(room).max(1)
            && value.len() == expected;
        if !right {
            return Error::damaged("attribute entry", at, "its parts do not make a value");
        }
        let stored = self
            .0
            .entry((head.namespace, name.to_vec()))
            .or_insert_with(|| Stored { parts: vec![None; parts], value: vec![0; len] });
        if stored.parts.len() != parts || stored.value.len() != len || stored.parts[part].is_some() {
            return Error::damaged("attribute entry", at, "another value has the same name");
        }
        stored.parts[part] = Some(Part { at, page });
        stored.value[start..start + value.len()].copy_from_slice(value);
        Ok(())
    }

    /// Forgets values of which parts are missing.
    pub(crate) fn keep_whole(&mut self) {
        self.0.retain(|_, stored| stored.parts.iter().all(Option::is_some));
    }

    /// Whether every value has all its parts.
    pub(crate) fn are_whole(&self) -> bool {
        self.0.values().all(|stored| stored.parts.iter().all(Option::is_some))
    }
}

fn entry(key: &Key, value: &[u8], part: usize, parts: usize, epoch: u64) -> Vec<u8> {
    let room = room(&key.1);
    let here = &value[part * room..value.len().min((part + 1) * room)];
    let len = size_of::<AttributeHead>() + key.1.len() + here.len();
    let lines = len.div_ceil(LINE as usize);
    let head = AttributeHead {
        checksum: 0,
        kind: kind::ATTRIBUTE,
        lines: lines as u8,
        name_len: key.1.len() as u8,
        namespace: key.0,
        part: part as u16,
        parts: parts as u16,
        value_len: value.len() as u32,
        here: here.len() as u32,
        reserved: 0,
        epoch,
        removed: 0,
    };
    let mut bytes = vec![0; lines * LINE as usize];
    bytes[..size_of::<AttributeHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    bytes[size_of::<AttributeHead>()..][..key.1.len()].copy_from_slice(&key.1);
    bytes[size_of::<AttributeHead>() + key.1.len()..len].copy_from_slice(here);
    bytes
}

/// A change of one attribute, put into a batch and not committed.
pub(crate) struct Change {
    key: Key,
    new: Option<Stored>,
}

impl Attributes {
    /// Sets or, with `None`, removes an attribute.
    pub(crate) fn change(
        &self,
        media: &Media,
        batch: &mut Batch,
        append: &mut Append<'_>,
        key: Key,
        value: Option<&[u8]>,
    ) -> Result<Change> {
        let epoch = batch.epoch();
        let new = match value {
            Some(value) => {
                let parts = value.len().div_ceil(room(&key.1)).max(1);
                let stored = (0..parts)
                    .map(|part| {
                        let (at, page) = append.entry(batch, &mut entry(&key, value, part, parts, epoch))?;
                        Ok(Some(Part { at, page }))
                    })
                    .collect::<Result<Vec<_>>>()?;
                Some(Stored { parts: stored, value: value.to_vec() })
            }
            None => None,
        };
        if let Some(old) = self.0.get(&key) {
            for part in old.parts.iter().flatten() {
                batch.line(part.at, &log::removed(media, part.at, epoch)?);
            }
        }
        Ok(Change { key, new })
    }

    /// The change is committed.
    pub(crate) fn done(&mut self, change: Change, pages: &mut crate::log::Pages) {
        let old = match change.new {
            Some(new) => {
                new.parts.iter().flatten().for_each(|part| pages.add(part.page, 1));
                self.0.insert(change.key, new)
            }
            None => self.0.remove(&change.key),
        };
        old.iter().flat_map(|old| old.parts.iter().flatten()).for_each(|part| pages.remove(part.page, 1));
    }

    /// Writes all of them to a new log.
    pub(crate) fn rewrite(&self, rewrite: &mut Rewrite<'_>) -> Result<Attributes> {
        let mut moved = Attributes::default();
        for (key, stored) in &self.0 {
            let parts = stored.parts.len();
            let places = (0..parts)
                .map(|part| {
                    let (at, page) =
                        rewrite.entry(&mut entry(key, &stored.value, part, parts, rewrite.birth()))?;
                    Ok(Some(Part { at, page }))
                })
                .collect::<Result<Vec<_>>>()?;
            moved.0.insert(key.clone(), Stored { parts: places, value: stored.value.clone() });
        }
        Ok(moved)
    }

    /// Pages of their parts.
    pub(crate) fn pages(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.values().flat_map(|stored| stored.parts.iter().flatten().map(|part| part.page))
    }
}
