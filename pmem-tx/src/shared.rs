//! Several journals in one mapping.

use crate::{Error, Journal, JournalOptions, Result, engine};
use parking_lot::Mutex;
use pmem_map::{LINE, Mapping, Region};
use std::{ops::Range, sync::Arc};

/// A mapping in which there are several journals, each with a log area and a *home* of its own: the bytes that its
/// transactions read and change. No two share a line, so that threads may use them at the same time, each at its own
/// cost: one thread's drain does not wait for another's.
///
/// What belongs to two homes cannot be changed by one transaction. A journal that holds both can.
///
/// ```
/// use pmem_map::Mapping;
/// use pmem_tx::{JournalOptions, SharedMapping};
///
/// # fn main() -> Result<(), pmem_tx::Error> {
/// let shared = SharedMapping::new(Mapping::anonymous(1 << 20)?);
/// let options = JournalOptions::new();
/// let left = shared.create(&options, 0..65536, 131072..524288)?;
/// let right = shared.create(&options, 65536..131072, 524288..1 << 20)?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| left.write(|tx| tx.write(131072, &1u64)));
///     scope.spawn(|| right.write(|tx| tx.write(524288, &2u64)));
/// });
/// assert!(left.write(|tx| tx.write(524288, &3u64)).is_err(), "not its home");
/// # Ok(()) }
/// ```
///
/// Cheap to clone; every journal keeps the mapping alive.
#[derive(Clone)]
pub struct SharedMapping(Arc<Shared>);

struct Shared {
    region: Arc<Region>,
    /// Log and home of each journal.
    claims: Mutex<Vec<[Range<u64>; 2]>>,
}

/// A journal's bytes in a shared mapping; free again when it is dropped.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    ranges: [Range<u64>; 2],
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.shared.claims.lock();
        let place = claims.iter().position(|ranges| *ranges == self.ranges);
        claims.swap_remove(place.expect("claimed"));
    }
}

impl SharedMapping {
    /// No journal yet.
    pub fn new(mapping: Mapping) -> SharedMapping {
        let region = Arc::new(mapping.into_region());
        SharedMapping(Arc::new(Shared { region, claims: Mutex::default() }))
    }

    /// Formats a log in `log`, for a journal of which the bytes in `home` are. Both are aligned to 64; the log may be
    /// inside its own home. Otherwise as [`JournalOptions::create`].
    ///
    /// # Errors
    ///
    /// [`Error::BadHome`]: misaligned, empty, outside the mapping, or another journal's; nothing was changed.
    pub fn create(&self, options: &JournalOptions, log: Range<u64>, home: Range<u64>) -> Result<Journal> {
        let claim = self.claim(options, &log, &home)?;
        options.create_in(self.0.region.clone(), log, home, Some(claim))
    }

    /// Opens the log in `log`, and recovers; other journals may be in use meanwhile. Otherwise as
    /// [`JournalOptions::open`]. The home is for the program to remember: a record that leads outside of it is
    /// [`Error::Damaged`].
    ///
    /// # Errors
    ///
    /// As [`create`](SharedMapping::create).
    pub fn open(&self, options: &JournalOptions, log: Range<u64>, home: Range<u64>) -> Result<Journal> {
        let claim = self.claim(options, &log, &home)?;
        options.open_in(self.0.region.clone(), log, home, Some(claim))
    }

    /// Opens the log in `log`, or creates one, as [`JournalOptions::open_or_create`] does.
    pub fn open_or_create(
        &self,
        options: &JournalOptions,
        log: Range<u64>,
        home: Range<u64>,
    ) -> Result<Journal> {
        let claim = self.claim(options, &log, &home)?;
        let mut area = vec![0; (log.end - log.start) as usize];
        // SAFETY: in bounds, and nobody else's: just claimed.
        unsafe { self.0.region.load(log.start, &mut area) };
        if engine::is_blank(&area) {
            options.create_in(self.0.region.clone(), log, home, Some(claim))
        } else {
            options.open_in(self.0.region.clone(), log, home, Some(claim))
        }
    }

    /// How many journals there are.
    pub fn journals(&self) -> usize {
        self.0.claims.lock().len()
    }

    /// The bytes below: length, granularity, durability, counters of all journals together.
    pub fn region(&self) -> &Region {
        &self.0.region
    }

    /// The mapping again.
    ///
    /// # Errors
    ///
    /// [`Error::Shared`] while there are journals, or clones of this.
    pub fn into_mapping(self) -> Result<Mapping> {
        let journals = self.journals();
        let shared = Arc::try_unwrap(self.0).map_err(|_| Error::Shared { journals })?;
        let region = Arc::try_unwrap(shared.region).map_err(|_| Error::Shared { journals })?;
        // SAFETY: nobody else has the region: journals, whose transactions lend references, are gone.
        Ok(unsafe { Mapping::from_region(region) })
    }

    fn claim(&self, options: &JournalOptions, log: &Range<u64>, home: &Range<u64>) -> Result<Claim> {
        let len = self.0.region.len();
        engine::check_area(log, len)?;
        let bad = |why| Err(Error::BadHome { start: home.start, end: home.end, why });
        if home.start >= home.end {
            return bad("it is empty");
        }
        if home.end > len {
            return bad("outside the mapping");
        }
        if home.start % LINE != 0 || home.end % LINE != 0 {
            return bad("not aligned to 64");
        }
        let meet = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
        let mut claims = self.0.claims.lock();
        let overlap = engine::Shortcuts::has(options.engine_shortcuts(), engine::Shortcut::HomesOverlap);
        for other in claims.iter() {
            if other.iter().any(|range| meet(range, log)) || meet(home, &other[0]) {
                return bad("another journal's log or home meets this one's");
            }
            if meet(home, &other[1]) && !overlap {
                return bad("it meets another journal's home");
            }
        }
        let ranges = [log.clone(), home.clone()];
        claims.push(ranges.clone());
        Ok(Claim { shared: self.0.clone(), ranges })
    }
}

impl std::fmt::Debug for SharedMapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedMapping")
            .field("region", &self.0.region)
            .field("journals", &self.journals())
            .finish()
    }
}
