//! Attributes: mode, owner, times, flags; extended attributes and access control lists; quotas; how full the volume is.

use crate::{
    Code, Credentials, Error, Kind, Nova, Quota, Result, SetAttr, Stat, StatFs, Time, Usage,
    acl::Acl,
    alloc::Purpose,
    attributes::{self, INTERNAL, Key, TRUSTED, USER},
    format::{BLOCK, Identity, MAX_ATTRIBUTE, ROOT, SLOT, Status, flag},
    inode::{Inode, State},
    log::Append,
    permission::{ACCESS, DEFAULT, READ, WRITE, acl_key, set_id_bits},
    snapshot::Lines,
    volume::{Freed, Volume},
};

/// Flags of a file that a user can set: `chattr`'s, and two of this filesystem.
pub mod flags {
    use crate::format::flag;
    /// Nothing of it changes, and it has no new names.
    pub const IMMUTABLE: u32 = flag::IMMUTABLE;
    /// It can only be appended to; of a directory: names are only added.
    pub const APPEND: u32 = flag::APPEND;
    /// Backups leave it out.
    pub const NO_DUMP: u32 = flag::NO_DUMP;
    /// Reading does not change its access time.
    pub const NO_ATIME: u32 = flag::NO_ATIME;
    /// Overwriting goes in place: durable, atomic for aligned words.
    pub const IN_PLACE: u32 = flag::IN_PLACE;
    /// It will be mapped: its blocks are to be aligned.
    pub const ALIGNED: u32 = flag::ALIGNED;
}

/// What a call of [`Nova::set_attribute`] does about an attribute that is there, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttributeMode {
    /// Creates or replaces it.
    #[default]
    Set,
    /// [`Code::Exists`] if it is there.
    Create,
    /// [`Code::NoAttribute`] if it is not.
    Replace,
}

impl Nova {
    /// Sets attributes: all of them, or none. 1 drain.
    ///
    /// # Errors
    ///
    /// [`Code::NotPermitted`] for who is not the owner; [`Code::NoAccess`] for a size without the permission to write; those of a change of size.
    pub fn setattr(&self, ino: u64, set: &SetAttr, who: &Credentials) -> Result<Stat> {
        let volume = self.volume();
        volume.writable()?;
        let inode = volume.inode(ino)?;
        let mut state = volume.write_state(&inode)?;
        // Flags alone may be changed always; of what may only be appended to, times may become the present.
        let is_explicit = |time: Option<Time>| matches!(time, Some(Time::At(_)));
        let changes = set.mode.is_some() || set.uid.is_some() || set.gid.is_some() || set.size.is_some();
        let times = set.accessed.is_some() || set.modified.is_some();
        if changes || times || set.flags.is_none() {
            state.permit_change(!changes && !is_explicit(set.accessed) && !is_explicit(set.modified))?;
        }
        let now = volume.now();
        let (mut identity, mut status) = (state.identity, Status { changed: now, ..state.status });
        let is_directory = state.is_directory();
        if let Some(mode) = set.mode {
            state.permit_owner(who)?;
            let mut mode = mode & 0o7777;
            if !is_directory && !who.is_privileged() && !who.is_in(set.gid.unwrap_or(identity.gid)) {
                mode &= !libc::S_ISGID;
            }
            identity.mode = identity.mode & libc::S_IFMT | mode;
        }
        if set.uid.is_some() || set.gid.is_some() {
            let uid = set.uid.unwrap_or(identity.uid);
            let gid = set.gid.unwrap_or(identity.gid);
            let owns =
                who.uid == identity.uid && uid == identity.uid && (who.is_in(gid) || gid == identity.gid);
            if !who.is_privileged() && !owns {
                return Err(Code::NotPermitted.into());
            }
            (identity.uid, identity.gid) = (uid, gid);
            if !is_directory && set.mode.is_none() {
                identity.mode &= !set_id_bits(identity.mode);
            }
        }
        for (time, place) in [(set.accessed, &mut status.accessed), (set.modified, &mut status.modified)] {
            match time {
                None => {}
                Some(Time::Now) => {
                    state.permit_owner(who).or_else(|_| state.permit(who, WRITE))?;
                    *place = now;
                }
                Some(Time::At(at)) => {
                    state.permit_owner(who)?;
                    *place = at;
                }
            }
        }
        if let Some(flags) = set.flags {
            state.permit_owner(who)?;
            if flags & !flag::SETTABLE != 0 {
                return Err(Code::NotSupported.into());
            }
            let privileged = flag::IMMUTABLE | flag::APPEND;
            if (flags ^ identity.flags) & privileged != 0 && !who.is_privileged() {
                return Err(Code::NotPermitted.into());
            }
            identity.flags = identity.flags & !flag::SETTABLE | flags;
        }
        if set.size.is_some() {
            state.permit(who, WRITE)?;
            match state.kind() {
                Kind::File => {}
                Kind::Directory => return Err(Code::IsADirectory.into()),
                _ => return Err(Code::Invalid.into()),
            }
            if set.modified.is_none() {
                status.modified = now;
            }
            if who.uid != 0 && set.mode.is_none() {
                identity.mode &= !set_id_bits(identity.mode);
            }
        }
        volume.set_lines(&inode, &mut state, set, identity, status)?;
        Ok(state.stat())
    }

