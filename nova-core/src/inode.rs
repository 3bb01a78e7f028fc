//! An inode in DRAM: its two lines as they are on media, and, once somebody needs it, the index of its log.

use crate::{
    Code, Error, Kind, Result, Stat,
    attributes::Attributes,
    extents::{Extents, Mapped},
    format::{BLOCK, Identity, LINE, Status, UNWRITTEN, flag},
    log::{self, Entry, Found, Pages},
    media::Media,
    names::Names,
};
use parking_lot::RwLock;
use pmem_tx::Ticket;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// An inode that somebody has used since the volume was mounted.
pub(crate) struct Inode {
    pub(crate) ino: u64,
    /// Where its two lines are.
    pub(crate) at: u64,
    /// Who has it open: what has no links is reclaimed when nobody has.
    pub(crate) handles: AtomicU32,
    /// Of a directory: its parent. Changed by who holds the tree lock.
    pub(crate) parent: AtomicU64,
    pub(crate) state: RwLock<State>,
}

/// What the lock is for.
pub(crate) struct State {
    pub(crate) identity: Identity,
    pub(crate) status: Status,
    pub(crate) pages: Pages,
    pub(crate) body: Body,
    pub(crate) attributes: Attributes,
    pub(crate) lease: Lease,
    /// The last record that has bytes of the file's content. As long as it is not retired, recovery may store them again.
    pub(crate) patched: Option<Ticket>,
    /// Not created yet, or freed: for everybody else there is no such file.
    pub(crate) gone: bool,
}

/// The index of the log.
pub(crate) enum Body {
    /// Nobody has needed it.
    Unread,
    File(Extents),
    Directory(Names),
    /// Links, devices, fifos and sockets: what they have is in the lines; a link's target is data.
    Other,
}

/// Who has the file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    None,
    /// One mapping, alone.
    Exclusive,
    /// So many mappings that only read: nobody writes.
    Read(u32),
    /// So many mappings, and everybody who writes writes in place.
    Shared(u32),
    /// Another process, alone, which maps the volume's file itself; everybody who writes writes in place.
    Outside,
}

impl Lease {
    /// Whether it is mapped to be stored to, and may be written all the same: in place.
    pub(crate) fn is_written_in_place(self) -> bool {
        matches!(self, Lease::Shared(_) | Lease::Outside)
    }
}

impl Inode {
    #[inline]
    pub(crate) fn new(ino: u64, at: u64, state: State) -> Inode {
        let parent = AtomicU64::new(state.identity.parent);
        Inode { ino, at, handles: AtomicU32::new(0), parent, state: RwLock::new(state) }
    }
}

impl State {
    #[inline]
    pub(crate) fn new(identity: Identity, status: Status) -> State {
        State {
            identity,
            status,
            pages: Pages::default(),
            body: Body::Unread,
            attributes: Attributes::default(),
            lease: Lease::None,
            patched: None,
            gone: false,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::of_mode(self.identity.mode)
    }

    /// [`Code::NotFound`] for what was freed.
    pub(crate) fn alive(&self) -> Result<()> {
        if self.gone { Err(Code::NotFound.into()) } else { Ok(()) }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == Kind::Directory
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.identity.flags & flag != 0
    }

    /// Whether content is not verified now, and what protects it not kept up: it is mapped, or was when the power failed.
    pub(crate) fn is_unprotected(&self) -> bool {
        self.has(flag::MAPPED) && self.kind() == Kind::File
    }

    /// Whether the log was read.
    pub(crate) fn is_read(&self) -> bool {
        !matches!(self.body, Body::Unread)
    }

    pub(crate) fn names(&self) -> Result<&Names> {
        match &self.body {
            Body::Directory(names) => Ok(names),
            _ => Err(Code::NotADirectory.into()),
        }
    }

    pub(crate) fn names_mut(&mut self) -> &mut Names {
        match &mut self.body {
            Body::Directory(names) => names,
            _ => unreachable!("a directory whose log was read"),
        }
    }

    /// The extents of a file, or of a link's target.
    pub(crate) fn extents(&self) -> Result<&Extents> {
        match &self.body {
            Body::File(extents) => Ok(extents),
            Body::Directory(_) => Err(Code::IsADirectory.into()),
            _ => Err(Code::Invalid.into()),
        }
    }

    pub(crate) fn extents_mut(&mut self) -> &mut Extents {
        match &mut self.body {
            Body::File(extents) => extents,
            _ => unreachable!("a file whose log was read"),
        }
    }

    pub(crate) fn stat(&self) -> Stat {
        let (identity, status) = (&self.identity, &self.status);
        let is_directory = self.is_directory();
        Stat {
            ino: identity.ino,
            generation: identity.generation,
            mode: identity.mode,
            links: status.links,
            uid: identity.uid,
            gid: identity.gid,
            device: identity.device,
            // A directory's is a number of names: programs expect something that grows with them.
            size: if is_directory { status.size * LINE } else { status.size },
            blocks: status.blocks * (BLOCK / 512),
            accessed: status.accessed,
            modified: status.modified,
            changed: status.changed,
            created: identity.created,
            flags: identity.flags & flag::SETTABLE,
            changes: status.changes,
        }
    }
}

/// What a log says.
pub(crate) struct Index {
    pub(crate) pages: Pages,
    pub(crate) body: Body,
    pub(crate) attributes: Attributes,
    /// The epoch at whose end it is; 0: now.
    as_of: u64,
}

impl Index {
    /// Of a log without entries.
    pub(crate) fn empty(identity: &Identity) -> Index {
        Index {
            pages: Pages::default(),
            body: match Kind::of_mode(identity.mode) {
                Kind::File | Kind::Symlink => Body::File(Extents::default()),
                Kind::Directory => Body::Directory(Names::default()),
                _ => Body::Other,
            },
            attributes: Attributes::default(),
            as_of: 0,
        }
    }

