//! What cases are made of.

use nova_core::*;
use pmem_map::Mapping;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A name that is the sentence it proves, and the proof. It panics, or returns, by `?`, what failed.
pub(crate) type Case = (&'static str, fn(&Fs) -> Result<()>);

pub(crate) const R: &Credentials = &Credentials::ROOT;

/// Two ordinary users, of groups of their own.
pub(crate) fn alice() -> Credentials {
    Credentials::user(1000, 1000)
}

pub(crate) fn bob() -> Credentials {
    Credentials::user(2000, 2000)
}

/// A volume for one case.
pub(crate) struct Fs {
    pub(crate) nova: Nova,
}

impl std::ops::Deref for Fs {
    type Target = Nova;

    fn deref(&self) -> &Nova {
        &self.nova
    }
}

impl Fs {
    /// Creates a file of root's in the root directory; its inode number.
    pub(crate) fn file(&self, name: &str) -> u64 {
        self.create(ROOT, name.as_bytes(), 0o644, R).unwrap().ino
    }

    /// Creates a directory of root's in the root directory that everybody may change; its inode number.
    pub(crate) fn dir(&self, name: &str) -> u64 {
        let ino = self.mkdir(ROOT, name.as_bytes(), 0o755, R).unwrap().ino;
        self.setattr(ino, &SetAttr { mode: Some(0o777), ..SetAttr::default() }, R).unwrap();
        ino
    }

    /// A handle to read and write.
    pub(crate) fn open_ino(&self, ino: u64) -> File {
        self.open_inode(ino, Access::READ_WRITE, R).unwrap()
    }

    /// Creates a file with content, and opens it.
    pub(crate) fn with(&self, name: &str, content: &[u8]) -> File {
        let file = self.open_ino(self.file(name));
        file.write_at(0, content).unwrap();
        file
    }

    pub(crate) fn stat(&self, ino: u64) -> Stat {
        self.getattr(ino).unwrap()
    }

    pub(crate) fn mode(&self, ino: u64, mode: u32) {
        self.setattr(ino, &SetAttr { mode: Some(mode), ..SetAttr::default() }, R).unwrap();
    }

    pub(crate) fn own(&self, ino: u64, who: &Credentials) {
        let set = SetAttr { uid: Some(who.uid), gid: Some(who.gid), ..SetAttr::default() };
        self.setattr(ino, &set, R).unwrap();
    }

    /// Names of a directory without the dots.
    pub(crate) fn names(&self, ino: u64) -> Vec<String> {
        let entries = self.readdir(ino, 2, usize::MAX, R).unwrap();
        entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
    }
}

/// Panics unless the call failed with this error.
#[track_caller]
pub(crate) fn fails<T: std::fmt::Debug>(result: Result<T>, code: Code) {
    match result {
        Err(error) => assert_eq!(error.code(), Some(code), "{error}"),
        Ok(value) => panic!("{value:?} instead of {code}"),
    }
}

/// Runs a case on a new volume, then checks the volume: what failed.
pub(crate) fn run((_, proof): &Case) -> std::result::Result<(), String> {
    let mapping = Mapping::memfd(4 << 20).map_err(|error| error.to_string())?;
    let options = MountOptions::new();
    let nova = FormatOptions::new().stripes(2).format(mapping, options).map_err(|error| error.to_string())?;
    let fs = Fs { nova };
    match catch_unwind(AssertUnwindSafe(|| proof(&fs))) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or(panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            return Err(said.unwrap_or_else(|| "a panic".into()));
        }
    }
    let report = fs.nova.fsck().map_err(|error| error.to_string())?;
    if report.is_clean() { Ok(()) } else { Err(report.to_string()) }
}
