//! A directory's names, in DRAM.

mod order;

use foldhash::fast::RandomState;
use order::Order;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// First cookie of a name: 1 and 2 are those of `.` and `..`.
const FIRST_COOKIE: u64 = 3;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dentry {
    pub(crate) ino: u64,
    /// Its place in the order of `readdir`: the same for as long as the name is there.
    pub(crate) cookie: u64,
    /// The type bits of the mode.
    pub(crate) file_type: u8,
    /// Its entry, and on which page of the log.
    pub(crate) at: u64,
    pub(crate) page: u32,
}

/// Names of one directory, by name and in order of cookies.
#[derive(Default)]
pub(crate) struct Names {
    /// Who may make files chooses the names, and the map lives as long as the directory is used: the hash has a key, at random for each
    /// directory. (SipHash, which holds against who measures times, too, takes five times as long, twice for each name that is made.)
    by_name: HashMap<Arc<[u8]>, Dentry, RandomState>,
    by_cookie: Order,
    next: u64,
    /// Lines that their entries take in a log.
    lines: u64,
}

fn lines(name: &[u8]) -> u64 {
    ((size_of::<crate::format::NameHead>() + name.len()) as u64).div_ceil(crate::format::LINE)
}

impl Names {
    /// Lines that all entries take in a log.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<Dentry> {
        self.by_name.get(name).copied()
    }

    /// Whether a name has this cookie.
    pub(crate) fn has_cookie(&self, cookie: u64) -> bool {
        self.by_cookie.has(cookie)
    }

    /// A cookie that no name has had.
    pub(crate) fn next_cookie(&self) -> u64 {
        self.next.max(FIRST_COOKIE)
    }

    /// An entry of a name, there or removed, has this cookie.
    pub(crate) fn saw_cookie(&mut self, cookie: u64) {
        self.next = self.next.max(cookie.saturating_add(1));
    }

    /// Adds a name. `false`, and nothing is changed, if there is one like it, or its cookie.
    pub(crate) fn insert(
        &mut self,
        name: &[u8],
        ino: u64,
        cookie: u64,
        file_type: u8,
        at: u64,
        page: u32,
    ) -> bool {
        let shared: Arc<[u8]> = name.into();
        let Entry::Vacant(by_name) = self.by_name.entry(shared.clone()) else { return false };
        if cookie < FIRST_COOKIE || !self.by_cookie.insert(cookie, shared) {
            return false;
        }
        by_name.insert(Dentry { ino, cookie, file_type, at, page });
        self.lines += lines(name);
        self.saw_cookie(cookie);
        true
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Dentry> {
        let dentry = self.by_name.remove(name)?;
        self.by_cookie.remove(dentry.cookie);
        self.lines -= lines(name);
        Some(dentry)
    }

    /// Names whose cookies are larger than `cookie`, in order.
    pub(crate) fn after(&self, cookie: u64) -> impl Iterator<Item = (&[u8], Dentry)> {
        self.by_cookie.after(cookie).map(|name| (&**name, self.by_name[name]))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Dentry)> {
        self.after(0)
    }

    /// The log was rewritten: the name's entry is elsewhere.
    pub(crate) fn moved(&mut self, name: &[u8], at: u64, page: u32) {
        if let Some(dentry) = self.by_name.get_mut(name) {
            (dentry.at, dentry.page) = (at, page);
        }
    }
}
