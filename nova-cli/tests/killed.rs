//! Who serves a mount is killed, again and again: what a system call said is done is there, and the check finds nothing wrong.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

/// Times that it is killed.
const KILLS: usize = 6;

fn nova() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nova"))
}

/// Starts a daemon, and waits until it serves; `None` where nothing can be mounted.
fn serve(image: &Path, dir: &Path) -> Option<Child> {
    let mut child = nova()
        .args(["mount", "--emulate-pmem"])
        .args([image, dir])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.starts_with("mounted ") {
        return Some(child);
    }
    child.wait().unwrap();
    None
}

/// The content that a file has by its number.
fn content(number: usize) -> Vec<u8> {
    (0..number * 97 % 20_000).map(|at| ((at * number) >> 3) as u8).collect()
}

#[test]
fn what_a_system_call_said_is_done_outlives_the_daemon() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, dir) = (folder.path().join("vol.img"), folder.path().join("mnt"));
    fs::create_dir(&dir).unwrap();
    assert!(nova().arg("mkfs").arg(&image).args(["--size", "64M"]).output().unwrap().status.success());
    let mut random = fastrand::Rng::new();
    println!("seed {}", random.get_seed());
    let mut done: Vec<usize> = Vec::new();
    let mut next = 0;
    for life in 0..KILLS {
        let Some(mut daemon) = serve(&image, &dir) else {
            assert_eq!(life, 0, "it could be mounted before");
            println!("skipped: nothing can be mounted here");
            return;
        };
        for number in &done {
            assert!(
                fs::read(dir.join(format!("f{number}"))).unwrap() == content(*number),
                "file {number}, life {life}"
            );
        }
        let (acknowledged, until) = (AtomicUsize::new(0), random.usize(1..120));
        let started = next;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while acknowledged.load(SeqCst) < until {
                    std::hint::spin_loop();
                }
                daemon.kill().unwrap();
            });
            // A file counts when it has its name.
            for number in started.. {
                let (draft, path) = (dir.join("draft"), dir.join(format!("f{number}")));
                let made = fs::write(&draft, content(number)).and_then(|()| fs::rename(&draft, &path));
                next = number + 1;
                match made {
                    Ok(()) => {
                        done.push(number);
                        acknowledged.fetch_add(1, SeqCst);
                    }
                    Err(_) if acknowledged.load(SeqCst) >= until => break,
                    Err(error) => {
                        acknowledged.store(usize::MAX, SeqCst); // or the other thread waits for good
                        panic!("before the kill: {error}");
                    }
                }
            }
        });
        daemon.wait().unwrap();
        assert!(nova().arg("umount").arg(&dir).output().unwrap().status.success());
        let checked = nova().arg("fsck").arg(&image).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
    println!("{KILLS} kills, {} files", done.len());
}
