//! Serving a volume at a directory.

use crate::{Outcome, args, image, size::Size};
use nova_core::{BLOCK, Damage, MountOptions};
use nova_fuse::{Options, Server};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};
use std::{
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    time::Duration,
};

pub(crate) fn mount(args: &args::Mount) -> Outcome {
    if args.background {
        return in_background();
    }
    log(args.verbose);
    // A snapshot is read in a view of its own: others may read the image meanwhile, and nobody may write it.
    let is_read_only = args.read_only || args.snapshot.is_some();
    let mapping =
        image::map(&args.image, image::How { read_only: is_read_only, emulate_pmem: args.emulate_pmem })?;
    let (granularity, durability) = (mapping.granularity(), mapping.durability());
    let nova = MountOptions::new().read_only(is_read_only).in_place(args.in_place).mount(mapping)?;
    let report = nova.mount_report();
    let nova = image::as_of(nova, args.snapshot.as_deref())?;
    let mut options = Options::new()
        .allow_other(args.allow_other)
        .page_cache(args.page_cache)
        .source(args.image.canonicalize()?.to_string_lossy());
    if let Some(threads) = args.threads {
        options = options.threads(threads);
    }
    let free = nova.statfs().available * BLOCK;
    let read_only = nova.is_read_only();
    let server = Server::mount(nova, &args.dir, &options)?;
    // The first line says that it is there: see `in_background`.
    say(format_args!(
        "mounted {} at {}{}: {} free; stores are durable by {granularity:?}, and survive what {durability:?} says",
        args.image.display(),
        args.dir.display(),
        if read_only { " (read-only)" } else { "" },
        Size(free),
    ));
    if args.emulate_pmem {
        say("the page cache stands in for persistent memory: what is durable does not survive the machine");
    }
    if !report.clean {
        let (replayed, scanned, orphans, took) =
            (report.replayed, report.scanned, report.orphans, report.took);
        say(format_args!(
            "it was not unmounted: replayed {replayed} records, scanned {scanned} inodes, ended {orphans} orphans, in {took:.1?}"
        ));
    }
    for damage in &report.damage {
        let Damage { what, offset, ino, why } = damage;
        say(format_args!("damage: {what} at {offset} (inode {ino}): {why}"));
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

/// What the daemon says of its work, on stderr.
fn log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(colours).init();
}

/// Prints a line; nobody may be listening any more.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Set for a program that was started to serve in the background: errors go where the first line is awaited.
const BACKGROUND: &str = "NOVA_IN_BACKGROUND";

/// Where errors of this program go.
pub(crate) fn complain(line: impl std::fmt::Display) {
    if std::env::var_os(BACKGROUND).is_some() { say(line) } else { eprintln!("{line}") }
}

/// Starts this program again, in the foreground of nobody, and waits until it says that it has mounted.
fn in_background() -> Outcome {
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--background");
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env(BACKGROUND, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line)?;
    if line.starts_with("mounted ") {
        print!("{line}");
        return Ok(ExitCode::SUCCESS);
    }
    said.read_to_string(&mut line)?;
    eprint!("{line}");
    Ok(ExitCode::from(child.wait()?.code().unwrap_or(1).clamp(1, 255) as u8))
}
