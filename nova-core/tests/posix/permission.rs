//! Who may do what, by mode bits.

use crate::kit::*;
use nova_core::*;

const WRITE: Access = Access { read: false, write: true, execute: false };
const EXECUTE: Access = Access { read: false, write: false, execute: true };

/// An ordinary user who is in a group beside their own.
fn member(uid: u32, group: u32) -> Credentials {
    Credentials { groups: vec![7, group], ..Credentials::user(uid, uid) }
}

/// What of read (4), write (2) and execute (1) somebody may do, by `access` and by opening, which agree.
fn may(fs: &Fs, ino: u64, who: &Credentials) -> u32 {
    let bit = |access: Access, bit: u32| {
        let result = fs.access(ino, access, who);
        if let Err(error) = &result {
            assert_eq!(error.code(), Some(Code::NoAccess));
        }
        assert_eq!(fs.open_inode(ino, access, who).is_ok(), result.is_ok());
        if result.is_ok() { bit } else { 0 }
    };
    bit(Access::READ, 4) | bit(WRITE, 2) | bit(EXECUTE, 1)
}

/// A file of alice's, with this mode.
fn hers(fs: &Fs, mode: u32) -> u64 {
    let ino = fs.file("hers");
    fs.own(ino, &alice());
    fs.mode(ino, mode);
    ino
}

