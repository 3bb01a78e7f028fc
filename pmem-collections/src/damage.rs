//! How this crate says that bytes in the pool cannot be right.

use pmem_alloc::{Error, ErrorKind};

/// The error for damage at `offset`.
#[cold]
pub(crate) fn corrupt(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Error {
    ErrorKind::Corrupt { offset, expected: expected.into(), found: found.into() }.into()
}
