//! Compares a pool with what must be in it: every posting of every acknowledged file, and nothing else.

use crate::{
    Result,
    corpus::Corpus,
    index::{self, CONTENTS, Count, FILES, Occurrence, POSTINGS, Posting, TOTALS},
    messages::Message,
};
use pmem_collections::ReadTx;
use std::{cmp::Ordering, collections::BTreeSet, fmt::Debug, path::Path};

/// What the workers have acknowledged, and so must never be lost.
pub(crate) struct Acknowledged {
    /// The round of each file; `None`: not in the index yet.
    rounds: Vec<Option<u32>>,
    /// Transactions.
    commits: u64,
    /// A commit that was begun and not acknowledged: it may have happened, as a whole, or not.
    in_doubt: Option<(u32, u32)>,
}

impl Acknowledged {
    /// Nothing yet.
    pub(crate) fn nothing(files: usize) -> Acknowledged {
        Acknowledged { rounds: vec![None; files], commits: 0, in_doubt: None }
    }

    /// What an index that was kept says of itself; [`verify`] finds out whether it is true.
    pub(crate) fn kept(path: &Path, corpus: &Corpus) -> Result<Acknowledged> {
        let pool = index::open(path)?;
        let tx = pool.read()?;
        let (files, totals) = (tx.open(FILES)?, tx.open(TOTALS)?);
        let mut acknowledged = Acknowledged::nothing(corpus.files.len());
        acknowledged.commits = totals.get()?.commits;
        for item in files.iter() {
            let (&id, entry) = item?;
            let file = corpus.files.get(id as usize);
            let same = file.is_some_and(|file| index::short_name(file) == entry.name);
            if !same || entry.hash != corpus.seen[id as usize].hash {
                let (name, root) = (entry.name(), corpus.root.display());
                return Err(format!(
                    "this is an index of other files than are in {root} now ({name} differs); remove it, or \
                     give another path"
                )
                .into());
            }
            acknowledged.rounds[id as usize] = Some(entry.round);
        }
        Ok(acknowledged)
    }

    /// Takes note of what a worker said.
    pub(crate) fn hear(&mut self, message: &Message) {
        match *message {
            Message::Committing { file, round } => self.in_doubt = Some((file, round)),
            Message::Committed { file, round, .. } => {
                self.rounds[file as usize] = Some(round);
                self.commits += 1;
                self.in_doubt = None;
            }
            Message::Working { .. } | Message::Closing => {}
        }
    }
}

/// What was found in a pool.
#[derive(Default)]
pub(crate) struct Found {
    /// Commits that opening the pool replayed.
    pub(crate) replayed: u64,
    /// Whether the commit in doubt had happened, if there was one.
    pub(crate) in_doubt_committed: Option<bool>,
    /// Files in the index.
    pub(crate) files: usize,
    /// Entries of `postings`.
    pub(crate) postings: usize,
    /// Distinct words.
    pub(crate) words: usize,
    /// Bytes of allocated blocks.
    pub(crate) used: u64,
    /// Bytes that blocks can be in.
    pub(crate) capacity: u64,
    /// What should not be so.
    pub(crate) differences: Vec<String>,
}

/// Opens the pool, which recovers it, checks it and its trees, and counts every file afresh.
pub(crate) fn verify(path: &Path, corpus: &Corpus, acknowledged: &mut Acknowledged) -> Result<Found> {
    let pool = index::open(path)?;
    let stats = pool.stats()?;
    let mut found = Found {
        replayed: pool.opening().replayed,
        used: stats.used,
        capacity: stats.capacity,
        ..Found::default()
    };
    found.differences.extend(
        pool.check()?.problems.into_iter().map(|problem| format!("at {}: {}", problem.offset, problem.what)),
    );
    let tx = pool.read()?;
    settle(&tx, acknowledged, &mut found)?;
    compare_postings(&tx, corpus, acknowledged, &mut found)?;
    drop(tx);
    pool.close()?;
    Ok(found)
}

