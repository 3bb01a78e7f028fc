//! The friendly face: files by path, as the privileged user.
//!
//! Paths are of bytes (`/a/b`, absolute or not: the root is where they begin), and symbolic links are followed, at most 40.

use crate::{
    Access, Code, Credentials, DirEntry, Error, File, Kind, Nova, Rename, Result, SetAttr, Stat, format::ROOT,
};
use std::{os::unix::ffi::OsStrExt, path::Path};

const WHO: &Credentials = &Credentials::ROOT;
const MOST_LINKS: usize = 40;

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Follow,
    Keep,
}

impl Nova {
    /// The inode that a path leads to.
    fn walk(&self, path: &[u8], last: Last) -> Result<u64> {
        if path.len() > 4095 {
            return Err(Code::NameTooLong.into());
        }
        let mut links = 0;
        let mut at = ROOT;
        // A slash at the end asks for a directory, and follows a link to it.
        let mut is_directory = has_slash(path);
        let last = if is_directory { Last::Follow } else { last };
        let mut rest: Vec<Vec<u8>> = parts(path);
        rest.reverse();
        while let Some(name) = rest.pop() {
            let next = self.find(at, &name, WHO)?;
            let is_last = rest.is_empty();
            let stat = self.getattr(next).or_else(|error| self.dangles(at, &name, error))?;
            if stat.kind() == Kind::Symlink && (!is_last || last == Last::Follow) {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Code::TooManySymlinks.into());
                }
                let target = self.readlink(next)?;
                if target.first() == Some(&b'/') {
                    at = ROOT;
                }
                is_directory |= is_last && target.ends_with(b"/");
                rest.extend(parts(&target).into_iter().rev());
            } else {
                at = next;
            }
        }
        if is_directory && self.getattr(at)?.kind() != Kind::Directory {
            return Err(Code::NotADirectory.into());
        }
        Ok(at)
    }

    /// The directory that a path's last name is in, and that name.
    fn parent_of<'p>(&self, path: &'p [u8]) -> Result<(u64, &'p [u8])> {
        let trimmed = match path.iter().rposition(|byte| *byte != b'/') {
            Some(last) => &path[..=last],
            None => return Err(Code::Exists.into()),
        };
        let (dir, name) = match trimmed.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&trimmed[..slash], &trimmed[slash + 1..]),
            None => (&b""[..], trimmed),
        };
        Ok((self.walk(dir, Last::Follow)?, name))
    }

    /// The same for what is to be made, and is no directory: a slash at the end names nothing that could be.
    fn parent_of_new<'p>(&self, path: &'p [u8]) -> Result<(u64, &'p [u8])> {
        let (dir, name) = self.parent_of(path)?;
        if has_slash(path) {
            return Err(self.find(dir, name, WHO).map_or_else(|error| error, |_| Code::Exists.into()));
        }
        Ok((dir, name))
    }

    /// What has a slash behind it has to be a directory itself: a link to one is none.
    fn check_slash(&self, path: &[u8], dir: u64, name: &[u8]) -> Result<()> {
        if has_slash(path) && self.getattr(self.find(dir, name, WHO)?)?.kind() != Kind::Directory {
            return Err(Code::NotADirectory.into());
        }
        Ok(())
    }

    fn open_at(&self, ino: u64) -> Result<File> {
        let access = if self.is_read_only() { Access::READ } else { Access::READ_WRITE };
        self.open_inode(ino, access, WHO)
    }

    /// Creates a file, or opens and empties the one that is there.
    pub fn create_file(&self, path: impl AsRef<Path>) -> Result<File> {
        on(path, |path| {
            let mut path = path.to_vec();
            for _ in 0..=MOST_LINKS {
                let (dir, name) = self.parent_of(&path)?;
                if has_slash(&path) {
                    return Err(Code::IsADirectory.into());
                }
                match self.create(dir, name, 0o644, WHO) {
                    Ok(stat) => return self.open_at(stat.ino),
                    Err(Error::Posix(Code::Exists)) => {}
                    Err(error) => return Err(error),
                }
                let there = self.find(dir, name, WHO)?;
                if self.getattr(there)?.kind() != Kind::Symlink {
                    let file = self.open_at(there)?;
                    file.set_len(0)?;
                    return Ok(file);
                }
                // What a link leads to may be missing, and is created.
                let target = self.readlink(there)?;
                let above = &path[..path.len() - name.len()];
                path = if target.starts_with(b"/") { target } else { [above, &target].concat() };
            }
            Err(Code::TooManySymlinks.into())
        })
    }

    /// Creates a file that was not there.
    pub fn create_new(&self, path: impl AsRef<Path>) -> Result<File> {
        on(path, |path| {
            let (dir, name) = self.parent_of(path)?;
            if has_slash(path) {
                return Err(Code::IsADirectory.into());
            }
            let stat = self.create(dir, name, 0o644, WHO)?;
            self.open_at(stat.ino)
        })
    }

    /// Opens a file that is there, to read and write (to read, on a volume that is mounted read-only).
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File> {
        on(path, |path| {
            let ino = self.walk(path, Last::Follow)?;
            match self.getattr(ino)?.kind() {
                Kind::Directory => Err(Code::IsADirectory.into()),
                _ => self.open_at(ino),
            }
        })
    }

    /// All bytes of a file.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        self.open(path)?.read_to_end().map_err(|source| at(path, source))
    }

    /// Makes `bytes` the content of a file, and the file, if it is not there. Not atomic: the file is emptied first.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let path = path.as_ref();
        self.create_file(path)?.write_at(0, bytes).map_err(|source| at(path, source))
    }

    /// Creates a directory.
    pub fn create_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        on(path, |path| {
            let (dir, name) = self.parent_of(path)?;
            self.mkdir(dir, name, 0o755, WHO).map(drop)
        })
    }

    /// Creates a directory and those above it that are missing.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        on(path, |path| {
            let mut at = ROOT;
            for name in parts(path) {
                at = match self.find(at, &name, WHO) {
                    Ok(ino) => ino,
                    Err(Error::Posix(Code::NotFound)) => self.mkdir(at, &name, 0o755, WHO)?.ino,
                    Err(error) => return Err(error),
                };
            }
            match self.getattr(at)?.kind() {
                Kind::Directory => Ok(()),
                _ => Err(Code::NotADirectory.into()),
            }
        })
    }

    /// Names of a directory, without `.` and `..`, in an order that stands.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>> {
        on(path, |path| {
            let ino = self.walk(path, Last::Follow)?;
            self.readdir(ino, 2, usize::MAX, WHO)
        })
    }

    /// Removes a name of a file.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        on(path, |path| {
            let (dir, name) = self.parent_of(path)?;
            self.check_slash(path, dir, name)?;
            self.unlink(dir, name, WHO)
        })
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        on(path, |path| {
            let (dir, name) = self.parent_of(path)?;
            self.rmdir(dir, name, WHO)
        })
    }

    /// Renames; what has the new name is replaced.
    pub fn rename_path(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        on(from, |from| {
            let (dir, name) = self.parent_of(from)?;
            on(to, |to| {
                let (new_dir, new_name) = self.parent_of(to)?;
                // (One at the end of the new name says what the old one has to be.)
                let slashed = if has_slash(to) { to } else { from };
                self.check_slash(slashed, dir, name)?;
                self.rename(dir, name, new_dir, new_name, Rename::Replace, WHO)
            })
        })
    }

    /// Gives a file another name.
    pub fn hard_link(&self, existing: impl AsRef<Path>, new: impl AsRef<Path>) -> Result<()> {
        on(existing, |existing| {
            let ino = self.walk(existing, Last::Keep)?;
            on(new, |new| {
                let (dir, name) = self.parent_of_new(new)?;
                self.link(ino, dir, name, WHO).map(drop)
            })
        })
    }

    /// Creates a symbolic link.
    pub fn symlink_path(&self, target: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        on(link, |link| {
            let (dir, name) = self.parent_of_new(link)?;
            self.symlink(dir, name, target.as_ref().as_os_str().as_bytes(), WHO).map(drop)
        })
    }

    /// Attributes of what a path leads to.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Stat> {
        on(path, |path| self.getattr(self.walk(path, Last::Follow)?))
    }

    /// Attributes of what a path names: of a link itself.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Stat> {
        on(path, |path| self.getattr(self.walk(path, Last::Keep)?))
    }

    /// Sets attributes of what a path leads to.
    pub fn set_metadata(&self, path: impl AsRef<Path>, set: &SetAttr) -> Result<Stat> {
        on(path, |path| self.setattr(self.walk(path, Last::Follow)?, set, WHO))
    }

    /// Whether a path leads anywhere. An error of the medium counts as no.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.metadata(path).is_ok()
    }
}

fn has_slash(path: &[u8]) -> bool {
    path.ends_with(b"/")
}

fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Runs `work` on a path's bytes; its errors say the path.
fn on<R>(path: impl AsRef<Path>, work: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
    let path = path.as_ref();
    work(path.as_os_str().as_bytes()).map_err(|source| at(path, source))
}

fn at(path: &Path, source: Error) -> Error {
    match source {
        Error::At { .. } => source,
        source => Error::At { path: path.into(), source: Box::new(source) },
    }
}
