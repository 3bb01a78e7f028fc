//! How processes that have a lease go on, and end.

use crate::{
    Mounted, leases, map, memory, mounted, report,
    roles::{Player, detach, is_in_state, is_stopped, send},
    until,
};
use nova_core::MountOptions;
use nova_fuse::Options;
use pmem_map::{Error, MapOptions};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
};

/// A mount with a file of 100,000 bytes, and a process that has it mapped, and has stored to it.
fn played(role: &str) -> Option<(Mounted, PathBuf, Player)> {
    let mount = mounted(&Options::new())?;
    let path = mount.file("file", 100_000, 1);
    let player = Player::new(role, &path, |_| ());
    Some((mount, path, player))
}

fn content(mount: &Mounted, len: usize) -> String {
    String::from_utf8_lossy(&mount.nova().read_file("/file").unwrap()[4096..][..len]).into_owned()
}

/// The lease ends by itself, and then the file is as any other.
fn ends(mount: Mounted, path: &Path, stored: &str) {
    until("the lease ends", || leases(path).is_empty());
    assert_eq!(report(path).protected, Some(true));
    assert_eq!(content(&mount, stored.len()), stored);
    let mapping = map(path);
    drop(mapping);
    mount.check();
}

#[test]
fn a_process_that_is_killed_has_its_lease_no_more() {
    let Some((mount, path, mut player)) = played("holder") else { return };
    assert_eq!(player.said(), "stored");
    assert_eq!(leases(&path)[0].pid, player.pid());
    assert_eq!((content(&mount, 5), report(&path).protected), ("first".into(), Some(false)));
    player.kill();
    ends(mount, &path, "first");
}

#[test]
fn a_file_can_be_mapped_again_at_once_by_who_comes_after_a_killed_process() {
    let Some((mount, path, mut player)) = played("holder") else { return };
    for _ in 0..20 {
        assert_eq!(player.said(), "stored");
        player.kill();
        player = Player::new("holder", &path, |_| ());
    }
    assert_eq!(player.said(), "stored");
    player.end();
    ends(mount, &path, "first");
}

#[test]
fn the_daemon_waits_for_nobody_who_is_stopped() {
    let Some((mount, path, mut player)) = played("holder") else { return };
    assert_eq!(player.said(), "stored");
    player.signal(libc::SIGSTOP);
    until("it is stopped", || is_stopped(player.pid()));
    // Everything goes on, with the file, too.
    fs::write(mount.path("other"), vec![7; 1 << 20]).unwrap();
    assert_eq!(fs::read(&path).unwrap().len(), 100_000);
    fs::write(mount.path("third"), b"x").unwrap();
    fs::rename(&path, mount.path("moved")).unwrap();
    fs::rename(mount.path("moved"), &path).unwrap();
    assert!(mount.nova().create_snapshot("now").is_err());
    let found = mount.nova().fsck().unwrap();
    assert!(found.is_clean(), "{found}");
    assert_eq!(leases(&path).len(), 1);
    player.signal(libc::SIGCONT);
    player.go_on();
    assert_eq!(player.said(), "stored");
    assert_eq!(content(&mount, 5), "again");
    player.end();
    ends(mount, &path, "again");
}

#[test]
fn descriptors_that_are_closed_before_the_file_is_unmapped_end_nothing() {
    let Some((mount, path, mut player)) = played("closer") else { return };
    assert_eq!((player.said(), content(&mount, 6)), ("stored".into(), "closed".into()));
    // Whatever the kernel has to say of closed files, it has said by now.
    fs::write(mount.path("other"), b"x").unwrap();
    assert_eq!((leases(&path).len(), report(&path).protected), (1, Some(false)));
    player.end();
    ends(mount, &path, "closed");
}

#[test]
fn a_forked_child_ends_no_lease_and_one_that_stays_keeps_it() {
    let Some((mount, path, mut player)) = played("forker") else { return };
    assert_eq!((player.said(), content(&mount, 6)), ("stored".into(), "forked".into()));
    assert_eq!(leases(&path).len(), 1);
    player.go_on();
    let child: u32 = player.said().parse().unwrap();
    // It has the descriptors, though nothing is mapped there.
    player.kill();
    fs::write(mount.path("other"), b"x").unwrap();
    assert_eq!(leases(&path).len(), 1);
    send(child, libc::SIGKILL);
    ends(mount, &path, "forked");
}

#[test]
fn another_program_in_the_same_process_has_no_lease() {
    let Some((mount, path, mut player)) = played("execer") else { return };
    assert_eq!(player.said(), "stored");
    assert_eq!(leases(&path).len(), 1);
    player.go_on();
    until("the lease ends", || leases(&path).is_empty());
    let program = fs::read_to_string(format!("/proc/{}/comm", player.pid())).unwrap();
    assert_eq!(program.trim(), "cat");
    drop(player);
    ends(mount, &path, "before");
}

#[test]
fn a_thread_that_outlives_the_first_one_keeps_the_lease() {
    let Some((mount, path, mut player)) = played("outliver") else { return };
    let child: u32 = player.said().parse().unwrap();
    assert_eq!((player.said(), content(&mount, 8)), ("stored".into(), "outlived".into()));
    assert!(is_in_state(child, 'Z'), "its first thread has ended");
    assert_eq!((leases(&path).len(), report(&path).protected), (1, Some(false)));
    player.end();
    ends(mount, &path, "outlived");
}

#[test]
fn other_users_are_lent_nothing() {
    let Some(mount) = mounted(&Options::new().allow_other(true)) else { return };
    let path = mount.file("file", 100_000, 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    const NOBODY: u32 = 65_534;
    // Where this program is, other users may not be allowed to look.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut player = Player::of(&program, "stranger", &path, |command| {
        command.uid(NOBODY).gid(NOBODY);
    });
    assert_eq!(player.said(), "FUSE, Page");
    player.end();
    assert_eq!(content(&mount, 8), "by msync");
    mount.check();
}

#[test]
fn a_volume_is_not_mounted_anew_beside_who_still_stores_to_it_and_recovers_afterwards() {
    // Whether anything can be mounted here.
    let Some(_mount) = mounted(&Options::new()) else { return };
    let folder = memory();
    let (image, dir) = (folder.path().join("image"), folder.path().join("mnt"));
    fs::create_dir(&dir).unwrap();
    let mut daemon = Player::daemon(&image, &dir);
    let path = dir.join("file");
    fs::write(&path, vec![1; 100_000]).unwrap();
    let mut mapping = map(&path);
    mapping.write(4096, b"before").unwrap();
    daemon.kill();
    detach(&dir);
    // The image is still mapped, and nobody else's.
    mapping.write(8192, b"after").unwrap();
    assert!(mapping.grow(1 << 20).is_err());
    // SAFETY: a file of this test's own.
    let open = || unsafe { MapOptions::new().emulate_pmem(true).open(&image) };
    let refused = open().unwrap_err();
    assert!(
        matches!(refused, Error::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{refused}"
    );
    drop(mapping);
    let nova = MountOptions::new().mount(open().unwrap()).unwrap();
    let found = nova.mount_report();
    assert!(!found.clean && found.damage.is_empty() && found.mapped == 1, "{found:?}");
    let content = nova.read_file("/file").unwrap();
    assert_eq!((&content[4096..4102], &content[8192..8197]), (&b"before"[..], &b"after"[..]));
    assert!(nova.fsck().unwrap().is_clean());
    nova.unmount().unwrap();
}