/// Compares files and totals, and finds out about the commit in doubt.
fn settle(tx: &ReadTx<'_>, acknowledged: &mut Acknowledged, found: &mut Found) -> Result<()> {
    let (files, totals) = (tx.open(FILES)?, tx.open(TOTALS)?);
    files.check()?;
    found.files = files.len();
    if let Some((id, round)) = acknowledged.in_doubt.take() {
        let committed = files.get(id)?.is_some_and(|entry| entry.round == round);
        if committed {
            acknowledged.rounds[id as usize] = Some(round);
            acknowledged.commits += 1;
        }
        found.in_doubt_committed = Some(committed);
    }
    let expected = acknowledged.rounds.iter().zip(0u32..).filter_map(|(round, id)| Some((id, (*round)?)));
    let stored = files.iter().map(|item| item.map(|(id, entry)| (*id, entry.round)));
    compare("files", expected, stored, &mut found.differences)?;
    let commits = totals.get()?.commits;
    if commits != acknowledged.commits {
        found.differences.push(format!("{commits} commits, not {}", acknowledged.commits));
    }
    Ok(())
}

/// Counts the words of every file that must be in the index, and compares both trees with that, entry by entry.
fn compare_postings(
    tx: &ReadTx<'_>,
    corpus: &Corpus,
    acknowledged: &Acknowledged,
    found: &mut Found,
) -> Result<()> {
    let (postings, contents, totals) = (tx.open(POSTINGS)?, tx.open(CONTENTS)?, tx.open(TOTALS)?);
    postings.check()?;
    contents.check()?;
    let mut expected = Vec::new();
    let mut words = BTreeSet::new();
    for (id, round) in acknowledged.rounds.iter().enumerate() {
        let Some(round) = *round else { continue };
        for (word, count) in corpus.recount(id)?.words {
            expected.push((Occurrence { file: id as u32, word }, Count { count, round }));
            words.insert(word);
        }
    }
    let stored = contents.iter().map(|item| item.map(|(key, count)| (*key, *count)));
    compare("contents", expected.iter().copied(), stored, &mut found.differences)?;

    let posting = |(key, count): (Occurrence, Count)| (Posting { word: key.word, file: key.file }, count);
    let mut expected: Vec<(Posting, Count)> = expected.into_iter().map(posting).collect();
    expected.sort_unstable_by_key(|(key, _)| *key);
    let stored = postings.iter().map(|item| item.map(|(key, count)| (*key, *count)));
    compare("postings", expected.iter().copied(), stored, &mut found.differences)?;

    (found.postings, found.words) = (postings.len(), words.len());
    if totals.get()?.postings != expected.len() as u64 {
        found.differences.push(format!("{} postings in all, not {}", totals.get()?.postings, expected.len()));
    }
    Ok(())
}

/// Walks along two sequences in key order, and notes whatever is only in one of them or not the same.
fn compare<K: Ord + Copy + Debug, V: PartialEq + Copy + Debug>(
    what: &str,
    expected: impl Iterator<Item = (K, V)>,
    stored: impl Iterator<Item = pmem_collections::Result<(K, V)>>,
    differences: &mut Vec<String>,
) -> Result<()> {
    let stored = stored.collect::<Result<Vec<_>, _>>()?; // an error ends the comparison
    let (mut expected, mut stored) = (expected.peekable(), stored.into_iter().peekable());
    loop {
        let order = match (expected.peek(), stored.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((expected, _)), Some((stored, _))) => expected.cmp(stored),
        };
        let wanted = if order.is_le() { expected.next() } else { None };
        let found = if order.is_ge() { stored.next() } else { None };
        match (wanted, found) {
            (Some((key, value)), None) => differences.push(format!("{what}: {key:?} is lost: {value:?}")),
            (None, Some((key, value))) => {
                differences.push(format!("{what}: {key:?} should not be there: {value:?}"));
            }
            (Some((key, wanted)), Some((_, found))) if wanted != found => {
                differences.push(format!("{what}: {key:?} has {found:?}, not {wanted:?}"));
            }
            _ => {}
        }
    }
}
