//! Records of lines that are at hand: without a write set, for who reads nothing through shadows. They are made without the log, whose writer is
//! then held for as long only as it takes to write and apply them.

use super::super::{format, record::Builder};
use super::Log;
use crate::{Error, Result};
use pmem_map::{LINE, Region};
use std::ops::Range;

/// Lines that are to be a record of a log. The memory is kept from one to the next.
pub struct Lines {
    record: Builder,
    /// The mapping that they are lines of.
    mapping: Range<usize>,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { record: Builder::new(), mapping: 0..0 }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("bytes", &self.record.len()).finish_non_exhaustive()
    }
}

fn addresses(region: &Region) -> Range<usize> {
    let base = region.base().as_ptr() as usize;
    base..base + region.len() as usize
}

impl Lines {
    /// Begins a record of lines of this mapping, and forgets the last one.
    pub fn begin<'l>(&'l mut self, region: &'l Region) -> Filling<'l> {
        self.record.clear();
        self.mapping = addresses(region);
        Filling { record: &mut self.record, region }
    }

    /// Bytes of memory that it keeps.
    pub fn capacity(&self) -> u64 {
        self.record.capacity()
    }
}

/// [`Lines`] while they are put together. Each line is named once.
pub struct Filling<'l> {
    record: &'l mut Builder,
    region: &'l Region,
}

impl Filling<'_> {
    /// Whole lines at `at`, logged whole, whatever stands there.
    ///
    /// # Panics
    ///
    /// They are not whole lines of the mapping.
    #[inline]
    pub fn whole(&mut self, at: u64, bytes: &[u8]) {
        self.check(at, bytes.len() as u64);
        for (line, bytes) in (at / LINE..).zip(bytes.as_chunks().0) {
            match words(bytes) {
                [0, 0, 0, 0, 0, 0, 0, 0] => self.record.zeros(line),
                words => self.record.line(line, &words),
            }
        }
    }

    /// Whole lines at `at` that only records change: of their words, those that differ from what stands there.
    ///
    /// # Panics
    ///
    /// They are not whole lines of the mapping.
    ///
    /// # Safety
    ///
    /// Until the record is committed nobody else stores to these lines; and the records that have changed them are applied.
    #[inline]
    pub unsafe fn changed(&mut self, at: u64, bytes: &[u8]) {
        self.check(at, bytes.len() as u64);
        for (line, bytes) in (at / LINE..).zip(bytes.as_chunks().0) {
            let new = words(bytes);
            // SAFETY: inside the mapping, and aligned; nobody stores to it (the caller).
            let old = unsafe { self.region.base().add((line * LINE) as usize).cast::<[u64; 8]>().read() };
            let mask = (0..8).fold(0, |mask, word| mask | u8::from(new[word] != old[word]) << word);
            if mask != 0 {
                self.record.words(line, mask, &new);
            }
        }
    }

    #[inline]
    fn check(&self, at: u64, len: u64) {
        let inside = at <= self.region.len() && len <= self.region.len() - at;
        assert!(inside && at % LINE == 0 && len % LINE == 0, "{len} bytes at {at}");
    }
}

#[inline]
fn words(line: &[u8; LINE as usize]) -> [u64; 8] {
    bytemuck::pod_read_unaligned(line)
}

impl Log {
    /// Whether [`commit_lines`](Log::commit_lines) takes these now: no record is on its way, this is no disk, and they fit the ring.
    #[inline]
    pub fn takes_lines(&self, lines: &Lines) -> bool {
        !self.in_flight
            && !self.is_on_pages()
            && lines.record.len() <= self.max_record
            && self.extensions.is_unused()
    }

    /// Commits lines: what [`commit`](Log::commit) does with those of a write set. The seq, or `None` if nothing was changed. As durable, when
    /// it is, and for the same drains.
    ///
    /// # Errors
    ///
    /// Those of [`commit`](Log::commit).
    ///
    /// # Panics
    ///
    /// It does not [take](Log::takes_lines) them, or they are of another mapping.
    pub fn commit_lines<G>(
        &mut self,
        lines: &mut Lines,
        before_apply: impl FnOnce() -> G,
    ) -> Result<Option<u64>> {
        assert!(self.takes_lines(lines), "records are on their way, or these are too many lines");
        assert!(lines.mapping == addresses(&self.region), "lines of another region");
        self.region.check_process()?;
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        if lines.record.is_empty() {
            return Ok(None);
        }
        let first = self.slots_for(format::slots(lines.record.len()))?;
        // From here on nothing may fail and leave a record behind that nobody acknowledged.
        self.poisoned = true;
        std::mem::swap(&mut self.record, &mut lines.record);
        let committed = self.commit_record(first, before_apply);
        std::mem::swap(&mut self.record, &mut lines.record);
        committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LogOptions;
    use pmem_map::Mapping;
    use std::sync::Arc;

    const AREA: Range<u64> = 0..1 << 16;

    fn log() -> Log {
        let region = Arc::new(Mapping::anonymous(1 << 20).expect("memory").into_region());
        // SAFETY: nobody else knows the region.
        unsafe { Log::create(region, AREA, 7, LogOptions::default()) }.expect("a log")
    }

    fn read(log: &Log, at: u64) -> [u8; 64] {
        let mut line = [0; 64];
        // SAFETY: nobody stores.
        unsafe { log.region().load(at, &mut line) };
        line
    }

    #[test]
    fn lines_are_in_place_and_only_words_that_differ_are_in_the_record() {
        let (mut log, mut lines) = (log(), Lines::default());
        let shared = log.region().clone();
        let mut filling = lines.begin(&shared);
        filling.whole(AREA.end, &[[1; 64], [0; 64]].concat());
        // SAFETY: nobody else stores.
        unsafe { filling.changed(AREA.end + 128, &[2; 64]) };
        assert_eq!(log.commit_lines(&mut lines, || ()).expect("room"), Some(1));
        assert_eq!([0, 64, 128].map(|at| read(&log, AREA.end + at)[5]), [1, 0, 2]);
        let mut line = [2; 64];
        line[8] = 3;
        // SAFETY: as above.
        unsafe { lines.begin(&shared).changed(AREA.end + 128, &line) };
        assert_eq!(lines.record.len(), format::RECORD_HEADER as u64 + 16);
        assert_eq!(log.commit_lines(&mut lines, || ()).expect("room"), Some(2));
        assert_eq!(read(&log, AREA.end + 128), line);
        // SAFETY: as above.
        unsafe { lines.begin(&shared).changed(AREA.end + 128, &line) };
        assert_eq!(log.commit_lines(&mut lines, || ()).expect("nothing"), None);
    }

    #[test]
    #[should_panic(expected = "another region")]
    fn lines_of_another_region_are_refused() {
        let (mut log, other, mut lines) = (log(), self::log(), Lines::default());
        lines.begin(other.region()).whole(AREA.end, &[1; 64]);
        let _ = log.commit_lines(&mut lines, || ());
    }

    #[test]
    #[should_panic(expected = "64 bytes at")]
    fn lines_outside_the_mapping_are_refused() {
        let (log, mut lines) = (log(), Lines::default());
        lines.begin(log.region()).whole(log.region().len(), &[1; 64]);
    }
}
