//! Listing: the dots, the order, and cookies to go on from.

use crate::kit::*;
use nova_core::*;
use pmem_map::Mapping;

/// A volume of a case's own, which it can unmount.
fn volume() -> Result<Nova> {
    FormatOptions::new().stripes(2).format(Mapping::memfd(4 << 20)?, MountOptions::new())
}

/// Unmounts and mounts.
fn again(nova: Nova) -> Result<Nova> {
    MountOptions::new().mount(nova.unmount()?)
}

fn names_of(entries: &[DirEntry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8(entry.name.clone()).unwrap()).collect()
}

/// A directory with files `0`, `1`, ...
fn numbered(fs: &Fs, count: usize) -> u64 {
    let dir = fs.dir("numbered");
    for at in 0..count {
        fs.create(dir, at.to_string().as_bytes(), 0o644, R).unwrap();
    }
    dir
}

pub(crate) const CASES: &[Case] = &[
    ("an empty directory has the dots", |fs| {
        let dir = fs.dir("d");
        let entries = fs.readdir(dir, 0, usize::MAX, R)?;
        assert_eq!(names_of(&entries), [".", ".."]);
        assert_eq!((entries[0].ino, entries[1].ino), (dir, ROOT));
        assert!(entries.iter().all(|entry| entry.kind == Kind::Directory));
        Ok(())
    }),
    ("the root is its own parent", |fs| {
        let entries = fs.readdir(ROOT, 0, 2, R)?;
        assert_eq!((entries[0].ino, entries[1].ino), (ROOT, ROOT));
        Ok(())
    }),
    ("dots come first, then names in the order that they came", |fs| {
        for name in ["z", "a", "m"] {
            fs.file(name);
        }
        assert_eq!(names_of(&fs.readdir(ROOT, 0, usize::MAX, R)?), [".", "..", "z", "a", "m"]);
        Ok(())
    }),
    ("cookies grow", |fs| {
        let dir = numbered(fs, 50);
        let entries = fs.readdir(dir, 0, usize::MAX, R)?;
        assert!(entries.is_sorted_by(|one, next| one.cookie < next.cookie) && entries[0].cookie > 0);
        Ok(())
    }),
    ("as many entries are listed as are asked for", |fs| {
        let dir = numbered(fs, 10);
        for most in [0, 1, 2, 3, 11, 12] {
            assert_eq!(fs.readdir(dir, 0, most, R)?.len(), most);
        }
        assert_eq!(fs.readdir(dir, 0, 13, R)?.len(), 12);
        Ok(())
    }),
    ("listing goes on behind any entry, the dots included", |fs| {
        let dir = numbered(fs, 10);
        let all = fs.readdir(dir, 0, usize::MAX, R)?;
        for (at, entry) in all.iter().enumerate() {
            assert_eq!(fs.readdir(dir, entry.cookie, usize::MAX, R)?, all[at + 1..]);
        }
        Ok(())
    }),
    ("a listing in parts is the listing", |fs| {
        let dir = numbered(fs, 100);
        let all = fs.readdir(dir, 0, usize::MAX, R)?;
        for step in [1, 3, 7, 64] {
            let (mut found, mut cookie) = (Vec::new(), 0);
            loop {
                let part = fs.readdir(dir, cookie, step, R)?;
                let Some(last) = part.last() else { break };
                cookie = last.cookie;
                found.extend(part);
            }
            assert_eq!(found, all);
        }
        Ok(())
    }),
    ("there is nothing behind the last entry, nor behind any larger cookie", |fs| {
        let dir = numbered(fs, 3);
        let last = fs.readdir(dir, 0, usize::MAX, R)?.last().unwrap().cookie;
        for cookie in [last, last + 1, i64::MAX as u64, u64::MAX] {
            assert!(fs.readdir(dir, cookie, usize::MAX, R)?.is_empty());
        }
        Ok(())
    }),
    ("cookies stay while other names are removed", |fs| {
        let dir = numbered(fs, 60);
        let all = fs.readdir(dir, 2, usize::MAX, R)?;
        for at in (0..60).step_by(2) {
            fs.unlink(dir, at.to_string().as_bytes(), R)?;
        }
        let odd: Vec<DirEntry> = all.into_iter().skip(1).step_by(2).collect();
        assert_eq!(fs.readdir(dir, 2, usize::MAX, R)?, odd);
        Ok(())
    }),
    ("listing goes on behind an entry that was removed", |fs| {
        let dir = numbered(fs, 10);
        let all = fs.readdir(dir, 2, usize::MAX, R)?;
        for name in ["3", "4", "5"] {
            fs.unlink(dir, name.as_bytes(), R)?;
        }
        assert_eq!(fs.readdir(dir, all[4].cookie, usize::MAX, R)?, all[6..]);
        Ok(())
    }),
    ("cookies stay while names are added, which come last", |fs| {
        let dir = numbered(fs, 10);
        let before = fs.readdir(dir, 0, usize::MAX, R)?;
        for at in 0..200 {
            fs.create(dir, format!("new{at}").as_bytes(), 0o644, R)?;
        }
        let after = fs.readdir(dir, 0, usize::MAX, R)?;
        assert_eq!(after[..12], before[..]);
        assert_eq!(after.len(), 212);
        Ok(())
    }),
    ("a name that is removed and made again is behind those that stayed", |fs| {
        let dir = numbered(fs, 4);
        let last = fs.readdir(dir, 0, usize::MAX, R)?.last().unwrap().cookie;
        fs.unlink(dir, b"1", R)?;
        fs.create(dir, b"1", 0o644, R)?;
        assert_eq!(fs.names(dir), ["0", "2", "3", "1"]);
        assert!(fs.readdir(dir, 2, usize::MAX, R)?[3].cookie > last);
        Ok(())
    }),
    ("a cookie is not given twice, even if the last name goes", |fs| {
        let dir = fs.dir("d");
        let mut seen = Vec::new();
        for _ in 0..20 {
            fs.create(dir, b"f", 0o644, R)?;
            seen.push(fs.readdir(dir, 2, 1, R)?[0].cookie);
            fs.unlink(dir, b"f", R)?;
        }
        assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
        Ok(())
    }),
    ("every name is met once while others come and go", |fs| {
        let dir = numbered(fs, 100);
        let (mut cookie, mut met, mut round) = (2, Vec::new(), 0);
        loop {
            let part = fs.readdir(dir, cookie, 7, R)?;
            let Some(last) = part.last() else { break };
            cookie = last.cookie;
            met.extend(names_of(&part).into_iter().filter(|name| !name.starts_with('x')));
            if round < 20 {
                fs.create(dir, format!("x{round}").as_bytes(), 0o644, R)?;
                fs.unlink(dir, format!("x{}", round / 2).as_bytes(), R).ok();
            }
            round += 1;
        }
        assert_eq!(met, (0..100).map(|at| at.to_string()).collect::<Vec<_>>());
        Ok(())
    }),
    ("a directory is emptied while it is listed", |fs| {
        let dir = numbered(fs, 100);
        let (mut cookie, mut removed) = (2, 0);
        loop {
            let part = fs.readdir(dir, cookie, 8, R)?;
            let Some(last) = part.last() else { break };
            cookie = last.cookie;
            for entry in part {
                fs.unlink(dir, &entry.name, R)?;
                removed += 1;
            }
        }
        assert_eq!((removed, fs.names(dir).len()), (100, 0));
        fs.rmdir(ROOT, b"numbered", R)
    }),
    ("names that were removed do not appear", |fs| {
        let dir = numbered(fs, 5);
        fs.unlink(dir, b"2", R)?;
        fs.mkdir(dir, b"d", 0o755, R)?;
        fs.rmdir(dir, b"d", R)?;
        assert_eq!(fs.names(dir), ["0", "1", "3", "4"]);
        Ok(())
    }),
    ("a name that is renamed appears once, by the new name", |fs| {
        let dir = numbered(fs, 3);
        fs.rename(dir, b"1", dir, b"one", Rename::Replace, R)?;
        assert_eq!(fs.names(dir), ["0", "2", "one"]);
        Ok(())
    }),
    ("names show their kinds and numbers", |fs| {
        let file = fs.file("f");
        let dir = fs.dir("d");
        let link = fs.symlink(ROOT, b"s", b"d", R)?.ino;
        let found: Vec<_> = fs.readdir(ROOT, 2, 9, R)?.iter().map(|entry| (entry.ino, entry.kind)).collect();
        assert_eq!(found, [(file, Kind::File), (dir, Kind::Directory), (link, Kind::Symlink)]);
        Ok(())
    }),
    ("hard links appear by each name, with one number", |fs| {
        let ino = fs.file("a");
        fs.link(ino, ROOT, b"b", R)?;
        let entries = fs.readdir(ROOT, 2, 9, R)?;
        assert_eq!((entries[0].ino, entries[1].ino), (ino, ino));
        assert_ne!(entries[0].cookie, entries[1].cookie);
        Ok(())
    }),
    ("what is no directory is not listed", |fs| {
        fails(fs.readdir(fs.file("f"), 0, 9, R), Code::NotADirectory);
        let pipe = fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o600, 0, R)?.ino;
        fails(fs.readdir(pipe, 0, 9, R), Code::NotADirectory);
        fails(fs.read_dir("/f"), Code::NotADirectory);
        Ok(())
    }),
    ("a listing takes the right to read, and no more", |fs| {
        let dir = numbered(fs, 2);
        fs.mode(dir, 0o744);
        assert_eq!(fs.readdir(dir, 2, 9, &alice())?.len(), 2);
        fs.mode(dir, 0o733);
        fails(fs.readdir(dir, 2, 9, &alice()), Code::NoAccess);
        Ok(())
    }),
    ("names of 255 bytes are listed whole", |fs| {
        let dir = fs.dir("d");
        for byte in b'a'..=b'z' {
            fs.create(dir, &[byte; 255], 0o644, R)?;
        }
        let names = fs.names(dir);
        assert!(names.len() == 26 && names.iter().all(|name| name.len() == 255));
        Ok(())
    }),
    ("`..` shows the new parent after a move", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        let dir = fs.mkdir(one, b"d", 0o755, R)?.ino;
        fs.rename(one, b"d", other, b"d", Rename::Replace, R)?;
        assert_eq!(fs.readdir(dir, 1, 1, R)?[0].ino, other);
        Ok(())
    }),
    ("names, order, kinds and cookies are the same after a mount", |_| {
        let nova = volume()?;
        for at in 0..100 {
            nova.create(ROOT, format!("f{at}").as_bytes(), 0o644, R)?;
        }
        nova.mkdir(ROOT, b"d", 0o755, R)?;
        nova.symlink(ROOT, b"s", b"d", R)?;
        let before = nova.readdir(ROOT, 0, usize::MAX, R)?;
        let nova = again(nova)?;
        assert_eq!(nova.readdir(ROOT, 0, usize::MAX, R)?, before);
        assert_eq!(nova.readdir(ROOT, before[50].cookie, usize::MAX, R)?, before[51..]);
        Ok(())
    }),
    ("names that were removed do not appear after a mount", |_| {
        let nova = volume()?;
        for at in 0..100 {
            nova.create(ROOT, format!("f{at}").as_bytes(), 0o644, R)?;
        }
        for at in (0..100).filter(|at| at % 3 > 0) {
            nova.unlink(ROOT, format!("f{at}").as_bytes(), R)?;
        }
        let before = nova.readdir(ROOT, 0, usize::MAX, R)?;
        let nova = again(nova)?;
        assert_eq!(nova.readdir(ROOT, 0, usize::MAX, R)?, before);
        assert!(nova.fsck()?.is_clean());
        Ok(())
    }),
    ("names that come after a mount come last", |_| {
        let nova = volume()?;
        nova.create(ROOT, b"b", 0o644, R)?;
        nova.create(ROOT, b"c", 0o644, R)?;
        let nova = again(nova)?;
        nova.create(ROOT, b"a", 0o644, R)?;
        assert_eq!(names_of(&nova.readdir(ROOT, 2, 9, R)?), ["b", "c", "a"]);
        Ok(())
    }),
    ("renamed and exchanged names are in their places after a mount", |_| {
        let nova = volume()?;
        for name in [b"a", b"b", b"c"] {
            nova.create(ROOT, name, 0o644, R)?;
        }
        nova.rename(ROOT, b"a", ROOT, b"b", Rename::Exchange, R)?;
        nova.rename(ROOT, b"c", ROOT, b"x", Rename::Replace, R)?;
        let before = nova.readdir(ROOT, 0, 9, R)?;
        let nova = again(nova)?;
        assert_eq!(nova.readdir(ROOT, 0, 9, R)?, before);
        assert_eq!(before.len(), 5);
        Ok(())
    }),
    ("`..` and link counts are the same after a mount", |_| {
        let nova = volume()?;
        nova.create_dir_all("/a/b/c")?;
        nova.create_dir_all("/d")?;
        nova.rename_path("/a/b", "/d/b")?;
        let nova = again(nova)?;
        let (b, d) = (nova.metadata("/d/b")?, nova.metadata("/d")?);
        assert_eq!((nova.lookup(b.ino, b"..", R)?.ino, b.links, d.links), (d.ino, 3, 3));
        assert_eq!(nova.metadata("/a")?.links, 2);
        Ok(())
    }),
    ("a directory whose names come and go a thousand times lists those that are there", |_| {
        let nova = volume()?;
        nova.create(ROOT, b"first", 0o644, R)?;
        let first = nova.readdir(ROOT, 2, 1, R)?;
        for at in 0..1000 {
            nova.create(ROOT, format!("some name {at}").as_bytes(), 0o644, R)?;
            if at >= 3 {
                nova.unlink(ROOT, format!("some name {}", at - 3).as_bytes(), R)?;
            }
        }
        let expected = ["first", "some name 997", "some name 998", "some name 999"];
        assert_eq!(names_of(&nova.readdir(ROOT, 2, 9, R)?), expected);
        let nova = again(nova)?;
        assert_eq!(names_of(&nova.readdir(ROOT, 2, 9, R)?), expected);
        assert_eq!(nova.readdir(ROOT, 2, 1, R)?, first);
        Ok(())
    }),
];
