//! A folder that one thread changes at random, and what it should hold: after a kill every change that returned, and the one that
//! did not all or not at all.

use fastrand::Rng;
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

#[derive(Clone, PartialEq)]
enum Entry {
    Folder,
    Symlink(PathBuf),
    /// The number of a file, which may have several names.
    File(u64),
}

#[derive(Clone, Default, PartialEq)]
struct Content {
    bytes: Vec<u8>,
    mode: u32,
}

/// What is where.
#[derive(Clone, Default)]
struct State {
    names: BTreeMap<PathBuf, Entry>,
    files: BTreeMap<u64, Content>,
}

enum Change {
    Create(PathBuf, u64),
    Write(PathBuf, u64, Vec<u8>),
    Append(PathBuf, Vec<u8>),
    Resize(PathBuf, u64),
    Mode(PathBuf, u32),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf, PathBuf),
    Folder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveFolder(PathBuf),
}

/// Files and folders that a tree has at most.
const NAMES: usize = 60;
/// Bytes that a file has at most.
const LENGTH: u64 = 300_000;

impl State {
    fn file(&mut self, path: &Path) -> &mut Content {
        let Some(Entry::File(number)) = self.names.get(path) else { panic!("{} is a file", path.display()) };
        self.files.get_mut(number).unwrap()
    }

    /// What a change makes of it.
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path, number) => {
                self.names.insert(path.clone(), Entry::File(*number));
                self.files.insert(*number, Content { bytes: Vec::new(), mode: 0o640 });
            }
            Change::Write(path, at, bytes) => {
                let (content, at) = (&mut self.file(path).bytes, *at as usize);
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Append(path, bytes) => self.file(path).bytes.extend(bytes),
            Change::Resize(path, len) => self.file(path).bytes.resize(*len as usize, 0),
            Change::Mode(path, mode) => self.file(path).mode = *mode,
            Change::Link(from, to) => {
                let entry = self.names[from].clone();
                self.names.insert(to.clone(), entry);
            }
            Change::Symlink(path, target) => {
                self.names.insert(path.clone(), Entry::Symlink(target.clone()));
            }
            Change::Folder(path) => {
                self.names.insert(path.clone(), Entry::Folder);
            }
            Change::Rename(from, to) => {
                // Two names of one file: nothing happens.
                if matches!(self.names[from], Entry::File(_)) && self.names.get(to) == self.names.get(from) {
                    return;
                }
                let inside: Vec<PathBuf> =
                    self.names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in inside {
                    let entry = self.names.remove(&path).unwrap();
                    // (`join` of nothing would end in a slash.)
                    let rest = path.strip_prefix(from).unwrap();
                    let path = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    self.names.insert(path, entry);
                }
            }
            Change::Remove(path) | Change::RemoveFolder(path) => {
                self.names.remove(path);
            }
        }
    }

    /// Files with their names, content and mode; folders; links: what can be read.
    fn seen(&self) -> Vec<(PathBuf, Seen)> {
        let mut first: BTreeMap<u64, &PathBuf> = BTreeMap::new();
        self.names
            .iter()
            .map(|(path, entry)| {
                let seen = match entry {
                    Entry::Folder => Seen::Folder,
                    Entry::Symlink(target) => Seen::Symlink(target.clone()),
                    Entry::File(number) => {
                        let name = *first.entry(*number).or_insert(path);
                        Seen::File(name.clone(), self.files[number].clone())
                    }
                };
                (path.clone(), seen)
            })
            .collect()
    }
}

#[derive(PartialEq)]
enum Seen {
    Folder,
    Symlink(PathBuf),
    /// The first of its names, and what it holds.
    File(PathBuf, Content),
}

/// What a folder holds, by names.
fn look(root: &Path) -> Vec<(PathBuf, Seen)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if fs::symlink_metadata(root.join(&path)).unwrap().is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, ());
        }
    }
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    found
        .into_keys()
        .map(|path| {
            let whole = root.join(&path);
            let metadata = fs::symlink_metadata(&whole).unwrap();
            let seen = if metadata.is_dir() {
                Seen::Folder
            } else if metadata.is_symlink() {
                Seen::Symlink(fs::read_link(&whole).unwrap())
            } else {
                let name = first.entry(metadata.ino()).or_insert_with(|| path.clone()).clone();
                let bytes = fs::read(&whole).unwrap();
                assert_eq!(bytes.len() as u64, metadata.len());
                Seen::File(name, Content { bytes, mode: metadata.mode() & 0o7777 })
            };
            (path, seen)
        })
        .collect()
}

pub(crate) struct Tree {
    root: PathBuf,
    random: Rng,
    state: State,
    /// What the change that did not return would have made of it.
    perhaps: Option<State>,
    next: u64,
    changes: usize,
}

impl Tree {
    pub(crate) fn make(root: PathBuf, random: Rng) -> Tree {
        fs::create_dir(&root).unwrap();
        Tree { root, random, state: State::default(), perhaps: None, next: 0, changes: 0 }
    }

    /// Changes that returned.
    pub(crate) fn changes(&self) -> usize {
        self.changes
    }

