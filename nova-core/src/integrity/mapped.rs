//! Files that are mapped to be stored to: protection is off, and comes back.
//!
//! A program's stores are its own, and their checksums would be wrong from the first one on. So a file is *marked* before it can be stored to: by a
//! record, durable when [`File::map`](crate::File::map) returns. While it is marked, nothing of it is verified. When its last mapping ends, checksums and parity of
//! the pages that were stored to are computed anew, and are durable before the record that takes the mark away. A mount after a crash does so for all
//! pages of files that are marked: which ones were stored to is known to nobody then.
//!
//! Which pages are stored to is known from the page tables (`PAGEMAP_SCAN`, Linux 6.7: a first store costs about 2 us more), elsewhere from a protection fault at the
//! first store to each; and what [`File::write_at`](crate::File::write_at) stores in place is noted by itself. Where neither can be had, all pages
//! count as stored to. So unmapping costs what was stored, not what the file has.
//!
//! | a page is damaged | what comes of it |
//! |---|---|
//! | before the file is mapped | repaired by mapping it, for all of it is verified first; what cannot be repaired is reported: it is not mapped |
//! | while it is mapped, where the program stores over it | nothing: what is stored counts |
//! | while it is mapped, elsewhere in a page that the program stores to | accepted: the program sees it, and when the mapping ends it is the content |
//! | while it is mapped, in a page that nobody stores to | the program sees it; when the mapping has ended, it is repaired or reported |
//! | while it is mapped, and the volume's process is killed, or the power fails | accepted, by the next mount |
//! | after the mapping has ended | repaired or reported, as any other content |
//!
//! (Above 4,096 places where stored pages and others meet, pages are admitted in runs of 2 MiB, of a mapping whose pages are known by faults, also after a snapshot: the
//! whole run counts as stored to then.)

use crate::{
    Kind, Result,
    alloc::Purpose,
    edit::Edit,
    format::{BLOCK, Identity, flag},
    inode::{Inode, State},
    integrity::dirty::Dirty,
    rules::Rule,
    volume::Volume,
};
use std::ops::Range;

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
        // So much is verified while it is in the first-level cache.
        const TOGETHER: u64 = 4;
        let mut content = vec![0; (TOGETHER * BLOCK) as usize];
        for (_, mapped) in state.extents()?.iter().filter(|(_, mapped)| !mapped.unwritten) {
            for start in (0..mapped.count).step_by(TOGETHER as usize) {
                let part = &mut content[..((mapped.count - start).min(TOGETHER) * BLOCK) as usize];
                self.copy_verified(protection, (mapped.block + start) * BLOCK, part)?;
            }
        }
        Ok(())
    }

    /// Computes anew what protects these blocks of a file, as they are now. What its identity is to be then, by a record that is still to come;
    /// `None` if it is not marked. One drain.
    pub(crate) fn unmarked(&self, state: &State, dirty: &Dirty) -> Result<Option<Identity>> {
        if !state.is_unprotected() {
            return Ok(None);
        }
        let extents = state.extents()?;
        let mut runs = dirty.runs(extents.end());
        if !self.keeps(Rule::StoredPagesProtected) {
            runs.truncate(1);
            runs.iter_mut().for_each(|run| run.end = run.start + 1);
        }
        for (_, mapped) in runs.into_iter().flat_map(|run| extents.within(run)) {
            if mapped.unwritten {
                continue;
            }
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

    /// File blocks of a file that may be mapped were stored to where they are, not through a mapping.
    pub(crate) fn stored_in_place(&self, ino: u64, blocks: Range<u64>) {
        if let Some(protection) = &self.protection {
            protection.dirty.add(ino, blocks);
        }
    }

    /// After a crash: a file that was mapped is protected again.
    pub(crate) fn protect_marked(&self, inode: &Inode) -> Result<()> {
        let mut state = inode.state.write();
        if state.gone || !state.is_unprotected() {
            return Ok(());
        }
        self.read_log(inode, &mut state)?;
        let identity = self.unmarked(&state, &Dirty::All)?;
        let (edit, status) = (Edit::new(self, inode, &state, Purpose::Freeing), state.status);
        edit.commit(inode, &mut state, status, identity)
    }
}
