//! What a frame does. Each is several calls as any program makes, and can be done again.

use super::frame::Frame;
use crate::{
    Access, Allocate, AttributeMode, Code, Credentials, Error, File, Kind, Nova, Rename, Result, SetAttr,
    Stat, flags,
    format::{BLOCK, ROOT},
};

const WHO: &Credentials = &Credentials::ROOT;

/// Where a stream is applied.
pub(super) struct Receiver<'n> {
    nova: &'n Nova,
    /// The snapshot from which the stream goes on.
    base: Option<Nova>,
    /// The name of the directory in which files are held.
    holding: Vec<u8>,
    /// The file whose content came last.
    open: Option<(Vec<u8>, File)>,
}

/// A name in a directory.
type Place<'p> = (u64, &'p [u8]);

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// What a path leads to; links are not followed.
fn walk(nova: &Nova, path: &[u8]) -> Result<u64> {
    names(path).try_fold(ROOT, |at, name| nova.find(at, name, WHO))
}

fn place<'p>(nova: &Nova, path: &'p [u8]) -> Result<Place<'p>> {
    let slash = path.iter().rposition(|byte| *byte == b'/').ok_or(Error::Posix(Code::Invalid))?;
    Ok((walk(nova, &path[..slash])?, &path[slash + 1..]))
}

/// `None` for what is not there.
fn there<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(Error::Posix(Code::NotFound)) => Ok(None),
        result => result.map(Some),
    }
}

