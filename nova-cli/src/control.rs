//! Asks who serves a mounted volume for what the kernel has no call for.

use crate::Failure;
use nova_fuse::control::{Answer, CONTROL, Message, Request};
use std::{fs::File, io, os::fd::AsRawFd, path::Path};

/// Asks who serves the volume that `dir`, a directory of it, is in. The inner error is the request's.
pub(crate) fn ask(dir: &Path, request: &Request) -> Result<io::Result<Answer>, Failure> {
    ask_of(&File::open(dir)?, dir, request)
}

/// Asks for something of an open file, which is at `path`.
#[allow(unsafe_code)]
pub(crate) fn ask_of(file: &File, path: &Path, request: &Request) -> Result<io::Result<Answer>, Failure> {
    let mut message = Message::asking(request).ok_or("that is too long")?;
    // SAFETY: a descriptor that is open, and a message to read from and write to: the number says how long it is.
    if unsafe { libc::ioctl(file.as_raw_fd(), CONTROL as libc::Ioctl, &raw mut *message) } != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOTTY | libc::ENOSYS | libc::EOPNOTSUPP) => {
                Err(format!("{}: no volume of nova is mounted there, or by another version", path.display())
                    .into())
            }
            Some(libc::EPERM) => {
                Err(format!("{}: only root and who mounted it may do that", path.display()).into())
            }
            _ => Ok(Err(error)),
        };
    }
    let answer = message.answer().ok_or("the daemon answered something else")?;
    Ok(Ok(answer))
}

/// All lines of an answer, a message after the other.
pub(crate) fn all<T>(
    dir: &Path,
    request: impl Fn(usize) -> Request,
    lines: impl Fn(Answer) -> Option<Vec<T>>,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    loop {
        let some = lines(ask(dir, &request(all.len()))??).ok_or("the daemon answered something else")?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}
