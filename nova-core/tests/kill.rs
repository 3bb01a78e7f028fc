//! A process that works in a volume is killed, at any moment, many times. What it had acknowledged through a pipe is there; what it was doing is done
//! or not at all; and the next process goes on from there, without an unmount ever.
//!
//! The kernel keeps every store of a killed process, so this is about processes, not about power (see `tests/crash` for that): nothing
//! is needed that only the dead one knew.

use nova_core::{Error, FormatOptions, Nova, Result};
use pmem_map::{Granularity, MapOptions, Mapping};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

const LEN: u64 = 256 * 4096;
/// Names that are replaced in turns.
const SLOTS: u64 = 5;
/// Files that are there at a time.
const LIVE: u64 = 6;

/// The content of a file that step `n` has written.
fn text(n: u64) -> Vec<u8> {
    let len = 1 + (n * 7919) % 9000;
    (0..len).map(|at| (at ^ n ^ (n >> 8)) as u8).collect()
}

/// Step `n`: one of four kinds, each with one effect that is there or not.
fn step(nova: &Nova, n: u64) -> Result<()> {
    match n % 4 {
        0 => {
            nova.write_file("/new", &text(n))?;
            nova.rename_path("/new", format!("/slot{}", n / 4 % SLOTS))
        }
        1 => nova.open("/log")?.append(&n.to_le_bytes()).map(drop),
        2 => nova.open("/whole")?.write_at(0, &n.to_le_bytes().repeat(1200)),
        _ => {
            nova.create_dir(format!("/dirs/{n}"))?;
            match n.checked_sub(4 * LIVE) {
                Some(old) => nova.remove_dir(format!("/dirs/{old}")),
                None => Ok(()),
            }
        }
    }
}

/// Whether a volume is as steps `0..done` leave it; `in_flight`: step `done` may have been made, in part if it has several.
fn verify(nova: &Nova, done: u64, in_flight: bool) -> std::result::Result<(), String> {
    let text_of = |error: Error| error.to_string();
    // The last step of a kind before `done`, and `done` itself, if it is of that kind and may have been made.
    let last = |kind: u64| (0..done).rev().take(4).find(|n| n % 4 == kind);
    let now = |kind: u64| (in_flight && done % 4 == kind).then_some(done);
    for slot in 0..SLOTS {
        let is_of = |n: &u64| n % 4 == 0 && n / 4 % SLOTS == slot;
        let before = (0..done).rev().find(is_of);
        let found = match nova.read_file(format!("/slot{slot}")) {
            Ok(found) => Some(found),
            Err(error) if error.code().is_some() => None,
            Err(error) => return Err(text_of(error)),
        };
        if found != before.map(text) && found != now(0).filter(is_of).map(text) {
            return Err(format!("slot {slot}: {:?} bytes", found.map(|found| found.len())));
        }
    }
    let log = nova.read_file("/log").map_err(text_of)?;
    let expected = |end: u64| (0..end).filter(|n| n % 4 == 1).flat_map(u64::to_le_bytes).collect();
    let (short, long): (Vec<u8>, Vec<u8>) = (expected(done), expected(done + 1));
    if log != short && !(in_flight && log == long) {
        return Err(format!("the log has {} bytes, not {}", log.len(), short.len()));
    }
    let whole = nova.read_file("/whole").map_err(text_of)?;
    let of = |n: u64| n.to_le_bytes().repeat(1200);
    if whole != last(2).map(of).unwrap_or_default() && now(2).map(of).as_ref() != Some(&whole) {
        return Err("a write was torn, or lost".into());
    }
    let names = nova.read_dir("/dirs").map_err(text_of)?;
    let mut found: Vec<u64> =
        names.iter().map(|entry| String::from_utf8_lossy(&entry.name).parse().unwrap()).collect();
    found.sort_unstable();
    let made = |end: u64| -> Vec<u64> {
        let all: Vec<u64> = (0..end).filter(|n| n % 4 == 3).collect();
        all[all.len().saturating_sub(LIVE as usize)..].to_vec()
    };
    let both: Vec<u64> = made(done).into_iter().chain(now(3)).collect();
    if found != made(done) && !(in_flight && (found == made(done + 1) || found == both)) {
        return Err(format!("directories {found:?}, not {:?}", made(done)));
    }
    let check = nova.fsck().map_err(text_of)?;
    if check.is_clean() { Ok(()) } else { Err(check.to_string()) }
}