    /// Makes mode, owner, flags and all times what another volume had, whatever flags the file has. 1 drain.
    pub(crate) fn restore_lines(&self, ino: u64, lines: &Lines) -> Result<()> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        let mut state = volume.write_state(&inode)?;
        let Lines { mode, uid, gid, flags, accessed, modified, changed, created } = *lines;
        let (identity, status) = (state.identity, state.status);
        let mode = identity.mode & libc::S_IFMT | mode & 0o7777;
        let flags = identity.flags & !flag::SETTABLE | flags & flag::SETTABLE;
        let identity = Identity { mode, uid, gid, flags, created, ..identity };
        let status = Status { accessed, modified, changed, ..status };
        volume.set_lines(&inode, &mut state, &SetAttr::default(), identity, status)
    }

    /// The value of an extended attribute: `user.`, `trusted.`, `security.` or `system.` names.
    pub fn attribute(&self, ino: u64, name: &[u8], who: &Credentials) -> Result<Vec<u8>> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        let state = volume.read_state(&inode)?;
        let key = attributes::key(name)?;
        permit_attribute(&state, &key, who, READ)?;
        let list = if key == acl_key(ACCESS) { state.acl(ACCESS) } else { None };
        let value = list.map(|acl| acl.encode());
        value
            .or_else(|| state.attributes.get(&key).map(<[u8]>::to_vec))
            .ok_or(Error::Posix(Code::NoAttribute))
    }

    /// Sets an extended attribute: at most 65,536 bytes (as many as the journal takes, on a small volume). 1 drain.
    ///
    /// `system.posix_acl_access` and `system.posix_acl_default` take POSIX access control lists, which count from then on.
    pub fn set_attribute(
        &self,
        ino: u64,
        name: &[u8],
        value: &[u8],
        mode: AttributeMode,
        who: &Credentials,
    ) -> Result<()> {
        if value.len() > MAX_ATTRIBUTE {
            return Err(Code::TooBig.into());
        }
        self.change_attribute(ino, name, Some(value), mode, who)
    }

    /// Removes an extended attribute. 1 drain.
    pub fn remove_attribute(&self, ino: u64, name: &[u8], who: &Credentials) -> Result<()> {
        self.change_attribute(ino, name, None, AttributeMode::Replace, who)
    }

    /// Names of all extended attributes that `who` may see.
    pub fn attributes(&self, ino: u64, who: &Credentials) -> Result<Vec<Vec<u8>>> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        let state = volume.read_state(&inode)?;
        let visible = |key: &&Key| key.0 != TRUSTED || who.is_privileged();
        Ok(state.attributes.keys().filter(visible).filter_map(attributes::full_name).collect())
    }

    fn change_attribute(
        &self,
        ino: u64,
        name: &[u8],
        value: Option<&[u8]>,
        mode: AttributeMode,
        who: &Credentials,
    ) -> Result<()> {
        let volume = self.volume();
        volume.writable()?;
        let inode = volume.inode(ino)?;
        let mut state = volume.write_state(&inode)?;
        let key = attributes::key(name)?;
        permit_attribute(&state, &key, who, WRITE)?;
        state.permit_change(false)?;
        let there = state.attributes.get(&key).is_some();
        match mode {
            AttributeMode::Create if there => return Err(Code::Exists.into()),
            AttributeMode::Replace if !there => return Err(Code::NoAttribute.into()),
            _ => {}
        }
        let mut identity = state.identity;
        let mut value = value;
        if let Some(list) = value.filter(|_| key == acl_key(ACCESS) || key == acl_key(DEFAULT)) {
            if Acl::is_empty(list) {
                value = None;
            } else {
                let acl = Acl::decode(list)?;
                if key == acl_key(DEFAULT) && !state.is_directory() {
                    return Err(Code::NoAccess.into());
                }
                if key == acl_key(ACCESS) {
                    identity.mode = identity.mode & !0o777 | acl.mode();
                    if !state.is_directory() && !who.is_privileged() && !who.is_in(identity.gid) {
                        identity.mode &= !libc::S_ISGID; // as `chmod` would
                    }
                    if acl.is_minimal() {
                        value = None; // the mode says it all
                    }
                }
            }
        }
        if value.is_none() && !there {
            let status = Status { changed: volume.now(), ..state.status };
            return volume.set_lines(&inode, &mut state, &SetAttr::default(), identity, status);
        }
        let status = Status { changed: volume.now(), ..state.status };
        volume.put_attribute(&inode, &mut state, key, value, identity, status)
    }

    /// How full the volume is; of a snapshot, the volume that it is of.
    pub fn statfs(&self) -> StatFs {
        let volume = self.volume();
        if let Some(view) = &volume.view {
            return view.live().statfs();
        }
        let blocks = volume.blocks();
        let free = volume.free_blocks();
        let (slots, unused) = volume.table.counts();
        let possible = free / volume.media.copies() * (BLOCK / SLOT - 1);
        StatFs {
            blocks: blocks.end - blocks.start,
            free,
            available: free.saturating_sub(volume.allocator.reserve()),
            freeing: volume.blocks_to_clean(),
            inodes: slots + possible,
            free_inodes: unused + possible,
        }
    }

    /// What a user or a group uses, and may use.
    pub fn quota(&self, who: Quota) -> Usage {
        self.volume().quotas.usage(who)
    }

    /// Everybody's.
    pub fn quotas(&self) -> Vec<(Quota, Usage)> {
        self.volume().quotas.all()
    }

    /// Limits what a user or a group may use: blocks of 4,096 bytes of data, and files; 0 for no limit. What is there already stays.
    /// Durable on return: 1 drain.
    pub fn set_quota(&self, who: Quota, blocks: u64, inodes: u64) -> Result<()> {
        let volume = self.volume();
        volume.writable()?;
        let inode = volume.inode(ROOT)?;
        let mut state = volume.write_state(&inode)?;
        let before = volume.quotas.usage(who);
        volume.quotas.set_limits(who, blocks, inodes);
        let limits = volume.quotas.encode_limits();
        let (key, identity, status) = ((INTERNAL, b"quota".to_vec()), state.identity, state.status);
        let result = volume.put_attribute(&inode, &mut state, key, Some(&limits), identity, status);
        if result.is_err() {
            volume.quotas.set_limits(who, before.block_limit, before.inode_limit);
        }
        result
    }
}

