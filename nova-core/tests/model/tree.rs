//! What a filesystem is, as plain values in memory: names, contents, attributes.

use nova_core::{Code, Kind, ROOT, Rename};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub content: Vec<u8>,
    /// In the order of `readdir`.
    pub names: Vec<(Vec<u8>, u64)>,
    pub parent: u64,
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub handles: usize,
}

impl Node {
    pub fn new(kind: Kind, mode: u32) -> Node {
        let links = if kind == Kind::Directory { 2 } else { 1 };
        Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            links,
            content: Vec::new(),
            names: Vec::new(),
            parent: 0,
            attributes: BTreeMap::new(),
            handles: 0,
        }
    }
}

pub struct Tree {
    pub nodes: BTreeMap<u64, Node>,
}

impl Tree {
    pub fn new() -> Tree {
        let root = Node { parent: ROOT, ..Node::new(Kind::Directory, 0o755) };
        Tree { nodes: [(ROOT, root)].into() }
    }

    pub fn node(&mut self, ino: u64) -> &mut Node {
        self.nodes.get_mut(&ino).expect("the model knows the inode")
    }

    pub fn find(&self, dir: u64, name: &[u8]) -> Option<u64> {
        self.nodes[&dir].names.iter().find(|(other, _)| other == name).map(|(_, ino)| *ino)
    }

    pub fn is_dir(&self, ino: u64) -> bool {
        self.nodes[&ino].kind == Kind::Directory
    }

    pub fn all(&self, kind: Kind) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.kind == kind && node.links > 0)
            .map(|(ino, _)| *ino)
            .collect()
    }

    pub fn make(&mut self, dir: u64, name: &[u8], ino: u64, node: Node) {
        let is_dir = node.kind == Kind::Directory;
        let before = self.nodes.insert(ino, Node { parent: if is_dir { dir } else { 0 }, ..node });
        assert!(before.is_none(), "inode {ino} is another file's");
        self.add(dir, name, ino);
    }

    pub fn add(&mut self, dir: u64, name: &[u8], ino: u64) {
        let is_dir = self.is_dir(ino);
        let parent = self.node(dir);
        parent.names.push((name.to_vec(), ino));
        parent.links += u32::from(is_dir);
    }

    fn take(&mut self, dir: u64, name: &[u8]) -> u64 {
        let at = self.nodes[&dir].names.iter().position(|(other, _)| other == name).expect("it is there");
        let (_, ino) = self.node(dir).names.remove(at);
        let is_dir = self.is_dir(ino);
        self.node(dir).links -= u32::from(is_dir);
        ino
    }

    /// A file without names and handles is none.
    pub fn end_if_unused(&mut self, ino: u64) {
        let node = &self.nodes[&ino];
        if node.links == 0 && node.handles == 0 {
            self.nodes.remove(&ino);
        }
    }

    fn drop_link(&mut self, ino: u64) {
        let is_dir = self.is_dir(ino);
        let node = self.node(ino);
        node.links = if is_dir { 0 } else { node.links - 1 };
        self.end_if_unused(ino);
    }

    pub fn link(&mut self, ino: u64, dir: u64, name: &[u8]) -> Result<(), Code> {
        if self.is_dir(ino) {
            return Err(Code::NotPermitted);
        }
        if self.find(dir, name).is_some() {
            return Err(Code::Exists);
        }
        self.node(ino).links += 1;
        self.add(dir, name, ino);
        Ok(())
    }

    pub fn unlink(&mut self, dir: u64, name: &[u8]) -> Result<(), Code> {
        let ino = self.find(dir, name).ok_or(Code::NotFound)?;
        if self.is_dir(ino) {
            return Err(Code::IsADirectory);
        }
        self.take(dir, name);
        self.drop_link(ino);
        Ok(())
    }

    pub fn rmdir(&mut self, dir: u64, name: &[u8]) -> Result<(), Code> {
        let ino = self.find(dir, name).ok_or(Code::NotFound)?;
        match self.nodes[&ino].kind {
            Kind::Directory if self.nodes[&ino].names.is_empty() => {}
            Kind::Directory => return Err(Code::NotEmpty),
            _ => return Err(Code::NotADirectory),
        }
        self.take(dir, name);
        self.drop_link(ino);
        Ok(())
    }

    /// Whether `ino` is `above`, or below it.
    fn is_below(&self, mut ino: u64, above: u64) -> bool {
        while ino != above {
            if ino == ROOT {
                return false;
            }
            ino = self.nodes[&ino].parent;
        }
        true
    }

    pub fn rename(&mut self, from: u64, name: &[u8], to: u64, new: &[u8], how: Rename) -> Result<(), Code> {
        let source = self.find(from, name).ok_or(Code::NotFound)?;
        let target = self.find(to, new);
        match (how, target) {
            (Rename::NoReplace, Some(_)) => return Err(Code::Exists),
            (Rename::Exchange, None) => return Err(Code::NotFound),
            (_, Some(target)) if target == source => return Ok(()),
            _ => {}
        }
        if self.is_dir(source) && self.is_below(to, source) {
            return Err(Code::Invalid);
        }
        let exchange = how == Rename::Exchange;
        if let Some(target) = target {
            if self.is_dir(target) && self.is_below(from, target) {
                return Err(if exchange { Code::Invalid } else { Code::NotEmpty });
            }
            match (self.is_dir(source), self.is_dir(target)) {
                _ if exchange => {}
                (true, false) => return Err(Code::NotADirectory),
                (false, true) => return Err(Code::IsADirectory),
                (true, true) if !self.nodes[&target].names.is_empty() => return Err(Code::NotEmpty),
                _ => {}
            }
        }
        self.take(from, name);
        if target.is_some() {
            self.take(to, new);
        }
        self.add(to, new, source);
        if self.is_dir(source) {
            self.node(source).parent = to;
        }
        match target {
            Some(target) if exchange => {
                self.add(from, name, target);
                if self.is_dir(target) {
                    self.node(target).parent = from;
                }
            }
            Some(target) => self.drop_link(target),
            None => {}
        }
        Ok(())
    }
}

/// Contents.
impl Node {
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.grow(at + bytes.len());
        self.content[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn grow(&mut self, len: usize) {
        if self.content.len() < len {
            self.content.resize(len, 0);
        }
    }

    pub fn zero(&mut self, at: usize, end: usize) {
        let end = end.min(self.content.len());
        if at < end {
            self.content[at..end].fill(0);
        }
    }
}
