//! What is different between snapshots: by example, and at random, where the changes made to the older tree have to yield the newer one.

#[path = "change/mod.rs"]
mod change;
mod image;

use change::{change, volume};
use image::ROOT_USER;
use nova_core::*;
use std::collections::BTreeMap;

/// The changes, a line each.
fn told(nova: &Nova, from: &str, to: Option<&str>) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = nova.diff(from, to).unwrap().into_iter().map(|change| {
        let path = text(&change.path);
        match change.what {
            Changed::Removed => format!("- {path}"),
            Changed::Added => format!("+ {path}"),
            Changed::Linked { existing } => format!("= {path} {}", text(&existing)),
            Changed::Moved { from } => format!("> {path} {}", text(&from)),
            Changed::Content { size, ranges } => {
                let ranges = ranges.iter().map(|range| {
                    format!(
                        " {}..{}{}",
                        range.bytes.start,
                        range.bytes.end,
                        if range.is_data { "" } else { "h" }
                    )
                });
                format!("c {path} {size}{}", ranges.collect::<String>())
            }
            Changed::Attributes(ChangedAttributes { mode, owner, flags, extended, .. }) => {
                let names: Vec<String> = extended.iter().map(|name| text(name)).collect();
                format!("a {path} {}{}{}{}", mode as u8, owner as u8, flags as u8, names.join(","))
            }
        }
    });
    // Times change with everything else.
    all.filter(|line| !(line.starts_with("a ") && line.ends_with(" 000"))).collect()
}

#[test]
fn every_kind_of_change_is_told() {
    let nova = volume(8 << 20);
    for dir in ["/a", "/a/deep", "/b", "/gone"] {
        nova.create_dir(dir).unwrap();
    }
    for file in ["/a/deep/kept", "/a/moved", "/b/linked", "/gone/file", "/plain", "/big", "/short"] {
        nova.write_file(file, &[1; 20_000]).unwrap();
    }
    nova.create_snapshot("one").unwrap();
    assert_eq!(told(&nova, "one", None), [""; 0]);
    nova.rename_path("/a", "/c").unwrap();
    nova.rename_path("/c/moved", "/b/there").unwrap();
    nova.hard_link("/b/linked", "/b/again").unwrap();
    nova.remove_file("/gone/file").unwrap();
    nova.remove_dir("/gone").unwrap();
    nova.write_file("/new", b"new").unwrap();
    nova.remove_file("/plain").unwrap();
    nova.create_new("/plain").unwrap();
    nova.open("/big").unwrap().write_at(5000, &[2; 4000]).unwrap();
    nova.open("/big").unwrap().allocate(12_288, 4096, Allocate::PunchHole).unwrap();
    nova.open("/short").unwrap().set_len(100).unwrap();
    let kept = nova.metadata("/c/deep/kept").unwrap().ino;
    nova.set_attribute(kept, b"user.x", b"y", AttributeMode::Set, ROOT_USER).unwrap();
    nova.set_metadata("/b/linked", &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
    let expected = [
        "- /plain",
        "- /gone/file",
        "- /gone",
        "= /b/again /b/linked",
        "> /b/there /a/moved",
        "> /c /a",
        "+ /new",
        "+ /plain",
        "c /big 20000 4096..12288 12288..16384h",
        "c /short 100",
        "a /b/again 100",
        "a /c/deep/kept 000user.x",
    ];
    assert_eq!(told(&nova, "one", None), expected);
    nova.create_snapshot("two").unwrap();
    nova.write_file("/later", b"later").unwrap();
    assert_eq!(told(&nova, "one", Some("two")), expected);
    assert_eq!(told(&nova, "two", None), ["+ /later"]);
    let back = told(&nova, "two", Some("one"));
    assert!(back.contains(&"> /a /c".to_owned()) && back.contains(&"- /new".to_owned()), "{back:?}");
    nova.delete_snapshot("two").unwrap();
    assert!(told(&nova, "one", None).contains(&"+ /later".to_owned()));
    assert_eq!(image::code(nova.diff("two", None)), Code::NotFound);
}

#[test]
fn bytes_behind_the_end_of_the_shorter_file_are_told_of_the_longer_one() {
    // Both have the same block, of which one file has less: what is behind its end is not zeros.
    let nova = volume(4 << 20);
    nova.write_file("/f", &[1; 11_000]).unwrap();
    nova.create_snapshot("long").unwrap();
    nova.open("/f").unwrap().set_len(9000).unwrap();
    nova.create_snapshot("short").unwrap();
    assert_eq!(told(&nova, "long", Some("short")), ["c /f 9000"]);
    assert_eq!(told(&nova, "short", Some("long")), ["c /f 11000 8192..11000"]);
}

/// A tree to which changes are made: files by number, names in directories.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    content: Vec<u8>,
    stat: (u32, u32, u32, u32, i64),
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<Vec<u8>, usize>,
}

