//! Everything that a user can see of a volume, to be compared.

use crate::ops::ROOT;
use nova_core::{Access, Kind, Nova, Quota, Result, Stat, Usage};
use std::collections::BTreeMap;

/// What is later than this was set by the clock, which two runs do not share.
const CLOCK: i64 = 1 << 50;

/// What one name leads to.
#[derive(Clone, PartialEq)]
pub(crate) struct Found {
    /// Without times that the clock has set.
    pub(crate) stat: Stat,
    /// Of a file, or a link's target.
    pub(crate) content: Vec<u8>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A volume's names, and what they lead to; quotas.
#[derive(Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) names: BTreeMap<String, Found>,
    quotas: Vec<(Quota, Usage)>,
    /// What each snapshot has.
    snapshots: BTreeMap<String, BTreeMap<String, Found>>,
}

impl Tree {
    /// Reads all of it. `Err` for what cannot be: names that lead nowhere, numbers that contradict each other.
    pub(crate) fn of(nova: &Nova) -> std::result::Result<Tree, String> {
        let mut names = BTreeMap::new();
        walk(nova, nova_core::ROOT, "/", &mut names).map_err(|error| format!("reading: {error}"))?;
        let mut links: BTreeMap<u64, u32> = BTreeMap::new();
        names.values().for_each(|found: &Found| *links.entry(found.stat.ino).or_default() += 1);
        for (path, found) in &names {
            let counted = links[&found.stat.ino];
            if found.stat.kind() != Kind::Directory && found.stat.links != counted {
                return Err(format!("{path} has {counted} names, and {} links", found.stat.links));
            }
            if found.stat.kind() == Kind::Directory {
                let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
                let is_in = |(other, found): &(&String, &Found)| {
                    let rest = other.strip_prefix(&prefix);
                    let inside = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'));
                    inside && found.stat.kind() == Kind::Directory
                };
                let below = names.iter().filter(is_in).count() as u32;
                if found.stat.links != 2 + below {
                    return Err(format!("{path} has {below} directories, and {} links", found.stat.links));
                }
            }
        }
        let quotas = nova.quotas().into_iter().filter(|(_, usage)| *usage != Usage::default()).collect();
        Ok(Tree { names, quotas, snapshots: snapshots(nova)? })
    }

    /// Whether every snapshot has what it had in the state before, or, if it is new, what is there: what is wrong with it.
    pub(crate) fn past_after(&self, before: &Tree) -> Option<String> {
        let expected = self.snapshots.keys().map(|name| {
            let names = before.snapshots.get(name).unwrap_or(&self.names);
            (name.clone(), names.clone())
        });
        let expected: Past = expected.collect();
        (self.snapshots != expected).then(|| past_difference(&self.snapshots, &expected))
    }

    /// In what two of them differ, in a few words.
    pub(crate) fn difference(&self, other: &Tree) -> String {
        for (path, found) in &self.names {
            match other.names.get(path) {
                None => return format!("{path} is there"),
                Some(expected) if found.stat != expected.stat => {
                    return format!("{path}: {:?}, not {:?}", found.stat, expected.stat);
                }
                Some(expected) if found.content != expected.content => {
                    let at = found.content.iter().zip(&expected.content).position(|(a, b)| a != b);
                    return format!("{path}: its content differs, from byte {at:?} on");
                }
                Some(expected) if found.attributes != expected.attributes => {
                    return format!("{path}: its attributes differ");
                }
                Some(_) => {}
            }
        }
        match other.names.keys().find(|path| !self.names.contains_key(*path)) {
            Some(path) => format!("{path} is missing"),
            None if self.snapshots != other.snapshots => {
                format!("snapshots: {}", past_difference(&self.snapshots, &other.snapshots))
            }
            None => format!("quotas: {:?}, not {:?}", self.quotas, other.quotas),
        }
    }

