//! Serving a volume at a directory.

use crate::{Outcome, args, image, size::Size};
use nova_core::{BLOCK, MountOptions};
use nova_fuse::{Options, Server};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};
use std::{
    ffi::CString,
    io::{BufRead, BufReader},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    time::Duration,
};

pub(crate) fn mount(args: &args::Mount) -> Outcome {
    if args.background {
        return in_background();
    }
    let mapping =
        image::map(&args.image, image::How { read_only: args.read_only, emulate_pmem: args.emulate_pmem })?;
    let (granularity, durability) = (mapping.granularity(), mapping.durability());
    let nova = MountOptions::new().read_only(args.read_only).in_place(args.in_place).mount(mapping)?;
    let report = nova.mount_report();
    let mut options = Options::new().allow_other(args.allow_other).source(args.image.to_string_lossy());
    if let Some(threads) = args.threads {
        options = options.threads(threads);
    }
    let free = nova.statfs().available * BLOCK;
    let read_only = nova.is_read_only();
    let server = Server::mount(nova, &args.dir, &options)?;
    // The first line says that it is there: see `in_background`.
    println!(
        "mounted {} at {}{}: {} free; stores are durable by {granularity:?}, and survive what {durability:?} says",
        args.image.display(),
        args.dir.display(),
        if read_only { " (read-only)" } else { "" },
        Size(free),
    );
    if args.emulate_pmem {
        println!(
            "the page cache stands in for persistent memory: what is durable does not survive the machine"
        );
    }
    if !report.clean {
        println!(
            "it was not unmounted: replayed {} records, scanned {} inodes, ended {} orphans, in {:.1?}",
            report.replayed, report.scanned, report.orphans, report.took
        );
    }
    for damage in &report.damage {
        eprintln!("damage: {} at {} (inode {}): {}", damage.what, damage.offset, damage.ino, damage.why);
    }
    // Until somebody unmounts it, or this is asked to end.
    let (sender, asked) = mpsc::channel();
    let mut signals = Signals::new(TERM_SIGNALS)?;
    std::thread::spawn(move || signals.forever().next().map(|signal| sender.send(signal)));
    while server.is_served() && asked.recv_timeout(Duration::from_millis(100)).is_err() {}
    let nova = server.unmount()?;
    nova.unmount()?;
    Ok(ExitCode::SUCCESS)
}

/// Starts this program again, in the foreground of nobody, and waits until it says that it has mounted.
fn in_background() -> Outcome {
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--background");
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line)?;
    if line.is_empty() {
        let code = child.wait()?.code().unwrap_or(1);
        return Ok(ExitCode::from(code.clamp(1, 255) as u8));
    }
    print!("{line}");
    Ok(ExitCode::SUCCESS)
}

#[allow(unsafe_code)]
pub(crate) fn umount(dir: &Path) -> Outcome {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    // SAFETY: a call of the system with a string that ends with 0.
    if unsafe { libc::umount2(path.as_ptr(), 0) } == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let error = std::io::Error::last_os_error();
    Err(format!("cannot unmount {}: {error}", dir.display()).into())
}
