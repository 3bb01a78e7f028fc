//! The persistent inverted index: four objects in one pool, changed together.
//!
//! | object | type | says |
//! |---|---|---|
//! | `postings` | (word, file) → count, round | which files have a word: a range of the tree |
//! | `contents` | (file, word) → count, round | which words a file has: what to take out when it is indexed again |
//! | `files` | file → name, hash, round | which files there are |
//! | `totals` | one cell | how many transactions and postings there are |
//!
//! [`put`] changes all four. A pool in which they disagree, with each other or with the files, has lost
//! something that was committed, or kept something that was not.

use crate::corpus::{File, Text, Word};
use bytemuck::{Pod, Zeroable};
use pmem_collections::{Named, PBTreeMap, PCell, Plain, Pool, PoolOptions, Result, WriteTx};
use std::path::Path;

/// Key of `postings`. The word comes first, so that the files of a word are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Posting {
    pub(crate) word: Word,
    pub(crate) file: u32,
}

/// Key of `contents`. The file comes first, so that the words of a file are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Occurrence {
    pub(crate) file: u32,
    pub(crate) word: Word,
}

/// How often a word is in a file, and in which round it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Count {
    pub(crate) count: u32,
    pub(crate) round: u32,
}

/// A file that is in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Entry {
    /// Hash of the bytes that were indexed.
    pub(crate) hash: u64,
    /// Distinct words.
    pub(crate) words: u32,
    /// How often the file has been indexed.
    pub(crate) round: u32,
    /// Its path below the indexed folder, or the end of it, filled up with zeros.
    pub(crate) name: [u8; 112],
}

/// What all transactions together have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Totals {
    /// Transactions.
    pub(crate) commits: u64,
    /// Entries of `postings`, and of `contents`.
    pub(crate) postings: u64,
}

impl Plain for Posting {
    const NAME: &'static str = "quickstart.Posting";
}
impl Plain for Occurrence {
    const NAME: &'static str = "quickstart.Occurrence";
}
impl Plain for Count {
    const NAME: &'static str = "quickstart.Count";
}
impl Plain for Entry {
    const NAME: &'static str = "quickstart.Entry";
}
impl Plain for Totals {
    const NAME: &'static str = "quickstart.Totals";
}

pub(crate) const POSTINGS: Named<'static, PBTreeMap<Posting, Count>> = Named::new("postings");
pub(crate) const CONTENTS: Named<'static, PBTreeMap<Occurrence, Count>> = Named::new("contents");
pub(crate) const FILES: Named<'static, PBTreeMap<u32, Entry>> = Named::new("files");
pub(crate) const TOTALS: Named<'static, PCell<Totals>> = Named::new("totals");

impl Entry {
    pub(crate) fn new(file: &File, text: &Text, round: u32) -> Entry {
        Entry { hash: text.hash, words: text.words.len() as u32, round, name: short_name(file) }
    }

    pub(crate) fn name(&self) -> String {
        let len = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..len]).into_owned()
    }
}

/// The end of a file's name, as it is stored.
pub(crate) fn short_name(file: &File) -> [u8; 112] {
    let mut name = [0; 112];
    let bytes = file.name_bytes();
    let end = &bytes[bytes.len().saturating_sub(name.len())..];
    name[..end.len()].copy_from_slice(end);
    name
}

fn options(size: u64) -> PoolOptions {
    PoolOptions::new().layout("quickstart index").size(size)
}

/// Makes an empty index of `size` bytes.
pub(crate) fn create(path: &Path, size: u64) -> Result<Pool> {
    // SAFETY: nobody but this program writes the file; the pool's lock keeps a second copy of it out.
    let pool = unsafe { options(size).create(path) }?;
    pool.write(|tx| {
        tx.open(POSTINGS)?;
        tx.open(CONTENTS)?;
        tx.open(FILES)?;
        tx.open(TOTALS)?;
        Ok(())
    })?;
    Ok(pool)
}

/// Opens an index. What was committed when the last process that had it open was killed is there.
pub(crate) fn open(path: &Path) -> Result<Pool> {
    // SAFETY: as in `create`.
    unsafe { options(0).open(path) }
}

/// Takes out what the index has of the file, and puts in what it contains now.
pub(crate) fn put(tx: &WriteTx<'_>, id: u32, file: &File, text: &Text, round: u32) -> Result<()> {
    let mut postings = tx.open(POSTINGS)?;
    let mut contents = tx.open(CONTENTS)?;
    let mut files = tx.open(FILES)?;
    let mut totals = tx.open(TOTALS)?;

    let (first, last) = (Occurrence { file: id, word: Word::MIN }, Occurrence { file: id, word: Word::MAX });
    let old =
        contents.range(first..=last)?.map(|item| item.map(|(key, _)| *key)).collect::<Result<Vec<_>>>()?;
    for occurrence in &old {
        contents.remove(occurrence)?;
        postings.remove(Posting { word: occurrence.word, file: id })?;
    }
    for (&word, &count) in &text.words {
        contents.insert(Occurrence { file: id, word }, Count { count, round })?;
        postings.insert(Posting { word, file: id }, Count { count, round })?;
    }
    files.insert(id, Entry::new(file, text, round))?;
    let totals = totals.get_mut()?;
    totals.commits += 1;
    totals.postings = totals.postings - old.len() as u64 + text.words.len() as u64;
    Ok(())
}

/// The files that have `word`, most frequent first: name, count.
pub(crate) fn query(pool: &Pool, word: &str) -> Result<Vec<(String, u32)>> {
    let tx = pool.read()?;
    let (postings, files) = (tx.open(POSTINGS)?, tx.open(FILES)?);
    let word = Word::new(word);
    let mut found = Vec::new();
    for item in postings.range(Posting { word, file: 0 }..=Posting { word, file: u32::MAX })? {
        let (posting, count) = item?;
        let name = files.get(posting.file)?.map_or_else(|| format!("file {}", posting.file), Entry::name);
        found.push((name, count.count));
    }
    found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(found)
}
