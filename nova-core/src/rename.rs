//! Rename: one record for everything it touches, up to two directories and two files.
//!
//! # Locks
//!
//! A rename across directories holds the volume's tree lock, and so does one of a directory: nobody else changes parents then. Of the two
//! directories an ancestor is locked before its descendant, others by number; then the two files, by number. Every other operation
//! locks one directory and then what it names, so locks are always taken downwards, and files without anything below them by number.

use crate::{
    Code, Credentials, Error, Nova, Rename, Result,
    commit::Batch,
    format::{Identity, MAX_LINKS, ROOT, Status},
    inode::{Inode, State},
    log::check_name,
    names::Dentry,
    namespace::{check_name_to_make, forget_name},
    permission::WRITE,
    volume::{Freed, Volume},
};
use parking_lot::RwLockWriteGuard;
use std::sync::{Arc, atomic::Ordering::Relaxed};

type Locked<'i> = RwLockWriteGuard<'i, State>;

impl Nova {
    /// Gives what `name` in `parent` stands for the name `new_name` in `new_parent`. What had that name before is replaced, as by
    /// [`unlink`](Nova::unlink) or [`rmdir`](Nova::rmdir), unless `how` says otherwise. 1 drain.
    ///
    /// # Errors
    ///
    /// [`Code::Invalid`] to move a directory below itself; [`Code::NotEmpty`], [`Code::IsADirectory`], [`Code::NotADirectory`] for what
    /// cannot replace what is there.
    pub fn rename(
        &self,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        how: Rename,
        who: &Credentials,
    ) -> Result<()> {
        let busy = |name: &[u8]| name == b"." || name == b"..";
        if busy(name) || busy(new_name) {
            return Err(Code::Busy.into());
        }
        check_name(name)?;
        check_name_to_make(new_name)?;
        let volume = self.volume();
        volume.writable()?;
        if parent != new_parent {
            // Before anything is asked of them: what is no directory is refused.
            for dir in [parent, new_parent] {
                volume.read_state(&*volume.inode(dir)?)?.names()?;
            }
        }
        let mut tree = (parent != new_parent).then(|| volume.tree.lock());
        while let Renamed::NotYet =
            volume.rename(parent, name, new_parent, new_name, how, who, tree.is_some())?
        {
            tree = Some(volume.tree.lock());
        }
        Ok(())
    }
}

fn is_directory(dentry: Dentry) -> bool {
    dentry.file_type == (libc::S_IFDIR >> 12) as u8
}

/// What has become of it.
enum Renamed {
    Done,
    /// Nothing: a directory is renamed or replaced, and that takes the tree lock, which comes before all others.
    NotYet,
}

/// One of the two files of a rename.
struct Moving<'i> {
    inode: &'i Arc<Inode>,
    state: Locked<'i>,
    identity: Identity,
    status: Status,
}

