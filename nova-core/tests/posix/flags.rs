//! Immutable and append-only files and directories, and the other flags.

use crate::kit::*;
use nova_core::*;
use pmem_map::Mapping;

const WRITE: Access = Access { read: false, write: true, execute: false };

fn with_flags(flags: u32) -> SetAttr {
    SetAttr { flags: Some(flags), ..SetAttr::default() }
}

fn flag(fs: &Fs, ino: u64, flags: u32) {
    fs.setattr(ino, &with_flags(flags), R).unwrap();
}

/// Everything that changes an inode's attributes fails.
fn attributes_fail(fs: &Fs, ino: u64) {
    let sets = [
        SetAttr { mode: Some(0o777), ..SetAttr::default() },
        SetAttr { uid: Some(5), ..SetAttr::default() },
        SetAttr { gid: Some(5), ..SetAttr::default() },
        SetAttr { size: Some(5), ..SetAttr::default() },
        SetAttr { modified: Some(Time::At(5)), ..SetAttr::default() },
        SetAttr { accessed: Some(Time::At(5)), ..SetAttr::default() },
    ];
    let before = fs.stat(ino);
    for set in sets {
        fails(fs.setattr(ino, &set, R), Code::NotPermitted);
    }
    fails(fs.set_attribute(ino, b"user.x", b"1", AttributeMode::Set, R), Code::NotPermitted);
    assert_eq!(fs.stat(ino), before);
}

/// Everything that takes or gives a name of `f` in the root directory fails.
fn names_fail(fs: &Fs) {
    let ino = fs.lookup(ROOT, b"f", R).unwrap().ino;
    fs.file("other");
    fails(fs.unlink(ROOT, b"f", R), Code::NotPermitted);
    fails(fs.link(ino, ROOT, b"g", R), Code::NotPermitted);
    fails(fs.rename(ROOT, b"f", ROOT, b"g", Rename::Replace, R), Code::NotPermitted);
    fails(fs.rename(ROOT, b"other", ROOT, b"f", Rename::Replace, R), Code::NotPermitted);
    fails(fs.rename(ROOT, b"other", ROOT, b"f", Rename::Exchange, R), Code::NotPermitted);
    assert_eq!(fs.names(ROOT), ["f", "other"]);
}

