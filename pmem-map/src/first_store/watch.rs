//! One watched range: which of its pages may be stored to, and how a page gets there.

use super::{Dirtiness, FirstStore, RangeId, Set, bits::Bits};
use crate::{
    PAGE, Pages,
    fault::{Answer, Fault, Serve},
};
use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, AtomicU8, Ordering::SeqCst},
    },
};

/// How many pages are admitted together, while there are fewer changes of protection than this in the process.
const SPANS: [(isize, u64); 4] = [(4096, 1), (8192, 512), (12_288, 512 * 32), (isize::MAX, 512 * 1024)];

/// Changes of protection inside all watched ranges of the process: each is a kernel mapping more.
static CHANGES: AtomicIsize = AtomicIsize::new(0);

pub(super) struct Watch {
    pub(super) id: RangeId,
    pages: Pages,
    /// Whole pages, as bytes within the mapping.
    range: Range<u64>,
    handler: Arc<dyn FirstStore>,
    pub(super) set: Arc<Set>,
    /// By faults: the pages for which the handler was asked since the last protect. All others are protected.
    admitted: Bits,
    /// Of [`CHANGES`], this range's.
    changes: AtomicIsize,
    /// A [`Dirtiness`].
    dirtiness: AtomicU8,
    ended: AtomicBool,
}

