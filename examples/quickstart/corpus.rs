//! What is indexed: the text files of a directory tree, and their words.

use crate::Result;
use bytemuck::{Pod, Zeroable};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hasher},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Larger files are not sources.
const MAX_BYTES: u64 = 1 << 20;
/// A file is one transaction, and a transaction must fit the pool's log.
const MAX_WORDS: usize = 4000;

/// A word in lower case, or its first 28 bytes, filled up with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Word([u8; 28]);

impl Word {
    pub(crate) const MIN: Word = Word([0; 28]);
    pub(crate) const MAX: Word = Word([0xff; 28]);

    pub(crate) fn new(word: &str) -> Word {
        let mut bytes = [0; 28];
        let lower = word.to_lowercase();
        let end = lower.floor_char_boundary(bytes.len());
        bytes[..end].copy_from_slice(&lower.as_bytes()[..end]);
        Word(bytes)
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        String::from_utf8_lossy(&self.0).trim_end_matches('\0').fmt(f)
    }
}

/// A file of the tree, by its path below the tree's root.
pub(crate) struct File {
    name: PathBuf,
}

impl File {
    pub(crate) fn name_bytes(&self) -> &[u8] {
        self.name.as_os_str().as_bytes()
    }

    /// Reads the file and counts its words.
    pub(crate) fn read(&self, root: &Path) -> Result<Text> {
        let path = root.join(&self.name);
        let bytes = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(Text::new(&bytes))
    }
}

/// What a file contained when it was read.
pub(crate) struct Text {
    pub(crate) hash: u64,
    pub(crate) words: BTreeMap<Word, u32>,
}

impl Text {
    fn new(bytes: &[u8]) -> Text {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let mut words = BTreeMap::new();
        let text = String::from_utf8_lossy(bytes);
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
            *words.entry(Word::new(word)).or_insert(0) += 1;
        }
        Text { hash: hasher.finish(), words }
    }
}

/// What is remembered of a file's content.
pub(crate) struct Seen {
    pub(crate) hash: u64,
    /// Distinct words.
    pub(crate) words: u64,
}

/// The files of a tree, in a fixed order; a file's number is its position.
pub(crate) struct Corpus {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
    /// What each file contained when the tree was looked through; it must not change meanwhile.
    pub(crate) seen: Vec<Seen>,
    /// Words of all files, each file's distinct ones.
    pub(crate) postings: u64,
    /// Files left out: no text, too large, not readable.
    pub(crate) skipped: usize,
}

impl Corpus {
    /// Looks through the tree. Hidden entries, folders named `target`, and links are left out.
    pub(crate) fn find(root: &Path) -> Result<Corpus> {
        let mut names = Vec::new();
        let mut corpus =
            Corpus { root: root.to_path_buf(), files: Vec::new(), seen: Vec::new(), postings: 0, skipped: 0 };
        list(root, Path::new(""), &mut names, &mut corpus.skipped).map_err(|error| {
            format!("cannot list {}: {error}; give a folder of text files that you may read", root.display())
        })?;
        names.sort();
        for name in names {
            let Some(text) = text_of(&root.join(&name)) else {
                corpus.skipped += 1;
                continue;
            };
            let words = text.words.len() as u64;
            corpus.postings += words;
            corpus.seen.push(Seen { hash: text.hash, words });
            corpus.files.push(File { name });
        }
        if corpus.files.is_empty() {
            return Err(format!("no text files of at most 1 MiB in {}", root.display()).into());
        }
        Ok(corpus)
    }

    /// The words that the file contains now.
    pub(crate) fn recount(&self, id: usize) -> Result<Text> {
        let text = self.files[id].read(&self.root)?;
        if text.hash != self.seen[id].hash {
            let name = self.root.join(&self.files[id].name);
            return Err(format!(
                "{} changed meanwhile, so nothing can be compared; use a tree that stands still",
                name.display()
            )
            .into());
        }
        Ok(text)
    }

    /// The list for a worker, which has to have the same numbers.
    pub(crate) fn write_names(&self, mut to: impl io::Write) -> io::Result<()> {
        self.files.iter().try_for_each(|file| {
            to.write_all(file.name_bytes())?;
            to.write_all(&[0])
        })
    }

    /// The list as [`write_names`](Corpus::write_names) wrote it.
    pub(crate) fn read_names(mut from: impl io::Read) -> io::Result<Vec<File>> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| File { name: OsString::from_vec(name.to_vec()).into() }).collect())
    }
}

fn list(root: &Path, below: &Path, names: &mut Vec<PathBuf>, skipped: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let path = below.join(&name);
        if kind.is_file() {
            names.push(path);
        } else if kind.is_dir() && name != "target" && list(root, &path, names, skipped).is_err() {
            *skipped += 1; // a folder that may not be read
        }
    }
    Ok(())
}

fn text_of(path: &Path) -> Option<Text> {
    if fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let text = (!bytes.contains(&0)).then(|| Text::new(&bytes))?;
    (1..=MAX_WORDS).contains(&text.words.len()).then_some(text)
}
