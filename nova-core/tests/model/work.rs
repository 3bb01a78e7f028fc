//! One random operation after the other, to a volume and to the model.

#![allow(clippy::unit_arg, reason = "what the model does, and that it succeeds, is one expression")]

use crate::{
    image::*,
    tree::{Node, Tree},
};
use nova_core::*;
use std::collections::{BTreeMap, VecDeque};

const MOST: usize = 120_000;

pub struct Work {
    pub random: fastrand::Rng,
    pub counts: BTreeMap<&'static str, usize>,
    image: Image,
    nova: Option<Nova>,
    mount: MountOptions,
    tree: Tree,
    handles: Vec<File>,
    /// The last operations, for who has to find out what went wrong.
    said: VecDeque<String>,
    free: u64,
}

impl Drop for Work {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.said.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Work {
    pub fn new(seed: u64, len: u64, options: FormatOptions, mount: MountOptions) -> Work {
        let image = Image::new(len);
        let nova = options.format(image.map(), mount.clone()).unwrap();
        let free = nova.statfs().free;
        Work {
            random: fastrand::Rng::with_seed(seed),
            counts: BTreeMap::new(),
            image,
            nova: Some(nova),
            mount,
            tree: Tree::new(),
            handles: Vec::new(),
            said: VecDeque::new(),
            free,
        }
    }

    fn nova(&self) -> &Nova {
        self.nova.as_ref().expect("mounted")
    }

    fn say(&mut self, what: &'static str, line: String) {
        *self.counts.entry(what).or_default() += 1;
        self.said.push_back(format!("{what} {line}"));
        if self.said.len() > 100 {
            self.said.pop_front();
        }
    }

    fn pick(&mut self, from: Vec<u64>) -> Option<u64> {
        (!from.is_empty()).then(|| from[self.random.usize(..from.len())])
    }

    fn dir(&mut self) -> u64 {
        let all = self.tree.all(Kind::Directory);
        self.pick(all).expect("the root")
    }

    fn name(&mut self) -> Vec<u8> {
        match self.random.u8(0..12) {
            0 => vec![b'x'; 255],
            1 => vec![b'y'; self.random.usize(80..100)],
            number => vec![b'a' + number],
        }
    }

    /// A file that has names, or that a handle keeps.
    fn file(&mut self) -> Option<File> {
        if !self.handles.is_empty() && self.random.u8(0..4) == 0 {
            return Some(self.handles[self.random.usize(..self.handles.len())].clone());
        }
        let all = self.tree.all(Kind::File);
        let ino = self.pick(all)?;
        Some(self.nova().open_inode(ino, Access::READ_WRITE, ROOT_USER).unwrap())
    }

    pub fn step(&mut self) {
        match self.random.u8(0..100) {
            0..8 => self.make(),
            8..12 => self.link(),
            12..20 => self.remove(),
            20..32 => self.rename(),
            32..52 => self.write(),
            52..58 => self.resize(),
            58..70 => self.allocate(),
            70..76 => self.clone_range(),
            76..82 => self.attribute(),
            82..88 => self.set(),
            88..92 => self.handle(),
            _ => self.look(),
        }
    }

    fn make(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        let mode = self.random.u32(..0o1000);
        let nova = self.nova().clone();
        let full = self.tree.nodes.len() > 120;
        let (made, mut node) = match self.random.u8(0..10) {
            _ if full => return,
            0..5 => (nova.create(dir, &name, mode, ROOT_USER), Node::new(Kind::File, mode)),
            5..8 => (nova.mkdir(dir, &name, mode, ROOT_USER), Node::new(Kind::Directory, mode)),
            8 => {
                let len = if self.random.bool() { 10 } else { self.random.usize(1..4096) };
                let target = vec![b't'; len];
                let node = Node { content: target.clone(), ..Node::new(Kind::Symlink, 0o777) };
                (nova.symlink(dir, &name, &target, ROOT_USER), node)
            }
            _ => (nova.mknod(dir, &name, mode | libc::S_IFIFO, 0, ROOT_USER), Node::new(Kind::Fifo, mode)),
        };
        self.say("make", format!("{dir}/{} {:?}", name.len(), node.kind));
        match made {
            Ok(stat) => {
                assert!(self.tree.find(dir, &name).is_none());
                node.mode &= 0o7777;
                self.tree.make(dir, &name, stat.ino, node);
            }
            Err(error) => {
                assert_eq!(error.code(), Some(Code::Exists), "{error:?}");
                assert!(self.tree.find(dir, &name).is_some());
            }
        }
    }

