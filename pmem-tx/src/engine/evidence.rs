//! Whether bytes in which a log was to be made have been used as one.

use super::{
    format::{self, RING, RecordHeader, SLOT, STATE},
    log::Log,
    recovery,
};

impl Log {
    /// Whether the log `identity` in these bytes may ever have committed anything: it was opened after its creation, or
    /// a record of it is here, of whatever generation, and whatever became of the log's header. For whoever finds a file
    /// that looks as if its creation was cut short, and would make it anew.
    pub fn may_have_committed(area: &[u8], identity: u64) -> bool {
        let Some(ring) = area.get(RING as usize..) else { return false };
        let state = u64::from_le_bytes(area[STATE as usize..][..8].try_into().expect("eight bytes"));
        if format::generation_of(state, identity).is_some_and(|generation| generation > 1) {
            return true;
        }
        let longest = recovery::max_record(&(0..area.len() as u64));
        // Bytes of checksums that may still be computed: what looks like more records than fit is no blank ring.
        let mut budget = 4 * ring.len();
        for slot in 0..ring.len() as u64 / SLOT {
            let bytes = &ring[(slot * SLOT) as usize..];
            let header: RecordHeader = bytemuck::pod_read_unaligned(&bytes[..size_of::<RecordHeader>()]);
            if !header.is_plausible(header.generation, longest) {
                continue;
            }
            let words = format::words_on_media(header.length as usize / 8);
            let Some(media) = bytes.get(..words * 8) else { continue };
            let mut words = vec![0u64; words];
            bytemuck::cast_slice_mut(&mut words).copy_from_slice(media);
            let Some(mut record) = format::gather(&words) else { continue };
            let Some(rest) = budget.checked_sub(media.len()) else { return true };
            budget = rest;
            let sum = std::mem::replace(&mut record[0], format::seed(identity, slot));
            if format::checksum(&record) == sum {
                return true;
            }
        }
        false
    }
}