pub(crate) const CASES: &[Case] = &[
    ("a new file has no flags", |fs| {
        assert_eq!((fs.stat(fs.file("f")).flags, fs.stat(ROOT).flags), (0, 0));
        Ok(())
    }),
    ("flags are set all at once, and read", |fs| {
        let ino = fs.file("f");
        flag(fs, ino, flags::NO_DUMP | flags::NO_ATIME);
        assert_eq!(fs.stat(ino).flags, flags::NO_DUMP | flags::NO_ATIME);
        flag(fs, ino, flags::NO_DUMP);
        assert_eq!(fs.stat(ino).flags, flags::NO_DUMP);
        Ok(())
    }),
    ("flags are no part of the mode, and stay when it changes", |fs| {
        let ino = fs.file("f");
        flag(fs, ino, flags::NO_DUMP);
        fs.mode(ino, 0o600);
        fs.own(ino, &alice());
        assert_eq!((fs.stat(ino).flags, fs.stat(ino).mode & 0o7777), (flags::NO_DUMP, 0o600));
        Ok(())
    }),
    ("flags that nobody knows are not supported", |fs| {
        let ino = fs.file("f");
        fails(fs.setattr(ino, &with_flags(1 << 31), R), Code::NotSupported);
        fails(fs.setattr(ino, &with_flags(u32::MAX), R), Code::NotSupported);
        assert_eq!(fs.stat(ino).flags, 0);
        Ok(())
    }),
    ("what the volume notes in a file's flags is nobody's to see or set", |fs| {
        let ino = fs.file("f");
        fs.set_attribute(ino, b"user.x", b"1", AttributeMode::Set, R)?;
        assert_eq!(fs.stat(ino).flags, 0);
        flag(fs, ino, 0);
        assert_eq!(fs.attribute(ino, b"user.x", R)?, b"1");
        Ok(())
    }),
    ("setting flags changes the change time, and no other", |fs| {
        let ino = fs.file("f");
        let before = fs.stat(ino);
        flag(fs, ino, flags::NO_DUMP);
        let after = fs.stat(ino);
        assert!(after.changed > before.changed);
        assert_eq!((after.modified, after.accessed), (before.modified, before.accessed));
        Ok(())
    }),
    ("only root makes a file immutable or append-only", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        for flags in [flags::IMMUTABLE, flags::APPEND, flags::APPEND | flags::NO_DUMP] {
            fails(fs.setattr(ino, &with_flags(flags), &alice()), Code::NotPermitted);
        }
        Ok(())
    }),
    ("only root takes immutable and append-only away", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        for flags in [flags::IMMUTABLE, flags::APPEND] {
            flag(fs, ino, flags);
            fails(fs.setattr(ino, &with_flags(0), &alice()), Code::NotPermitted);
        }
        flag(fs, ino, 0);
        Ok(())
    }),
    ("an owner sets the flags that are harmless, and others set none", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        fs.mode(ino, 0o666);
        fails(fs.setattr(ino, &with_flags(flags::NO_DUMP), &bob()), Code::NotPermitted);
        fs.setattr(ino, &with_flags(flags::NO_DUMP | flags::NO_ATIME), &alice())?;
        Ok(())
    }),
    ("an owner changes harmless flags of an append-only file", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        flag(fs, ino, flags::APPEND);
        fs.setattr(ino, &with_flags(flags::APPEND | flags::NO_DUMP), &alice())?;
        assert_eq!(fs.stat(ino).flags, flags::APPEND | flags::NO_DUMP);
        Ok(())
    }),
    ("an immutable file is read, and not opened to write", |fs| {
        let ino = fs.with("f", b"stone").ino();
        flag(fs, ino, flags::IMMUTABLE);
        assert_eq!(fs.open_inode(ino, Access::READ, R)?.read_to_end()?, b"stone");
        fails(fs.open_inode(ino, Access::READ_WRITE, R), Code::NotPermitted);
        fails(fs.open_inode(ino, WRITE, R), Code::NotPermitted);
        Ok(())
    }),
    ("an immutable file or directory may not be written, says access", |fs| {
        let (file, dir) = (fs.file("f"), fs.dir("d"));
        for ino in [file, dir] {
            flag(fs, ino, flags::IMMUTABLE);
            fails(fs.access(ino, WRITE, R), Code::NotPermitted);
            fs.access(ino, Access::READ, R)?;
        }
        Ok(())
    }),
    ("handles that were open do not write an immutable file", |fs| {
        let file = fs.with("f", b"stone");
        flag(fs, file.ino(), flags::IMMUTABLE);
        fails(file.write_at(0, b"x"), Code::NotPermitted);
        fails(file.append(b"x"), Code::NotPermitted);
        fails(file.set_len(0), Code::NotPermitted);
        fails(file.allocate(0, 4096, Allocate::Grow), Code::NotPermitted);
        fails(file.allocate(0, 4096, Allocate::PunchHole), Code::NotPermitted);
        assert_eq!(file.read_to_end()?, b"stone");
        Ok(())
    }),
    ("an immutable file is not mapped to write", |fs| {
        let file = fs.with("f", &[1; 4096]);
        flag(fs, file.ino(), flags::IMMUTABLE);
        assert_eq!(file.map().err().and_then(|error| error.code()), Some(Code::NotPermitted));
        Ok(())
    }),
    ("attributes of an immutable file do not change", |fs| {
        let ino = fs.file("f");
        flag(fs, ino, flags::IMMUTABLE);
        attributes_fail(fs, ino);
        fails(
            fs.setattr(ino, &SetAttr { modified: Some(Time::Now), ..SetAttr::default() }, R),
            Code::NotPermitted,
        );
        Ok(())
    }),
    ("names of an immutable file stay, and it gets no others", |fs| {
        flag(fs, fs.file("f"), flags::IMMUTABLE);
        names_fail(fs);
        Ok(())
    }),
    ("a file that is immutable by one name is so by the other", |fs| {
        let ino = fs.file("a");
        fs.link(ino, ROOT, b"b", R)?;
        fs.set_metadata("/a", &with_flags(flags::IMMUTABLE))?;
        fails(fs.remove_file("/b"), Code::NotPermitted);
        fails(fs.write_file("/b", b"x"), Code::NotPermitted);
        Ok(())
    }),
    ("a mode does not change together with the flag that forbids it", |fs| {
        let ino = fs.file("f");
        flag(fs, ino, flags::IMMUTABLE);
        let both = SetAttr { mode: Some(0o777), flags: Some(0), ..SetAttr::default() };
        fails(fs.setattr(ino, &both, R), Code::NotPermitted);
        Ok(())
    }),
    ("a file that is not immutable any more changes again", |fs| {
        let file = fs.with("f", b"stone");
        flag(fs, file.ino(), flags::IMMUTABLE);
        flag(fs, file.ino(), 0);
        file.write_at(0, b"paper")?;
        fs.mode(file.ino(), 0o600);
        fs.rename_path("/f", "/g")?;
        fs.remove_file("/g")
    }),
    ("an immutable directory gets no names, and loses none", |fs| {
        let (dir, file) = (fs.dir("d"), fs.file("f"));
        fs.create(dir, b"x", 0o644, R)?;
        fs.mkdir(dir, b"y", 0o755, R)?;
        flag(fs, dir, flags::IMMUTABLE);
        fails(fs.create(dir, b"new", 0o644, R), Code::NotPermitted);
        fails(fs.mkdir(dir, b"new", 0o755, R), Code::NotPermitted);
        fails(fs.symlink(dir, b"new", b"x", R), Code::NotPermitted);
        fails(fs.link(file, dir, b"new", R), Code::NotPermitted);
        fails(fs.unlink(dir, b"x", R), Code::NotPermitted);
        fails(fs.rmdir(dir, b"y", R), Code::NotPermitted);
        assert_eq!(fs.names(dir), ["x", "y"]);
        Ok(())
    }),
    ("nothing is renamed in an immutable directory, into it or out of it", |fs| {
        let dir = fs.dir("d");
        fs.file("f");
        fs.create(dir, b"x", 0o644, R)?;
        flag(fs, dir, flags::IMMUTABLE);
        fails(fs.rename(dir, b"x", dir, b"y", Rename::Replace, R), Code::NotPermitted);
        fails(fs.rename(dir, b"x", ROOT, b"y", Rename::Replace, R), Code::NotPermitted);
        fails(fs.rename(ROOT, b"f", dir, b"y", Rename::Replace, R), Code::NotPermitted);
        fails(fs.rename(ROOT, b"f", dir, b"x", Rename::Exchange, R), Code::NotPermitted);
        Ok(())
    }),
    ("an immutable directory is not removed or renamed itself", |fs| {
        flag(fs, fs.dir("d"), flags::IMMUTABLE);
        fs.dir("e");
        fails(fs.rmdir(ROOT, b"d", R), Code::NotPermitted);
        fails(fs.rename(ROOT, b"d", ROOT, b"x", Rename::Replace, R), Code::NotPermitted);
        fails(fs.rename(ROOT, b"e", ROOT, b"d", Rename::Replace, R), Code::NotPermitted);
        Ok(())
    }),
    ("attributes of an immutable directory do not change", |fs| {
        let dir = fs.dir("d");
        flag(fs, dir, flags::IMMUTABLE);
        attributes_fail(fs, dir);
        Ok(())
    }),
    ("files in an immutable directory change, and so do directories in it", |fs| {
        let dir = fs.dir("d");
        let file = fs.open_ino(fs.create(dir, b"x", 0o644, R)?.ino);
        let below = fs.mkdir(dir, b"y", 0o755, R)?.ino;
        flag(fs, dir, flags::IMMUTABLE);
        file.write_at(0, b"written")?;
        fs.mode(file.ino(), 0o600);
        fs.create(below, b"new", 0o644, R)?;
        assert_eq!(fs.readdir(dir, 2, 9, R)?.len(), 2);
        Ok(())
    }),
    ("an append-only file is appended to, and not overwritten or cut", |fs| {
        let file = fs.with("f", b"one");
        flag(fs, file.ino(), flags::APPEND);
        assert_eq!(file.append(b"two")?, 3);
        fails(file.write_at(0, b"x"), Code::NotPermitted);
        fails(file.write_at(5, b"xyz"), Code::NotPermitted);
        fails(file.write_at(7, b"x"), Code::NotPermitted);
        fails(file.set_len(0), Code::NotPermitted);
        fails(file.set_len(100), Code::NotPermitted);
        assert_eq!(file.read_to_end()?, b"onetwo");
        Ok(())
    }),
    ("a write at the end of an append-only file is an append", |fs| {
        let file = fs.with("f", b"one");
        flag(fs, file.ino(), flags::APPEND);
        file.write_at(3, b"two")?;
        assert_eq!(file.read_to_end()?, b"onetwo");
        Ok(())
    }),
    ("no holes are made in an append-only file, and nothing is moved", |fs| {
        let file = fs.with("f", &[1; 3 * 4096]);
        flag(fs, file.ino(), flags::APPEND);
        for how in [
            Allocate::PunchHole,
            Allocate::Zero,
            Allocate::ZeroKeepSize,
            Allocate::Collapse,
            Allocate::Insert,
        ] {
            fails(file.allocate(0, 4096, how), Code::NotPermitted);
        }
        assert_eq!(file.read_to_end()?, [1; 3 * 4096]);
        Ok(())
    }),
    ("an append-only file is not mapped to write", |fs| {
        let file = fs.with("f", &[1; 4096]);
        flag(fs, file.ino(), flags::APPEND);
        assert_eq!(file.map().err().and_then(|error| error.code()), Some(Code::NotPermitted));
        Ok(())
    }),
    ("attributes of an append-only file do not change, but its times become the present", |fs| {
        let ino = fs.file("f");
        flag(fs, ino, flags::APPEND);
        attributes_fail(fs, ino);
        let before = fs.stat(ino).modified;
        let now = SetAttr { modified: Some(Time::Now), accessed: Some(Time::Now), ..SetAttr::default() };
        assert!(fs.setattr(ino, &now, R)?.modified > before);
        Ok(())
    }),
    ("names of an append-only file stay, and it gets no others", |fs| {
        flag(fs, fs.file("f"), flags::APPEND);
        names_fail(fs);
        Ok(())
    }),
    ("an append-only file is opened to write", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        flag(fs, ino, flags::APPEND);
        fs.open_inode(ino, Access::READ_WRITE, &alice())?.append(b"hers")?;
        fails(fs.create_file("/f"), Code::NotPermitted);
        assert_eq!(fs.stat(ino).size, 4);
        Ok(())
    }),
    ("an append-only directory gets names of every kind", |fs| {
        let (dir, file) = (fs.dir("d"), fs.file("f"));
        flag(fs, dir, flags::APPEND);
        fs.create(dir, b"a", 0o644, R)?;
        fs.mkdir(dir, b"b", 0o755, R)?;
        fs.symlink(dir, b"c", b"x", R)?;
        fs.mknod(dir, b"d", libc::S_IFIFO | 0o600, 0, R)?;
        fs.link(file, dir, b"e", R)?;
        assert_eq!(fs.names(dir).len(), 5);
        Ok(())
    }),
    ("an append-only directory loses no names", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"a", 0o644, R)?;
        fs.mkdir(dir, b"b", 0o755, R)?;
        flag(fs, dir, flags::APPEND);
        fails(fs.unlink(dir, b"a", R), Code::NotPermitted);
        fails(fs.rmdir(dir, b"b", R), Code::NotPermitted);
        fails(fs.rename(dir, b"a", dir, b"c", Rename::Replace, R), Code::NotPermitted);
        fails(fs.rename(dir, b"a", ROOT, b"c", Rename::Replace, R), Code::NotPermitted);
        Ok(())
    }),
    ("names move into an append-only directory, but replace none", |fs| {
        let dir = fs.dir("d");
        fs.create(dir, b"a", 0o644, R)?;
        flag(fs, dir, flags::APPEND);
        fs.file("f");
        fails(fs.rename(ROOT, b"f", dir, b"a", Rename::Replace, R), Code::NotPermitted);
        fails(fs.rename(ROOT, b"f", dir, b"a", Rename::Exchange, R), Code::NotPermitted);
        fs.rename(ROOT, b"f", dir, b"f", Rename::Replace, R)?;
        assert_eq!(fs.names(dir), ["a", "f"]);
        Ok(())
    }),
    ("reading notes the access time, except with NO_ATIME", |fs| {
        let (noted, not) = (fs.with("noted", b"x"), fs.with("not", b"x"));
        flag(fs, not.ino(), flags::NO_ATIME);
        let before = (noted.stat()?.accessed, not.stat()?.accessed);
        noted.read_to_end()?;
        not.read_to_end()?;
        not.read_at(0, &mut [0; 1])?;
        assert!(noted.stat()?.accessed > before.0);
        assert_eq!(not.stat()?.accessed, before.1);
        Ok(())
    }),
    ("an access time is set by hand with NO_ATIME", |fs| {
        let ino = fs.file("f");
        flag(fs, ino, flags::NO_ATIME);
        let set = SetAttr { accessed: Some(Time::At(77)), ..SetAttr::default() };
        assert_eq!(fs.setattr(ino, &set, R)?.accessed, 77);
        Ok(())
    }),
    ("a file that is overwritten in place has what was written", |fs| {
        let file = fs.with("f", &[1; 10_000]);
        flag(fs, file.ino(), flags::IN_PLACE);
        let blocks = file.stat()?.blocks;
        file.write_at(5, &[2; 9_000])?;
        let mut expected = vec![1; 10_000];
        expected[5..9_005].fill(2);
        assert_eq!((file.read_to_end()?, file.stat()?.blocks), (expected, blocks));
        Ok(())
    }),
    ("flags are there after a mount, and count", |_| {
        let nova = FormatOptions::new().format(Mapping::memfd(4 << 20)?, MountOptions::new())?;
        let ino = nova.create(ROOT, b"f", 0o644, R)?.ino;
        let dir = nova.mkdir(ROOT, b"d", 0o755, R)?.ino;
        nova.setattr(ino, &with_flags(flags::APPEND | flags::NO_DUMP), R)?;
        nova.setattr(dir, &with_flags(flags::IMMUTABLE), R)?;
        let nova = MountOptions::new().mount(nova.unmount()?)?;
        assert_eq!(nova.getattr(ino)?.flags, flags::APPEND | flags::NO_DUMP);
        fails(nova.unlink(ROOT, b"f", R), Code::NotPermitted);
        fails(nova.create(dir, b"x", 0o644, R), Code::NotPermitted);
        Ok(())
    }),
];
