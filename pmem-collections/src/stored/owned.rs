//! Copies of stored forms.

use bytemuck::{Pod, Zeroable};

/// A copy of a stored form in DRAM, aligned as the form has to be.
#[derive(Clone)]
pub(crate) enum StoredBytes {
    Short(u8, Short),
    Long(usize, Box<[Line]>),
}

/// What most keys and values fit in.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Short([u8; SHORT]);
const SHORT: usize = 32;
const SHORT_ALIGN: usize = 16;

/// Aligned to whatever a form can be.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl StoredBytes {
    /// A copy of `form`, which is to be at a multiple of `align`, at most 64.
    #[inline]
    pub(crate) fn new(form: &[u8], align: usize) -> StoredBytes {
        if form.len() <= SHORT && align <= SHORT_ALIGN {
            let mut short = Short([0; SHORT]);
            short.0[..form.len()].copy_from_slice(form);
            return StoredBytes::Short(form.len() as u8, short);
        }
        let mut lines = vec![Line([0; 64]); form.len().div_ceil(64)].into_boxed_slice();
        bytemuck::cast_slice_mut(&mut lines)[..form.len()].copy_from_slice(form);
        StoredBytes::Long(form.len(), lines)
    }

    /// The form.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            StoredBytes::Short(len, short) => &short.0[..usize::from(*len)],
            StoredBytes::Long(len, lines) => &bytemuck::cast_slice(lines)[..*len],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_aligned_and_equal() {
        for len in (0..300).chain([5000]) {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            for align in [1, 8, 16, 32, 64] {
                let copies: Vec<_> = (0..3).map(|_| StoredBytes::new(&bytes, align)).collect();
                for copy in copies {
                    assert_eq!(copy.as_slice(), bytes);
                    assert!(len == 0 || (copy.as_slice().as_ptr() as usize).is_multiple_of(align));
                }
            }
        }
    }
}
