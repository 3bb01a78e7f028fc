//! Making files: a slot, what the new file gets from its directory, and a name, in one record.

use crate::{
    Code, Credentials, Kind, Result,
    alloc::Purpose,
    attributes::target_key,
    format::{Identity, MAX_LINKS, Status, flag},
    inode::{Index, Inode, State},
    log::{self, Append},
    permission::{ACCESS, DEFAULT, acl_key},
    volume::{Freed, Volume},
};
use bytemuck::Zeroable;
use std::sync::Arc;

/// What is to be made.
pub(crate) struct New<'a> {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) device: u64,
    /// A link's target.
    pub(crate) target: &'a [u8],
}

impl Volume {
    /// Makes a file. `name`: in `dir`; `None`: without a name, until somebody links it.
    pub(crate) fn make(
        &self,
        dir_inode: &Inode,
        name: Option<&[u8]>,
        who: &Credentials,
        new: &New<'_>,
    ) -> Result<Arc<Inode>> {
        self.writable()?;
        let mut dir = self.write_directory(dir_inode, who)?;
        if dir.status.links == 0 {
            return Err(Code::NotFound.into());
        }
        if let Some(name) = name {
            if dir.names()?.get(name).is_some() {
                return Err(Code::Exists.into());
            }
            if new.kind == Kind::Directory && dir.status.links >= MAX_LINKS {
                return Err(Code::TooManyLinks.into());
            }
        }
        let inherits_group = dir.identity.mode & libc::S_ISGID != 0;
        let gid = if inherits_group { dir.identity.gid } else { who.gid };
        let blocks = i64::from(!new.target.is_empty() && !self.superblock.has_replicas());
        self.quotas.charge_ids(who.uid, gid, blocks, 1)?;
        let made = self.make_charged(dir_inode, &mut dir, name, who, gid, new);
        if made.is_err() {
            let _ = self.quotas.charge_ids(who.uid, gid, -blocks, -1);
        }
        made
    }

