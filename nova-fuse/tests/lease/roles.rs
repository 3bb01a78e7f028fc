//! What other processes do: this program once more, with one of these roles.

use crate::map;
use nova_core::{FormatOptions, MountOptions};
use nova_fuse::{Options, Server};
use pmem_map::{MapOptions, Mapping};
use std::{
    env,
    ffi::CString,
    io::{self, BufRead, BufReader, Write},
    os::unix::{
        ffi::OsStrExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, Release},
    },
};

/// A process with a role.
pub(crate) struct Player {
    child: Child,
    input: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Player {
    pub(crate) fn new(role: &str, path: &Path, prepare: impl FnOnce(&mut Command)) -> Player {
        Player::of(&env::current_exe().unwrap(), role, path, prepare)
    }

    /// Of this program in another place.
    pub(crate) fn of(program: &Path, role: &str, path: &Path, prepare: impl FnOnce(&mut Command)) -> Player {
        let mut command = Command::new(program);
        command
            .args(["--exact", "roles::role", "--nocapture"])
            .env("LEASE_ROLE", role)
            .env("LEASE_PATH", path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let (input, said) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Player { child, input, said }
    }

    /// One that serves the volume in `image`, a new one if there is none, at `dir`.
    pub(crate) fn daemon(image: &Path, dir: &Path) -> Player {
        let mut daemon = Player::new("daemon", dir, |command| {
            command.env("LEASE_IMAGE", image);
        });
        assert_eq!(daemon.said(), "mounted");
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that it says.
    pub(crate) fn said(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it ended, and said nothing");
            if let Some((_, said)) = line.split_once('@') {
                return said.trim().to_owned();
            }
        }
    }

    /// Tells it to go on.
    pub(crate) fn go_on(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Lets it end, which it must do well.
    pub(crate) fn end(mut self) {
        drop(self.input.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Waits until it has ended, by a signal.
    pub(crate) fn died_of(&mut self) -> Option<i32> {
        self.child.wait().unwrap().signal()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: i32) {
        send(self.pid(), signal);
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes away a mount whose daemon was killed.
pub(crate) fn detach(dir: &Path) {
    let dir = CString::new(dir.as_os_str().as_bytes()).unwrap();
    // SAFETY: a call of the system with a string that ends with 0.
    assert_eq!(unsafe { libc::umount2(dir.as_ptr(), libc::MNT_DETACH) }, 0);
}

/// Sends a signal to a process that these tests have started.
pub(crate) fn send(pid: u32, signal: i32) {
    // SAFETY: a call of the system with two numbers.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

fn say(what: impl std::fmt::Display) {
    println!("@{what}");
    io::stdout().flush().unwrap();
}

/// Waits for who has started this; `false` if that wants it to end.
fn wait() -> bool {
    io::stdin().lock().read_line(&mut String::new()).is_ok_and(|read| read > 0)
}

fn store(mapping: &mut Mapping, what: &[u8]) {
    mapping.write(4096, what).unwrap();
    mapping.persist(4096..4096 + what.len() as u64).unwrap();
}

/// No test: what the processes are that the tests start.
#[test]
fn role() {
    let Ok(role) = env::var("LEASE_ROLE") else { return };
    let path = PathBuf::from(env::var_os("LEASE_PATH").unwrap());
    match role.as_str() {
        "holder" => hold(&path),
        "ordered" => store_in_order(&path),
        "closer" => close_all(&path),
        "forker" => fork(&path),
        "execer" => exec(&path),
        "outliver" => outlive(&path),
        "stranger" => ask_without_rights(&path),
        "daemon" => serve(&path),
        other => panic!("no such role: {other}"),
    }
}

/// Has a file mapped, and stores to it each time that it is told to go on.
fn hold(path: &Path) {
    let mut mapping = map(path);
    store(&mut mapping, b"first");
    say("stored");
    while wait() {
        store(&mut mapping, b"again");
        say("stored");
    }
}

/// Threads of [`store_in_order`].
pub(crate) const THREADS: u64 = 2;
/// Pairs of pages of each.
pub(crate) const PAIRS: u64 = 100;

/// Where a pair's first word is.
pub(crate) fn data(thread: u64, pair: u64) -> u64 {
    (thread * PAIRS + pair) * 4096 + 8 * pair
}

/// Where its second one is, which says that the first is there.
pub(crate) fn valid(thread: u64, pair: u64) -> u64 {
    (THREADS * PAIRS) * 4096 + data(thread, pair)
}

/// Stores to pairs of pages, one after the other, until it is told to end.
fn store_in_order(path: &Path) {
    let mapping = map(path);
    let base = mapping.base().as_ptr() as usize;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let ends = &ends;
            scope.spawn(move || {
                // SAFETY: an aligned word inside the mapping, which is there until the threads have ended, and only read otherwise.
                let word = |at: u64| unsafe { AtomicU64::from_ptr((base + at as usize) as *mut u64) };
                for round in 1.. {
                    for pair in 0..PAIRS {
                        if ends.load(Relaxed) {
                            return;
                        }
                        word(data(thread, pair)).store(round, Release);
                        word(valid(thread, pair)).store(round, Release);
                    }
                }
            });
        }
        say("storing");
        wait();
        ends.store(true, Relaxed);
    });
}

/// Closes all descriptors while the file is mapped.
fn close_all(path: &Path) {
    let mut mapping = map(path);
    // SAFETY: whoever has one of these descriptors does not use it from here on: the mapping is not dropped.
    assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
    store(&mut mapping, b"closed");
    say("stored");
    wait();
    std::process::exit(0);
}

/// Has a child that ends at once, and then one that stays.
fn fork(path: &Path) {
    let mut mapping = map(path);
    // SAFETY: the child calls nothing but `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for the child.
    assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
    store(&mut mapping, b"forked");
    say("stored");
    wait();
    // SAFETY: the child calls nothing but `pause`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    say(child);
    wait();
}

/// Becomes another program.
fn exec(path: &Path) {
    let mut mapping = map(path);
    store(&mut mapping, b"before");
    say("stored");
    wait();
    panic!("{}", Command::new("cat").exec());
}

/// A thread has a file mapped; the process's first thread ends.
fn outlive(path: &Path) {
    // The only thread of a new process is its first.
    // SAFETY: this process has no other thread that does anything.
    let child = unsafe { libc::fork() };
    if child != 0 {
        say(child);
        wait();
        send(child as u32, libc::SIGKILL);
        // SAFETY: waits for the child.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        return;
    }
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut mapping = map(&path);
        // SAFETY: asks for a number.
        let process = unsafe { libc::getpid() };
        // The first thread is a zombie when it has ended.
        while !is_in_state(process as u32, 'Z') {
            std::thread::yield_now();
        }
        store(&mut mapping, b"outlived");
        say("stored");
        loop {
            std::thread::park();
        }
    });
    // SAFETY: ends this thread, and nothing else.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Whether all threads of a process are stopped.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| {
        let thread = thread.unwrap().file_name().into_string().unwrap();
        is_in_state(thread.parse().unwrap(), 'T')
    })
}

/// Whether a process, or its first thread, is in a state, in the letters of `proc(5)`.
pub(crate) fn is_in_state(pid: u32, state: char) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with(state)
}

