//! Checksums of four stripes at a time. An instruction of CRC32C takes three cycles, and one can be begun in each: four chains that do not wait for each
//! other take a third of the time of one after the other. (The crate `crc32c` does so from 768 bytes on, and a stripe has 512. By the `fs_protect` benchmark,
//! verified reads of 4 and 64 KiB are a fifth cheaper with this.)

#![allow(unsafe_code)]

use crate::integrity::{STRIPE, parity::Stripe};

/// Stripes that are summed together.
pub(crate) const FOUR: usize = 4;

/// The CRC32C of each of four stripes that are side by side, each beginning with its start.
#[inline]
pub(crate) fn four(starts: [u32; FOUR], stripes: &[Stripe; FOUR]) -> [u32; FOUR] {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instructions.
        return unsafe { four_sse42(starts, stripes) };
    }
    std::array::from_fn(|n| crc32c::crc32c_append(starts[n], &stripes[n]))
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "sse4.2")]
fn four_sse42(starts: [u32; FOUR], stripes: &[Stripe; FOUR]) -> [u32; FOUR] {
    let mut sums = starts.map(|start| u64::from(!start));
    let words = stripes.each_ref().map(|stripe| stripe.as_chunks::<8>().0);
    for at in 0..STRIPE as usize / 8 {
        for (sum, words) in sums.iter_mut().zip(words) {
            *sum = std::arch::x86_64::_mm_crc32_u64(*sum, u64::from_le_bytes(words[at]));
        }
    }
    sums.map(|sum| !(sum as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_at_a_time_are_the_same_as_one_by_one() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let mut stripes = [[0; STRIPE as usize]; FOUR];
            stripes.iter_mut().for_each(|stripe| random.fill(stripe));
            let starts = std::array::from_fn(|_| random.u32(..));
            let one = |n: usize| crc32c::crc32c_append(starts[n], &stripes[n]);
            assert_eq!(four(starts, &stripes), [one(0), one(1), one(2), one(3)]);
        }
    }
}