impl Volume {
    /// Changes a file's lines, and what hangs on them: the size, the owner's quota, the access control list.
    fn set_lines(
        &self,
        inode: &Inode,
        state: &mut State,
        set: &SetAttr,
        identity: Identity,
        status: Status,
    ) -> Result<()> {
        let before = state.identity;
        let moves = (before.uid, before.gid) != (identity.uid, identity.gid);
        let blocks = state.status.blocks as i64;
        if moves {
            self.quotas.transfer(&before, &identity, blocks)?;
        }
        let result = if let Some(size) = set.size.filter(|size| *size != state.status.size) {
            self.set_size(inode, state, size, status, Some(identity))
        } else {
            self.put_lines(inode, state, identity, status)
        };
        if result.is_err() && moves {
            self.quotas.restore(&identity, -blocks, -1);
            self.quotas.restore(&before, blocks, 1);
        }
        result
    }

    fn put_lines(
        &self,
        inode: &Inode,
        state: &mut State,
        mut identity: Identity,
        mut status: Status,
    ) -> Result<()> {
        let mut batch = self.batch();
        self.put(&mut batch, inode.at, Some(&mut identity), &mut status);
        self.commit(&batch, Freed::default())?;
        (state.identity, state.status) = (identity, status);
        Ok(())
    }

