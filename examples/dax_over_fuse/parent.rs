//! Starts both processes, looks at what they do, and kills one.

use crate::{Result, client};
use nova_fuse::{
    report::{self, Report},
    stats::{self, Snapshot},
};
use std::{
    ffi::CString,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A process of this program. Killed when dropped, if it has not ended.
struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stdout.take().expect("piped"));
        Ok(Process { child, said })
    }

    /// The next line that it says.
    fn said(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err("a process ended".into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn number(&mut self) -> Result<u64> {
        Ok(self.said()?.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the daemon answers by an attribute.
#[expect(unsafe_code, reason = "the standard library has no extended attributes")]
fn attribute(path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut value = vec![0u8; 1 << 16];
    let (path, name) = (CString::new(path.as_os_str().as_bytes())?, CString::new(name)?);
    // SAFETY: a call of the system with two strings that end with 0, and as many bytes as the vector has.
    let len = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(len).map_err(|_| std::io::Error::last_os_error())?);
    Ok(value)
}

/// Writes that the kernel has asked the daemon for, and their bytes.
fn writes(dir: &Path) -> Result<(u64, u64)> {
    let stats = Snapshot::parse(&attribute(dir, stats::ATTRIBUTE)?)?;
    let count = stats.latencies().find(|(name, _)| *name == "write").map_or(0, |(_, write)| write.count);
    Ok((count, stats.bytes_written))
}

/// What `nova stat` prints.
fn stat(path: &Path) -> Result<Report> {
    Ok(Report::parse(&attribute(path, report::ATTRIBUTE)?)?)
}

fn check(what: &str, is_so: bool) -> Result<()> {
    if !is_so {
        return Err(format!("not so: {what}").into());
    }
    println!("  {what}");
    Ok(())
}

pub(crate) fn run() -> Result<()> {
    if !Path::new("/dev/fuse").exists() || fs::metadata("/proc/self")?.uid() != 0 {
        println!("skipped: this mounts a filesystem, which takes /dev/fuse, and root");
        return Ok(());
    }
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let (image, dir) = (folder.path().join("volume.nova"), folder.path().join("mnt"));
    fs::create_dir(&dir)?;
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path that is no text");
    let mut daemon = Process::start(&["--daemon", &text(&image)?, &text(&dir)?])?;
    if daemon.said()? != "mounted" {
        return Err("it was not mounted".into());
    }
    println!("process {} serves {} at {}", daemon.child.id(), image.display(), dir.display());

    let path = dir.join("accounts.pool");
    let mark = fastrand::u64(1 << 63..);
    let is_marked =
        || fs::read(&image).map(|image| image.chunks_exact(8).any(|bytes| bytes == mark.to_le_bytes()));
    check("a number that was just drawn is nowhere in the image", !is_marked()?)?;
    let mut client = Process::start(&["--client", &text(&path)?, &mark.to_string()])?;
    println!("process {} has a pool in {}: {}", client.child.id(), path.display(), client.said()?);
    let marked = client.said()? == "marked";
    check("the client has stored it: it is in the image", marked && is_marked()?)?;
    check("and the daemon has not been asked for any write", writes(&dir)? == (0, 0))?;
    println!(
        "it moves money {} times: {} for each transaction of two accounts",
        client::TIMED,
        client.said()?
    );
    let first = client.number()?;
    let mut last = first;
    while last < first + 10_000 {
        last = client.number()?;
    }
    check("the daemon has still not been asked for any", writes(&dir)? == (0, 0))?;
    let report = stat(&path)?;
    let lease = report.leases.first().ok_or("nobody has a lease")?;
    println!("nova stat: {} bytes mapped by process {} of user {}", lease.bytes, lease.pid, lease.uid);
    check(
        "the client has the file, and nobody else",
        report.leases.len() == 1 && lease.pid == client.child.id(),
    )?;
    check("nothing protects the file meanwhile", report.protected == Some(false))?;

    let truncated = fs::File::options().write(true).open(&path)?.set_len(0);
    check(
        "the file cannot be truncated",
        truncated.is_err_and(|error| error.raw_os_error() == Some(libc::ETXTBSY)),
    )?;

    let copy = folder.path().join("copy.pool");
    writeln!(daemon.child.stdin.as_ref().ok_or("no standard input")?, "{}", text(&copy)?)?;
    let copied = daemon.said()? == "copied";
    let pool = client::open(&copy)?;
    let then = client::audit(&pool)?;
    pool.close()?;
    check(
        "a snapshot of the volume, made meanwhile, has a pool without a cent missing",
        copied && then >= last,
    )?;

    client.child.kill()?;
    client.child.wait()?;
    let mut acknowledged = last;
    while let Ok(number) = client.number() {
        acknowledged = number;
    }
    println!("killed after transfer {acknowledged}");
    let killed = Instant::now();
    while !stat(&path)?.leases.is_empty() {
        if killed.elapsed() > Duration::from_secs(30) {
            return Err("the lease stays".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    check("the lease is gone", true)?;
    check("checksums and parity protect the file again", stat(&path)?.protected == Some(true))?;

    let pool = client::open(&path)?;
    let made = client::audit(&pool)?;
    check(
        "the pool has what was acknowledged, or one transfer more",
        (acknowledged..=acknowledged + 1).contains(&made),
    )?;
    pool.close()?;

    drop(daemon.child.stdin.take());
    check("the volume is clean", daemon.said()? == "clean")?;
    Ok(())
}