    fn agree<T: std::fmt::Debug>(&self, real: Result<T>, model: std::result::Result<(), Code>) {
        match (real, model) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(code)) => assert_eq!(error.code(), Some(code), "{error:?}"),
            (real, model) => panic!("{real:?}, and the model {model:?}"),
        }
    }

    fn link(&mut self) {
        let all: Vec<u64> = self.tree.nodes.keys().copied().collect();
        let ino = self.pick(all).expect("the root");
        let (dir, name) = (self.dir(), self.name());
        self.say("link", format!("{ino} as {dir}/{}", name.len()));
        let real = self.nova().link(ino, dir, &name, ROOT_USER);
        let model = self.tree.link(ino, dir, &name);
        self.agree(real, model);
    }

    fn remove(&mut self) {
        let (dir, mut name) = (self.dir(), self.name());
        let there = &self.tree.nodes[&dir].names;
        if !there.is_empty() {
            name = there[self.random.usize(..there.len())].0.clone();
        }
        self.say("remove", format!("{dir}/{}", name.len()));
        let ino = self.tree.find(dir, &name);
        let rmdir = match ino {
            Some(ino) => self.tree.is_dir(ino) != (self.random.u8(0..8) == 0),
            None => self.random.bool(),
        };
        if rmdir {
            let real = self.nova().rmdir(dir, &name, ROOT_USER);
            let model = self.tree.rmdir(dir, &name);
            self.agree(real, model);
        } else {
            let real = self.nova().unlink(dir, &name, ROOT_USER);
            let model = self.tree.unlink(dir, &name);
            self.agree(real, model);
        }
    }

    fn rename(&mut self) {
        let (from, mut to) = (self.dir(), self.dir());
        if self.random.u8(0..3) == 0 {
            to = from;
        }
        let (mut name, mut new) = (self.name(), self.name());
        let (there, others) = (&self.tree.nodes[&from].names, &self.tree.nodes[&to].names);
        if !there.is_empty() && self.random.u8(0..10) > 0 {
            name = there[self.random.usize(..there.len())].0.clone();
        }
        if !others.is_empty() && self.random.bool() {
            new = others[self.random.usize(..others.len())].0.clone();
        }
        let how = match self.random.u8(0..5) {
            0 => Rename::NoReplace,
            1 => Rename::Exchange,
            _ => Rename::Replace,
        };
        self.say("rename", format!("{from}/{} to {to}/{} {how:?}", name.len(), new.len()));
        let real = self.nova().rename(from, &name, to, &new, how, ROOT_USER);
        let model = self.tree.rename(from, &name, to, &new, how);
        self.agree(real, model);
    }

    fn place(&mut self, len: usize) -> (usize, usize) {
        let most = match self.random.u8(0..8) {
            0 => 30_000,
            1..3 => 5000,
            3..5 => 1100,
            _ => 130,
        };
        let at = match self.random.u8(0..6) {
            0 => len,
            1 => len.saturating_sub(50),
            2 => self.random.usize(0..20) * 4096,
            3 => len / 4096 * 4096 + 4096,
            _ => self.random.usize(0..len + 9000),
        };
        let at = at.min(MOST - 40_000);
        let count =
            if self.random.u8(0..8) == 0 { 4096 * (1 + most / 4096) } else { self.random.usize(1..most) };
        (at, count)
    }

    fn write(&mut self) {
        let Some(file) = self.file() else { return };
        let ino = file.ino();
        let len = self.tree.node(ino).content.len();
        let (at, count) = self.place(len);
        let bytes: Vec<u8> = (0..count).map(|_| self.random.u8(1..)).collect();
        if self.random.u8(0..4) == 0 && len < MOST - 40_000 {
            self.say("append", format!("{ino} {count} at {len}"));
            assert_eq!(file.append(&bytes).unwrap(), len as u64);
            self.tree.node(ino).write(len, &bytes);
        } else {
            self.say("write", format!("{ino} {count} at {at} of {len}"));
            file.write_at(at as u64, &bytes).unwrap();
            self.tree.node(ino).write(at, &bytes);
        }
    }

    fn resize(&mut self) {
        let Some(file) = self.file() else { return };
        let ino = file.ino();
        let len = self.tree.node(ino).content.len();
        let (at, _) = self.place(len);
        self.say("resize", format!("{ino} from {len} to {at}"));
        if self.random.bool() {
            file.set_len(at as u64).unwrap();
        } else {
            let set = SetAttr { size: Some(at as u64), ..SetAttr::default() };
            self.nova().setattr(ino, &set, ROOT_USER).unwrap();
        }
        self.tree.node(ino).content.resize(at, 0);
    }

    fn allocate(&mut self) {
        let Some(file) = self.file() else { return };
        let ino = file.ino();
        let len = self.tree.node(ino).content.len();
        let (mut at, mut count) = self.place(len);
        let modes = [
            Allocate::Grow,
            Allocate::KeepSize,
            Allocate::PunchHole,
            Allocate::Zero,
            Allocate::ZeroKeepSize,
            Allocate::Collapse,
            Allocate::Insert,
        ];
        let how = modes[self.random.usize(..modes.len())];
        if matches!(how, Allocate::Collapse | Allocate::Insert) && self.random.u8(0..8) > 0 {
            at = at / 4096 * 4096;
            count = count.next_multiple_of(4096);
        }
        if how == Allocate::Insert && len + count > MOST {
            return;
        }
        self.say("allocate", format!("{ino} {how:?} {count} at {at} of {len}"));
        let whole = at % 4096 == 0 && count % 4096 == 0;
        let node = self.tree.node(ino);
        let model = match how {
            Allocate::Grow => Ok(node.grow(at + count)),
            Allocate::KeepSize => Ok(()),
            Allocate::PunchHole | Allocate::ZeroKeepSize => Ok(node.zero(at, at + count)),
            Allocate::Zero => {
                node.grow(at + count);
                Ok(node.zero(at, at + count))
            }
            Allocate::Collapse if whole && at + count < len => Ok(drop(node.content.drain(at..at + count))),
            Allocate::Insert if whole && at < len => {
                Ok(drop(node.content.splice(at..at, std::iter::repeat_n(0, count))))
            }
            _ => Err(Code::Invalid),
        };
        let real = file.allocate(at as u64, count as u64, how);
        self.agree(real, model);
    }

    fn clone_range(&mut self) {
        let (Some(from), Some(to)) = (self.file(), self.file()) else { return };
        let len = self.tree.node(from.ino()).content.len();
        let to_len = self.tree.node(to.ino()).content.len();
        let (at, count) = self.place(len);
        let (to_at, _) = self.place(to_len);
        let (at, to_at) = (at.min(len), to_at.min(MOST - 40_000));
        if self.random.bool() {
            let count = count.min(len - at);
            self.say("copy", format!("{} {count} at {at} to {} {to_at}", from.ino(), to.ino()));
            let overlaps = from.ino() == to.ino() && at < to_at + count && to_at < at + count;
            let real = to.copy_from(&from, at as u64, to_at as u64, count as u64);
            let model = if overlaps {
                Err(Code::Invalid)
            } else {
                let bytes = self.tree.node(from.ino()).content[at..at + count].to_vec();
                Ok(self.tree.node(to.ino()).write(to_at, &bytes))
            };
            self.agree(real, model);
            return;
        }
        let (at, to_at) = (at / 4096 * 4096, to_at / 4096 * 4096);
        let count = if self.random.bool() { len - at } else { count.min(len - at) / 4096 * 4096 };
        self.say("clone", format!("{} {count} at {at} to {} {to_at}", from.ino(), to.ino()));
        let overlaps = from.ino() == to.ino() && at < to_at + count && to_at < at + count;
        let ends = at + count == len && to_at + count >= to_len;
        let real = to.clone_range(&from, at as u64, to_at as u64, count as u64);
        let model = if count == 0 {
            Ok(())
        } else if overlaps || count % 4096 != 0 && !ends {
            Err(Code::Invalid)
        } else {
            let bytes = self.tree.node(from.ino()).content[at..at + count].to_vec();
            Ok(self.tree.node(to.ino()).write(to_at, &bytes))
        };
        self.agree(real, model);
    }

    fn attribute(&mut self) {
        let all: Vec<u64> = self
            .tree
            .nodes
            .iter()
            .filter(|(_, node)| matches!(node.kind, Kind::File | Kind::Directory))
            .map(|(ino, _)| *ino)
            .collect();
        let ino = self.pick(all).expect("the root");
        let name = [&b"user."[..], &vec![b'n'; 1 + 60 * self.random.usize(0..4)]].concat();
        let there = self.tree.node(ino).attributes.contains_key(&name);
        if self.random.u8(0..3) == 0 {
            self.say("remove attribute", format!("{ino} {}", name.len()));
            let real = self.nova().remove_attribute(ino, &name, ROOT_USER);
            let model = self.tree.node(ino).attributes.remove(&name).map(drop).ok_or(Code::NoAttribute);
            return self.agree(real, model);
        }
        let len = match self.random.u8(0..10) {
            0 => self.random.usize(0..20_000),
            1..3 => self.random.usize(0..5000),
            _ => self.random.usize(0..100),
        };
        let value: Vec<u8> = (0..len).map(|_| self.random.u8(..)).collect();
        let mode = [AttributeMode::Set, AttributeMode::Set, AttributeMode::Create, AttributeMode::Replace]
            [self.random.usize(0..4)];
        self.say("set attribute", format!("{ino} {} {len} {mode:?}", name.len()));
        let real = self.nova().set_attribute(ino, &name, &value, mode, ROOT_USER);
        let model = match mode {
            AttributeMode::Create if there => Err(Code::Exists),
            AttributeMode::Replace if !there => Err(Code::NoAttribute),
            _ => Ok(drop(self.tree.node(ino).attributes.insert(name, value))),
        };
        self.agree(real, model);
    }

    fn set(&mut self) {
        let all: Vec<u64> = self.tree.nodes.keys().copied().collect();
        let ino = self.pick(all).expect("the root");
        let (mode, uid, gid) = (self.random.u32(..0o1000), self.random.u32(..5), self.random.u32(..5));
        let mut set = SetAttr::default();
        let node = self.tree.node(ino);
        match self.random.u8(0..3) {
            0 if node.kind != Kind::Symlink => (set.mode, node.mode) = (Some(mode), mode),
            1 => (set.uid, set.gid, node.uid, node.gid) = (Some(uid), Some(gid), uid, gid),
            _ => set.modified = Some(Time::At(-i64::from(mode))),
        }
        self.say("set", format!("{ino} {set:?}"));
        self.nova().setattr(ino, &set, ROOT_USER).unwrap();
    }

    fn handle(&mut self) {
        if self.handles.len() < 6 && self.random.bool() {
            if self.random.u8(0..4) == 0 {
                let dir = self.dir();
                let file = self.nova().tmpfile(dir, 0o600, ROOT_USER).unwrap();
                let node = Node { links: 0, handles: 1, ..Node::new(Kind::File, 0o600) };
                self.say("tmpfile", format!("{}", file.ino()));
                assert!(self.tree.nodes.insert(file.ino(), node).is_none());
                self.handles.push(file);
            } else if let Some(file) = self.file() {
                self.say("open", format!("{}", file.ino()));
                self.tree.node(file.ino()).handles += 1;
                self.handles.push(file);
            }
        } else if !self.handles.is_empty() {
            let file = self.handles.swap_remove(self.random.usize(..self.handles.len()));
            self.say("close", format!("{}", file.ino()));
            self.tree.node(file.ino()).handles -= 1;
            self.tree.end_if_unused(file.ino());
        }
    }

    fn look(&mut self) {
        *self.counts.entry("look").or_default() += 1;
        let Some(file) = self.file() else { return };
        let len = self.tree.node(file.ino()).content.len();
        let (at, count) = self.place(len);
        let mut bytes = vec![1; count];
        let read = file.read_at(at as u64, &mut bytes).unwrap();
        let content = &self.tree.nodes[&file.ino()].content;
        let expected = &content[at.min(len)..(at + count).min(len)];
        assert!(bytes[..read] == *expected, "{} {count} at {at}", file.ino());
        let dir = self.dir();
        let most = self.random.usize(1..4);
        let (mut cookie, mut names) = (2, Vec::new());
        loop {
            let part = self.nova().readdir(dir, cookie, most, ROOT_USER).unwrap();
            let Some(last) = part.last() else { break };
            cookie = last.cookie;
            names.extend(part.into_iter().map(|entry| (entry.name, entry.ino)));
        }
        assert_eq!(names, self.tree.nodes[&dir].names);
    }

    /// Everything is as the model says.
    pub fn check(&mut self) -> Everything {
        let all = everything(self.nova());
        let mut files = 0;
        let mut todo = vec![(Vec::new(), ROOT)];
        while let Some((path, ino)) = todo.pop() {
            let (seen, node) = (&all[&path], &self.tree.nodes[&ino]);
            let at = String::from_utf8_lossy(&path);
            let stat = seen.stat;
            let size = match node.kind {
                Kind::Directory => 64 * node.names.len(),
                _ => node.content.len(),
            } as u64;
            let is = (stat.ino, stat.kind(), stat.mode & 0o7777, stat.links, stat.uid, stat.gid, stat.size);
            let should = (ino, node.kind, node.mode, node.links, node.uid, node.gid, size);
            assert_eq!(is, should, "{at}");
            assert!(seen.attributes.iter().map(|(name, value)| (name, value)).eq(&node.attributes), "{at}");
            match node.kind {
                Kind::Symlink => assert!(seen.target.as_ref() == Some(&node.content), "{at}"),
                Kind::File => {
                    let file = self.nova().open_inode(ino, Access::READ, ROOT_USER).unwrap();
                    assert!(file.read_to_end().unwrap() == node.content, "{at}: content");
                    let mut sparse = vec![0; node.content.len()];
                    for (at, bytes) in &seen.data {
                        sparse[*at as usize..][..bytes.len()].copy_from_slice(bytes);
                    }
                    assert!(sparse == node.content, "{at}: content outside of data");
                }
                Kind::Directory => {
                    let names: Vec<(Vec<u8>, u64)> =
                        seen.names.iter().map(|entry| (entry.name.clone(), entry.ino)).collect();
                    assert_eq!(names[..2], [(b".".to_vec(), ino), (b"..".to_vec(), node.parent)], "{at}");
                    assert_eq!(names[2..], node.names, "{at}");
                    todo.extend(
                        node.names.iter().map(|(name, ino)| ([&path[..], b"/", name].concat(), *ino)),
                    );
                }
                _ => {}
            }
            files += 1;
        }
        assert_eq!(files, all.len());
        for file in &self.handles {
            assert!(file.read_to_end().unwrap() == self.tree.nodes[&file.ino()].content);
        }
        all
    }

    fn close_all(&mut self) {
        for file in std::mem::take(&mut self.handles) {
            self.tree.node(file.ino()).handles -= 1;
            self.tree.end_if_unused(file.ino());
        }
    }

    pub fn remount(&mut self) {
        let before = self.check();
        self.close_all();
        let full = self.nova().statfs();
        let quotas = self.nova().quotas();
        let mapping = self.nova.take().expect("mounted").unmount().unwrap();
        drop(mapping);
        let nova = self.mount.mount(self.image.map()).unwrap();
        assert!(nova.mount_report().clean);
        assert_same(&before, &everything(&nova), "a remount");
        assert_eq!(nova.statfs(), full);
        assert_eq!(nova.quotas(), quotas);
        self.said.push_back("remount".into());
        self.nova = Some(nova);
    }

    pub fn crash(&mut self) {
        let before = self.check();
        if self.random.bool() {
            self.close_all();
        }
        let quotas = self.nova().quotas();
        let bytes = self.image.bytes();
        let copy = after_crash(&bytes);
        assert_same(&before, &everything(&copy), "a crash");
        if self.handles.is_empty() {
            assert_eq!(copy.statfs(), self.nova().statfs());
            assert_eq!(copy.quotas(), quotas);
        }
        drop(copy);
        if self.random.bool() {
            self.close_all();
            self.nova = None;
            self.image = Image::of(&bytes);
            self.nova = Some(self.mount.mount(self.image.map()).unwrap());
            self.said.push_back("crash".into());
        }
    }

    /// Removes everything: every block comes back.
    pub fn empty(&mut self) {
        self.close_all();
        let nova = self.nova().clone();
        remove_all(&nova, ROOT);
        nova.sync().unwrap();
        let statfs = nova.statfs();
        let copy = after_crash(&self.image.bytes());
        assert_eq!(copy.statfs(), statfs);
        let used = self.free - statfs.free;
        // Segments of the inode table stay, and the root's log.
        assert!(used < 80 + statfs.inodes / 31, "{used} blocks are gone");
    }
}

fn remove_all(nova: &Nova, dir: u64) {
    for entry in nova.readdir(dir, 2, usize::MAX, ROOT_USER).unwrap() {
        if entry.kind == Kind::Directory {
            remove_all(nova, entry.ino);
            nova.rmdir(dir, &entry.name, ROOT_USER).unwrap();
        } else {
            nova.unlink(dir, &entry.name, ROOT_USER).unwrap();
        }
    }
}