    /// It holds what it should.
    pub(crate) fn verify(&mut self) {
        let found = look(&self.root);
        if found == self.state.seen() {
            self.perhaps = None;
            return;
        }
        if let Some(perhaps) = self.perhaps.take()
            && found == perhaps.seen()
        {
            self.state = perhaps;
            return;
        }
        let expected = self.state.seen();
        let names = |list: &[(PathBuf, Seen)]| list.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        let wrong = found.iter().find(|entry| !expected.contains(entry)).map(|(path, _)| path);
        panic!(
            "{}: {wrong:?} is not as it should be; there are {:?}, and should be {:?}",
            self.root.display(),
            names(&found),
            names(&expected)
        );
    }

    /// Changes it until the daemon is gone.
    pub(crate) fn change_until(&mut self, killed: &AtomicBool) {
        loop {
            let change = self.choose();
            let mut after = self.state.clone();
            after.apply(&change);
            match self.perform(&change) {
                Ok(()) => {
                    self.state = after;
                    self.changes += 1;
                }
                Err(_) if killed.load(SeqCst) => {
                    self.perhaps = Some(after);
                    return;
                }
                Err(error) => panic!("before the kill: {error}"),
            }
        }
    }

    /// A name that is not there, in a folder that is.
    fn fresh(&mut self) -> PathBuf {
        self.next += 1;
        let folder = self.any(|entry| *entry == Entry::Folder).filter(|_| self.random.bool());
        folder.unwrap_or_default().join(format!("name {}", self.next))
    }

    fn any(&mut self, what: impl Fn(&Entry) -> bool) -> Option<PathBuf> {
        let paths: Vec<&PathBuf> =
            self.state.names.iter().filter(|(_, entry)| what(entry)).map(|(path, _)| path).collect();
        self.random.choice(paths).cloned()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = if self.random.u8(..8) == 0 { 200_000 } else { 9_000 };
        let (len, seed) = (self.random.usize(1..most), self.random.u64(..));
        let mut bytes = vec![0; len];
        Rng::with_seed(seed).fill(&mut bytes);
        bytes
    }

    fn choose(&mut self) -> Change {
        loop {
            if let Some(change) = self.propose() {
                return change;
            }
        }
    }

    /// A change, if there is what it takes.
    fn propose(&mut self) -> Option<Change> {
        let full = self.state.names.len() >= NAMES;
        let is_file = |entry: &Entry| matches!(entry, Entry::File(_));
        let change = match self.random.u8(..20) {
            0..=1 if !full => {
                let path = self.fresh();
                Change::Create(path, self.next)
            }
            2..=6 => {
                let path = self.any(is_file)?;
                Change::Write(path, self.random.u64(..LENGTH - 200_000), self.bytes())
            }
            7..=8 => {
                let path = self.any(is_file)?;
                if self.state.file(&path).bytes.len() as u64 > LENGTH {
                    return None;
                }
                Change::Append(path, self.bytes())
            }
            9 => Change::Resize(self.any(is_file)?, self.random.u64(..LENGTH)),
            10 => Change::Mode(self.any(is_file)?, self.random.u32(..0o1000) | 0o600),
            11 if !full => Change::Link(self.any(is_file)?, self.fresh()),
            12 if !full => Change::Symlink(self.fresh(), PathBuf::from(format!("target {}", self.next))),
            13 if !full => Change::Folder(self.fresh()),
            14..=15 => {
                let from = self.any(|_| true)?;
                let to = if self.state.names[&from] != Entry::Folder && self.random.bool() {
                    self.any(|entry| *entry != Entry::Folder)?
                } else {
                    self.fresh()
                };
                if to.starts_with(&from) && to != from {
                    return None;
                }
                Change::Rename(from, to)
            }
            16..=18 => Change::Remove(self.any(|entry| *entry != Entry::Folder).filter(|_| full)?),
            19 => {
                let path = self.any(|entry| *entry == Entry::Folder)?;
                if self.state.names.keys().any(|other| other != &path && other.starts_with(&path)) {
                    return None;
                }
                Change::RemoveFolder(path)
            }
            _ => return None,
        };
        Some(change)
    }

    /// One system call that changes something, with those that it takes.
    fn perform(&self, change: &Change) -> io::Result<()> {
        let at = |path: &Path| self.root.join(path);
        let open = |path: &Path| OpenOptions::new().write(true).open(at(path));
        match change {
            Change::Create(path, _) => {
                OpenOptions::new().write(true).create_new(true).mode(0o640).open(at(path)).map(drop)
            }
            Change::Write(path, offset, bytes) => open(path)?.write_at(bytes, *offset).map(|written| {
                assert_eq!(written, bytes.len(), "less was written than there was");
            }),
            Change::Append(path, bytes) => {
                OpenOptions::new().append(true).open(at(path))?.write(bytes).map(|written| {
                    assert_eq!(written, bytes.len(), "less was written than there was");
                })
            }
            Change::Resize(path, len) => open(path)?.set_len(*len),
            Change::Mode(path, mode) => fs::set_permissions(at(path), Permissions::from_mode(*mode)),
            Change::Link(from, to) => fs::hard_link(at(from), at(to)),
            Change::Symlink(path, target) => symlink(target, at(path)),
            Change::Folder(path) => fs::create_dir(at(path)),
            Change::Rename(from, to) => fs::rename(at(from), at(to)),
            Change::Remove(path) => fs::remove_file(at(path)),
            Change::RemoveFolder(path) => fs::remove_dir(at(path)),
        }
    }
}
