//! Several names of one file, files without names, and links by name.

use crate::kit::*;
use nova_core::*;

pub(crate) const CASES: &[Case] = &[
    ("a hard link is another name of the same file", |fs| {
        let ino = fs.file("f");
        let stat = fs.link(ino, ROOT, b"g", R)?;
        assert_eq!((stat.ino, stat.links), (ino, 2));
        assert_eq!(fs.lookup(ROOT, b"g", R)?, fs.lookup(ROOT, b"f", R)?);
        Ok(())
    }),
    ("what is written by one name is read by the other", |fs| {
        fs.write_file("/f", b"one")?;
        fs.hard_link("/f", "/g")?;
        fs.open("/g")?.append(b" two")?;
        assert_eq!(fs.read_file("/f")?, b"one two");
        Ok(())
    }),
    ("attributes are the file's, not the name's", |fs| {
        let ino = fs.file("f");
        fs.link(ino, ROOT, b"g", R)?;
        fs.set_metadata("/g", &SetAttr { mode: Some(0o600), ..SetAttr::default() })?;
        assert_eq!(fs.metadata("/f")?.mode & 0o777, 0o600);
        Ok(())
    }),
    ("each link counts, and each that goes", |fs| {
        let ino = fs.file("f");
        for at in 0..20u32 {
            assert_eq!(fs.link(ino, ROOT, format!("g{at}").as_bytes(), R)?.links, at + 2);
        }
        for at in 0..20u32 {
            fs.unlink(ROOT, format!("g{at}").as_bytes(), R)?;
            assert_eq!(fs.stat(ino).links, 20 - at);
        }
        Ok(())
    }),
    ("a file outlives the name that it was made with", |fs| {
        drop(fs.with("f", b"content"));
        fs.hard_link("/f", "/g")?;
        fs.remove_file("/f")?;
        assert_eq!(fs.read_file("/g")?, b"content");
        assert_eq!(fs.metadata("/g")?.links, 1);
        Ok(())
    }),
    ("linking changes the file's change time, and the directory's times", |fs| {
        let (ino, dir) = (fs.file("f"), fs.dir("d"));
        let (file_before, before) = (fs.stat(ino), fs.stat(dir));
        fs.link(ino, dir, b"g", R)?;
        let (file_after, after) = (fs.stat(ino), fs.stat(dir));
        assert!(file_after.changed > file_before.changed);
        assert_eq!(file_after.modified, file_before.modified);
        assert!(after.modified > before.modified && after.changed > before.changed);
        Ok(())
    }),
    ("the directory of the old name does not change when there is a new one elsewhere", |fs| {
        let (ino, dir) = (fs.file("f"), fs.dir("d"));
        let before = fs.stat(ROOT);
        fs.link(ino, dir, b"g", R)?;
        assert_eq!(fs.stat(ROOT), before);
        Ok(())
    }),
    ("a directory gets no other name, not even by root", |fs| {
        let dir = fs.dir("d");
        fails(fs.link(dir, ROOT, b"e", R), Code::NotPermitted);
        fails(fs.link(ROOT, dir, b"root", R), Code::NotPermitted);
        fails(fs.hard_link("/d", "/e"), Code::NotPermitted);
        Ok(())
    }),
    ("a name that is there is not linked over", |fs| {
        let ino = fs.file("f");
        fs.file("g");
        fs.dir("d");
        for name in [&b"f"[..], b"g", b"d", b".", b".."] {
            fails(fs.link(ino, ROOT, name, R), Code::Exists);
        }
        assert_eq!(fs.stat(ino).links, 1);
        Ok(())
    }),
    ("a link needs a name that can be", |fs| {
        let ino = fs.file("f");
        fails(fs.link(ino, ROOT, &[b'x'; 256], R), Code::NameTooLong);
        fails(fs.link(ino, ROOT, b"", R), Code::Invalid);
        fails(fs.link(ino, ROOT, b"a/b", R), Code::Invalid);
        fails(fs.link(ino, ROOT, b"a\0", R), Code::Invalid);
        Ok(())
    }),
    ("a link needs a directory", |fs| {
        let ino = fs.file("f");
        fails(fs.link(ino, ino, b"x", R), Code::NotADirectory);
        fails(fs.hard_link("/f", "/f/x"), Code::NotADirectory);
        fails(fs.hard_link("/f", "/no/x"), Code::NotFound);
        fails(fs.hard_link("/no", "/x"), Code::NotFound);
        Ok(())
    }),
    ("pipes, sockets, devices and symbolic links get other names", |fs| {
        for (at, kind) in [Kind::Fifo, Kind::Socket, Kind::BlockDevice, Kind::CharDevice].iter().enumerate() {
            let ino = fs.mknod(ROOT, format!("n{at}").as_bytes(), kind.mode_bits() | 0o600, 3, R)?.ino;
            assert_eq!(fs.link(ino, ROOT, format!("m{at}").as_bytes(), R)?.kind(), *kind);
        }
        let link = fs.symlink(ROOT, b"s", b"nowhere", R)?.ino;
        assert_eq!(fs.link(link, ROOT, b"t", R)?.links, 2);
        assert_eq!(fs.readlink(fs.lookup(ROOT, b"t", R)?.ino)?, b"nowhere");
        Ok(())
    }),
    ("hard_link names a symbolic link itself, not what it leads to", |fs| {
        fs.file("f");
        fs.symlink_path("f", "/s")?;
        fs.hard_link("/s", "/t")?;
        assert_eq!(fs.symlink_metadata("/t")?.kind(), Kind::Symlink);
        assert_eq!(fs.metadata("/f")?.links, 1);
        Ok(())
    }),
    ("a link takes the right to write the directory", |fs| {
        let ino = fs.file("f");
        fails(fs.link(ino, ROOT, b"g", &alice()), Code::NoAccess);
        let dir = fs.dir("d");
        fs.link(ino, dir, b"g", &alice())?;
        Ok(())
    }),
    ("a file without a name has no links", |fs| {
        let file = fs.tmpfile(ROOT, 0o600, R)?;
        assert_eq!(file.stat()?.links, 0);
        assert!(fs.names(ROOT).is_empty());
        Ok(())
    }),
    ("a file without a name is its maker's, in no directory that they may not write", |fs| {
        fails(fs.tmpfile(ROOT, 0o600, &alice()), Code::NoAccess);
        let dir = fs.dir("d");
        let file = fs.tmpfile(dir, 0o666, &alice())?;
        let stat = file.stat()?;
        assert_eq!((stat.uid, stat.gid, stat.mode & 0o7777), (1000, 1000, 0o644));
        Ok(())
    }),
    ("a file without a name leaves its directory's times alone", |fs| {
        let before = fs.stat(ROOT);
        drop(fs.tmpfile(ROOT, 0o600, R)?);
        assert_eq!(fs.stat(ROOT), before);
        Ok(())
    }),
    ("a file without a name gets one by a link, and stays", |fs| {
        let file = fs.tmpfile(ROOT, 0o600, R)?;
        file.write_at(0, b"made in secret")?;
        assert_eq!(fs.link(file.ino(), ROOT, b"f", R)?.links, 1);
        drop(file);
        assert_eq!(fs.read_file("/f")?, b"made in secret");
        Ok(())
    }),
    ("a file without a name goes with its handle", |fs| {
        let file = fs.tmpfile(ROOT, 0o600, R)?;
        file.write_at(0, &[1; 9000])?;
        let ino = file.ino();
        drop(file);
        assert!(fs.getattr(ino).is_err());
        assert!(fs.link(ino, ROOT, b"f", R).is_err());
        Ok(())
    }),
    ("a file without a name is made in directories only", |fs| {
        fails(fs.tmpfile(fs.file("f"), 0o600, R), Code::NotADirectory);
        Ok(())
    }),
    ("an unlinked file that is open gets a name again", |fs| {
        let file = fs.with("f", b"back");
        fs.unlink(ROOT, b"f", R)?;
        fs.link(file.ino(), ROOT, b"g", R)?;
        drop(file);
        assert_eq!(fs.read_file("/g")?, b"back");
        Ok(())
    }),
    ("readlink says what the link was made with, and nothing of other kinds", |fs| {
        let link = fs.symlink(ROOT, b"s", b"../a//b/.", R)?.ino;
        assert_eq!(fs.readlink(link)?, b"../a//b/.");
        fails(fs.readlink(fs.file("f")), Code::Invalid);
        fails(fs.readlink(ROOT), Code::Invalid);
        Ok(())
    }),
    ("a path follows relative and absolute links", |fs| {
        fs.create_dir_all("/a/b")?;
        fs.write_file("/a/f", b"found")?;
        fs.symlink_path("../f", "/a/b/up")?;
        fs.symlink_path("/a/b", "/straight")?;
        assert_eq!(fs.read_file("/straight/up")?, b"found");
        Ok(())
    }),
    ("a link that leads nowhere is there, and is not found", |fs| {
        fs.symlink_path("nowhere", "/s")?;
        fails(fs.metadata("/s"), Code::NotFound);
        fails(fs.open("/s"), Code::NotFound);
        assert!(!fs.exists("/s"));
        assert_eq!(fs.symlink_metadata("/s")?.kind(), Kind::Symlink);
        Ok(())
    }),
    ("a link to itself is too many links", |fs| {
        fs.symlink_path("s", "/s")?;
        fails(fs.metadata("/s"), Code::TooManySymlinks);
        fails(fs.open("/s"), Code::TooManySymlinks);
        fails(fs.create_file("/s/x"), Code::TooManySymlinks);
        Ok(())
    }),
    ("links in a circle are too many links", |fs| {
        fs.symlink_path("b", "/a")?;
        fs.symlink_path("c/", "/b")?;
        fs.symlink_path("/a", "/c")?;
        fails(fs.metadata("/b"), Code::TooManySymlinks);
        fails(fs.read_dir("/c"), Code::TooManySymlinks);
        Ok(())
    }),
    ("forty links in a row are followed, forty-one are not", |fs| {
        fs.write_file("/0", b"end")?;
        for at in 1..=41 {
            fs.symlink_path(format!("{}", at - 1), format!("/{at}"))?;
        }
        assert_eq!(fs.read_file("/40")?, b"end");
        fails(fs.read_file("/41"), Code::TooManySymlinks);
        Ok(())
    }),
    ("a link to a directory is no directory to make names in by number", |fs| {
        fs.dir("d");
        let link = fs.symlink(ROOT, b"s", b"d", R)?.ino;
        fails(fs.lookup(link, b".", R), Code::NotADirectory);
        fails(fs.readdir(link, 0, 9, R), Code::NotADirectory);
        fs.create_file("/s/f")?;
        assert!(fs.exists("/d/f"));
        Ok(())
    }),
    ("a file is created where a link leads that led nowhere", |fs| {
        fs.create_dir_all("/a/b")?;
        fs.symlink_path("../new", "/a/b/s")?;
        fs.symlink_path("/a/b/s", "/t")?;
        fs.write_file("/t", b"made")?;
        assert_eq!(fs.read_file("/a/new")?, b"made");
        assert_eq!(fs.symlink_metadata("/a/b/s")?.kind(), Kind::Symlink);
        Ok(())
    }),
    ("a file is emptied through a link, and the link stays", |fs| {
        fs.write_file("/f", b"old content")?;
        fs.symlink_path("f", "/s")?;
        fs.write_file("/s", b"new")?;
        assert_eq!(
            (fs.read_file("/f")?, fs.symlink_metadata("/s")?.kind()),
            (b"new".to_vec(), Kind::Symlink)
        );
        Ok(())
    }),
    ("nothing is created through links in a circle, or into a missing directory", |fs| {
        fs.symlink_path("b", "/a")?;
        fs.symlink_path("a", "/b")?;
        fs.symlink_path("no/where", "/c")?;
        fails(fs.create_file("/a"), Code::TooManySymlinks);
        fails(fs.create_file("/c"), Code::NotFound);
        Ok(())
    }),
    ("create_new does not follow a link, wherever it leads", |fs| {
        fs.symlink_path("nowhere", "/s")?;
        fails(fs.create_new("/s"), Code::Exists);
        assert_eq!(fs.names(ROOT), ["s"]);
        Ok(())
    }),
    ("a slash at the end asks for a directory", |fs| {
        fs.file("f");
        fs.dir("d");
        fs.symlink_path("f", "/to_f")?;
        fs.symlink_path("d", "/to_d")?;
        fails(fs.metadata("/f/"), Code::NotADirectory);
        fails(fs.metadata("/to_f//"), Code::NotADirectory);
        assert_eq!(fs.metadata("/d/")?.kind(), Kind::Directory);
        assert_eq!(fs.symlink_metadata("/to_d/")?.kind(), Kind::Directory);
        Ok(())
    }),
    ("a slash at the end of a link's target asks for a directory, too", |fs| {
        fs.file("f");
        fs.symlink_path("f/", "/s")?;
        fails(fs.metadata("/s"), Code::NotADirectory);
        fails(fs.open("/s"), Code::NotADirectory);
        assert_eq!(fs.symlink_metadata("/s")?.size, 2);
        Ok(())
    }),
    ("a slash at the end of a new name is for directories only", |fs| {
        fs.file("f");
        fails(fs.create_file("/new/"), Code::IsADirectory);
        fails(fs.create_file("/f/"), Code::IsADirectory);
        fails(fs.create_new("/new//"), Code::IsADirectory);
        fails(fs.hard_link("/f", "/new/"), Code::NotFound);
        fails(fs.hard_link("/f", "/f/"), Code::Exists);
        fails(fs.symlink_path("f", "/new/"), Code::NotFound);
        fs.symlink_path("new/", "/s")?;
        fails(fs.create_file("/s"), Code::IsADirectory);
        fs.create_dir("/d//")?;
        assert_eq!(fs.names(ROOT), ["f", "s", "d"]);
        Ok(())
    }),
    ("a slash at the end of a name that is removed asks for a directory, and a link to one is none", |fs| {
        fs.file("f");
        fs.dir("d");
        fs.symlink_path("d", "/to_d")?;
        fails(fs.remove_file("/f/"), Code::NotADirectory);
        fails(fs.remove_file("/to_d/"), Code::NotADirectory);
        fails(fs.remove_file("/d/"), Code::IsADirectory);
        fails(fs.remove_file("/nothing/"), Code::NotFound);
        fails(fs.remove_dir("/to_d/"), Code::NotADirectory);
        fs.remove_dir("/d/")?;
        assert_eq!(fs.names(ROOT), ["f", "to_d"]);
        Ok(())
    }),
    ("a slash at the end of either name that is renamed asks for a directory", |fs| {
        fs.file("f");
        fs.dir("d");
        fs.symlink_path("d", "/to_d")?;
        fails(fs.rename_path("/f/", "/g"), Code::NotADirectory);
        fails(fs.rename_path("/f", "/g/"), Code::NotADirectory);
        fails(fs.rename_path("/to_d/", "/g"), Code::NotADirectory);
        fails(fs.rename_path("/nothing/", "/g"), Code::NotFound);
        fs.rename_path("/d/", "/e/")?;
        assert_eq!(fs.names(ROOT), ["f", "to_d", "e"]);
        Ok(())
    }),
];