    /// Whether it is `state` in everything but content, and every aligned word of its content is one that a file of `states` has there.
    pub(crate) fn is_torn(&self, state: &Tree, states: &[&Tree]) -> bool {
        let is_torn = |(path, found): (&String, &Found)| {
            let Some(expected) = state.names.get(path) else { return false };
            let others: Vec<&Found> = states.iter().filter_map(|state| state.names.get(path)).collect();
            let is_word = |(n, word): (usize, &[u8])| {
                others
                    .iter()
                    .any(|other| other.content.get(n * 8..).is_some_and(|rest| rest.starts_with(word)))
            };
            found.stat == expected.stat
                && found.attributes == expected.attributes
                && found.content.chunks(8).enumerate().all(is_word)
        };
        self.quotas == state.quotas
            && self.snapshots == state.snapshots
            && self.names.len() == state.names.len()
            && self.names.iter().all(is_torn)
    }
}

/// What snapshots have, by name and path.
pub(crate) type Past = BTreeMap<String, BTreeMap<String, Found>>;

/// What each snapshot has.
pub(crate) fn snapshots(nova: &Nova) -> std::result::Result<Past, String> {
    let read = |name: &str| -> Result<BTreeMap<String, Found>> {
        let mut names = BTreeMap::new();
        walk(&nova.mount_snapshot(name)?, nova_core::ROOT, "/", &mut names)?;
        Ok(names)
    };
    let all = nova.snapshots().into_iter().map(|snapshot| {
        let names = read(&snapshot.name).map_err(|error| format!("snapshot {}: {error}", snapshot.name))?;
        Ok((snapshot.name, names))
    });
    all.collect()
}

/// In what the snapshots of two volumes differ.
pub(crate) fn past_difference(one: &Past, other: &Past) -> String {
    let names = |past: &Past| past.keys().cloned().collect::<Vec<_>>();
    if names(one) != names(other) {
        return format!("{:?}, not {:?}", names(one), names(other));
    }
    for (name, found) in one {
        for (path, found) in found {
            match other[name].get(path) {
                Some(expected) if expected == found => {}
                Some(expected) if expected.stat == found.stat => return format!("{name}: content of {path}"),
                Some(expected) => return format!("{name}{path}: {:?}, not {:?}", found.stat, expected.stat),
                None => return format!("{name}{path} is there"),
            }
        }
        if let Some(missing) = other[name].keys().find(|path| !found.contains_key(*path)) {
            return format!("{name}{missing} is missing");
        }
    }
    "none".into()
}

fn walk(nova: &Nova, ino: u64, path: &str, names: &mut BTreeMap<String, Found>) -> Result<()> {
    let mut stat = nova.getattr(ino)?;
    for time in [&mut stat.accessed, &mut stat.modified, &mut stat.changed, &mut stat.created] {
        if *time > CLOCK {
            *time = 0;
        }
    }
    stat.changes = 0; // a log that is collected counts as one, and is a step of its own
    let content = match stat.kind() {
        Kind::File => nova.open_inode(ino, Access::READ, ROOT)?.read_to_end()?,
        Kind::Symlink => nova.readlink(ino)?,
        _ => Vec::new(),
    };
    let attributes = nova
        .attributes(ino, ROOT)?
        .into_iter()
        .map(|name| Ok((name.clone(), nova.attribute(ino, &name, ROOT)?)))
        .collect::<Result<_>>()?;
    names.insert(path.to_owned(), Found { stat, content, attributes });
    if stat.kind() == Kind::Directory {
        for entry in nova.readdir(ino, 2, usize::MAX, ROOT)? {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let child = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
            walk(nova, entry.ino, &child, names)?;
            let kind = nova.getattr(entry.ino)?.kind();
            assert_eq!(kind, entry.kind, "{child}: the directory says another kind");
        }
    }
    Ok(())
}

/// Removes everything, from the leaves on.
pub(crate) fn remove_all(nova: &Nova) -> std::result::Result<(), String> {
    let mut names = BTreeMap::new();
    walk(nova, nova_core::ROOT, "/", &mut names).map_err(|error| format!("reading: {error}"))?;
    for (path, found) in names.iter().rev().filter(|(path, _)| *path != "/") {
        let removed = match found.stat.kind() {
            Kind::Directory => nova.remove_dir(path),
            _ => nova.remove_file(path),
        };
        removed.map_err(|error| format!("removing {path}: {error}"))?;
    }
    Ok(())
}
