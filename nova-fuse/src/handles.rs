//! What the kernel holds: inodes that it knows (until it forgets them), and open files.

use crate::lending::{Lease, Lent};
use nova_core::{Access, Credentials, File, Nova, Result};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// An open file, and how it was opened.
pub(crate) struct Open {
    pub(crate) file: File,
    pub(crate) appends: bool,
    pub(crate) writes: bool,
    /// As long as it is open, if who has it open asked for it.
    pub(crate) lent: Mutex<Option<Lent>>,
}

#[derive(Default)]
pub(crate) struct Handles {
    /// Inodes that the kernel looked up, how often, and what keeps them: a file without a name stays as long as it is known.
    known: Mutex<FxHashMap<u64, (File, u64)>>,
    open: RwLock<FxHashMap<u64, Arc<Open>>>,
    next: AtomicU64,
}

impl Handles {
    /// The kernel gets to know an inode, once more.
    pub(crate) fn know(&self, nova: &Nova, ino: u64) -> Result<()> {
        let mut known = self.known.lock();
        if let Some((_, times)) = known.get_mut(&ino) {
            *times += 1;
            return Ok(());
        }
        let file = nova.open_inode(ino, Access::default(), &Credentials::ROOT)?;
        known.insert(ino, (file, 1));
        Ok(())
    }

    /// It forgets `times` of them.
    pub(crate) fn forget(&self, ino: u64, times: u64) {
        let mut known = self.known.lock();
        let Some((_, left)) = known.get_mut(&ino) else { return };
        *left = left.saturating_sub(times);
        let gone = (*left == 0).then(|| known.remove(&ino)).flatten();
        drop(known);
        drop(gone); // it may end here, which takes a commit
    }

    /// A handle for a file. Never 0.
    pub(crate) fn open(&self, file: File, appends: bool, writes: bool) -> u64 {
        let handle = self.next.fetch_add(1, Relaxed) + 1;
        self.open.write().insert(handle, Arc::new(Open { file, appends, writes, lent: Mutex::default() }));
        handle
    }

    pub(crate) fn get(&self, handle: u64) -> Option<Arc<Open>> {
        self.open.read().get(&handle).cloned()
    }

    /// Who has mapped a file.
    pub(crate) fn leases(&self, ino: u64) -> Vec<Lease> {
        let open: Vec<Arc<Open>> =
            self.open.read().values().filter(|open| open.file.ino() == ino).cloned().collect();
        // Not under the lock of all: a lease that is being taken may take long.
        open.iter().filter_map(|open| open.lent.lock().as_ref().map(Lent::shown)).collect()
    }

    /// The mount has ended. Leases that nobody uses any more end: the kernel need not have said so. Others never do, for their blocks are still stored to: the
    /// volume stays in use, and its next mount protects these files again.
    pub(crate) fn end(&mut self) {
        let open = self.open.get_mut().drain().filter_map(|(_, open)| open.lent.lock().take());
        let leases: Vec<Lent> = open.collect();
        if leases.iter().any(Lent::is_held) {
            tracing::error!(leases = leases.len(), "the mount ended while processes have mapped files of it");
            leases.into_iter().for_each(std::mem::forget);
        }
    }

    pub(crate) fn close(&self, handle: u64) {
        let closed = self.open.write().remove(&handle);
        drop(closed);
    }
}
