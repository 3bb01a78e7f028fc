//! Files that are mapped to be stored to: protection is off, and comes back.
//!
//! A program's stores are its own, and their checksums would be wrong from the first one on. So a file is *marked* before it can be stored to: by a
//! record, durable when [`File::map`](crate::File::map) returns. While it is marked, nothing of it is verified. When its last mapping ends, checksums and parity of
//! all of it are computed anew, and are durable before the record that takes the mark away. A mount after a crash does the same for files that are marked.
//!
//! | a page is damaged | what comes of it |
//! |---|---|
//! | before the file is mapped | repaired by mapping it, for all of it is verified first; what cannot be repaired is reported: it is not mapped |
//! | while it is mapped, and the program stores over it | nothing: what is stored counts |
//! | while it is mapped, otherwise | accepted: the program sees it, and when the mapping ends it is the content |
//! | while it is mapped, and the volume's process is killed, or the power fails | accepted, by the next mount |
//! | after the mapping has ended | repaired or reported, as any other content |

use crate::{
    Kind, Result,
    alloc::Purpose,
    edit::Edit,
    format::{BLOCK, Identity, flag},
    inode::{Inode, State},
    rules::Rule,
    volume::Volume,
};

impl Identity {
    /// Whether it is a file, which can be mapped.
    pub(crate) fn is_file(&self) -> bool {
        Kind::of_mode(self.mode) == Kind::File
    }
}

impl Volume {
    /// What a file's identity is to be before it can be stored to; `None` if it need not change.
    pub(crate) fn marked(&self, state: &State) -> Option<Identity> {
        let marks = self.protection.is_some() && self.keeps(Rule::MappedBeforeStores);
        let flags = state.identity.flags | flag::MAPPED;
        (marks && !state.is_unprotected()).then_some(Identity { flags, ..state.identity })
    }

    /// Verifies all of a file's content, and repairs it.
    pub(crate) fn verify_file(&self, state: &State) -> Result<()> {
        let Some(protection) = self.protection.as_ref().filter(|_| !state.is_unprotected()) else {
            return Ok(());
        };
        let mut content = vec![0; 16 * BLOCK as usize];
        for (_, mapped) in state.extents()?.iter().filter(|(_, mapped)| !mapped.unwritten) {
            for start in (0..mapped.count).step_by(16) {
                let part = &mut content[..((mapped.count - start).min(16) * BLOCK) as usize];
                self.copy_verified(protection, (mapped.block + start) * BLOCK, part)?;
            }
        }
        Ok(())
    }

    /// Computes anew what protects a file, as it is now. What its identity is to be then, by a record that is still to come; `None` if it is not marked.
    /// One drain.
    pub(crate) fn unmarked(&self, state: &State) -> Result<Option<Identity>> {
        if !state.is_unprotected() {
            return Ok(None);
        }
        for (_, mapped) in state.extents()?.iter().filter(|(_, mapped)| !mapped.unwritten) {
            let run = mapped.run();
            // What the program stored and did not flush is content, too: it has to last as long as its checksums.
            self.media.flush(run.start * BLOCK..(run.start + run.blocks) * BLOCK)?;
            self.protect_again(run)?;
        }
        if self.keeps(Rule::ProtectionBeforeUnmapped) {
            self.media.drain()?;
        }
        let flags = state.identity.flags & !flag::MAPPED;
        Ok(Some(Identity { flags, ..state.identity }))
    }

    /// After a crash: a file that was mapped is protected again.
    pub(crate) fn protect_marked(&self, inode: &Inode) -> Result<()> {
        let mut state = inode.state.write();
        if state.gone || !state.is_unprotected() {
            return Ok(());
        }
        self.read_log(inode, &mut state)?;
        let identity = self.unmarked(&state)?;
        let (edit, status) = (Edit::new(self, inode, &state, Purpose::Freeing), state.status);
        edit.commit(inode, &mut state, status, identity)
    }
}