struct Tree {
    nodes: Vec<Node>,
}

fn node(nova: &Nova, ino: u64) -> Node {
    let stat = nova.getattr(ino).unwrap();
    let content = match stat.kind() {
        Kind::File => nova.open_inode(ino, Access::READ, ROOT_USER).unwrap().read_to_end().unwrap(),
        Kind::Symlink => nova.readlink(ino).unwrap(),
        _ => Vec::new(),
    };
    let names = nova.attributes(ino, ROOT_USER).unwrap();
    let value = |name: &Vec<u8>| nova.attribute(ino, name, ROOT_USER).unwrap();
    let attributes = names.iter().map(|name| (name.clone(), value(name))).collect();
    let stat = (stat.mode, stat.uid, stat.gid, stat.flags, stat.modified);
    Node { content, stat, attributes, names: BTreeMap::new() }
}

impl Tree {
    fn of(nova: &Nova) -> Tree {
        let mut tree = Tree { nodes: vec![node(nova, ROOT)] };
        let (mut todo, mut known) = (vec![(0, ROOT)], BTreeMap::from([(ROOT, 0)]));
        while let Some((at, ino)) = todo.pop() {
            if nova.getattr(ino).unwrap().kind() != Kind::Directory {
                continue;
            }
            for entry in nova.readdir(ino, 2, usize::MAX, ROOT_USER).unwrap() {
                let child = *known.entry(entry.ino).or_insert_with(|| {
                    tree.nodes.push(node(nova, entry.ino));
                    todo.push((tree.nodes.len() - 1, entry.ino));
                    tree.nodes.len() - 1
                });
                tree.nodes[at].names.insert(entry.name, child);
            }
        }
        tree
    }

    /// Every path with its file; files with several names are found by their number, which counts names in order.
    fn paths(&self) -> BTreeMap<Vec<u8>, (Node, usize)> {
        let mut all = BTreeMap::new();
        let mut todo = vec![(Vec::new(), 0)];
        while let Some((path, at)) = todo.pop() {
            for (name, child) in &self.nodes[at].names {
                todo.push(([&path[..], b"/", name].concat(), *child));
            }
            all.insert(path, at);
        }
        let mut numbers = BTreeMap::new();
        let number =
            |at: usize, next: usize, numbers: &mut BTreeMap<usize, usize>| *numbers.entry(at).or_insert(next);
        let mut next = 0..;
        all.into_iter()
            .map(|(path, at)| {
                let number = number(at, next.next().unwrap(), &mut numbers);
                (path, (Node { names: BTreeMap::new(), ..self.nodes[at].clone() }, number))
            })
            .collect()
    }

    fn find(&self, path: &[u8]) -> usize {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        parts.fold(0, |at, name| {
            let next = self.nodes[at].names.get(name);
            *next.unwrap_or_else(|| panic!("no {}", String::from_utf8_lossy(path)))
        })
    }

    fn place(&self, path: &[u8]) -> (usize, Vec<u8>) {
        let slash = path.iter().rposition(|byte| *byte == b'/').unwrap();
        (self.find(&path[..slash]), path[slash + 1..].to_vec())
    }

