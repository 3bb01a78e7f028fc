//! Where tests make files: `PMEM_TEST_DIR`, else the temporary folder.

use std::path::PathBuf;

/// A new folder, removed when dropped.
pub(crate) fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}