    /// Whether an entry counts that was removed at the end of epoch `removed` - 1, or is still there (0).
    fn counts(as_of: u64, removed: u64) -> bool {
        removed == 0 || as_of != 0 && removed > as_of + 1
    }

    /// Reads an inode's log from media, as it was at the end of the epoch `as_of`; 0: as it is.
    pub(crate) fn read(media: &Media, identity: &Identity, status: &Status, as_of: u64) -> Result<Index> {
        let mut index = Index { as_of, ..Index::empty(identity) };
        log::scan(media, identity.ino, identity.log, status.tail, |found| index.take(found))?;
        let inode_at = identity.log;
        if !index.attributes.are_whole() {
            return Error::damaged("log", inode_at, "parts of an attribute's value are missing");
        }
        match &index.body {
            Body::File(extents) if extents.blocks() != status.blocks => {
                Error::damaged("log", inode_at, "it maps another number of blocks than the inode says")
            }
            Body::Directory(names) if names.len() as u64 != status.size => {
                Error::damaged("log", inode_at, "it has another number of names than the inode says")
            }
            _ => Ok(index),
        }
    }

    /// Takes in what a scan meets.
    pub(crate) fn take(&mut self, found: Found<'_>) -> Result<()> {
        let (at, page, entry) = match found {
            Found::Page { run, birth } => {
                self.pages.push(run, birth);
                return Ok(());
            }
            Found::Entry { at, page, entry } => (at, page, entry),
        };
        match (entry, &mut self.body) {
            (Entry::Extent(extent), Body::File(extents)) => {
                let unwritten = extent.flags & UNWRITTEN != 0;
                let count = u64::from(extent.count);
                let mapped = Mapped { block: extent.block, count, unwritten, birth: extent.epoch, page };
                let old = extents.insert(extent.file_block, mapped);
                self.pages.add(page, count);
                old.into_iter().for_each(|(_, old)| self.pages.remove(old.page, old.count));
            }
            (Entry::Hole { file_block, blocks }, Body::File(extents)) => {
                let old = extents.remove(file_block..file_block.saturating_add(blocks));
                self.pages.orders(page);
                old.into_iter().for_each(|(_, old)| self.pages.remove(old.page, old.count));
            }
            (Entry::Shift { file_block, by }, Body::File(extents)) => {
                let to = file_block.checked_add_signed(by);
                let clear = match to {
                    // Where it moves to, nothing may be mapped.
                    Some(to) => extents.within(to.min(file_block)..file_block).next().is_none(),
                    None => false,
                };
                let end = extents.end().checked_add_signed(by).unwrap_or(0);
                if !clear || by > 1 << 52 || end > 1 << 53 {
                    return Error::damaged("log entry", at, "a shift onto what is mapped");
                }
                extents.shift(file_block, by);
                self.pages.orders(page);
            }
            (Entry::Name { head, name }, Body::Directory(names)) => {
                names.saw_cookie(head.cookie);
                if Index::counts(self.as_of, head.removed) {
                    if !names.insert(name, head.ino, head.cookie, head.file_type, at, page) {
                        return Error::damaged(
                            "directory entry",
                            at,
                            "a name or a cookie that another entry has",
                        );
                    }
                    self.pages.add(page, 1);
                }
            }
            (Entry::Attribute { head, name, value }, _) => {
                if Index::counts(self.as_of, head.removed) {
                    self.attributes.take_part(&head, name, value, at, page)?;
                    self.pages.add(page, 1);
                }
            }
            _ => return Error::damaged("log entry", at, "its kind is not one of this file's type"),
        }
        Ok(())
    }
}