    /// Makes the changes; what is new is as `newer` has it.
    fn make(&mut self, changes: &[Change], newer: &Nova) {
        // All that goes is found where it was: names that go, then names that come.
        let mut gone: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut coming = BTreeMap::new();
        for change in changes {
            match &change.what {
                Changed::Removed => gone.push(self.place(&change.path)),
                Changed::Moved { from } => {
                    gone.push(self.place(from));
                    coming.insert(change.path.clone(), self.find(from));
                }
                Changed::Linked { existing } => drop(coming.insert(change.path.clone(), self.find(existing))),
                _ => {}
            }
        }
        for (dir, name) in gone {
            assert!(self.nodes[dir].names.remove(&name).is_some(), "a name goes twice");
        }
        let mut new = BTreeMap::new();
        for change in changes {
            match &change.what {
                Changed::Removed => {}
                Changed::Moved { .. } | Changed::Linked { .. } | Changed::Added => {
                    let (dir, name) = self.place(&change.path);
                    let at = coming.get(&change.path).copied().unwrap_or_else(|| {
                        *new.entry(change.ino).or_insert_with(|| {
                            self.nodes.push(node(newer, change.ino));
                            self.nodes.len() - 1
                        })
                    });
                    assert!(self.nodes[dir].names.insert(name, at).is_none(), "a name comes twice");
                }
                Changed::Content { size, ranges } => {
                    let at = self.find(&change.path);
                    let content = &mut self.nodes[at].content;
                    content.resize(*size as usize, 0);
                    let file = newer.open_inode(change.ino, Access::READ, ROOT_USER).unwrap();
                    for range in ranges {
                        let bytes = range.bytes.start as usize..range.bytes.end as usize;
                        let len = file.read_at(range.bytes.start, &mut content[bytes.clone()]).unwrap();
                        assert_eq!(len, bytes.len());
                        assert!(range.is_data || content[bytes].iter().all(|byte| *byte == 0));
                    }
                }
                Changed::Attributes(what) => {
                    let at = self.find(&change.path);
                    let new = node(newer, change.ino);
                    let old = &mut self.nodes[at];
                    let ChangedAttributes { mode, owner, flags, modified, extended } = what;
                    let choose = |changed: bool, old: &mut u32, new: u32| {
                        assert_eq!(changed, *old != new);
                        *old = new;
                    };
                    choose(*mode, &mut old.stat.0, new.stat.0);
                    choose(*flags, &mut old.stat.3, new.stat.3);
                    if *owner {
                        (old.stat.1, old.stat.2) = (new.stat.1, new.stat.2);
                    }
                    if *modified {
                        old.stat.4 = new.stat.4;
                    }
                    old.attributes.retain(|(name, _)| !extended.contains(name));
                    let changed = new.attributes.into_iter().filter(|(name, _)| extended.contains(name));
                    old.attributes.extend(changed);
                    old.attributes.sort();
                }
            }
        }
    }
}

fn sorted(tree: &Tree) -> BTreeMap<Vec<u8>, (Node, usize)> {
    let mut paths = tree.paths();
    paths.values_mut().for_each(|(node, _)| node.attributes.sort());
    paths
}

#[test]
fn changes_made_to_the_older_tree_yield_the_newer_one() {
    let mut told = 0;
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let nova = volume(16 << 20);
        for snapshot in 0..6 {
            (0..random.u32(1..120)).for_each(|_| change(&nova, &mut random));
            nova.create_snapshot(&format!("s{snapshot}")).unwrap();
        }
        (0..20).for_each(|_| change(&nova, &mut random));
        if random.bool() {
            nova.delete_snapshot("s3").unwrap();
        }
        let names: Vec<String> = nova.snapshots().into_iter().map(|one| one.name).collect();
        let sides: Vec<Option<&str>> = names.iter().map(|name| Some(&**name)).chain([None]).collect();
        for from in &names {
            for to in &sides {
                let newer = to.map_or_else(|| nova.clone(), |name| nova.mount_snapshot(name).unwrap());
                let changes = nova.diff(from, *to).unwrap();
                told += changes.len();
                let mut tree = Tree::of(&nova.mount_snapshot(from).unwrap());
                tree.make(&changes, &newer);
                let (made, expected) = (sorted(&tree), sorted(&Tree::of(&newer)));
                if made != expected {
                    let path = expected
                        .keys()
                        .chain(made.keys())
                        .find(|path| made.get(*path) != expected.get(*path));
                    let path = path.unwrap();
                    panic!(
                        "seed {seed}, from {from} to {to:?}: {} is {:?}\nnot {:?}\n{changes:?}",
                        String::from_utf8_lossy(path),
                        made.get(path).map(|found| (
                            found.0.stat,
                            found.0.content.len(),
                            &found.0.attributes,
                            found.1
                        )),
                        expected.get(path).map(|found| (
                            found.0.stat,
                            found.0.content.len(),
                            &found.0.attributes,
                            found.1
                        )),
                    );
                }
            }
        }
    }
    println!("{told} changes were made");
    assert!(told > 1000);
}

#[test]
fn looking_for_changes_costs_what_was_changed() {
    let nova = volume(64 << 20);
    for dir in 0..20 {
        nova.create_dir(format!("/{dir}")).unwrap();
        (0..50).for_each(|file| nova.write_file(format!("/{dir}/{file}"), &[1; 3000]).unwrap());
    }
    nova.create_snapshot("s").unwrap();
    nova.remove_file("/3/7").unwrap();
    // Damage of what has not changed is not met: it is not looked at.
    assert_eq!(told(&nova, "s", None), ["- /3/7"]);
    let lines = nova.counters();
    nova.diff("s", None).unwrap();
    assert_eq!(nova.counters().drains, lines.drains, "looking changes nothing");
}
