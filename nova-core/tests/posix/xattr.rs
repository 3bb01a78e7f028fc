//! Extended attributes.

use crate::{kit::*, own::*};
use nova_core::{AttributeMode::*, *};
use pmem_map::Mapping;

/// A volume whose journal takes the largest value.
fn roomy() -> Fs {
    let options = FormatOptions::new().stripes(2).journal(1 << 20);
    Fs { nova: options.format(Mapping::memfd(8 << 20).unwrap(), MountOptions::new()).unwrap() }
}

fn set(fs: &Fs, ino: u64, name: &[u8], value: &[u8]) -> Result<()> {
    fs.set_attribute(ino, name, value, Set, R)
}

/// Names of attributes, in order.
fn names(fs: &Fs, ino: u64, who: &Credentials) -> Vec<String> {
    let names = fs.attributes(ino, who).unwrap();
    let mut names: Vec<String> = names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
    names.sort();
    names
}

const ACL: &[u8] = b"system.posix_acl_access";

/// An access control list: entries of no id, and one for bob.
fn list(bobs: u16, entries: &[(u16, u16)]) -> Vec<u8> {
    let mut entries: Vec<(u16, u16, u32)> =
        entries.iter().map(|(tag, rights)| (*tag, *rights, u32::MAX)).collect();
    entries.push((2, bobs, 2000));
    entries.sort();
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// A file that alice owns and everybody may read.
fn hers(fs: &Fs) -> u64 {
    let ino = fs.file("f");
    fs.own(ino, &alice());
    ino
}

pub(crate) const CASES: &[Case] = &[
    ("what is set is read back, on files and on directories", |fs| {
        for ino in [fs.file("f"), fs.dir("d"), ROOT] {
            set(fs, ino, b"user.x", b"value")?;
            assert_eq!(fs.attribute(ino, b"user.x", R)?, b"value");
        }
        Ok(())
    }),
    ("values are any bytes", |fs| {
        let ino = fs.file("f");
        let every: Vec<u8> = (0..=255).collect();
        set(fs, ino, b"user.x", &every)?;
        assert_eq!(fs.attribute(ino, b"user.x", R)?, every);
        Ok(())
    }),
    ("an attribute that is not there is ENODATA, to read and to remove", |fs| {
        let ino = fs.file("f");
        fails(fs.attribute(ino, b"user.x", R), Code::NoAttribute);
        fails(fs.remove_attribute(ino, b"user.x", R), Code::NoAttribute);
        fails(fs.set_attribute(ino, b"user.x", b"", Replace, R), Code::NoAttribute);
        Ok(())
    }),
    ("create is EEXIST for what is there, and leaves it", |fs| {
        let ino = fs.file("f");
        fs.set_attribute(ino, b"user.x", b"one", Create, R)?;
        fails(fs.set_attribute(ino, b"user.x", b"two", Create, R), Code::Exists);
        assert_eq!(fs.attribute(ino, b"user.x", R)?, b"one");
        fs.set_attribute(ino, b"user.x", b"three", Replace, R)?;
        assert_eq!(fs.attribute(ino, b"user.x", R)?, b"three");
        Ok(())
    }),
    ("an empty value is a value", |fs| {
        let ino = fs.file("f");
        set(fs, ino, b"user.x", b"")?;
        assert_eq!(fs.attribute(ino, b"user.x", R)?, b"");
        assert_eq!(names(fs, ino, R), ["user.x"]);
        fails(fs.set_attribute(ino, b"user.x", b"", Create, R), Code::Exists);
        Ok(())
    }),
    ("replacing may make a value longer and shorter", |fs| {
        let ino = fs.file("f");
        for len in [10, 0, 5000, 100, 9000, 4000, 4096, 1, 3900, 8000] {
            set(fs, ino, b"user.x", &pattern(len, len))?;
            same(&fs.attribute(ino, b"user.x", R)?, &pattern(len, len));
        }
        assert_eq!(names(fs, ino, R), ["user.x"]);
        Ok(())
    }),
    ("values of all lengths about a page are read back", |fs| {
        let ino = fs.file("f");
        for len in (3940..4110).step_by(7) {
            set(fs, ino, b"user.x", &pattern(len, len))?;
            same(&fs.attribute(ino, b"user.x", R)?, &pattern(len, len));
        }
        Ok(())
    }),
    ("a removed attribute is gone, the others stay, and it can be made again", |fs| {
        let ino = fs.file("f");
        for name in [&b"user.a"[..], b"user.b", b"user.c"] {
            set(fs, ino, name, name)?;
        }
        fs.remove_attribute(ino, b"user.b", R)?;
        fails(fs.attribute(ino, b"user.b", R), Code::NoAttribute);
        assert_eq!(names(fs, ino, R), ["user.a", "user.c"]);
        fs.set_attribute(ino, b"user.b", b"new", Create, R)?;
        assert_eq!(fs.attribute(ino, b"user.b", R)?, b"new");
        Ok(())
    }),
    ("the same rest of a name is another attribute in each namespace", |fs| {
        let ino = fs.file("f");
        let all = [&b"user.x"[..], b"trusted.x", b"security.x"];
        for name in all {
            set(fs, ino, name, name)?;
        }
        for name in all {
            assert_eq!(fs.attribute(ino, name, R)?, name);
        }
        fs.remove_attribute(ino, b"trusted.x", R)?;
        assert_eq!(names(fs, ino, R), ["security.x", "user.x"]);
        Ok(())
    }),
    ("names without a namespace, or of another, are not supported", |fs| {
        let ino = fs.file("f");
        for name in [&b"x"[..], b"", b"user", b"users.x", b"USER.x", b".x", b"system.x", b"os2.x"] {
            fails(set(fs, ino, name, b"v"), Code::NotSupported);
            fails(fs.attribute(ino, name, R), Code::NotSupported);
        }
        Ok(())
    }),
    ("a namespace alone is no name", |fs| {
        let ino = fs.file("f");
        for name in [&b"user."[..], b"trusted.", b"security."] {
            fails(set(fs, ino, name, b"v"), Code::Invalid);
        }
        Ok(())
    }),
    ("names have up to 255 bytes", |fs| {
        let ino = fs.file("f");
        let name = |len: usize| [&b"user."[..], &vec![b'n'; len - 5]].concat();
        set(fs, ino, &name(255), b"long")?;
        set(fs, ino, &name(254), b"shorter")?;
        assert_eq!(fs.attribute(ino, &name(255), R)?, b"long");
        assert_eq!(fs.attribute(ino, &name(254), R)?, b"shorter");
        fails(set(fs, ino, &name(256), b"v"), Code::Range);
        fails(fs.attribute(ino, &name(256), R), Code::Range);
        Ok(())
    }),
    ("user attributes go by the mode", |fs| {
        let ino = hers(fs);
        fs.mode(ino, 0o640);
        fs.set_attribute(ino, b"user.x", b"v", Set, &alice())?;
        fails(fs.set_attribute(ino, b"user.x", b"w", Set, &bob()), Code::NoAccess);
        fails(fs.attribute(ino, b"user.x", &bob()), Code::NoAccess);
        fs.mode(ino, 0o644);
        assert_eq!(fs.attribute(ino, b"user.x", &bob())?, b"v");
        fails(fs.remove_attribute(ino, b"user.x", &bob()), Code::NoAccess);
        fs.mode(ino, 0o646);
        fs.remove_attribute(ino, b"user.x", &bob())?;
        fs.mode(ino, 0o444);
        fails(fs.set_attribute(ino, b"user.x", b"v", Set, &alice()), Code::NoAccess);
        Ok(())
    }),
    ("trusted attributes are root's: others neither see nor set them", |fs| {
        let ino = hers(fs);
        fs.set_attribute(ino, b"user.x", b"v", Set, &alice())?;
        set(fs, ino, b"trusted.x", b"secret")?;
        fails(fs.attribute(ino, b"trusted.x", &alice()), Code::NoAttribute);
        fails(fs.set_attribute(ino, b"trusted.x", b"v", Set, &alice()), Code::NotPermitted);
        fails(fs.remove_attribute(ino, b"trusted.x", &alice()), Code::NotPermitted);
        assert_eq!(names(fs, ino, &alice()), ["user.x"]);
        assert_eq!(names(fs, ino, R), ["trusted.x", "user.x"]);
        Ok(())
    }),
    ("security attributes are root's to set and everybody's to read", |fs| {
        let ino = hers(fs);
        fails(fs.set_attribute(ino, b"security.x", b"v", Set, &alice()), Code::NotPermitted);
        set(fs, ino, b"security.x", b"label")?;
        assert_eq!(fs.attribute(ino, b"security.x", &bob())?, b"label");
        assert_eq!(names(fs, ino, &bob()), ["security.x"]);
        fails(fs.remove_attribute(ino, b"security.x", &alice()), Code::NotPermitted);
        Ok(())
    }),
    ("links, pipes and devices have no user attributes", |fs| {
        let link = fs.symlink(ROOT, b"l", b"target", R)?.ino;
        let fifo = fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o666, 0, R)?.ino;
        let device = fs.mknod(ROOT, b"c", libc::S_IFCHR | 0o666, 259, R)?.ino;
        let socket = fs.mknod(ROOT, b"s", libc::S_IFSOCK | 0o666, 0, R)?.ino;
        for ino in [link, fifo, device, socket] {
            fails(set(fs, ino, b"user.x", b"v"), Code::NotPermitted);
            fails(fs.remove_attribute(ino, b"user.x", R), Code::NotPermitted);
            fails(fs.attribute(ino, b"user.x", R), Code::NoAttribute);
        }
        Ok(())
    }),
    ("links, pipes and devices have trusted and security attributes", |fs| {
        let link = fs.symlink(ROOT, b"l", b"target", R)?.ino;
        let fifo = fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o666, 0, R)?.ino;
        for ino in [link, fifo] {
            set(fs, ino, b"trusted.x", b"t")?;
            set(fs, ino, b"security.x", &pattern(1, 5000))?;
            assert_eq!(fs.attribute(ino, b"trusted.x", R)?, b"t");
            same(&fs.attribute(ino, b"security.x", R)?, &pattern(1, 5000));
        }
        assert_eq!(fs.readlink(link)?, b"target");
        Ok(())
    }),
    ("of a sticky directory only its owner sets user attributes", |fs| {
        let dir = fs.dir("d");
        fs.own(dir, &alice());
        fs.mode(dir, 0o1777);
        fails(fs.set_attribute(dir, b"user.x", b"v", Set, &bob()), Code::NotPermitted);
        fs.set_attribute(dir, b"user.x", b"v", Set, &alice())?;
        fs.mode(dir, 0o777);
        fs.set_attribute(dir, b"user.x", b"w", Set, &bob())?;
        Ok(())
    }),
    ("attributes of immutable files, and of those to append to, stay", |fs| {
        let ino = fs.file("f");
        set(fs, ino, b"user.x", b"v")?;
        for flag in [flags::APPEND, flags::IMMUTABLE] {
            fs.setattr(ino, &SetAttr { flags: Some(flag), ..SetAttr::default() }, R)?;
            fails(set(fs, ino, b"user.x", b"w"), Code::NotPermitted);
            fails(set(fs, ino, b"user.y", b"w"), Code::NotPermitted);
            fails(fs.remove_attribute(ino, b"user.x", R), Code::NotPermitted);
        }
        assert_eq!(fs.attribute(ino, b"user.x", R)?, b"v");
        Ok(())
    }),
    ("a value of 65,536 bytes can be, where the journal takes it", |_| {
        let fs = roomy();
        let ino = fs.file("f");
        for seed in 0..3 {
            set(&fs, ino, b"user.x", &pattern(seed, 65_536))?;
            same(&fs.attribute(ino, b"user.x", R)?, &pattern(seed, 65_536));
        }
        fs.remove_attribute(ino, b"user.x", R)?;
        fs.check();
        Ok(())
    }),
    ("a value of more is E2BIG, and leaves what was there", |fs| {
        let ino = fs.file("f");
        set(fs, ino, b"user.x", b"v")?;
        fails(set(fs, ino, b"user.x", &[0; 65_537]), Code::TooBig);
        fails(set(fs, ino, b"user.y", &vec![0; 1 << 20]), Code::TooBig);
        assert_eq!((fs.attribute(ino, b"user.x", R)?, names(fs, ino, R).len()), (b"v".to_vec(), 1));
        Ok(())
    }),
    ("on a full volume a large value is ENOSPC, leaves what was there, and can be removed", |_| {
        let fs = volume(1 << 20, &MountOptions::new());
        let ino = fs.file("f");
        set(&fs, ino, b"user.x", b"v")?;
        let filler = fs.with("filler", b"");
        while filler.append(&[1; B as usize]).is_ok() {}
        fails(set(&fs, ino, b"user.x", &[1; 60_000]), Code::NoSpace);
        assert_eq!(fs.attribute(ino, b"user.x", R)?, b"v");
        fs.remove_attribute(ino, b"user.x", R)?;
        fails(fs.attribute(ino, b"user.x", R), Code::NoAttribute);
        fs.check();
        Ok(())
    }),
    ("a file can have hundreds of attributes", |fs| {
        let ino = fs.file("f");
        let name = |number: u64| format!("user.{number}").into_bytes();
        for number in 0..300 {
            set(fs, ino, &name(number), &pattern(number, number))?;
        }
        for number in (0..300).step_by(2) {
            fs.remove_attribute(ino, &name(number), R)?;
        }
        assert_eq!(names(fs, ino, R).len(), 150);
        for number in (1..300).step_by(2) {
            same(&fs.attribute(ino, &name(number), R)?, &pattern(number, number));
        }
        Ok(())
    }),
    ("replacing many times takes no more space", |fs| {
        let ino = fs.file("f");
        set(fs, ino, b"user.x", &pattern(1, 3000))?;
        let free = fs.free();
        for seed in 0..400 {
            set(fs, ino, b"user.x", &pattern(seed, 3000))?;
        }
        assert!(fs.free() + 12 >= free, "{} of {free}", fs.free());
        same(&fs.attribute(ino, b"user.x", R)?, &pattern(399, 3000));
        Ok(())
    }),
    ("attributes leave size, blocks and bytes of the file as they are", |fs| {
        let file = fs.with("f", &pattern(1, 3 * B));
        let before = file.stat()?;
        set(fs, file.ino(), b"user.x", &pattern(2, 6000))?;
        file.write_at(B, &pattern(3, 10))?;
        let after = file.stat()?;
        assert_eq!((after.size, after.blocks, after.mode), (before.size, before.blocks, before.mode));
        same(&part(&file, 0, B), &pattern(1, B));
        same(&fs.attribute(file.ino(), b"user.x", R)?, &pattern(2, 6000));
        Ok(())
    }),
    ("attributes are the file's, by whichever name, and go with it", |fs| {
        let ino = fs.file("f");
        set(fs, ino, b"user.x", b"v")?;
        fs.link(ino, ROOT, b"g", R)?;
        fs.rename(ROOT, b"f", ROOT, b"h", Rename::Replace, R)?;
        assert_eq!(fs.attribute(fs.lookup(ROOT, b"g", R)?.ino, b"user.x", R)?, b"v");
        fs.unlink(ROOT, b"g", R)?;
        fs.unlink(ROOT, b"h", R)?;
        fails(fs.attribute(ino, b"user.x", R), Code::NotFound);
        for number in 0..5 {
            assert!(names(fs, fs.file(&number.to_string()), R).is_empty());
        }
        Ok(())
    }),
    ("attributes stand after a mount, and after a scan", |_| {
        let killable = Killable::new(4 << 20);
        let (ino, dir) = (killable.fs.file("f"), killable.fs.dir("d"));
        for number in 0..20 {
            set(&killable.fs, ino, format!("user.{number}").as_bytes(), &pattern(number, number * 400))?;
        }
        set(&killable.fs, dir, b"trusted.x", b"")?;
        killable.fs.remove_attribute(ino, b"user.7", R)?;
        set(&killable.fs, ino, b"user.8", b"replaced")?;
        for fs in [killable.killed(), killable.killed().again(&MountOptions::new())] {
            assert_eq!(names(&fs, ino, R), names(&killable.fs, ino, R));
            same(&fs.attribute(ino, b"user.19", R)?, &pattern(19, 7600));
            assert_eq!(fs.attribute(ino, b"user.8", R)?, b"replaced");
            assert_eq!(fs.attribute(dir, b"trusted.x", R)?, b"");
            fs.check();
        }
        Ok(())
    }),
    ("a size and a mode that are set at once both count, where there is a list, too", |fs| {
        let file = fs.with("f", &pattern(1, 2 * B));
        let ino = file.ino();
        set(fs, ino, ACL, &list(6, &[(1, 6), (4, 4), (0x10, 7), (0x20, 0)]))?;
        fs.access(ino, Access::READ_WRITE, &bob())?;
        let narrow = SetAttr { mode: Some(0o600), size: Some(5), ..SetAttr::default() };
        let stat = fs.setattr(ino, &narrow, R)?;
        assert_eq!((stat.mode & 0o777, stat.size), (0o600, 5));
        fails(fs.access(ino, Access::READ, &bob()), Code::NoAccess);
        assert_eq!(fs.attribute(ino, ACL, R)?, list(6, &[(1, 6), (4, 4), (0x10, 0), (0x20, 0)]));
        same(&all(&file), &pattern(1, 5));
        Ok(())
    }),
    ("a size and a mode that are set at once stand after a scan", |_| {
        let killable = Killable::new(1 << 20);
        let ino = killable.fs.with("f", &pattern(1, 9 * B)).ino();
        set(&killable.fs, ino, ACL, &list(6, &[(1, 6), (4, 4), (0x10, 7), (0x20, 0)]))?;
        for (mode, size) in [(0o640, 3 * B + 5), (0o660, 8 * B), (0o600, 1)] {
            let both = SetAttr { mode: Some(mode), size: Some(size), ..SetAttr::default() };
            killable.fs.setattr(ino, &both, R)?;
        }
        let fs = killable.killed();
        assert_eq!(fs.stat(ino), killable.fs.stat(ino));
        assert_eq!(fs.attribute(ino, ACL, R)?, list(6, &[(1, 6), (4, 4), (0x10, 0), (0x20, 0)]));
        fs.check();
        Ok(())
    }),
    ("who sets a list and is not in the file's group takes the set-group-id bit away", |fs| {
        let ino = fs.file("f");
        fs.setattr(ino, &SetAttr { uid: Some(1000), gid: Some(50), ..SetAttr::default() }, R)?;
        fs.mode(ino, 0o2755);
        let value = list(6, &[(1, 7), (4, 5), (0x10, 5), (0x20, 5)]);
        let mut member = alice();
        member.groups = vec![50];
        fs.set_attribute(ino, ACL, &value, Set, &member)?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o2755);
        set(fs, ino, ACL, &value)?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o2755);
        fs.set_attribute(ino, ACL, &value, Set, &alice())?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o755);
        Ok(())
    }),
    ("the volume's own attributes are nobody's to see", |fs| {
        fs.set_quota(Quota::User(5), 100, 100)?;
        assert!(names(fs, ROOT, R).is_empty());
        Ok(())
    }),
];
