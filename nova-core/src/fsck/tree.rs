//! What inodes say of each other: names and what they stand for, links, parents, the way from the root.

use super::survey::Survey;
use crate::{
    Kind,
    format::{LINE, ROOT},
    inode::Body,
};
use std::collections::{BTreeMap, BTreeSet};

/// Who names whom.
#[derive(Default)]
pub(crate) struct Links {
    /// How many names an inode has.
    pub(crate) names: BTreeMap<u64, u64>,
    /// Directories that are named, and in which ones.
    pub(crate) parents: BTreeMap<u64, Vec<u64>>,
    /// Directories in a directory.
    pub(crate) subdirectories: BTreeMap<u64, u64>,
    /// Inodes that a path from the root leads to.
    pub(crate) reached: BTreeSet<u64>,
}

impl Links {
    /// By the names of all directories.
    pub(crate) fn of(survey: &Survey) -> Links {
        let mut links = Links::default();
        for (ino, node) in &survey.nodes {
            let Body::Directory(names) = &node.index.body else { continue };
            for (_, dentry) in names.iter() {
                *links.names.entry(dentry.ino).or_default() += 1;
                if Kind::of_mode(u32::from(dentry.file_type) << 12) == Kind::Directory {
                    links.parents.entry(dentry.ino).or_default().push(*ino);
                    *links.subdirectories.entry(*ino).or_default() += 1;
                }
            }
        }
        let mut next = vec![ROOT];
        while let Some(ino) = next.pop() {
            if links.reached.insert(ino)
                && let Some(node) = survey.nodes.get(&ino)
                && let Body::Directory(names) = &node.index.body
            {
                next.extend(names.iter().map(|(_, dentry)| dentry.ino));
            }
        }
        links
    }

    /// Names of an inode.
    pub(crate) fn names(&self, ino: u64) -> u64 {
        self.names.get(&ino).copied().unwrap_or(0)
    }

    /// The links that a directory or file should have.
    pub(crate) fn expected(&self, ino: u64, is_directory: bool) -> u64 {
        if is_directory { 2 + self.subdirectories.get(&ino).copied().unwrap_or(0) } else { self.names(ino) }
    }
}

/// Checks names, links, parents.
pub(crate) fn check(survey: &mut Survey) -> Links {
    let links = Links::of(survey);
    check_names(survey);
    let Survey { nodes, problems, .. } = survey;
    match nodes.get(&ROOT) {
        None => problems.add("inode", 0, ROOT, "there is no root directory"),
        Some(root) if !root.is_directory() => {
            problems.add("inode", root.at, ROOT, "the root is no directory")
        }
        Some(root) if root.status.links == 0 => {
            problems.add("inode state", root.at + LINE, ROOT, "the root was removed")
        }
        Some(_) => {}
    }
    for (ino, node) in nodes.iter() {
        let (names, at) = (links.names(*ino), node.at);
        let found = u64::from(node.status.links);
        let expected = links.expected(*ino, node.is_directory());
        if node.is_directory() {
            let parents = links.parents.get(ino).map_or(&[][..], |parents| parents);
            match parents {
                [parent] if *ino != ROOT => {
                    if node.identity.parent != *parent {
                        let why = format!(
                            "its `..` is inode {}, and inode {parent} names it",
                            node.identity.parent
                        );
                        problems.add("inode", at, *ino, why);
                    }
                }
                [] if *ino == ROOT => {
                    if node.identity.parent != ROOT {
                        problems.add("inode", at, *ino, "the root's `..` is not the root");
                    }
                }
                [] => {}
                more => problems.add(
                    "inode",
                    at,
                    *ino,
                    format!("a directory with {} names; the root has none", more.len()),
                ),
            }
            if found == 0 {
                if node.status.size != 0 || names > 0 {
                    problems.add(
                        "inode state",
                        at + LINE,
                        *ino,
                        "a removed directory has names in it, or a name",
                    );
                }
                continue;
            }
        }
        if found != expected {
            problems.add(
                "inode state",
                at + LINE,
                *ino,
                format!("it says {found} links; {expected} are right"),
            );
        }
        if found > 0 && !links.reached.contains(ino) {
            problems.add("inode", at, *ino, "no path from the root leads to it");
        }
    }
    links
}

/// Checks what names stand for.
fn check_names(survey: &mut Survey) {
    let Survey { nodes, damaged, problems, .. } = survey;
    for (ino, node) in nodes.iter() {
        let Body::Directory(names) = &node.index.body else { continue };
        for (name, dentry) in names.iter() {
            let shown = String::from_utf8_lossy(name);
            let file_type = u32::from(dentry.file_type) << 12;
            match nodes.get(&dentry.ino) {
                Some(target) if target.identity.mode & libc::S_IFMT == file_type => {}
                Some(_) => {
                    let why = format!(
                        "{shown:?} says another type than inode {}, which it stands for, has",
                        dentry.ino
                    );
                    problems.add("directory entry", dentry.at, *ino, why);
                }
                None if damaged.contains(&dentry.ino) => {}
                None => {
                    let why = format!("{shown:?} stands for inode {}, which is free", dentry.ino);
                    problems.add("directory entry", dentry.at, *ino, why);
                }
            }
        }
    }
}
