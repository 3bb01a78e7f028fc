//! Open files.

use crate::{
    Code, Credentials, Nova, Result, Stat,
    inode::Inode,
    permission::{EXECUTE, READ, WRITE},
    volume::Volume,
};
use std::sync::{Arc, atomic::Ordering::SeqCst};

/// What a file is opened for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// To read.
    pub read: bool,
    /// To write.
    pub write: bool,
    /// To execute.
    pub execute: bool,
}

impl Access {
    /// To read.
    pub const READ: Access = Access { read: true, write: false, execute: false };
    /// To read and write.
    pub const READ_WRITE: Access = Access { read: true, write: true, execute: false };
}

/// An open file (or anything else that has an inode): it stays, with or without a name, until the last handle is dropped.
///
/// Cheap to clone. Calls may come from any number of threads at once. What permissions there were when it was opened, it keeps; who uses a handle
/// is trusted to use it as it was opened.
pub struct File {
    nova: Nova,
    pub(crate) inode: Arc<Inode>,
    pub(crate) who: Credentials,
}

impl File {
    /// A handle of `who`. [`Code::NotFound`] if the file is gone.
    pub(crate) fn new(nova: &Nova, inode: Arc<Inode>, who: Credentials) -> Result<File> {
        {
            // Under the lock: whoever removes the last name looks at the handles under it, too.
            let state = inode.state.read();
            state.alive()?;
            inode.handles.fetch_add(1, SeqCst);
        }
        Ok(File { nova: nova.clone(), inode, who })
    }

    pub(crate) fn volume(&self) -> &Volume {
        self.nova.volume()
    }

    /// The filesystem.
    pub fn nova(&self) -> &Nova {
        &self.nova
    }

    /// Inode number.
    pub fn ino(&self) -> u64 {
        self.inode.ino
    }

    /// Attributes. No drain.
    pub fn stat(&self) -> Result<Stat> {
        let state = self.inode.state.read();
        state.alive()?;
        Ok(state.stat())
    }

    /// Bytes.
    pub fn len(&self) -> Result<u64> {
        Ok(self.stat()?.size)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Everything that was written is durable. It is, when a call returns: nothing is done. (Bytes of a mapping are the mapping's to
    /// make durable.)
    ///
    /// # Errors
    ///
    /// If an earlier write-back failed: what is durable is then for the next mount to say.
    pub fn sync(&self) -> Result<()> {
        self.volume().health()
    }
}

impl Clone for File {
    fn clone(&self) -> File {
        self.inode.handles.fetch_add(1, SeqCst);
        File { nova: self.nova.clone(), inode: self.inode.clone(), who: self.who.clone() }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.inode.handles.fetch_sub(1, SeqCst) == 1 {
            // What cannot be done now (an error of the disk), the next mount does.
            let _ = self.volume().end_if_unused(&self.inode);
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("ino", &self.inode.ino).finish_non_exhaustive()
    }
}

impl Nova {
    /// Opens an inode, of any kind.
    ///
    /// # Errors
    ///
    /// [`Code::NoAccess`]; [`Code::IsADirectory`] to write a directory; [`Code::ReadOnly`].
    pub fn open_inode(&self, ino: u64, access: Access, who: &Credentials) -> Result<File> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        {
            let state = volume.read_state(&inode)?;
            let wanted = [(access.read, READ), (access.write, WRITE), (access.execute, EXECUTE)];
            let wanted = wanted.iter().filter(|(is, _)| *is).fold(0, |sum, (_, bit)| sum | bit);
            state.permit(who, wanted)?;
            if access.write {
                volume.writable()?;
                if state.is_directory() {
                    return Err(Code::IsADirectory.into());
                }
                state.permit_change(true)?;
            }
        }
        File::new(self, inode, who.clone())
    }

    /// Whether `who` may do what `access` says (`access(2)`).
    pub fn access(&self, ino: u64, access: Access, who: &Credentials) -> Result<()> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        let state = volume.read_state(&inode)?;
        let wanted = [(access.read, READ), (access.write, WRITE), (access.execute, EXECUTE)];
        let wanted = wanted.iter().filter(|(is, _)| *is).fold(0, |sum, (_, bit)| sum | bit);
        state.permit(who, wanted)?;
        if access.write {
            volume.writable()?;
            state.permit_change(true)?;
        }
        Ok(())
    }

    /// Ends a file without names that an earlier life left.
    pub(crate) fn reclaim_orphan(&self, ino: u64) -> Result<()> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        volume.end_if_unused(&inode)
    }
}

impl Volume {
    /// Ends a file that has no name and that nobody has open.
    fn end_if_unused(&self, inode: &Inode) -> Result<()> {
        let mut state = inode.state.write();
        if state.gone || state.status.links > 0 || inode.handles.load(SeqCst) > 0 || self.read_only {
            return Ok(());
        }
        let mut batch = self.batch();
        let freed = self.put_end(&mut batch, inode, &mut state)?;
        self.commit(&batch, freed)?;
        self.ended(inode, &mut state);
        Ok(())
    }

    /// An error if a write-back failed.
    pub(crate) fn health(&self) -> Result<()> {
        match &self.journal {
            Some(journal) if journal.is_poisoned() => Err(crate::Error::Journal(pmem_tx::Error::Poisoned)),
            _ => Ok(()),
        }
    }
}