fn set_mode(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

fn set_gid(gid: u32) -> SetAttr {
    SetAttr { gid: Some(gid), ..SetAttr::default() }
}

pub(crate) const CASES: &[Case] = &[
    ("the owner has the owner's bits, all of the eight ways", |fs| {
        let ino = hers(fs, 0);
        for bits in 0..8 {
            fs.mode(ino, bits << 6);
            assert_eq!(may(fs, ino, &alice()), bits);
        }
        Ok(())
    }),
    ("the group has the group's bits, all of the eight ways", |fs| {
        let ino = hers(fs, 0);
        for bits in 0..8 {
            fs.mode(ino, bits << 3);
            assert_eq!(may(fs, ino, &Credentials::user(5, 1000)), bits);
        }
        Ok(())
    }),
    ("others have the others' bits, all of the eight ways", |fs| {
        let ino = hers(fs, 0);
        for bits in 0..8 {
            fs.mode(ino, bits);
            assert_eq!(may(fs, ino, &bob()), bits);
        }
        Ok(())
    }),
    ("the owner has no bits but the owner's", |fs| {
        let ino = hers(fs, 0o077);
        assert_eq!(may(fs, ino, &alice()), 0);
        Ok(())
    }),
    ("the group has no bits but the group's", |fs| {
        let ino = hers(fs, 0o707);
        assert_eq!(may(fs, ino, &Credentials::user(5, 1000)), 0);
        assert_eq!(may(fs, ino, &bob()), 7);
        Ok(())
    }),
    ("a further group counts as one's own", |fs| {
        let ino = hers(fs, 0o060);
        assert_eq!(may(fs, ino, &member(5, 1000)), 6);
        assert_eq!(may(fs, ino, &member(5, 1001)), 0);
        Ok(())
    }),
    ("root reads and writes everything", |fs| {
        let ino = hers(fs, 0);
        assert_eq!(may(fs, ino, R), 6);
        Ok(())
    }),
    ("root executes what anybody may execute, and nothing else", |fs| {
        let ino = hers(fs, 0o666);
        fails(fs.access(ino, EXECUTE, R), Code::NoAccess);
        for mode in [0o100, 0o010, 0o001] {
            fs.mode(ino, mode);
            fs.access(ino, EXECUTE, R)?;
        }
        Ok(())
    }),
    ("root searches every directory", |fs| {
        let dir = fs.dir("d");
        fs.own(dir, &alice());
        fs.mode(dir, 0);
        fs.access(dir, EXECUTE, R)?;
        fs.create(dir, b"f", 0o644, R)?;
        fs.lookup(dir, b"f", R)?;
        Ok(())
    }),
    ("a combination of rights takes each of them", |fs| {
        let ino = hers(fs, 0o500);
        fs.access(ino, Access { read: true, write: false, execute: true }, &alice())?;
        fails(fs.access(ino, Access::READ_WRITE, &alice()), Code::NoAccess);
        fs.access(ino, Access::default(), &bob())
    }),
    ("who is trusted passes, and makes files of their own", |fs| {
        let dir = fs.dir("d");
        fs.mode(dir, 0o700);
        let kernel = Credentials { trusted: true, ..alice() };
        let stat = fs.create(dir, b"f", 0o600, &kernel)?;
        assert_eq!(stat.uid, 1000);
        Ok(())
    }),
    ("a handle keeps the rights that it was opened with", |fs| {
        let ino = hers(fs, 0o600);
        let file = fs.open_inode(ino, Access::READ_WRITE, &alice())?;
        fs.mode(ino, 0);
        file.write_at(0, b"still")?;
        assert_eq!(file.read_to_end()?, b"still");
        Ok(())
    }),
    ("a name is looked up with the right to search", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"f", 0o644, R)?;
        fs.mode(dir, 0o711);
        fs.lookup(dir, b"f", &alice())?;
        fs.mode(dir, 0o766);
        fails(fs.lookup(dir, b"f", &alice()), Code::NoAccess);
        fails(fs.lookup(dir, b"no", &alice()), Code::NoAccess);
        fails(fs.lookup(dir, b"..", &alice()), Code::NoAccess);
        Ok(())
    }),
    ("making names takes the rights to write and to search", |fs| {
        let dir = fs.dir("d");
        for mode in [0o775, 0o776, 0o771, 0o770] {
            fs.mode(dir, mode);
            fails(fs.create(dir, b"f", 0o644, &alice()), Code::NoAccess);
            fails(fs.mkdir(dir, b"f", 0o755, &alice()), Code::NoAccess);
            fails(fs.symlink(dir, b"f", b"x", &alice()), Code::NoAccess);
            fails(fs.mknod(dir, b"f", libc::S_IFIFO, 0, &alice()), Code::NoAccess);
        }
        fs.mode(dir, 0o773);
        fs.create(dir, b"f", 0o644, &alice()).map(drop)
    }),
    ("removing names takes the rights to write and to search the directory, and none of the file", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"f", 0, R)?;
        fs.mkdir(dir, b"e", 0, R)?;
        for mode in [0o775, 0o776] {
            fs.mode(dir, mode);
            fails(fs.unlink(dir, b"f", &alice()), Code::NoAccess);
            fails(fs.rmdir(dir, b"e", &alice()), Code::NoAccess);
        }
        fs.mode(dir, 0o773);
        fs.unlink(dir, b"f", &alice())?;
        fs.rmdir(dir, b"e", &alice())
    }),
    ("in a sticky directory others' names are not removed", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"f", 0o666, R)?;
        fs.mkdir(dir, b"e", 0o777, R)?;
        fs.mode(dir, 0o1777);
        fails(fs.unlink(dir, b"f", &alice()), Code::NotPermitted);
        fails(fs.rmdir(dir, b"e", &alice()), Code::NotPermitted);
        fs.unlink(dir, b"f", R)
    }),
    ("in a sticky directory others' names are not renamed, nor replaced", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"his", 0o666, &bob())?;
        fs.create(dir, b"hers", 0o666, &alice())?;
        fs.mode(dir, 0o1777);
        let rename = |from: &[u8], to: &[u8], how| fs.rename(dir, from, dir, to, how, &alice());
        fails(rename(b"his", b"x", Rename::Replace), Code::NotPermitted);
        fails(rename(b"hers", b"his", Rename::Replace), Code::NotPermitted);
        fails(rename(b"hers", b"his", Rename::Exchange), Code::NotPermitted);
        rename(b"hers", b"x", Rename::Replace)
    }),
    ("in a sticky directory its owner and a file's owner remove", |fs| {
        let dir = fs.dir("d");
        fs.own(dir, &alice());
        fs.mode(dir, 0o1777);
        fs.create(dir, b"a", 0o644, &bob())?;
        fs.create(dir, b"b", 0o644, &bob())?;
        fs.unlink(dir, b"a", &alice())?;
        fs.unlink(dir, b"b", &bob())
    }),
    ("in a sticky directory everybody makes and links names", |fs| {
        let dir = fs.dir("d");
        fs.mode(dir, 0o1777);
        let ino = fs.create(dir, b"a", 0o644, &bob())?.ino;
        fs.link(ino, dir, b"b", &bob())?;
        Ok(())
    }),
    ("only the owner and root change a mode", |fs| {
        let ino = hers(fs, 0o666);
        fails(fs.setattr(ino, &set_mode(0o777), &bob()), Code::NotPermitted);
        fails(fs.setattr(ino, &set_mode(0o777), &Credentials::user(5, 1000)), Code::NotPermitted);
        fs.setattr(ino, &set_mode(0o600), &alice())?;
        assert_eq!(fs.setattr(ino, &set_mode(0o640), R)?.mode, libc::S_IFREG | 0o640);
        Ok(())
    }),
    ("a mode's type bits are not changed", |fs| {
        let ino = fs.file("f");
        assert_eq!(fs.setattr(ino, &set_mode(libc::S_IFDIR | 0o700), R)?.mode, libc::S_IFREG | 0o700);
        Ok(())
    }),
    ("changing a mode changes the change time, and no other", |fs| {
        let ino = fs.file("f");
        let before = fs.stat(ino);
        let after = fs.setattr(ino, &set_mode(0o600), R)?;
        assert!(after.changed > before.changed);
        assert_eq!((after.modified, after.accessed), (before.modified, before.accessed));
        Ok(())
    }),
    ("only root gives files away", |fs| {
        let ino = hers(fs, 0o666);
        let away = SetAttr { uid: Some(2000), ..SetAttr::default() };
        fails(fs.setattr(ino, &away, &alice()), Code::NotPermitted);
        fails(fs.setattr(ino, &away, &bob()), Code::NotPermitted);
        assert_eq!(fs.setattr(ino, &away, R)?.uid, 2000);
        Ok(())
    }),
    ("an owner gives a file to one of their groups, and to no other", |fs| {
        let ino = hers(fs, 0o644);
        fails(fs.setattr(ino, &set_gid(50), &alice()), Code::NotPermitted);
        assert_eq!(fs.setattr(ino, &set_gid(50), &member(1000, 50))?.gid, 50);
        fails(fs.setattr(ino, &set_gid(2000), &bob()), Code::NotPermitted);
        Ok(())
    }),
    ("an owner may set the owner and group that there are", |fs| {
        let ino = hers(fs, 0o644);
        let same = SetAttr { uid: Some(1000), gid: Some(1000), ..SetAttr::default() };
        fs.setattr(ino, &same, &alice())?;
        Ok(())
    }),
    ("set-id bits go when a file has another owner", |fs| {
        let ino = fs.file("f");
        fs.mode(ino, 0o6755);
        fs.own(ino, &alice());
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o755);
        Ok(())
    }),
    ("set-id bits go when an owner changes the group", |fs| {
        let ino = hers(fs, 0o6755);
        let stat = fs.setattr(ino, &set_gid(50), &member(1000, 50))?;
        assert_eq!(stat.mode & 0o7777, 0o755);
        Ok(())
    }),
    ("set-group-id without the group's right to execute stays when there is another owner", |fs| {
        let ino = fs.file("f");
        fs.mode(ino, 0o2745);
        fs.own(ino, &alice());
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o2745);
        Ok(())
    }),
    ("a directory keeps set-id bits when it has another owner", |fs| {
        let dir = fs.dir("d");
        fs.mode(dir, 0o6755);
        fs.own(dir, &alice());
        assert_eq!(fs.stat(dir).mode & 0o7777, 0o6755);
        Ok(())
    }),
    ("an owner who is not in the group does not set set-group-id", |fs| {
        let ino = hers(fs, 0o755);
        fs.setattr(ino, &set_gid(50), R)?;
        assert_eq!(fs.setattr(ino, &set_mode(0o6755), &alice())?.mode & 0o7777, 0o4755);
        assert_eq!(fs.setattr(ino, &set_mode(0o6755), &member(1000, 50))?.mode & 0o7777, 0o6755);
        Ok(())
    }),
    ("set-id bits go when somebody writes who is not root", |fs| {
        let ino = hers(fs, 0o6777);
        fs.open_inode(ino, Access::READ_WRITE, &bob())?.write_at(0, b"x")?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o777);
        Ok(())
    }),
    ("set-id bits go when the owner appends", |fs| {
        let ino = hers(fs, 0o4755);
        fs.open_inode(ino, Access::READ_WRITE, &alice())?.append(b"x")?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o755);
        Ok(())
    }),
    ("set-id bits stay when root writes and truncates", |fs| {
        let ino = hers(fs, 0o6755);
        let file = fs.open_ino(ino);
        file.write_at(0, b"xyz")?;
        file.set_len(1)?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o6755);
        Ok(())
    }),
    ("set-id bits go when somebody truncates who is not root, by number or by handle", |fs| {
        let ino = hers(fs, 0o6777);
        fs.setattr(ino, &SetAttr { size: Some(10), ..SetAttr::default() }, &bob())?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o777);
        fs.mode(ino, 0o6777);
        fs.open_inode(ino, Access::READ_WRITE, &bob())?.set_len(5)?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o777);
        Ok(())
    }),
    ("a size is changed with the right to write, by the owner too", |fs| {
        let size = SetAttr { size: Some(10), ..SetAttr::default() };
        let ino = hers(fs, 0o422);
        fails(fs.setattr(ino, &size, &alice()), Code::NoAccess);
        fs.setattr(ino, &size, &bob())?;
        fails(fs.setattr(ROOT, &size, R), Code::IsADirectory);
        Ok(())
    }),
    ("times become the present with the right to write, and any time by the owner", |fs| {
        let ino = hers(fs, 0o422);
        let present = SetAttr { modified: Some(Time::Now), ..SetAttr::default() };
        let past = SetAttr { modified: Some(Time::At(5)), ..SetAttr::default() };
        fs.setattr(ino, &present, &bob())?;
        fails(fs.setattr(ino, &past, &bob()), Code::NotPermitted);
        assert_eq!(fs.setattr(ino, &past, &alice())?.modified, 5);
        fs.mode(ino, 0o444);
        fails(fs.setattr(ino, &present, &bob()), Code::NoAccess);
        Ok(())
    }),
    ("a setattr that is refused in part does nothing of it", |fs| {
        let ino = hers(fs, 0o644);
        let before = fs.stat(ino);
        let both = SetAttr { uid: Some(5), ..set_mode(0o777) };
        fails(fs.setattr(ino, &both, &alice()), Code::NotPermitted);
        assert_eq!(fs.stat(ino), before);
        Ok(())
    }),
    ("in a set-group-id directory files have its group", |fs| {
        let dir = fs.dir("d");
        fs.setattr(dir, &SetAttr { gid: Some(50), ..set_mode(0o2777) }, R)?;
        for stat in [
            fs.create(dir, b"f", 0o644, &alice())?,
            fs.symlink(dir, b"s", b"f", &alice())?,
            fs.mknod(dir, b"p", libc::S_IFIFO | 0o600, 0, &alice())?,
            fs.tmpfile(dir, 0o600, &alice())?.stat()?,
        ] {
            assert_eq!((stat.uid, stat.gid, stat.mode & libc::S_ISGID), (1000, 50, 0));
        }
        Ok(())
    }),
    ("in a set-group-id directory directories have its group, and its bit", |fs| {
        let dir = fs.dir("d");
        fs.setattr(dir, &SetAttr { gid: Some(50), ..set_mode(0o2777) }, R)?;
        let below = fs.mkdir(dir, b"e", 0o755, &alice())?;
        assert_eq!((below.gid, below.mode & 0o7777), (50, 0o2755));
        assert_eq!(fs.mkdir(below.ino, b"e", 0o700, &alice())?.gid, 50);
        Ok(())
    }),
    ("in a set-group-id directory nobody else makes files that are set-group-id", |fs| {
        let dir = fs.dir("d");
        fs.setattr(dir, &SetAttr { gid: Some(50), ..set_mode(0o2777) }, R)?;
        assert_eq!(fs.create(dir, b"a", 0o2755, &alice())?.mode & 0o7777, 0o755);
        assert_eq!(fs.create(dir, b"b", 0o2755, &member(1000, 50))?.mode & 0o7777, 0o2755);
        Ok(())
    }),
    ("the umask takes bits from new files, directories and pipes", |fs| {
        let dir = fs.dir("d");
        for umask in [0, 0o022, 0o077, 0o123, 0o777] {
            let who = Credentials { umask, ..alice() };
            let name = |kind: &str| format!("{kind}{umask}").into_bytes();
            let file = fs.create(dir, &name("f"), 0o666, &who)?;
            let below = fs.mkdir(dir, &name("d"), 0o777, &who)?;
            let pipe = fs.mknod(dir, &name("p"), libc::S_IFIFO | 0o666, 0, &who)?;
            assert_eq!(file.mode & 0o7777, 0o666 & !umask);
            assert_eq!(below.mode & 0o7777, 0o777 & !umask);
            assert_eq!(pipe.mode & 0o7777, 0o666 & !umask);
        }
        Ok(())
    }),
    ("the umask does not count for chmod", |fs| {
        let ino = hers(fs, 0o600);
        let who = Credentials { umask: 0o777, ..alice() };
        assert_eq!(fs.setattr(ino, &set_mode(0o777), &who)?.mode & 0o7777, 0o777);
        Ok(())
    }),
    ("a directory is not opened to write", |fs| {
        fails(fs.open_inode(ROOT, Access::READ_WRITE, R), Code::IsADirectory);
        fails(fs.open("/"), Code::IsADirectory);
        assert_eq!(fs.open_inode(ROOT, Access::READ, &alice())?.ino(), ROOT);
        Ok(())
    }),
    ("a mode that is set together with an owner is as it was given", |fs| {
        let ino = fs.file("f");
        let both = SetAttr { uid: Some(1000), ..set_mode(0o6755) };
        assert_eq!(fs.setattr(ino, &both, R)?.mode & 0o7777, 0o6755);
        Ok(())
    }),
    ("a symbolic link has an owner of its own", |fs| {
        let (file, link) = (fs.file("f"), fs.symlink(ROOT, b"s", b"f", R)?.ino);
        fs.own(link, &alice());
        assert_eq!((fs.stat(link).uid, fs.stat(file).uid), (1000, 0));
        assert_eq!(fs.stat(link).mode, libc::S_IFLNK | 0o777);
        Ok(())
    }),
    ("in a sticky directory a symbolic link's owner counts, not its target's", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"f", 0o644, &alice())?;
        fs.symlink(dir, b"s", b"f", &bob())?;
        fs.mode(dir, 0o1777);
        fails(fs.unlink(dir, b"s", &alice()), Code::NotPermitted);
        fs.unlink(dir, b"s", &bob())
    }),
    ("set-id bits go when somebody makes holes who is not root", |fs| {
        let ino = hers(fs, 0o6777);
        fs.open_ino(ino).write_at(0, &[1; 8192])?;
        fs.open_inode(ino, Access::READ_WRITE, &bob())?.allocate(0, 4096, Allocate::PunchHole)?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o777);
        Ok(())
    }),
    ("the sticky bit stays when a file has another owner or content", |fs| {
        let ino = hers(fs, 0o1666);
        fs.open_inode(ino, Access::READ_WRITE, &bob())?.write_at(0, b"x")?;
        fs.own(ino, &bob());
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o1666);
        Ok(())
    }),
];
