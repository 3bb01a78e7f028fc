//! Extended attributes that daemons answer with: what they have done, what a file is.

use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path};

/// The value of an attribute of a file, or of a link itself.
#[allow(unsafe_code)]
pub(crate) fn read(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    const LONGEST: usize = 1 << 16;
    let mut value = vec![0u8; LONGEST];
    let (path, name) = (CString::new(path.as_os_str().as_bytes())?, CString::new(name)?);
    // SAFETY: a call of the system with two strings that end with 0, and as many bytes as the vector has.
    let len =
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(len).map_err(|_| io::Error::last_os_error())?);
    Ok(value)
}
