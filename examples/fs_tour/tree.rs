//! The steps of the work, each of them one call and so all or nothing, and the tree that so many of them lead to.

use crate::{POOL, Result};
use nova_core::{AttributeMode, Credentials, Kind, Nova};
use std::collections::BTreeMap;

const WHO: &Credentials = &Credentials::ROOT;
/// Steps of a group. Each group has a directory.
const STEPS: u64 = 13;
const HOLE: u64 = 1 << 20;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// With the value of its attribute, if it has one.
    Directory(Option<Vec<u8>>),
    File(Vec<u8>),
    Link(Vec<u8>),
}

pub(crate) type Tree = BTreeMap<String, Node>;

fn bytes(step: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (step * 31 + at / 7) as u8).collect()
}

/// Does step number `step`.
pub(crate) fn perform(nova: &Nova, step: u64) -> Result<()> {
    let group = step / STEPS;
    let path = |name: &str| format!("/{group}/{name}");
    match step % STEPS {
        0 => nova.create_dir(format!("/{group}"))?,
        1 => drop(nova.create_new(path("log"))?),
        2 => drop(nova.open(path("log"))?.append(&bytes(step, 900))?),
        3 => drop(nova.open(path("log"))?.append(&bytes(step, 9000))?),
        4 => nova.open(path("log"))?.write_at(3000, &bytes(step, 5000))?,
        5 => drop(nova.create_new(path("copy"))?),
        // The same blocks, until one of the two is written to.
        6 => nova.open(path("copy"))?.clone_range(&nova.open(path("log"))?, 0, 0, 9900)?,
        7 => nova.rename_path(path("log"), format!("/{group}.log"))?,
        8 => nova.hard_link(format!("/{group}.log"), path("linked"))?,
        9 => nova.symlink_path("copy", path("link"))?,
        10 => {
            let directory = nova.metadata(format!("/{group}"))?.ino;
            nova.set_attribute(directory, b"user.group", &bytes(step, 300), AttributeMode::Set, WHO)?;
        }
        // Nothing is stored for the first mebibyte.
        11 => nova.open(path("copy"))?.write_at(HOLE, &bytes(step, 100))?,
        // Replaces what a group before has left.
        _ => nova.rename_path(path("link"), format!("/{}.log", group / 2))?,
    }
    Ok(())
}

/// What a step makes of a tree.
pub(crate) fn apply(tree: &mut Tree, step: u64) {
    let group = step / STEPS;
    let path = |name: &str| format!("/{group}/{name}");
    let file = |tree: &mut Tree, name: &str, change: &dyn Fn(&mut Vec<u8>)| match tree.get_mut(&path(name)) {
        Some(Node::File(bytes)) => change(bytes),
        _ => unreachable!("a file that an earlier step made"),
    };
    match step % STEPS {
        0 => drop(tree.insert(format!("/{group}"), Node::Directory(None))),
        1 => drop(tree.insert(path("log"), Node::File(Vec::new()))),
        2 => file(tree, "log", &|content| content.extend(bytes(step, 900))),
        3 => file(tree, "log", &|content| content.extend(bytes(step, 9000))),
        4 => file(tree, "log", &|content| content[3000..8000].copy_from_slice(&bytes(step, 5000))),
        5 => drop(tree.insert(path("copy"), Node::File(Vec::new()))),
        6 => drop(tree.insert(path("copy"), tree[&path("log")].clone())),
        7 => {
            let moved = tree.remove(&path("log")).expect("an earlier step made it");
            tree.insert(format!("/{group}.log"), moved);
        }
        8 => drop(tree.insert(path("linked"), tree[&format!("/{group}.log")].clone())),
        9 => drop(tree.insert(path("link"), Node::Link(b"copy".to_vec()))),
        10 => drop(tree.insert(format!("/{group}"), Node::Directory(Some(bytes(step, 300))))),
        11 => file(tree, "copy", &|content| {
            content.resize(HOLE as usize, 0);
            content.extend(bytes(step, 100));
        }),
        _ => {
            let moved = tree.remove(&path("link")).expect("an earlier step made it");
            tree.insert(format!("/{}.log", group / 2), moved);
        }
    }
}

/// Everything that a volume has, but for the pool.
pub(crate) fn read(nova: &Nova) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in nova.read_dir(if folder.is_empty() { "/" } else { &folder })? {
            let path = format!("{folder}/{}", String::from_utf8_lossy(&entry.name));
            let node = match entry.kind {
                Kind::Directory => {
                    folders.push(path.clone());
                    Node::Directory(nova.attribute(entry.ino, b"user.group", WHO).ok())
                }
                Kind::Symlink => Node::Link(nova.readlink(entry.ino)?),
                _ if path == POOL => continue,
                _ => Node::File(nova.read_file(&path)?),
            };
            tree.insert(path, node);
        }
    }
    Ok(tree)
}