    /// Sets or removes an attribute, with `identity` and `status` as the file's.
    pub(crate) fn put_attribute(
        &self,
        inode: &Inode,
        state: &mut State,
        key: Key,
        value: Option<&[u8]>,
        mut identity: Identity,
        mut status: Status,
    ) -> Result<()> {
        let mut batch = self.batch();
        let purpose = if value.is_none() { Purpose::Freeing } else { Purpose::Ordinary };
        let mut log =
            Append::new(self, inode.ino, state.identity.log, state.status.tail, &state.pages, purpose);
        let last = value.is_none() && state.attributes.keys().all(|other| *other == key);
        let change = state.attributes.change(&self.media, &mut batch, &mut log, key, value)?;
        log.finish(&mut batch, &state.pages);
        let freed = log.freed(&state.pages);
        (identity.log, status.tail) = (log.log, log.tail);
        identity.flags =
            if last { identity.flags & !flag::HAS_ATTRIBUTES } else { identity.flags | flag::HAS_ATTRIBUTES };
        self.put(&mut batch, inode.at, Some(&mut identity), &mut status);
        self.commit(&batch, freed)?;
        log.done(&mut state.pages);
        let State { attributes, pages, .. } = &mut *state;
        attributes.done(change, pages);
        (state.identity, state.status) = (identity, status);
        self.collect_if_worth_it(inode, state);
        Ok(())
    }
}

/// Whether `who` may read or write an attribute.
fn permit_attribute(state: &State, key: &Key, who: &Credentials, wanted: u32) -> Result<()> {
    match key.0 {
        USER => {
            let takes = matches!(state.kind(), Kind::File | Kind::Directory);
            if !takes {
                return Err(if wanted == READ { Code::NoAttribute } else { Code::NotPermitted }.into());
            }
            if wanted == WRITE && state.is_directory() && state.identity.mode & libc::S_ISVTX != 0 {
                state.permit_owner(who)?;
            }
            state.permit(who, wanted)
        }
        TRUSTED if !who.is_privileged() => {
            Err(if wanted == READ { Code::NoAttribute } else { Code::NotPermitted }.into())
        }
        attributes::SYSTEM => {
            if *key != acl_key(ACCESS) && *key != acl_key(DEFAULT) || state.kind() == Kind::Symlink {
                return Err(Code::NotSupported.into());
            }
            if wanted == WRITE { state.permit_owner(who) } else { Ok(()) }
        }
        _ if wanted == WRITE && !who.is_privileged() => Err(Code::NotPermitted.into()),
        _ => Ok(()),
    }
}
