//! Snapshots while other processes store to files that they have mapped.

use crate::{
    map, memory, mounted,
    roles::{PAIRS, Player, THREADS, data, detach, is_stopped, valid},
    until,
};
use nova_core::{Error, Nova};
use nova_fuse::Options;
use std::fs;

fn word(content: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(content[at as usize..at as usize + 8].try_into().unwrap())
}

fn of_snapshot(nova: &Nova, name: &str) -> Vec<u8> {
    nova.mount_snapshot(name).unwrap().read_file("/file").unwrap()
}

/// The threads store to one page, and then to another that the first one is there: no snapshot has the second store without the first.
#[test]
fn a_snapshot_never_has_a_later_store_of_another_process_without_an_earlier_one() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let path = mount.file("file", 2 * (THREADS * PAIRS) as usize * 4096, 0);
    let mut player = Player::new("ordered", &path, |_| ());
    assert_eq!(player.said(), "storing");
    let nova = mount.nova();
    let progress = || word(&nova.read_file("/file").unwrap(), data(0, 0));
    let mut taken: Vec<(String, Vec<u8>)> = Vec::new();
    for n in 0..15 {
        let before = progress();
        until("it goes on storing", || progress() > before);
        let name = format!("s{n}");
        nova.create_snapshot(&name).unwrap();
        let content = of_snapshot(nova, &name);
        for thread in 0..THREADS {
            for pair in 0..PAIRS {
                let (data, valid) = (word(&content, data(thread, pair)), word(&content, valid(thread, pair)));
                assert!(valid <= data && data <= valid + 1, "{name}: {valid} says that {data} is there");
            }
        }
        taken.push((name, content));
        if n % 5 == 4 {
            let (name, _) = taken.remove(0);
            nova.delete_snapshot(&name).unwrap();
        }
    }
    let before = progress();
    until("it goes on storing", || progress() > before);
    player.end();
    for (name, content) in &taken {
        assert!(of_snapshot(nova, name) == *content, "{name} is what it was");
    }
    mount.check();
}

#[test]
fn what_is_stored_after_a_snapshot_is_not_in_it_wherever_it_comes_from() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let path = mount.file("file", 40_000, 1);
    let mut mapping = map(&path);
    let nova = mount.nova();
    mapping.write(100, b"before").unwrap();
    nova.create_snapshot("one").unwrap();
    mapping.write(100, b"stored").unwrap();
    // In place, through the mount.
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"written", 8192).unwrap();
    // More of it is mapped, and is not the snapshot's.
    mapping.grow(100_000).unwrap();
    mapping.write(99_000, b"grown").unwrap();
    nova.create_snapshot("two").unwrap();
    mapping.write(99_000, b"later").unwrap();
    let (one, two) = (of_snapshot(nova, "one"), of_snapshot(nova, "two"));
    assert_eq!((one.len(), &one[100..106], &one[8192..8199]), (40_000, &b"before"[..], &[1; 7][..]));
    assert_eq!((&two[100..106], &two[8192..8199]), (&b"stored"[..], &b"written"[..]));
    assert_eq!(&two[99_000..99_005], b"grown");
    assert_eq!(&nova.read_file("/file").unwrap()[99_000..99_005], b"later");
    drop((mapping, file));
    assert!(of_snapshot(nova, "one") == one && of_snapshot(nova, "two") == two);
    mount.check();
}

#[test]
fn a_process_that_is_stopped_has_no_snapshot_made_and_goes_on_as_if_nobody_had_asked() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let path = mount.file("file", 40_000, 1);
    let mut player = Player::new("holder", &path, |_| ());
    assert_eq!(player.said(), "stored");
    player.signal(libc::SIGSTOP);
    until("it is stopped", || is_stopped(player.pid()));
    let refused = mount.nova().create_snapshot("now").unwrap_err();
    assert!(matches!(refused, Error::Lent { files: 1 }), "{refused}");
    player.signal(libc::SIGCONT);
    player.go_on();
    assert_eq!(player.said(), "stored");
    mount.nova().create_snapshot("now").unwrap();
    // Killed before it has stored to all of its pages again: the rest is the same in both.
    player.kill();
    assert_eq!(&of_snapshot(mount.nova(), "now")[4096..4101], b"again");
    until("the lease ends", || crate::leases(&path).is_empty());
    mount.check();
}

/// Otherwise its store would be in a snapshot that was made before.
#[test]
fn a_process_whose_daemon_was_killed_stores_to_no_page_that_a_snapshot_needs() {
    let Some(_mount) = mounted(&Options::new()) else { return };
    let folder = memory();
    let (image, dir) = (folder.path().join("image"), folder.path().join("mnt"));
    fs::create_dir(&dir).unwrap();
    let mut daemon = Player::daemon(&image, &dir);
    fs::write(dir.join("file"), vec![1; 40_000]).unwrap();
    let mut player = Player::new("holder", &dir.join("file"), |_| ());
    assert_eq!(player.said(), "stored");
    daemon.go_on();
    assert_eq!(daemon.said(), "snapshot 1");
    daemon.kill();
    player.go_on();
    assert_eq!(player.died_of(), Some(libc::SIGABRT));
    detach(&dir);
    let daemon = Player::daemon(&image, &dir);
    assert_eq!(&fs::read(dir.join("file")).unwrap()[4096..4101], b"first");
    daemon.end();
}
