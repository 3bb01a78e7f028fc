//! Filesystems that a test mounts for itself, where nobody else sees them: a small disk, huge pages.

use crate::children::PART;
use std::{
    ffi::{CStr, CString},
    io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::{Command, Output},
    ptr,
};

/// Runs the test `name` again in a process of its own, for which a filesystem is mounted at `folder`, its part. `None`,
/// and a word about it, where the system does not allow that.
pub(crate) fn play_on(kind: &CStr, options: &str, folder: &Path, name: &str) -> Option<Output> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PART, folder);
    let (kind, options) = (kind.to_owned(), CString::new(options).unwrap());
    let folder = CString::new(folder.as_os_str().as_bytes()).unwrap();
    // SAFETY: system calls without arguments.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let identities = [("/proc/self/setgroups", "deny".to_owned())]
        .into_iter()
        .chain([
            ("/proc/self/uid_map", format!("0 {user} 1")),
            ("/proc/self/gid_map", format!("0 {group} 1")),
        ])
        .map(|(file, content)| (CString::new(file).unwrap(), content))
        .collect::<Vec<_>>();
    let own_mounts = move || {
        // SAFETY: strings that end with a zero, and live through the calls.
        unsafe {
            let new_user = if user == 0 { 0 } else { libc::CLONE_NEWUSER };
            done(libc::unshare(libc::CLONE_NEWNS | new_user))?;
            if new_user != 0 {
                for (file, content) in &identities {
                    let file = libc::open(file.as_ptr(), libc::O_WRONLY);
                    done(file.min(0))?;
                    done(libc::write(file, content.as_ptr().cast(), content.len()).min(0) as i32)?;
                    libc::close(file);
                }
            }
            let (all, none) = (c"/".as_ptr(), ptr::null());
            done(libc::mount(none, all, none, libc::MS_REC | libc::MS_PRIVATE, ptr::null()))?;
            done(libc::mount(kind.as_ptr(), folder.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()))
        }
    };
    // SAFETY: system calls only, and strings made before.
    unsafe { child.pre_exec(own_mounts) };
    child.output().map_err(|error| println!("skipped: nothing can be mounted here: {error}")).ok()
}

fn done(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