/// As a user to whom nothing is lent.
fn ask_without_rights(path: &Path) {
    // SAFETY: a file that nobody else writes.
    let mut mapping = unsafe { MapOptions::new().open(path) }.unwrap();
    store(&mut mapping, b"by msync");
    say(format_args!("{}, {:?}", mapping.medium(), mapping.granularity()));
}

/// Serves the volume in a file, which is made if it is empty, at a directory.
fn serve(dir: &Path) {
    let image = PathBuf::from(env::var_os("LEASE_IMAGE").unwrap());
    let is_new = !image.exists();
    // SAFETY: a file of the test's.
    let mapping =
        unsafe { MapOptions::new().len(32 << 20).create(true).emulate_pmem(true).open(&image) }.unwrap();
    let nova = match is_new {
        true => {
            FormatOptions::new().checksums(true).parity(true).format(mapping, MountOptions::new()).unwrap()
        }
        false => MountOptions::new().mount(mapping).unwrap(),
    };
    let server = Server::mount(nova, dir, &Options::new().threads(2)).unwrap();
    say("mounted");
    let mut snapshots = 0;
    while wait() {
        snapshots += 1;
        server.nova().create_snapshot(&format!("snapshot {snapshots}")).unwrap();
        say(format_args!("snapshot {snapshots}"));
    }
    server.unmount().unwrap().unmount().unwrap();
}
