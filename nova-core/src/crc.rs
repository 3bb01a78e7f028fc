//! Checksums of what is short. A structure of metadata is a line, mostly, and to call the crate twice takes five times as long as to sum its 64 bytes.

#![allow(unsafe_code)]

/// Up to so many bytes the crate's chains side by side, and what they cost to set up, are not worth it.
const SHORT: usize = 320;

/// The CRC32C of `bytes` and then of `at`, which goes on from `seed`.
#[inline]
pub(crate) fn of_structure(seed: u32, bytes: &[u8], at: u64) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if bytes.len() <= SHORT && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instructions.
        return unsafe { short(seed, bytes, at) };
    }
    crc32c::crc32c_append(crc32c::crc32c_append(seed, bytes), &at.to_le_bytes())
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "sse4.2")]
fn short(seed: u32, bytes: &[u8], at: u64) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};
    let mut sum = !seed;
    // What is left of a line behind its checksum are 7 words and a half.
    let (halves, rest) = bytes.split_at(bytes.len() & 4);
    if let Some(half) = halves.first_chunk() {
        sum = _mm_crc32_u32(sum, u32::from_le_bytes(*half));
    }
    let (words, rest) = rest.as_chunks();
    let mut wide = u64::from(sum);
    for word in words {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*word));
    }
    for byte in rest {
        wide = u64::from(_mm_crc32_u8(wide as u32, *byte));
    }
    !(_mm_crc32_u64(wide, at) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_crates_whatever_the_length() {
        let mut random = fastrand::Rng::with_seed(1);
        for len in (0..2 * SHORT).chain([4092]) {
            let mut bytes = vec![0; len];
            random.fill(&mut bytes);
            let (seed, at) = (random.u32(..), random.u64(..));
            let sum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes), &at.to_le_bytes());
            assert_eq!(of_structure(seed, &bytes, at), sum, "{len} bytes");
        }
    }
}
