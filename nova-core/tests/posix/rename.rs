//! Rename: what may replace what, and what becomes of both.

use crate::kit::*;
use nova_core::*;

fn to(fs: &Fs, from: &str, to: &str) -> Result<()> {
    fs.rename(ROOT, from.as_bytes(), ROOT, to.as_bytes(), Rename::Replace, R)
}

fn exchange(fs: &Fs, one: &str, other: &str) -> Result<()> {
    fs.rename(ROOT, one.as_bytes(), ROOT, other.as_bytes(), Rename::Exchange, R)
}

fn ino(fs: &Fs, name: &str) -> u64 {
    fs.lookup(ROOT, name.as_bytes(), R).unwrap().ino
}

pub(crate) const CASES: &[Case] = &[
    ("a file gets another name, and loses the one it had", |fs| {
        let file = fs.file("a");
        to(fs, "a", "b")?;
        assert_eq!((ino(fs, "b"), fs.names(ROOT)), (file, vec!["b".to_owned()]));
        Ok(())
    }),
    ("every kind of file is renamed, and stays the kind it is", |fs| {
        fs.symlink(ROOT, b"a0", b"x", R)?;
        for (at, kind) in [Kind::Fifo, Kind::Socket, Kind::CharDevice, Kind::BlockDevice].iter().enumerate() {
            fs.mknod(ROOT, format!("a{}", at + 1).as_bytes(), kind.mode_bits() | 0o600, 1, R)?;
        }
        for at in 0..5 {
            let before = fs.lookup(ROOT, format!("a{at}").as_bytes(), R)?;
            to(fs, &format!("a{at}"), &format!("b{at}"))?;
            let after = fs.lookup(ROOT, format!("b{at}").as_bytes(), R)?;
            assert_eq!((after.ino, after.mode), (before.ino, before.mode));
        }
        Ok(())
    }),
    ("a file replaces a file, which is gone", |fs| {
        drop(fs.with("a", b"new"));
        drop(fs.with("b", b"old"));
        let old = ino(fs, "b");
        to(fs, "a", "b")?;
        assert_eq!(fs.read_file("/b")?, b"new");
        assert!(fs.getattr(old).is_err());
        assert_eq!(fs.stat(ROOT).size, 64);
        Ok(())
    }),
    ("a file that is replaced while it is open stays until it is closed", |fs| {
        fs.file("a");
        let old = fs.with("b", b"old");
        to(fs, "a", "b")?;
        assert_eq!((old.stat()?.links, old.read_to_end()?), (0, b"old".to_vec()));
        Ok(())
    }),
    ("a file that is replaced loses one of its names, not the others", |fs| {
        fs.file("a");
        drop(fs.with("b", b"old"));
        fs.hard_link("/b", "/c")?;
        to(fs, "a", "b")?;
        assert_eq!((fs.metadata("/c")?.links, fs.read_file("/c")?), (1, b"old".to_vec()));
        Ok(())
    }),
    ("a directory replaces an empty one, and the parent has a link less", |fs| {
        let a = fs.dir("a");
        fs.dir("b");
        fs.create(a, b"f", 0o644, R)?;
        let before = fs.stat(ROOT).links;
        to(fs, "a", "b")?;
        assert_eq!((ino(fs, "b"), fs.stat(ROOT).links), (a, before - 1));
        assert!(fs.exists("/b/f"));
        Ok(())
    }),
    ("a directory does not replace one that has names", |fs| {
        fs.dir("a");
        let b = fs.dir("b");
        fs.create(b, b"f", 0o644, R)?;
        fails(to(fs, "a", "b"), Code::NotEmpty);
        assert_eq!(fs.names(ROOT), ["a", "b"]);
        Ok(())
    }),
    ("a file does not replace a directory", |fs| {
        fs.file("a");
        fs.dir("b");
        fs.symlink(ROOT, b"s", b"a", R)?;
        fails(to(fs, "a", "b"), Code::IsADirectory);
        fails(to(fs, "s", "b"), Code::IsADirectory);
        Ok(())
    }),
    ("a directory does not replace a file", |fs| {
        fs.dir("a");
        fs.file("b");
        fs.symlink(ROOT, b"s", b"a", R)?;
        fails(to(fs, "a", "b"), Code::NotADirectory);
        fails(to(fs, "a", "s"), Code::NotADirectory);
        Ok(())
    }),
    ("a link that is replaced is replaced itself, and not what it leads to", |fs| {
        drop(fs.with("a", b"new"));
        drop(fs.with("t", b"target"));
        fs.symlink_path("t", "/s")?;
        fs.rename_path("/a", "/s")?;
        assert_eq!((fs.read_file("/s")?, fs.read_file("/t")?), (b"new".to_vec(), b"target".to_vec()));
        Ok(())
    }),
    ("a name that is not there is not renamed", |fs| {
        fs.file("b");
        fails(to(fs, "a", "b"), Code::NotFound);
        fails(fs.rename_path("/no/a", "/b"), Code::NotFound);
        fails(fs.rename_path("/b", "/no/a"), Code::NotFound);
        Ok(())
    }),
    ("nothing is renamed in what is no directory", |fs| {
        let file = fs.file("f");
        fs.file("a");
        fails(fs.rename(file, b"x", ROOT, b"y", Rename::Replace, R), Code::NotADirectory);
        fails(fs.rename(ROOT, b"a", file, b"y", Rename::Replace, R), Code::NotADirectory);
        Ok(())
    }),
    ("a name is renamed to itself, and nothing changes", |fs| {
        let file = fs.file("a");
        let before = (fs.stat(ROOT), fs.stat(file));
        to(fs, "a", "a")?;
        assert_eq!((fs.stat(ROOT), fs.stat(file)), before);
        Ok(())
    }),
    ("two names of one file stay, whichever is renamed to the other", |fs| {
        let file = fs.file("a");
        let before = fs.link(file, ROOT, b"b", R)?;
        to(fs, "a", "b")?;
        exchange(fs, "a", "b")?;
        assert_eq!((fs.names(ROOT).len(), fs.stat(file)), (2, before));
        Ok(())
    }),
    ("two names of one file in two directories stay, too", |fs| {
        let (file, dir) = (fs.file("a"), fs.dir("d"));
        fs.link(file, dir, b"b", R)?;
        fs.rename(ROOT, b"a", dir, b"b", Rename::Replace, R)?;
        assert_eq!((fs.stat(file).links, fs.names(dir).len()), (2, 1));
        assert_eq!(ino(fs, "a"), file);
        Ok(())
    }),
    ("without replacing, a name that is there stays", |fs| {
        let (a, b) = (fs.file("a"), fs.file("b"));
        fails(fs.rename(ROOT, b"a", ROOT, b"b", Rename::NoReplace, R), Code::Exists);
        fails(fs.rename(ROOT, b"a", ROOT, b"a", Rename::NoReplace, R), Code::Exists);
        assert_eq!((ino(fs, "a"), ino(fs, "b")), (a, b));
        fs.rename(ROOT, b"a", ROOT, b"c", Rename::NoReplace, R)
    }),
    ("without replacing, a directory moves to a name that is free", |fs| {
        let (a, d) = (fs.dir("a"), fs.dir("d"));
        fs.rename(ROOT, b"a", d, b"x", Rename::NoReplace, R)?;
        fs.mkdir(ROOT, b"a", 0o755, R)?;
        fails(fs.rename(ROOT, b"a", d, b"x", Rename::NoReplace, R), Code::Exists);
        assert_eq!(fs.lookup(d, b"x", R)?.ino, a);
        Ok(())
    }),
    ("two files change their names", |fs| {
        drop((fs.with("a", b"of a"), fs.with("b", b"of b")));
        exchange(fs, "a", "b")?;
        assert_eq!((fs.read_file("/a")?, fs.read_file("/b")?), (b"of b".to_vec(), b"of a".to_vec()));
        Ok(())
    }),
    ("two directories with names change theirs", |fs| {
        fs.create_dir_all("/a/in_a")?;
        fs.create_dir_all("/b/in_b")?;
        let before = fs.stat(ROOT).links;
        exchange(fs, "a", "b")?;
        assert!(fs.exists("/a/in_b") && fs.exists("/b/in_a"));
        assert_eq!(fs.stat(ROOT).links, before);
        Ok(())
    }),
    ("a file and a directory change their names", |fs| {
        let (a, b) = (fs.file("a"), fs.dir("b"));
        exchange(fs, "a", "b")?;
        assert_eq!((ino(fs, "a"), ino(fs, "b")), (b, a));
        let kinds: Vec<_> =
            fs.readdir(ROOT, 2, 9, R)?.into_iter().map(|entry| (entry.name, entry.kind)).collect();
        assert!(kinds.contains(&(b"a".to_vec(), Kind::Directory)));
        assert!(kinds.contains(&(b"b".to_vec(), Kind::File)));
        Ok(())
    }),
    ("an exchange takes both names", |fs| {
        fs.file("a");
        fails(exchange(fs, "a", "b"), Code::NotFound);
        fails(exchange(fs, "b", "a"), Code::NotFound);
        Ok(())
    }),
    ("an exchange across directories of a file and a directory moves a link", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        fs.create(one, b"f", 0o644, R)?;
        let below = fs.mkdir(other, b"d", 0o755, R)?.ino;
        fs.rename(one, b"f", other, b"d", Rename::Exchange, R)?;
        assert_eq!((fs.stat(one).links, fs.stat(other).links), (3, 2));
        assert_eq!(fs.lookup(below, b"..", R)?.ino, one);
        Ok(())
    }),
    ("an exchange across directories of two directories changes both `..`", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        let a = fs.mkdir(one, b"a", 0o755, R)?.ino;
        let b = fs.mkdir(other, b"b", 0o755, R)?.ino;
        fs.rename(one, b"a", other, b"b", Rename::Exchange, R)?;
        assert_eq!((fs.lookup(a, b"..", R)?.ino, fs.lookup(b, b"..", R)?.ino), (other, one));
        assert_eq!((fs.stat(one).links, fs.stat(other).links), (3, 3));
        Ok(())
    }),
    ("a directory does not change its name with one below it, or above", |fs| {
        fs.create_dir_all("/a/b/c")?;
        let (a, b) = (ino(fs, "a"), fs.metadata("/a/b")?.ino);
        fails(fs.rename(ROOT, b"a", b, b"c", Rename::Exchange, R), Code::Invalid);
        fails(fs.rename(b, b"c", ROOT, b"a", Rename::Exchange, R), Code::Invalid);
        fails(fs.rename(a, b"b", ROOT, b"a", Rename::Exchange, R), Code::Invalid);
        Ok(())
    }),
    ("a file moves to another directory; links of directories stay", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        let file = fs.create(one, b"f", 0o644, R)?.ino;
        fs.rename(one, b"f", other, b"g", Rename::Replace, R)?;
        assert_eq!(fs.lookup(other, b"g", R)?.ino, file);
        assert_eq!((fs.stat(one).links, fs.stat(other).links, fs.stat(file).links), (2, 2, 1));
        assert_eq!((fs.stat(one).size, fs.stat(other).size), (0, 64));
        Ok(())
    }),
    ("a directory moves with what is in it: `..` and the parents' links follow", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        let moved = fs.mkdir(one, b"d", 0o755, R)?.ino;
        fs.create(moved, b"f", 0o644, R)?;
        fs.rename(one, b"d", other, b"e", Rename::Replace, R)?;
        assert_eq!(fs.lookup(moved, b"..", R)?.ino, other);
        assert_eq!((fs.stat(one).links, fs.stat(other).links), (2, 3));
        assert!(fs.exists("/other/e/f"));
        Ok(())
    }),
    ("a directory that replaces one elsewhere takes its link", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        fs.mkdir(one, b"d", 0o755, R)?;
        fs.mkdir(other, b"d", 0o755, R)?;
        fs.rename(one, b"d", other, b"d", Rename::Replace, R)?;
        assert_eq!((fs.stat(one).links, fs.stat(other).links), (2, 3));
        Ok(())
    }),
    ("a directory moves up and down", |fs| {
        fs.create_dir_all("/a/b/c")?;
        fs.rename_path("/a/b/c", "/c")?;
        fs.rename_path("/a/b", "/c/b")?;
        fs.rename_path("/a", "/c/b/a")?;
        assert_eq!(fs.names(ROOT), ["c"]);
        assert_eq!(fs.metadata("/c/b/a/../../..")?.ino, ROOT);
        Ok(())
    }),
    ("a directory does not go below itself", |fs| {
        fs.create_dir_all("/a/b/c")?;
        fails(fs.rename_path("/a", "/a/x"), Code::Invalid);
        fails(fs.rename_path("/a", "/a/b/x"), Code::Invalid);
        fails(fs.rename_path("/a", "/a/b/c"), Code::Invalid);
        fails(fs.rename_path("/a/b", "/a/b/b"), Code::Invalid);
        Ok(())
    }),
    ("what is renamed does not replace a directory above it", |fs| {
        fs.create_dir_all("/a/b")?;
        fs.create_file("/a/b/f")?;
        fails(fs.rename_path("/a/b/f", "/a"), Code::NotEmpty);
        fails(fs.rename_path("/a/b", "/a"), Code::NotEmpty);
        Ok(())
    }),
    ("long names are renamed, and names that are too long are not", |fs| {
        let (long, longer) = ("x".repeat(255), "x".repeat(256));
        fs.file("a");
        to(fs, "a", &long)?;
        fails(to(fs, &long, &longer), Code::NameTooLong);
        fails(to(fs, &longer, "a"), Code::NameTooLong);
        to(fs, &long, &"y".repeat(255))?;
        to(fs, &"y".repeat(255), "a")
    }),
    ("a new name has to be a name", |fs| {
        fs.file("a");
        for name in ["", "x/y", "x\0"] {
            fails(to(fs, "a", name), Code::Invalid);
        }
        assert_eq!(fs.names(ROOT), ["a"]);
        Ok(())
    }),
    ("dots are busy, as what is renamed and as the new name", |fs| {
        fs.dir("d");
        for dot in [".", ".."] {
            fails(to(fs, dot, "x"), Code::Busy);
            fails(to(fs, "d", dot), Code::Busy);
            fails(exchange(fs, "d", dot), Code::Busy);
        }
        Ok(())
    }),
    ("times of both directories and of the file change", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        let file = fs.create(one, b"f", 0o644, R)?;
        let before = [fs.stat(one), fs.stat(other)];
        fs.rename(one, b"f", other, b"f", Rename::Replace, R)?;
        for (before, after) in before.iter().zip([fs.stat(one), fs.stat(other)]) {
            assert!(after.modified > before.modified && after.changed > before.changed);
        }
        let after = fs.stat(file.ino);
        assert!(after.changed > file.changed);
        assert_eq!(
            (after.modified, after.accessed, after.created),
            (file.modified, file.accessed, file.created)
        );
        Ok(())
    }),
    ("the other name of a file that is replaced has a new change time", |fs| {
        let (_, b) = (fs.file("a"), fs.file("b"));
        let before = fs.link(b, ROOT, b"c", R)?;
        to(fs, "a", "b")?;
        assert!(fs.stat(b).changed > before.changed);
        Ok(())
    }),
    ("a refused rename changes nothing", |fs| {
        let (a, b) = (fs.dir("a"), fs.file("b"));
        let before = [fs.stat(ROOT), fs.stat(a), fs.stat(b)];
        fails(to(fs, "a", "b"), Code::NotADirectory);
        fails(to(fs, "b", "a"), Code::IsADirectory);
        assert_eq!([fs.stat(ROOT), fs.stat(a), fs.stat(b)], before);
        Ok(())
    }),
    ("a file that is renamed a thousand times is one file", |fs| {
        let file = fs.file("0");
        for at in 0..1000 {
            to(fs, &at.to_string(), &(at + 1).to_string())?;
        }
        assert_eq!((ino(fs, "1000"), fs.stat(ROOT).size), (file, 64));
        Ok(())
    }),
    ("a directory moves only by who may write it, for `..` is in it", |fs| {
        let (one, other) = (fs.dir("one"), fs.dir("other"));
        let moved = fs.mkdir(one, b"d", 0o755, R)?.ino;
        fails(fs.rename(one, b"d", other, b"d", Rename::Replace, &alice()), Code::NoAccess);
        fs.rename(one, b"d", one, b"e", Rename::Replace, &alice())?;
        fs.mode(moved, 0o777);
        fs.rename(one, b"e", other, b"e", Rename::Replace, &alice())
    }),
    ("a rename takes the right to write both directories", |fs| {
        let (open, closed) = (fs.dir("open"), fs.dir("closed"));
        fs.create(open, b"f", 0o644, R)?;
        fs.create(closed, b"g", 0o644, R)?;
        fs.mode(closed, 0o755);
        fails(fs.rename(open, b"f", closed, b"f", Rename::Replace, &alice()), Code::NoAccess);
        fails(fs.rename(closed, b"g", open, b"g", Rename::Replace, &alice()), Code::NoAccess);
        Ok(())
    }),
    ("a handle is of the file, whatever its name becomes", |fs| {
        let file = fs.with("a", b"1");
        fs.dir("d");
        fs.rename_path("/a", "/d/b")?;
        file.append(b"2")?;
        assert_eq!(fs.read_file("/d/b")?, b"12");
        Ok(())
    }),
    ("an open directory that is replaced has no links, and gets no names", |fs| {
        fs.dir("a");
        let old = fs.dir("b");
        let handle = fs.open_inode(old, Access::READ, R)?;
        to(fs, "a", "b")?;
        assert_eq!(handle.stat()?.links, 0);
        fails(fs.create(old, b"x", 0o644, R), Code::NotFound);
        drop(handle);
        assert!(fs.getattr(old).is_err());
        Ok(())
    }),
    ("a file that comes into a set-group-id directory keeps its group", |fs| {
        let (file, dir) = (fs.file("f"), fs.dir("d"));
        fs.setattr(dir, &SetAttr { gid: Some(50), mode: Some(0o2777), ..SetAttr::default() }, R)?;
        fs.rename(ROOT, b"f", dir, b"f", Rename::Replace, R)?;
        assert_eq!(fs.stat(file).gid, 0);
        Ok(())
    }),
    ("a file that nobody may read is renamed", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"f", 0, R)?;
        fs.rename(dir, b"f", dir, b"g", Rename::Replace, &alice())
    }),
    ("what is replaced gives its blocks back", |fs| {
        fs.file("a");
        let old = fs.open_ino(fs.file("b"));
        fs.file("c");
        fs.sync()?;
        let before = fs.statfs().free;
        old.write_at(0, &vec![1; 40 * 4096])?;
        drop(old);
        to(fs, "a", "b")?;
        fs.sync()?;
        assert!(fs.statfs().free >= before);
        Ok(())
    }),
    ("an exchange on one directory keeps its size and links", |fs| {
        fs.file("a");
        fs.dir("b");
        let before = fs.stat(ROOT);
        exchange(fs, "a", "b")?;
        let after = fs.stat(ROOT);
        assert_eq!((after.size, after.links), (before.size, before.links));
        assert!(after.modified > before.modified);
        Ok(())
    }),
    ("an exchange gives both files a new change time", |fs| {
        let (a, b) = (fs.file("a"), fs.file("b"));
        let before = (fs.stat(a).changed, fs.stat(b).changed);
        exchange(fs, "a", "b")?;
        assert!(fs.stat(a).changed > before.0 && fs.stat(b).changed > before.1);
        Ok(())
    }),
];