fn map(path: &Path, granularity: Granularity) -> Mapping {
    let options = MapOptions::new().len(LEN).create(true);
    let options = match granularity {
        Granularity::Page => options.granularity(Granularity::Page),
        _ => options.emulate_pmem(true),
    };
    // SAFETY: this process and its child map the file in turns, and a lock says so.
    unsafe { options.open(path) }.unwrap()
}

const VOLUME: &str = "NOVA_KILL_VOLUME";
const FROM: &str = "NOVA_KILL_FROM";
const PAGES: &str = "NOVA_KILL_PAGES";

fn granularity(pages: bool) -> Granularity {
    if pages { Granularity::Page } else { Granularity::CacheLine }
}

#[test]
#[ignore = "the process that the other tests kill"]
fn child() {
    let path = std::env::var(VOLUME).expect("it is started by the other tests");
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let mapping = map(path.as_ref(), granularity(std::env::var_os(PAGES).is_some()));
    let nova = Nova::mount(mapping).unwrap();
    let mut out = std::io::stdout();
    // What a killed step left half done is its own affair: it begins by making it undone.
    nova.write_file("/new", b"").unwrap();
    if let Some(old) = (from % 4 == 3).then(|| from.checked_sub(4 * LIVE)).flatten()
        && nova.exists(format!("/dirs/{from}"))
        && nova.exists(format!("/dirs/{old}"))
    {
        nova.remove_dir(format!("/dirs/{from}")).unwrap();
    }
    for n in from.. {
        step(&nova, n).unwrap();
        writeln!(out, "done {n}").unwrap();
    }
}

/// Kills a child `times` times, at moments that a seed says.
fn lives(path: &Path, pages: bool, times: u32) {
    let seed = 0x5161_1711 + u64::from(pages);
    println!("kill | seed {seed:#x}, {}", path.display());
    let mut random = fastrand::Rng::with_seed(seed);
    let nova = FormatOptions::new().stripes(1).journal(4 * 4096);
    let nova = nova.format(map(path, granularity(pages)), Default::default()).unwrap();
    nova.write_file("/log", b"").unwrap();
    nova.write_file("/whole", b"").unwrap();
    nova.create_dir("/dirs").unwrap();
    drop(nova);
    let (mut done, mut in_mount) = (0, 0);
    for life in 0..times {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--ignored", "--nocapture"]).env(VOLUME, path);
        command.env(FROM, done.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if pages {
            command.env(PAGES, "1");
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let acknowledged = |line: String| line.rsplit_once("done ").and_then(|(_, n)| n.parse::<u64>().ok());
        let wanted = if random.u8(..8) == 0 { 0 } else { random.u64(1..60) };
        let before = done;
        while done < before + wanted {
            let Some(line) = lines.next() else {
                let output = child.wait_with_output().unwrap();
                panic!("the child ended by itself: {}", String::from_utf8_lossy(&output.stderr));
            };
            done = acknowledged(line).map_or(done, |n| n + 1);
        }
        // A moment that nobody chose: somewhere in the next steps, or while it starts and mounts.
        (0..random.u32(0..300_000)).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        for line in lines {
            done = acknowledged(line).map_or(done, |n| n + 1);
        }
        assert!(!child.wait().unwrap().success(), "it was killed");
        in_mount += u32::from(done == before);
        // A copy: the next child finds the volume as this one left it.
        let mut copy = Mapping::anonymous(LEN).unwrap();
        copy.as_mut_slice().copy_from_slice(&std::fs::read(path).unwrap());
        let nova = Nova::mount(copy).unwrap();
        assert!(nova.mount_report().damage.is_empty(), "life {life}: {:?}", nova.mount_report());
        verify(&nova, done, true)
            .unwrap_or_else(|wrong| panic!("life {life}, {done} steps acknowledged: {wrong}"));
        // If the step in flight was made, it is not made again.
        if verify(&nova, done, false).is_err() && verify(&nova, done + 1, false).is_ok() {
            done += 1;
        }
    }
    println!("kill | {times} lives, {in_mount} of them without a step, {done} steps");
    assert!(done > u64::from(times));
}

#[test]
fn what_a_killed_process_acknowledged_is_there_on_persistent_memory() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    lives(&dir.path().join("volume"), false, 60);
}

#[test]
fn what_a_killed_process_acknowledged_is_there_on_pages_of_memory() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    lives(&dir.path().join("volume"), true, 30);
}

#[test]
fn what_a_killed_process_acknowledged_is_there_on_a_disk() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    lives(&dir.path().join("volume"), true, 15);
}