impl Receiver<'_> {
    pub(super) fn new(nova: &Nova, base: Option<Nova>, seed: u32) -> Receiver<'_> {
        let holding = format!(".nova-receive-{seed:08x}").into_bytes();
        Receiver { nova, base, holding, open: None }
    }

    pub(super) fn apply(&mut self, frame: Frame) -> Result<()> {
        let nova = self.nova;
        match frame {
            Frame::Hold { ino, path } => self.hold(ino, &path),
            Frame::Gone { path } => self.gone(&path),
            Frame::Make { path, mode, device, target } => self.make(&path, mode, device, &target),
            Frame::Link { path, existing } => self.link(&path, walk(nova, &existing)?),
            Frame::Place { path, ino } => self.place(&path, ino),
            Frame::Clean => self.clean(),
            Frame::Size { path, size } => {
                let file = self.open(path)?;
                if file.len()? == size { Ok(()) } else { file.set_len(size) }
            }
            Frame::Data { path, offset, bytes } => self.open(path)?.write_at(offset, &bytes),
            Frame::Hole { path, start, end } => {
                // What is behind the end goes with it: then it is a hole, and no block of zeros.
                let end = end.checked_next_multiple_of(BLOCK);
                let len = end.and_then(|end| end.checked_sub(start)).ok_or(Error::Posix(Code::Invalid))?;
                self.open(path)?.allocate(start, len, Allocate::PunchHole)
            }
            Frame::Keep { path, names } => {
                let ino = walk(nova, &path)?;
                for name in nova.attributes(ino, WHO)? {
                    if !names.contains(&name) {
                        self.unlock(ino)?;
                        nova.remove_attribute(ino, &name, WHO)?;
                    }
                }
                Ok(())
            }
            Frame::Attribute { path, name, value } => {
                let ino = walk(nova, &path)?;
                self.unlock(ino)?;
                nova.set_attribute(ino, &name, &value, AttributeMode::Set, WHO)
            }
            Frame::Lines { path, lines } => {
                self.open = None;
                nova.restore_lines(walk(nova, &path)?, &lines)
            }
            Frame::End { .. } => Ok(()),
        }
    }

    /// A file to write to.
    fn open(&mut self, path: Vec<u8>) -> Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != path) {
            let ino = walk(self.nova, &path)?;
            self.unlock(ino)?;
            let file = self.nova.open_inode(ino, Access::READ_WRITE, WHO)?;
            self.open = Some((path, file));
        }
        Ok(&self.open.as_ref().expect("it was opened").1)
    }

    /// Lets a file be changed: what says that it may not comes with its last frame.
    fn unlock(&self, ino: u64) -> Result<()> {
        let stat = self.nova.getattr(ino)?;
        let locks = flags::IMMUTABLE | flags::APPEND;
        if stat.flags & locks != 0 {
            let set = SetAttr { flags: Some(stat.flags & !locks), ..SetAttr::default() };
            self.nova.setattr(ino, &set, WHO)?;
        }
        Ok(())
    }

    /// Of a name that the base has: the directory, the name in it, and the file. `None` if the live files do not have that directory.
    fn in_base<'p>(&self, path: &'p [u8]) -> Result<Option<(Place<'p>, Stat)>> {
        let base = self.base.as_ref().ok_or(Error::Posix(Code::Invalid))?;
        let (dir, name) = place(base, path)?;
        let file = base.getattr(base.find(dir, name, WHO)?)?;
        Ok(self.is_there(&base.getattr(dir)?)?.then_some(((dir, name), file)))
    }

    /// Whether the live files have what the base has.
    fn is_there(&self, stat: &Stat) -> Result<bool> {
        let live = there(self.nova.getattr(stat.ino))?;
        Ok(live.is_some_and(|live| live.generation == stat.generation))
    }

    /// Whether this name is this file's, in the live files.
    fn has(&self, (dir, name): Place<'_>, file: &Stat) -> Result<bool> {
        let found = there(self.nova.find(dir, name, WHO))?;
        Ok(found == Some(file.ino) && self.is_there(file)?)
    }

    fn hold(&self, number: u64, path: &[u8]) -> Result<()> {
        let nova = self.nova;
        let holding = match there(nova.find(ROOT, &self.holding, WHO))? {
            Some(holding) => holding,
            None => {
                self.unlock(ROOT)?;
                nova.mkdir(ROOT, &self.holding, 0o700, WHO)?.ino
            }
        };
        let number = number.to_string().into_bytes();
        let Some((place, file)) = self.in_base(path)? else { return Ok(()) };
        if there(nova.find(holding, &number, WHO))?.is_some() {
            return Ok(());
        }
        if file.kind() != Kind::Directory {
            if !self.is_there(&file)? {
                return Ok(());
            }
            self.unlock(file.ino)?;
            return nova.link(file.ino, holding, &number, WHO).map(drop);
        }
        if self.has(place, &file)? {
            self.unlock(place.0)?;
            self.unlock(file.ino)?;
            nova.rename(place.0, place.1, holding, &number, Rename::NoReplace, WHO)?;
        }
        Ok(())
    }

    fn gone(&self, path: &[u8]) -> Result<()> {
        let Some(((dir, name), file)) = self.in_base(path)? else { return Ok(()) };
        if !self.has((dir, name), &file)? {
            return Ok(());
        }
        self.unlock(dir)?;
        self.unlock(file.ino)?;
        match file.kind() {
            Kind::Directory => self.nova.rmdir(dir, name, WHO),
            _ => self.nova.unlink(dir, name, WHO),
        }
    }

    fn make(&self, path: &[u8], mode: u32, device: u64, target: &[u8]) -> Result<()> {
        let (nova, kind) = (self.nova, Kind::of_mode(mode));
        let (dir, name) = place(nova, path)?;
        if let Some(ino) = there(nova.find(dir, name, WHO))? {
            return if nova.getattr(ino)?.kind() == kind { Ok(()) } else { Err(Code::Exists.into()) };
        }
        self.unlock(dir)?;
        match kind {
            Kind::Directory => nova.mkdir(dir, name, 0o700, WHO),
            Kind::Symlink => nova.symlink(dir, name, target, WHO),
            _ => nova.mknod(dir, name, kind.mode_bits() | 0o600, device, WHO),
        }
        .map(drop)
    }

    fn link(&self, path: &[u8], ino: u64) -> Result<()> {
        let (dir, name) = place(self.nova, path)?;
        match there(self.nova.find(dir, name, WHO))? {
            Some(found) if found == ino => Ok(()),
            Some(_) => Err(Code::Exists.into()),
            None => {
                self.unlock(dir)?;
                self.unlock(ino)?;
                self.nova.link(ino, dir, name, WHO).map(drop)
            }
        }
    }

    fn place(&self, path: &[u8], number: u64) -> Result<()> {
        let nova = self.nova;
        let (dir, name) = place(nova, path)?;
        // All names that go are gone: who has this one got it before.
        if there(nova.find(dir, name, WHO))?.is_some() {
            return Ok(());
        }
        let (holding, number) = (nova.find(ROOT, &self.holding, WHO)?, number.to_string().into_bytes());
        let ino = nova.find(holding, &number, WHO)?;
        if nova.getattr(ino)?.kind() != Kind::Directory {
            return self.link(path, ino);
        }
        self.unlock(dir)?;
        nova.rename(holding, &number, dir, name, Rename::NoReplace, WHO)
    }

    fn clean(&self) -> Result<()> {
        let nova = self.nova;
        let Some(holding) = there(nova.find(ROOT, &self.holding, WHO))? else { return Ok(()) };
        for entry in nova.readdir(holding, 2, usize::MAX, WHO)? {
            self.unlock(entry.ino)?;
            nova.unlink(holding, &entry.name, WHO)?;
        }
        self.unlock(ROOT)?;
        nova.rmdir(ROOT, &self.holding, WHO)
    }
}