impl Volume {
    #[expect(
        clippy::too_many_arguments,
        reason = "two places, how, by whom, and whether the tree lock is held"
    )]
    fn rename(
        &self,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        how: Rename,
        who: &Credentials,
        has_tree: bool,
    ) -> Result<Renamed> {
        let same = parent == new_parent;
        let from_inode = self.inode(parent)?;
        let to_inode = if same { from_inode.clone() } else { self.inode(new_parent)? };
        let (mut from, mut to) = if same {
            (self.write_directory(&from_inode, who)?, None)
        } else if self.is_below(parent, new_parent)? {
            let to = self.write_directory(&to_inode, who)?;
            (self.write_directory(&from_inode, who)?, Some(to))
        } else {
            let from = self.write_directory(&from_inode, who)?;
            (from, Some(self.write_directory(&to_inode, who)?))
        };
        let to_state: &State = to.as_deref().unwrap_or(&from);
        let (source, target) = (from.names()?.get(name), to_state.names()?.get(new_name));
        if !has_tree && (source.is_some_and(is_directory) || target.is_some_and(is_directory)) {
            return Ok(Renamed::NotYet);
        }
        let source = source.ok_or(Error::Posix(Code::NotFound))?;
        if to_state.status.links == 0 {
            return Err(Code::NotFound.into());
        }
        match (how, target) {
            (Rename::NoReplace, Some(_)) => return Err(Code::Exists.into()),
            (Rename::Exchange, None) => return Err(Code::NotFound.into()),
            // Two names of one file: nothing is done.
            (_, Some(target)) if target.ino == source.ino => return Ok(Renamed::Done),
            _ => {}
        }
        // A directory cannot go below itself; what is replaced cannot be above.
        if is_directory(source) && self.is_below(new_parent, source.ino)? {
            return Err(Code::Invalid.into());
        }
        if let Some(target) = target.filter(|target| is_directory(*target))
            && self.is_below(parent, target.ino)?
        {
            let refused = if how == Rename::Exchange { Code::Invalid } else { Code::NotEmpty };
            return Err(refused.into());
        }
        let source_inode = self.inode(source.ino)?;
        let target_inode = target.map(|target| self.inode(target.ino)).transpose()?;
        let (moving, replaced) = self.lock_files(&source_inode, target_inode.as_ref())?;
        let (mut moving, mut replaced) = (moving, replaced);
        let now = self.now();

        // May it be?
        from.permit_removal(&moving.state, who)?;
        from.permit_change(false)?;
        if let Some(replaced) = &replaced {
            to.as_deref().unwrap_or(&from).permit_removal(&replaced.state, who)?;
            to.as_deref().unwrap_or(&from).permit_change(false)?;
        }
        let moves_directory = moving.state.is_directory();
        let replaces_directory = replaced.as_ref().is_some_and(|replaced| replaced.state.is_directory());
        if how != Rename::Exchange
            && let Some(replaced) = &replaced
        {
            match (moves_directory, replaces_directory) {
                (true, false) => return Err(Code::NotADirectory.into()),
                (false, true) => return Err(Code::IsADirectory.into()),
                (true, true) if replaced.state.names()?.len() > 0 => return Err(Code::NotEmpty.into()),
                _ => {}
            }
        }
        if !same {
            // `..` changes.
            if moves_directory {
                moving.state.permit(who, WRITE)?;
            }
            if how == Rename::Exchange
                && replaces_directory
                && let Some(replaced) = &replaced
            {
                replaced.state.permit(who, WRITE)?;
            }
            let more = i64::from(moves_directory) - i64::from(replaces_directory);
            let is_full = |dir: &State| dir.status.links >= MAX_LINKS;
            if more > 0 && is_full(to.as_deref().unwrap_or(&from))
                || more < 0 && how == Rename::Exchange && is_full(&from)
            {
                return Err(Code::TooManyLinks.into());
            }
        }

        // The record.
        let mut batch = self.batch();
        self.put_removal(&mut batch, source)?;
        if let Some(target) = target {
            self.put_removal(&mut batch, target)?;
        }
        let ends = how != Rename::Exchange
            && replaced.as_ref().is_some_and(|replaced| {
                let last = replaced.state.is_directory() || replaced.status.links == 1;
                last && replaced.inode.handles.load(Relaxed) == 0
            });
        let mut freed = Freed::default();
        moving.status.changed = now;
        if moves_directory && !same {
            moving.identity.parent = new_parent;
        }
        if let Some(replaced) = &mut replaced {
            replaced.status.changed = now;
            match how {
                Rename::Exchange if replaces_directory && !same => replaced.identity.parent = parent,
                Rename::Exchange => {}
                _ if replaces_directory => replaced.status.links = 0,
                _ => replaced.status.links = replaced.status.links.saturating_sub(1),
            }
            if ends {
                freed = self.put_end(&mut batch, replaced.inode, &mut replaced.state)?;
            } else {
                let Moving { inode, identity, status, .. } = replaced;
                let changes = how == Rename::Exchange && replaces_directory && !same;
                self.put(&mut batch, inode.at, changes.then_some(identity), status);
            }
        }
        let changes = moves_directory && !same;
        self.put(&mut batch, moving.inode.at, changes.then_some(&mut moving.identity), &mut moving.status);
        let entries = Entries { source, target, moves_directory, replaces_directory, how, now };
        let result = match &mut to {
            Some(to) => self.commit_across(
                &mut batch,
                freed,
                (&from_inode, &mut from, name),
                (&to_inode, to, new_name),
                entries,
            ),
            None => self.commit_within(&mut batch, freed, (&from_inode, &mut from), name, new_name, entries),
        };
        result?;

        // It is so.
        moving.inode.parent.store(moving.identity.parent, Relaxed);
        (moving.state.identity, moving.state.status) = (moving.identity, moving.status);
        if let Some(mut replaced) = replaced {
            if ends {
                self.ended(replaced.inode, &mut replaced.state);
            } else {
                replaced.inode.parent.store(replaced.identity.parent, Relaxed);
                (replaced.state.identity, replaced.state.status) = (replaced.identity, replaced.status);
            }
        }
        drop(moving);
        self.collect_if_worth_it(&from_inode, &mut from);
        if let Some(to) = &mut to {
            self.collect_if_worth_it(&to_inode, to);
        }
        Ok(Renamed::Done)
    }

    /// Locks the two files, by number; directories are read.
    fn lock_files<'i>(
        &self,
        source: &'i Arc<Inode>,
        target: Option<&'i Arc<Inode>>,
    ) -> Result<(Moving<'i>, Option<Moving<'i>>)> {
        let lock = |inode: &'i Arc<Inode>| -> Result<Moving<'i>> {
            let state = self.write_state(inode)?;
            let (identity, status) = (state.identity, state.status);
            Ok(Moving { inode, state, identity, status })
        };
        Ok(match target {
            Some(target) if target.ino < source.ino => {
                let target = lock(target)?;
                (lock(source)?, Some(target))
            }
            Some(target) => (lock(source)?, Some(lock(target)?)),
            None => (lock(source)?, None),
        })
    }

    /// Whether directory `ino` is `above`, or below it. With the tree lock held, if the answer is to stay right.
    fn is_below(&self, ino: u64, above: u64) -> Result<bool> {
        let mut at = ino;
        for _ in 0..1 << 20 {
            if at == above {
                return Ok(true);
            }
            if at == ROOT {
                return Ok(false);
            }
            at = self.inode(at)?.parent.load(Relaxed);
        }
        Error::damaged("inode", 0, "directories in a circle")
    }
}