impl Watch {
    pub(super) fn new(
        id: RangeId,
        pages: Pages,
        range: Range<u64>,
        handler: Arc<dyn FirstStore>,
        set: Arc<Set>,
    ) -> Watch {
        Watch {
            id,
            pages,
            handler,
            set,
            admitted: Bits::new((range.end - range.start) / PAGE),
            range,
            changes: AtomicIsize::new(0),
            dirtiness: AtomicU8::new(Dirtiness::Unknown as u8),
            ended: AtomicBool::new(false),
        }
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Where it is in memory.
    pub(super) fn addresses(&self) -> Range<usize> {
        let base = self.pages.0.base().as_ptr() as usize;
        base + self.range.start as usize..base + self.range.end as usize
    }

    pub(super) fn overlaps(&self, pages: &Pages, range: &Range<u64>) -> bool {
        self.pages.0.base() == pages.0.base() && range.start < self.range.end && self.range.start < range.end
    }

    pub(super) fn dirtiness(&self) -> Dirtiness {
        match self.dirtiness.load(SeqCst) {
            known if known == Dirtiness::Faults as u8 => Dirtiness::Faults,
            known if known == Dirtiness::Scan as u8 => Dirtiness::Scan,
            _ => Dirtiness::Unknown,
        }
    }

    fn is_known_by(&self, dirtiness: Dirtiness) {
        self.dirtiness.store(dirtiness as u8, SeqCst);
    }

    /// Before anything of it is watched.
    pub(super) fn start(&self, wanted: Dirtiness) {
        let scanned = |scanner: &super::Scanner| {
            self.pages.0.while_mapped(&self.range, |at, len| scanner.begin(at, len)).is_ok()
        };
        match wanted {
            Dirtiness::Scan if self.set.scanner().is_some_and(scanned) => self.is_known_by(Dirtiness::Scan),
            Dirtiness::Scan | Dirtiness::Unknown => {}
            Dirtiness::Faults => self.is_known_by(Dirtiness::Faults),
        }
    }

    fn end_scan(&self) {
        if let (Dirtiness::Scan, Some(scanner)) = (self.dirtiness(), self.set.scanner()) {
            // If it fails, stores go on to cost a fault in the kernel.
            let _ = self.pages.0.while_mapped(&self.range, |at, len| scanner.end(at, len));
        }
    }

    /// Protects all of it. A mapping that is gone has nothing to protect.
    pub(super) fn protect(&self) -> io::Result<()> {
        match self.pages.0.set_writable(self.range.clone(), false) {
            Err(error) if self.pages.0.is_mapped() => Err(error),
            _ => Ok(()),
        }
    }

    /// With the gate closed and everything protected: nothing is dirty.
    pub(super) fn begin_again(&self) {
        self.end_scan();
        self.is_known_by(Dirtiness::Faults);
        self.admitted.fill(false);
        CHANGES.fetch_sub(self.changes.swap(0, SeqCst), SeqCst);
    }

    /// With the gate closed and everything protected: as before that.
    pub(super) fn go_on(&self) {
        if self.dirtiness() == Dirtiness::Faults {
            // A page that stays protected becomes writable when it is stored to, and nobody is asked.
            self.admitted.runs(&mut |run| {
                let _ = self.pages.0.set_writable(self.bytes(&run), true);
            });
        } else if self.pages.0.set_writable(self.range.clone(), true).is_err() {
            self.end_scan();
            self.admitted.fill(true);
            self.is_known_by(Dirtiness::Faults);
        }
    }

    /// Stores proceed from now on.
    pub(super) fn end(&self) {
        self.ended.store(true, SeqCst);
        self.end_scan();
        let _ = self.pages.0.set_writable(self.range.clone(), true); // unless it is unmapped already
        CHANGES.fetch_sub(self.changes.swap(0, SeqCst), SeqCst);
    }

    pub(super) fn dirtied(&self, each: &mut dyn FnMut(Range<u64>)) {
        match self.dirtiness() {
            Dirtiness::Faults => self.admitted.runs(&mut |run| each(self.bytes(&run))),
            Dirtiness::Scan => {
                let base = self.pages.0.base().as_ptr() as u64;
                let mut end = self.range.start;
                let mut each_run = |run: Range<u64>| {
                    end = run.end - base;
                    each(run.start - base..end);
                };
                let scanned = self.pages.0.while_mapped(&self.range, |at, len| match self.set.scanner() {
                    Some(scanner) => scanner.written(at, len, &mut each_run),
                    None => Err(io::ErrorKind::Unsupported.into()),
                });
                if scanned.is_err() && end < self.range.end {
                    each(end..self.range.end); // what it did not say counts as dirty
                }
            }
            Dirtiness::Unknown => each(self.range.clone()),
        }
    }

    /// Of pages, numbered within the range.
    fn bytes(&self, pages: &Range<u64>) -> Range<u64> {
        self.range.start + pages.start * PAGE..self.range.start + pages.end * PAGE
    }

    /// What may be admitted with a page: that much while there are few kernel mappings, or more if the kernel refuses; at last all.
    fn spans(&self, page: u64) -> impl Iterator<Item = Range<u64>> {
        let (changes, count) = (CHANGES.load(SeqCst), self.len() / PAGE);
        let is_known = self.admitted.get(page);
        let first = self.addresses().start as u64 / PAGE;
        let spans = SPANS.iter().filter(move |(limit, _)| is_known || changes < *limit);
        let aligned = spans.map(move |(_, pages)| {
            let start = (first + page) / pages * pages;
            start.saturating_sub(first)..(start + pages - first).min(count)
        });
        aligned.chain(std::iter::once(0..count))
    }

    /// Asks for the page, and lets it be stored to.
    fn admit(&self, page: u64) -> bool {
        self.spans(page).any(|span| {
            for page in span.clone().filter(|page| !self.admitted.get(*page)) {
                let at = self.range.start + page * PAGE;
                if let Err(error) = self.handler.first_store(self.id, at) {
                    self.set.failures.note(self.id, at, &error);
                }
                let added = self.admitted.changes_added(page);
                CHANGES.fetch_add(added, SeqCst);
                self.changes.fetch_add(added, SeqCst);
                self.admitted.set(page);
            }
            self.pages.0.set_writable(self.bytes(&span), true).is_ok()
        })
    }
}

impl Serve for Watch {
    fn fault(&self, address: usize, fault: Fault) -> Answer {
        if fault != Fault::Write {
            return Answer::Refused;
        }
        if self.ended.load(SeqCst) {
            return Answer::Served; // or comes again, until the page is writable
        }
        let Some(_serving) = self.set.gate.enter() else { return Answer::Later };
        // (Before its first protect, whoever protected it is to answer; or it is writable again.)
        if self.dirtiness() == Dirtiness::Faults
            && self.admit((address - self.addresses().start) as u64 / PAGE)
        {
            Answer::Served
        } else {
            Answer::Refused
        }
    }
}
