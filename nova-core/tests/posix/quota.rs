//! Who uses how much, and what happens at the limit.

use crate::{kit::*, own::*};
use nova_core::*;

const ALICE: Quota = Quota::User(1000);
const ALICES: Quota = Quota::Group(1000);
const BOB: Quota = Quota::User(2000);

fn used(fs: &Fs, who: Quota) -> (u64, u64) {
    let usage = fs.quota(who);
    (usage.blocks, usage.inodes)
}

/// A file of alice's, opened by her.
fn hers(fs: &Fs, name: &str, len: u64) -> Result<File> {
    let ino = fs.create(fs.metadata("/home")?.ino, name.as_bytes(), 0o644, &alice())?.ino;
    let file = fs.open_inode(ino, Access::READ_WRITE, &alice())?;
    file.write_at(0, &pattern(1, len))?;
    Ok(file)
}

pub(crate) const CASES: &[Case] = &[
    ("who has nothing uses nothing, and is not listed", |fs| {
        assert_eq!(fs.quota(Quota::User(77)), Usage::default());
        assert!(fs.quotas().iter().all(|(who, _)| *who != Quota::User(77)));
        Ok(())
    }),
    ("files and blocks are charged to the user and to the group", |fs| {
        fs.dir("home");
        let _file = hers(fs, "f", 3 * B + 1)?;
        assert_eq!((used(fs, ALICE), used(fs, ALICES)), ((4, 1), (4, 1)));
        Ok(())
    }),
    ("directories, links and pipes are inodes, and a link's target is a block", |fs| {
        let home = fs.dir("home");
        fs.mkdir(home, b"d", 0o755, &alice())?;
        fs.mknod(home, b"p", libc::S_IFIFO | 0o644, 0, &alice())?;
        assert_eq!(used(fs, ALICE), (0, 2));
        fs.symlink(home, b"l", b"target", &alice())?;
        assert_eq!(used(fs, ALICE), (1, 3));
        for name in [&b"p"[..], b"l"] {
            fs.unlink(home, name, &alice())?;
        }
        fs.rmdir(home, b"d", &alice())?;
        assert_eq!((used(fs, ALICE), used(fs, ALICES)), ((0, 0), (0, 0)));
        Ok(())
    }),
    ("the block limit may be reached, and not be passed", |fs| {
        fs.dir("home");
        fs.set_quota(ALICE, 5, 0)?;
        let file = hers(fs, "f", 5 * B)?;
        fails(file.write_at(5 * B, b"x"), Code::QuotaExceeded);
        fails(file.append(&pattern(2, 3 * B)), Code::QuotaExceeded);
        assert_eq!((used(fs, ALICE), file.len()?), ((5, 1), 5 * B));
        same(&all(&file), &pattern(1, 5 * B));
        Ok(())
    }),
    ("at the limit what is there can be overwritten", |fs| {
        fs.dir("home");
        fs.set_quota(ALICE, 5, 0)?;
        let file = hers(fs, "f", 5 * B)?;
        file.write_at(0, &pattern(2, 5 * B))?;
        file.write_at(B + 5, b"small")?;
        assert_eq!(used(fs, ALICE), (5, 1));
        Ok(())
    }),
    ("a write is charged whole or not at all", |fs| {
        fs.dir("home");
        fs.set_quota(ALICE, 5, 0)?;
        let file = hers(fs, "f", 2 * B)?;
        fails(file.write_at(B, &pattern(2, 6 * B)), Code::QuotaExceeded);
        same(&all(&file), &pattern(1, 2 * B));
        file.write_at(B, &pattern(2, 4 * B))?;
        assert_eq!(used(fs, ALICE), (5, 1));
        Ok(())
    }),
    ("the inode limit counts files of every kind", |fs| {
        let home = fs.dir("home");
        fs.set_quota(ALICE, 0, 3)?;
        fs.mkdir(home, b"d", 0o755, &alice())?;
        fs.symlink(home, b"l", b"target", &alice())?;
        fs.create(home, b"f", 0o644, &alice())?;
        fails(fs.create(home, b"g", 0o644, &alice()), Code::QuotaExceeded);
        fails(fs.mkdir(home, b"g", 0o755, &alice()), Code::QuotaExceeded);
        fails(fs.symlink(home, b"g", b"t", &alice()), Code::QuotaExceeded);
        fails(fs.mknod(home, b"g", libc::S_IFIFO | 0o644, 0, &alice()), Code::QuotaExceeded);
        fails(fs.tmpfile(home, 0o600, &alice()), Code::QuotaExceeded);
        assert_eq!(fs.names(home).len(), 3);
        assert_eq!(used(fs, ALICE).1, 3);
        Ok(())
    }),
    ("another name of a file is not charged", |fs| {
        let home = fs.dir("home");
        fs.set_quota(ALICE, 0, 1)?;
        let file = hers(fs, "f", 10)?;
        fs.link(file.ino(), home, b"g", &alice())?;
        fs.unlink(home, b"f", &alice())?;
        assert_eq!(used(fs, ALICE), (1, 1));
        Ok(())
    }),
    ("what is removed is given back, and can be used again", |fs| {
        let home = fs.dir("home");
        fs.set_quota(ALICE, 4, 2)?;
        for _ in 0..10 {
            drop(hers(fs, "f", 4 * B)?);
            fs.unlink(home, b"f", &alice())?;
            assert_eq!((used(fs, ALICE), used(fs, ALICES)), ((0, 0), (0, 0)));
        }
        Ok(())
    }),
    ("a file that is open is charged until it is closed", |fs| {
        let home = fs.dir("home");
        fs.set_quota(ALICE, 0, 1)?;
        let file = hers(fs, "f", 2 * B)?;
        fs.unlink(home, b"f", &alice())?;
        assert_eq!(used(fs, ALICE), (2, 1));
        fails(hers(fs, "g", 1), Code::QuotaExceeded);
        drop(file);
        assert_eq!(used(fs, ALICE), (0, 0));
        drop(hers(fs, "g", 1)?);
        Ok(())
    }),
    ("a cut and a punched hole give blocks back", |fs| {
        fs.dir("home");
        let file = hers(fs, "f", 10 * B)?;
        file.set_len(6 * B + 1)?;
        assert_eq!(used(fs, ALICE).0, 7);
        file.allocate(B, 3 * B, Allocate::PunchHole)?;
        assert_eq!(used(fs, ALICE).0, 4);
        file.allocate(0, B, Allocate::Collapse)?;
        assert_eq!(used(fs, ALICE).0, 3);
        file.set_len(0)?;
        assert_eq!((used(fs, ALICE), used(fs, ALICES)), ((0, 1), (0, 1)));
        Ok(())
    }),
    ("reserved blocks are charged, and holes are not", |fs| {
        fs.dir("home");
        fs.set_quota(ALICE, 8, 0)?;
        let file = hers(fs, "f", 0)?;
        file.set_len(1 << 40)?;
        assert_eq!(used(fs, ALICE).0, 0);
        file.allocate(0, 8 * B, Allocate::KeepSize)?;
        fails(file.allocate(0, 9 * B, Allocate::KeepSize), Code::QuotaExceeded);
        assert_eq!(used(fs, ALICE).0, 8);
        file.write_at(0, &pattern(1, 8 * B))?;
        assert_eq!(used(fs, ALICE).0, 8);
        Ok(())
    }),
    ("a group's limit counts for whoever creates files of it", |fs| {
        fs.dir("home");
        let team = fs.dir("team");
        fs.setattr(team, &SetAttr { gid: Some(50), ..SetAttr::default() }, R)?;
        fs.mode(team, 0o2777);
        fs.set_quota(Quota::Group(50), 3, 3)?; // the directory is one
        let one = fs.create(team, b"a", 0o644, &alice())?;
        let two = fs.create(team, b"b", 0o644, &bob())?;
        assert_eq!((one.gid, two.gid), (50, 50));
        fails(fs.create(team, b"c", 0o644, &alice()), Code::QuotaExceeded);
        fs.open_inode(one.ino, Access::READ_WRITE, &alice())?.write_at(0, &pattern(1, 2 * B))?;
        fails(
            fs.open_inode(two.ino, Access::READ_WRITE, &bob())?.write_at(0, &pattern(1, 2 * B)),
            Code::QuotaExceeded,
        );
        assert_eq!((used(fs, ALICE), used(fs, BOB)), ((2, 1), (0, 1)));
        drop(hers(fs, "elsewhere", B)?);
        Ok(())
    }),
    ("a change of the owner moves what is used", |fs| {
        fs.dir("home");
        let file = hers(fs, "f", 3 * B)?;
        fs.own(file.ino(), &bob());
        assert_eq!((used(fs, ALICE), used(fs, ALICES)), ((0, 0), (0, 0)));
        assert_eq!((used(fs, BOB), used(fs, Quota::Group(2000))), ((3, 1), (3, 1)));
        Ok(())
    }),
    ("a change of the group alone moves what the group uses", |fs| {
        fs.dir("home");
        let file = hers(fs, "f", 3 * B)?;
        fs.setattr(file.ino(), &SetAttr { gid: Some(50), ..SetAttr::default() }, R)?;
        assert_eq!((used(fs, ALICE), used(fs, ALICES), used(fs, Quota::Group(50))), ((3, 1), (0, 0), (3, 1)));
        Ok(())
    }),
    ("a new owner who may not have it does not get it", |fs| {
        fs.dir("home");
        let file = hers(fs, "f", 3 * B)?;
        let give = SetAttr { uid: Some(2000), gid: Some(2000), ..SetAttr::default() };
        for (who, blocks, inodes) in [(BOB, 2, 0), (Quota::Group(2000), 2, 0)] {
            fs.set_quota(who, blocks, inodes)?;
            fails(fs.setattr(file.ino(), &give, R), Code::QuotaExceeded);
            assert_eq!((fs.stat(file.ino()).uid, fs.stat(file.ino()).gid), (1000, 1000));
            assert_eq!((used(fs, ALICE), used(fs, ALICES)), ((3, 1), (3, 1)));
            assert_eq!((used(fs, BOB), used(fs, Quota::Group(2000))), ((0, 0), (0, 0)));
            fs.set_quota(who, 0, 0)?;
        }
        fs.setattr(file.ino(), &give, R)?;
        Ok(())
    }),
    ("a change of the owner to who owns it passes at the limit", |fs| {
        fs.dir("home");
        fs.set_quota(ALICE, 3, 1)?;
        let file = hers(fs, "f", 3 * B)?;
        fs.own(file.ino(), &alice());
        assert_eq!(used(fs, ALICE), (3, 1));
        Ok(())
    }),
    ("a raised limit lets go on", |fs| {
        fs.dir("home");
        fs.set_quota(ALICE, 2, 0)?;
        let file = hers(fs, "f", 2 * B)?;
        fails(file.append(b"x"), Code::QuotaExceeded);
        fs.set_quota(ALICE, 3, 0)?;
        file.append(b"x")?;
        fs.set_quota(ALICE, 0, 0)?;
        file.append(&pattern(1, 20 * B))?;
        Ok(())
    }),
    ("a limit below what is used keeps what is there, and lets it become less", |fs| {
        let home = fs.dir("home");
        let file = hers(fs, "f", 6 * B)?;
        drop(hers(fs, "g", 0)?);
        fs.set_quota(ALICE, 2, 1)?;
        same(&all(&file), &pattern(1, 6 * B));
        file.write_at(0, &pattern(2, B))?;
        fails(file.append(&pattern(1, B)), Code::QuotaExceeded);
        fails(fs.create(home, b"h", 0o644, &alice()), Code::QuotaExceeded);
        file.set_len(4 * B)?;
        assert_eq!(used(fs, ALICE), (4, 2));
        fails(file.append(&pattern(1, B)), Code::QuotaExceeded);
        file.set_len(B)?;
        file.append(&pattern(1, B))?;
        Ok(())
    }),
    ("root has a quota only if it is set one", |fs| {
        let file = fs.with("f", &pattern(1, 10 * B));
        let blocks = fs.quota(Quota::User(0)).blocks;
        assert!(blocks >= 10);
        fs.set_quota(Quota::User(0), blocks, 0)?;
        fails(file.append(&pattern(1, B)), Code::QuotaExceeded);
        fs.set_quota(Quota::User(0), 0, 0)?;
        file.append(&pattern(1, B))?;
        Ok(())
    }),
    ("replacing a file by a rename gives back what was replaced", |fs| {
        let home = fs.dir("home");
        drop((hers(fs, "a", 3 * B)?, hers(fs, "b", 5 * B)?));
        fs.rename(home, b"a", home, b"b", Rename::Replace, &alice())?;
        assert_eq!((used(fs, ALICE), used(fs, ALICES)), ((3, 1), (3, 1)));
        Ok(())
    }),
    ("limits and what is used stand after a mount", |_| {
        let fs = volume(4 << 20, &MountOptions::new());
        fs.dir("home");
        drop(hers(&fs, "f", 3 * B)?);
        fs.set_quota(ALICE, 4, 9)?;
        fs.set_quota(Quota::Group(50), 100, 200)?;
        let before = fs.quotas();
        let fs = fs.again(&MountOptions::new());
        assert_eq!(fs.quotas(), before);
        let usage = Usage { blocks: 3, inodes: 1, block_limit: 4, inode_limit: 9 };
        assert_eq!(fs.quota(ALICE), usage);
        fails(fs.open("/home/f")?.write_at(3 * B, &pattern(1, 2 * B)), Code::QuotaExceeded);
        Ok(())
    }),
    ("limits and what is used stand after a scan", |_| {
        let killable = Killable::new(4 << 20);
        killable.fs.dir("home");
        let file = hers(&killable.fs, "f", 3 * B)?;
        killable.fs.set_quota(ALICE, 4, 9)?;
        killable.fs.symlink(killable.fs.metadata("/home")?.ino, b"l", b"t", &alice())?;
        file.set_len(2 * B)?;
        let fs = killable.killed();
        assert_eq!(fs.quotas(), killable.fs.quotas());
        assert_eq!(used(&fs, ALICE), (3, 2));
        fs.check();
        Ok(())
    }),
];