    fn make_charged(
        &self,
        dir_inode: &Inode,
        dir: &mut State,
        name: Option<&[u8]>,
        who: &Credentials,
        gid: u32,
        new: &New<'_>,
    ) -> Result<Arc<Inode>> {
        let now = self.now();
        let (ino, at) = self.table.take(self, self.near())?;
        let generation =
            self.media.inode_lines(at).map_or(0, |(old, _)| old.generation).wrapping_add(1).max(1);
        let default = if new.kind == Kind::Symlink { None } else { dir.acl(DEFAULT) };
        let permissions = match &default {
            Some(_) => new.mode & 0o7777,
            None if new.kind == Kind::Symlink => 0o777,
            None => new.mode & 0o7777 & !who.umask,
        };
        let mut mode = new.kind.mode_bits() | permissions;
        if dir.identity.mode & libc::S_ISGID != 0 && new.kind == Kind::Directory {
            mode |= libc::S_ISGID;
        } else if mode & libc::S_ISGID != 0 && !who.is_privileged() && !who.is_in(gid) {
            mode &= !libc::S_ISGID;
        }
        let access = default.as_ref().map(|default| default.inherited(mode));
        if let Some(access) = &access {
            mode = mode & !0o777 | access.mode();
        }
        let is_directory = new.kind == Kind::Directory;
        let identity = Identity {
            generation,
            ino,
            mode,
            uid: who.uid,
            gid,
            device: new.device,
            created: now,
            parent: if is_directory { dir_inode.ino } else { 0 },
            ..Identity::zeroed()
        };
        let links = match name {
            None => 0,
            Some(_) if is_directory => 2,
            Some(_) => 1,
        };
        let status = Status { links, accessed: now, modified: now, changed: now, ..Status::zeroed() };
        let body = Index::empty(&identity).body; // it has no log
        let inode = self.enter(ino, at, State { body, gone: true, ..State::new(identity, status) });
        let mut child = inode.state.write();
        let inherited = Inherited { access, default: default.filter(|_| is_directory) };
        match self.commit_new(dir_inode, dir, name, &inode, &mut child, new, inherited, now) {
            Ok(()) => {
                child.gone = false;
                drop(child);
                Ok(inode)
            }
            Err(error) => {
                self.forget(ino);
                self.table.give_back(ino);
                Err(error)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "two inodes, a name, and what the new one gets")]
    fn commit_new(
        &self,
        dir_inode: &Inode,
        dir: &mut State,
        name: Option<&[u8]>,
        inode: &Inode,
        child: &mut State,
        new: &New<'_>,
        inherited: Inherited,
        now: i64,
    ) -> Result<()> {
        let mut batch = self.batch();
        let (mut identity, mut status) = (child.identity, child.status);
        // The child's own log: a link's target, inherited lists.
        let mut log = Append::new(self, inode.ino, 0, 0, &child.pages, Purpose::Ordinary);
        let mut target = None;
        let mut changes = Vec::new();
        if !new.target.is_empty() && self.superblock.has_replicas() {
            // In the log, which has a copy.
            let (media, key) = (&self.media, target_key());
            changes.push(child.attributes.change(media, &mut batch, &mut log, key, Some(new.target))?);
            identity.flags |= flag::HAS_ATTRIBUTES;
            status.size = new.target.len() as u64;
        } else if !new.target.is_empty() {
            let runs = self.allocate(1, Purpose::Ordinary)?;
            let placed = self.place_small(&mut batch, &runs, new.target);
            let linked = log.entry(
                &mut batch,
                bytemuck::bytes_of_mut(
                    &mut log::extent(0, runs[0], false, self.epoch()).next().expect("a block"),
                ),
            );
            match (placed, linked) {
                (Ok(()), Ok((_, page))) => target = Some((runs[0], page)),
                (Err(error), _) | (_, Err(error)) => {
                    self.give_up(&runs);
                    return Err(error);
                }
            }
            (status.size, status.blocks) = (new.target.len() as u64, 1);
        }
        let give_up = || {
            if let Some((run, _)) = target {
                self.give_up(&[run]);
            }
        };
        let lists =
            [(ACCESS, inherited.access.filter(|acl| !acl.is_minimal())), (DEFAULT, inherited.default)];
        for (which, list) in lists {
            let Some(list) = list else { continue };
            let value = list.encode();
            match child.attributes.change(&self.media, &mut batch, &mut log, acl_key(which), Some(&value)) {
                Ok(change) => changes.push(change),
                Err(error) => {
                    give_up();
                    return Err(error);
                }
            }
            identity.flags |= flag::HAS_ATTRIBUTES;
        }
        log.finish(&mut batch, &child.pages);
        (identity.log, status.tail) = (log.log, log.tail);
        self.put(&mut batch, inode.at, Some(&mut identity), &mut status);
        let committed = match name {
            Some(name) => {
                let linked = self.put_name(dir_inode, dir, &mut batch, name, inode.ino, child.kind(), now);
                linked.and_then(|linked| self.commit_linked(&batch, dir, name, linked))
            }
            None => self.commit(&batch, Freed::default()).map(drop),
        };
        if let Err(error) = committed {
            give_up();
            return Err(error);
        }
        log.done(&mut child.pages);
        (child.identity, child.status) = (identity, status);
        if let Some((run, page)) = target {
            let mapped = crate::extents::Mapped {
                block: run.start,
                count: 1,
                unwritten: false,
                birth: batch.epoch(),
                page,
            };
            child.extents_mut().insert(0, mapped);
            child.pages.add(page, 1);
        }
        let State { attributes, pages, .. } = child;
        changes.into_iter().for_each(|change| attributes.done(change, pages));
        self.collect_if_worth_it(dir_inode, dir);
        Ok(())
    }
}

/// Lists that a new file gets from its directory.
struct Inherited {
    access: Option<crate::acl::Acl>,
    default: Option<crate::acl::Acl>,
}