/// What happens to names.
#[derive(Clone, Copy)]
struct Entries {
    source: Dentry,
    target: Option<Dentry>,
    moves_directory: bool,
    replaces_directory: bool,
    how: Rename,
    now: i64,
}

/// A directory, locked, and a name in it.
type Place<'a> = (&'a Inode, &'a mut State, &'a [u8]);

impl Volume {
    fn commit_across(
        &self,
        batch: &mut Batch,
        mut freed: Freed,
        (from_inode, from, name): Place<'_>,
        (to_inode, to, new_name): Place<'_>,
        entries: Entries,
    ) -> Result<()> {
        let Entries { source, target, moves_directory, replaces_directory, how, now } = entries;
        let kind = |dentry: Dentry| crate::Kind::of_mode(u32::from(dentry.file_type) << 12);
        // `put_name` counts a name, and a directory's `..`; what leaves is taken off before.
        let (from_before, to_before) = (from.status, to.status);
        let leaves = |state: &mut State, is_directory: bool| {
            state.status.size -= 1;
            state.status.links -= u32::from(is_directory);
        };
        leaves(from, moves_directory);
        if target.is_some() {
            leaves(to, replaces_directory);
        }
        let mut work = || -> Result<()> {
            let into = self.put_name(to_inode, to, batch, new_name, source.ino, kind(source), now)?;
            let back = match target.filter(|_| how == Rename::Exchange) {
                Some(target) => {
                    Some(self.put_name(from_inode, from, batch, name, target.ino, kind(target), now)?)
                }
                None => None,
            };
            freed.pages.extend(into.freed.pages.iter().copied());
            let mut from_status = Status { modified: now, changed: now, ..from.status };
            match &back {
                Some(back) => freed.pages.extend(back.freed.pages.iter().copied()),
                None => self.put(batch, from_inode.at, None, &mut from_status),
            }
            self.commit(batch, std::mem::take(&mut freed))?;
            forget_name(from, name);
            if target.is_some() {
                forget_name(to, new_name);
            }
            into.done(to, new_name);
            match back {
                Some(back) => back.done(from, name),
                None => from.status = from_status,
            }
            Ok(())
        };
        let result = work();
        if result.is_err() {
            (from.status, to.status) = (from_before, to_before);
        }
        result
    }

    fn commit_within(
        &self,
        batch: &mut Batch,
        mut freed: Freed,
        (inode, dir): (&Inode, &mut State),
        name: &[u8],
        new_name: &[u8],
        entries: Entries,
    ) -> Result<()> {
        let Entries { source, target, replaces_directory, how, now, .. } = entries;
        let back = target.filter(|_| how == Rename::Exchange).map(|target| (name, target));
        let names = [Some((new_name, source)), back];
        let (mut identity, mut status) = (dir.identity, dir.status);
        let purpose = crate::alloc::Purpose::Ordinary;
        let mut log =
            crate::log::Append::new(self, inode.ino, identity.log, status.tail, &dir.pages, purpose);
        let mut added = [None; 2];
        let named = (dir.names()?.next_cookie()..).zip(names.iter().flatten());
        for (added, (cookie, (name, dentry))) in added.iter_mut().zip(named) {
            let mut entry = crate::log::name(name, dentry.ino, cookie, dentry.file_type, batch.epoch());
            let (at, page) = log.entry(batch, entry.bytes())?;
            *added = Some((*name, Dentry { at, page, cookie, ..*dentry }));
        }
        log.finish(batch, &dir.pages);
        freed.pages.extend(log.freed(&dir.pages).pages);
        let moved = log.log != identity.log;
        (identity.log, status.tail) = (log.log, log.tail);
        (status.modified, status.changed) = (now, now);
        if target.is_some() && how != Rename::Exchange {
            status.size -= 1;
            status.links -= u32::from(replaces_directory);
        }
        self.put(batch, inode.at, moved.then_some(&mut identity), &mut status);
        self.commit(batch, freed)?;
        log.done(&mut dir.pages);
        forget_name(dir, name);
        if target.is_some() {
            forget_name(dir, new_name);
        }
        for (name, Dentry { ino, cookie, file_type, at, page }) in added.into_iter().flatten() {
            dir.names_mut().insert(name, ino, cookie, file_type, at, page);
            dir.pages.add(page, 1);
        }
        (dir.identity, dir.status) = (identity, status);
        Ok(())
    }
}
