//! Files come to be: create, mkdir, mknod, symlink, and their names.

use crate::kit::*;
use nova_core::*;

fn long(len: usize) -> Vec<u8> {
    vec![b'n'; len]
}

/// Everything that makes a name, with this name in this directory: it fails so.
fn all_fail(fs: &Fs, dir: u64, name: &[u8], code: Code) {
    fails(fs.create(dir, name, 0o644, R), code);
    fails(fs.mkdir(dir, name, 0o755, R), code);
    fails(fs.mknod(dir, name, libc::S_IFIFO | 0o600, 0, R), code);
    fails(fs.symlink(dir, name, b"target", R), code);
}

pub(crate) const CASES: &[Case] = &[
    ("a new file is regular, empty, and has one link", |fs| {
        let stat = fs.create(ROOT, b"f", 0o640, R)?;
        assert_eq!((stat.kind(), stat.size, stat.blocks, stat.links), (Kind::File, 0, 0, 1));
        assert_eq!(stat.mode, libc::S_IFREG | 0o640);
        assert_eq!(fs.lookup(ROOT, b"f", R)?, stat);
        Ok(())
    }),
    ("a new file belongs to who made it", |fs| {
        let dir = fs.dir("d");
        let stat = fs.create(dir, b"f", 0o644, &alice())?;
        assert_eq!((stat.uid, stat.gid), (1000, 1000));
        Ok(())
    }),
    ("a new directory has two links and adds one to its parent", |fs| {
        let before = fs.stat(ROOT).links;
        let dir = fs.mkdir(ROOT, b"d", 0o750, R)?;
        assert_eq!((dir.links, dir.mode), (2, libc::S_IFDIR | 0o750));
        assert_eq!(fs.stat(ROOT).links, before + 1);
        Ok(())
    }),
    ("files, links and pipes add no link to their directory", |fs| {
        let before = fs.stat(ROOT).links;
        fs.file("f");
        fs.symlink(ROOT, b"s", b"f", R)?;
        fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o600, 0, R)?;
        assert_eq!(fs.stat(ROOT).links, before);
        Ok(())
    }),
    ("`..` of a new directory is its parent", |fs| {
        let dir = fs.dir("d");
        let below = fs.mkdir(dir, b"e", 0o755, R)?.ino;
        assert_eq!(fs.lookup(below, b"..", R)?.ino, dir);
        assert_eq!(fs.lookup(below, b".", R)?.ino, below);
        assert_eq!(fs.lookup(ROOT, b"..", R)?.ino, ROOT);
        Ok(())
    }),
    ("the four times of a new file are one", |fs| {
        let stat = fs.create(ROOT, b"f", 0o644, R)?;
        assert_eq!([stat.accessed, stat.modified, stat.changed], [stat.created; 3]);
        Ok(())
    }),
    ("creating a file changes its directory's modification and change time", |fs| {
        let before = fs.stat(ROOT);
        fs.file("f");
        let after = fs.stat(ROOT);
        assert!(after.modified > before.modified && after.changed > before.changed);
        assert_eq!((after.created, after.accessed), (before.created, before.accessed));
        assert!(after.changes > before.changes);
        Ok(())
    }),
    ("a directory grows with its names", |fs| {
        let dir = fs.dir("d");
        assert_eq!(fs.stat(dir).size, 0);
        for name in [&b"a"[..], b"b", b"c"] {
            fs.create(dir, name, 0o644, R)?;
        }
        assert_eq!(fs.stat(dir).size, 3 * 64);
        Ok(())
    }),
    ("a name that is there is not made again, whatever it stands for", |fs| {
        fs.file("x");
        fs.dir("d");
        fs.symlink(ROOT, b"s", b"nowhere", R)?;
        for name in [&b"x"[..], b"d", b"s"] {
            all_fail(fs, ROOT, name, Code::Exists);
        }
        Ok(())
    }),
    ("a refused name leaves the directory as it was", |fs| {
        fs.file("x");
        let (before, free) = (fs.stat(ROOT), fs.statfs().free_inodes);
        all_fail(fs, ROOT, b"x", Code::Exists);
        assert_eq!((fs.stat(ROOT), fs.statfs().free_inodes), (before, free));
        Ok(())
    }),
    ("`.` and `..` exist already", |fs| {
        all_fail(fs, ROOT, b".", Code::Exists);
        all_fail(fs, ROOT, b"..", Code::Exists);
        Ok(())
    }),
    ("names of three dots, or that begin with dots, are names", |fs| {
        for name in ["...", ".x", "..x", ".. "] {
            let ino = fs.file(name);
            assert_eq!(fs.lookup(ROOT, name.as_bytes(), R)?.ino, ino);
        }
        Ok(())
    }),
    ("a name has up to 255 bytes", |fs| {
        let ino = fs.create(ROOT, &long(255), 0o644, R)?.ino;
        assert_eq!(fs.lookup(ROOT, &long(255), R)?.ino, ino);
        fails(fs.lookup(ROOT, &long(254), R), Code::NotFound);
        Ok(())
    }),
    ("a name of 256 bytes is too long to make", |fs| {
        all_fail(fs, ROOT, &long(256), Code::NameTooLong);
        Ok(())
    }),
    ("a name of 256 bytes is too long to look up", |fs| {
        fails(fs.lookup(ROOT, &long(256), R), Code::NameTooLong);
        Ok(())
    }),
    ("a name with a NUL is none", |fs| {
        all_fail(fs, ROOT, b"a\0b", Code::Invalid);
        Ok(())
    }),
    ("a name with a slash is none", |fs| {
        all_fail(fs, ROOT, b"a/b", Code::Invalid);
        all_fail(fs, ROOT, b"/", Code::Invalid);
        Ok(())
    }),
    ("an empty name is none", |fs| {
        all_fail(fs, ROOT, b"", Code::Invalid);
        fails(fs.lookup(ROOT, b"", R), Code::NotFound);
        Ok(())
    }),
    ("names are bytes, UTF-8 or not", |fs| {
        for name in [&b"\xff\xfe"[..], b"\xc3\x28", b"\n", b"\x7f", "\u{1f600}".as_bytes()] {
            let ino = fs.create(ROOT, name, 0o644, R)?.ino;
            assert_eq!(fs.lookup(ROOT, name, R)?.ino, ino);
        }
        assert_eq!(fs.readdir(ROOT, 2, usize::MAX, R)?[0].name, b"\xff\xfe");
        Ok(())
    }),
    ("names differ by case, and by how characters are composed", |fs| {
        let names = ["Name", "name", "\u{e9}", "e\u{301}"];
        let mut all: Vec<u64> = names.iter().map(|name| fs.file(name)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
        Ok(())
    }),
    ("nothing is made in what is no directory", |fs| {
        let file = fs.file("f");
        let link = fs.symlink(ROOT, b"s", b"/", R)?.ino;
        let pipe = fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o600, 0, R)?.ino;
        for ino in [file, link, pipe] {
            all_fail(fs, ino, b"x", Code::NotADirectory);
            fails(fs.lookup(ino, b"x", R), Code::NotADirectory);
        }
        Ok(())
    }),
    ("nothing is made in a directory that was removed while it was open", |fs| {
        let dir = fs.dir("d");
        let handle = fs.open_inode(dir, Access::READ, R)?;
        fs.rmdir(ROOT, b"d", R)?;
        all_fail(fs, dir, b"x", Code::NotFound);
        drop(handle);
        Ok(())
    }),
    ("a path through a missing directory is not found", |fs| {
        fails(fs.create_file("/no/f"), Code::NotFound);
        fails(fs.create_dir("/no/d"), Code::NotFound);
        fails(fs.symlink_path("x", "/no/s"), Code::NotFound);
        Ok(())
    }),
    ("a path through a file is no directory's", |fs| {
        fs.file("f");
        fails(fs.create_file("/f/x"), Code::NotADirectory);
        fails(fs.create_dir("/f/x"), Code::NotADirectory);
        fails(fs.metadata("/f/x"), Code::NotADirectory);
        Ok(())
    }),
    ("a path of 4,096 bytes is too long", |fs| {
        let path = "/.".repeat(2048);
        fails(fs.metadata(&path), Code::NameTooLong);
        assert_eq!(fs.metadata(&path[..4094])?.ino, ROOT);
        Ok(())
    }),
    ("mknod makes pipes and sockets, for anybody", |fs| {
        let dir = fs.dir("d");
        let pipe = fs.mknod(dir, b"p", libc::S_IFIFO | 0o666, 7, &alice())?;
        let socket = fs.mknod(dir, b"s", libc::S_IFSOCK | 0o666, 7, &alice())?;
        assert_eq!((pipe.kind(), socket.kind()), (Kind::Fifo, Kind::Socket));
        assert_eq!((pipe.device, socket.device, pipe.mode & 0o777), (0, 0, 0o644));
        Ok(())
    }),
    ("mknod makes devices with their numbers", |fs| {
        let device = libc::makedev(0x123, 0x45678);
        let block = fs.mknod(ROOT, b"b", libc::S_IFBLK | 0o660, device, R)?;
        let char = fs.mknod(ROOT, b"c", libc::S_IFCHR | 0o660, device, R)?;
        assert_eq!((block.kind(), char.kind()), (Kind::BlockDevice, Kind::CharDevice));
        assert_eq!((block.device, char.device), (device, device));
        Ok(())
    }),
    ("only root makes devices", |fs| {
        let dir = fs.dir("d");
        for kind in [libc::S_IFBLK, libc::S_IFCHR] {
            fails(fs.mknod(dir, b"x", kind | 0o666, 1, &alice()), Code::NotPermitted);
        }
        assert!(fs.names(dir).is_empty());
        Ok(())
    }),
    ("mknod makes regular files, with and without their type bits", |fs| {
        assert_eq!(fs.mknod(ROOT, b"a", libc::S_IFREG | 0o600, 0, R)?.kind(), Kind::File);
        assert_eq!(fs.mknod(ROOT, b"b", 0o600, 0, R)?.mode, libc::S_IFREG | 0o600);
        Ok(())
    }),
    ("mknod makes no directories, no links, and nothing unknown", |fs| {
        fails(fs.mknod(ROOT, b"d", libc::S_IFDIR | 0o700, 0, R), Code::NotPermitted);
        fails(fs.mknod(ROOT, b"s", libc::S_IFLNK | 0o777, 0, R), Code::Invalid);
        fails(fs.mknod(ROOT, b"x", 0o030_000 | 0o600, 0, R), Code::Invalid);
        Ok(())
    }),
    ("names show the kind of what mknod made", |fs| {
        let kinds = [Kind::Fifo, Kind::Socket, Kind::CharDevice, Kind::BlockDevice, Kind::File];
        for (at, kind) in kinds.iter().enumerate() {
            fs.mknod(ROOT, &[b'a' + at as u8], kind.mode_bits() | 0o600, 1, R)?;
        }
        let found: Vec<Kind> = fs.readdir(ROOT, 2, 9, R)?.iter().map(|entry| entry.kind).collect();
        assert_eq!(found, kinds);
        Ok(())
    }),
    ("a symbolic link has its target's length, and all permissions whatever the umask", |fs| {
        let dir = fs.dir("d");
        let link = fs.symlink(dir, b"s", b"some/where", &Credentials { umask: 0o777, ..alice() })?;
        assert_eq!((link.kind(), link.size, link.links), (Kind::Symlink, 10, 1));
        assert_eq!(link.mode, libc::S_IFLNK | 0o777);
        Ok(())
    }),
    ("a symbolic link's target has 1 to 4,095 bytes", |fs| {
        fails(fs.symlink(ROOT, b"s", b"", R), Code::NotFound);
        fails(fs.symlink(ROOT, b"s", &long(4096), R), Code::NameTooLong);
        let link = fs.symlink(ROOT, b"s", &long(4095), R)?;
        assert_eq!((link.size, fs.readlink(link.ino)?), (4095, long(4095)));
        Ok(())
    }),
    ("a symbolic link's target has no NUL, but any other bytes", |fs| {
        fails(fs.symlink(ROOT, b"s", b"a\0", R), Code::Invalid);
        let target: Vec<u8> = (1..=255).collect();
        let link = fs.symlink(ROOT, b"s", &target, R)?;
        assert_eq!(fs.readlink(link.ino)?, target);
        Ok(())
    }),
    ("set-id and sticky bits of a new file are kept", |fs| {
        let stat = fs.create(ROOT, b"f", 0o7755, R)?;
        assert_eq!(stat.mode, libc::S_IFREG | 0o7755);
        Ok(())
    }),
    ("mkdir takes the sticky bit, and no set-id bits", |fs| {
        let stat = fs.mkdir(ROOT, b"d", 0o7755, R)?;
        assert_eq!(stat.mode, libc::S_IFDIR | 0o1755);
        Ok(())
    }),
    ("type bits of a mode that is created with do not count", |fs| {
        let file = fs.create(ROOT, b"f", libc::S_IFDIR | 0o644, R)?;
        let dir = fs.mkdir(ROOT, b"d", libc::S_IFREG | 0o755, R)?;
        assert_eq!((file.kind(), dir.kind()), (Kind::File, Kind::Directory));
        Ok(())
    }),
    ("a number that is used again has another generation", |fs| {
        let first = fs.create(ROOT, b"f", 0o644, R)?;
        fs.unlink(ROOT, b"f", R)?;
        fs.sync()?;
        for at in 0..200 {
            let name = format!("g{at}");
            let next = fs.create(ROOT, name.as_bytes(), 0o644, R)?;
            assert!(next.ino != first.ino || next.generation != first.generation);
        }
        Ok(())
    }),
    ("directories nest a hundred deep", |fs| {
        let mut at = ROOT;
        for _ in 0..100 {
            at = fs.mkdir(at, b"d", 0o755, R)?.ino;
        }
        assert_eq!(fs.metadata("/d".repeat(100))?.ino, at);
        fails(fs.metadata("/d".repeat(101)), Code::NotFound);
        Ok(())
    }),
];
