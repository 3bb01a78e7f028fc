//! POSIX access control lists, as the bytes that Linux has them in.

use crate::kit::*;
use nova_core::*;
use pmem_map::Mapping;

const OWNER: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The value of a list: tags, permissions, and whose they are (0 for those that are nobody's in particular).
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(if matches!(*tag, USER | GROUP) { *id } else { u32::MAX }.to_le_bytes());
    }
    bytes
}

fn set(fs: &Nova, ino: u64, name: &[u8], entries: &[(u16, u16, u32)]) -> Result<()> {
    fs.set_attribute(ino, name, &list(entries), AttributeMode::Set, R)
}

/// What of read (4), write (2) and execute (1) somebody may do.
fn may(fs: &Nova, ino: u64, who: &Credentials) -> u32 {
    let bits = [(4, true, false, false), (2, false, true, false), (1, false, false, true)];
    let can = |(bit, read, write, execute)| {
        if fs.access(ino, Access { read, write, execute }, who).is_ok() { bit } else { 0 }
    };
    bits.into_iter().map(can).sum()
}

fn groups(groups: &[u32]) -> Credentials {
    Credentials { groups: groups.to_vec(), ..Credentials::user(5, 5) }
}

fn chmod(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

/// `rwx` for the owner, `rw-` for alice, `r--` for the group, `r-x` for group 50, a mask, nothing for others.
fn usual(mask: u16) -> [(u16, u16, u32); 6] {
    [(OWNER, 7, 0), (USER, 6, 1000), (GROUP_OBJ, 4, 0), (GROUP, 5, 50), (MASK, mask, 0), (OTHER, 0, 0)]
}

pub(crate) const CASES: &[Case] = &[
    ("a list is read as it was set", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        assert_eq!(fs.attribute(ino, ACCESS, R)?, list(&usual(7)));
        Ok(())
    }),
    ("a mode has the mask where the group's bits are", |fs| {
        let ino = fs.file("f");
        for mask in 0..8 {
            set(fs, ino, ACCESS, &usual(mask))?;
            assert_eq!(fs.stat(ino).mode, libc::S_IFREG | 0o700 | u32::from(mask) << 3);
        }
        Ok(())
    }),
    ("a minimal list becomes the mode, and is none any more", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &[(OWNER, 6, 0), (GROUP_OBJ, 5, 0), (OTHER, 1, 0)])?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o651);
        fails(fs.attribute(ino, ACCESS, R), Code::NoAttribute);
        assert!(fs.attributes(ino, R)?.is_empty());
        Ok(())
    }),
    ("a minimal list takes the place of a longer one", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        set(fs, ino, ACCESS, &[(OWNER, 6, 0), (GROUP_OBJ, 0, 0), (OTHER, 0, 0)])?;
        fails(fs.attribute(ino, ACCESS, R), Code::NoAttribute);
        assert_eq!((may(fs, ino, &alice()), fs.stat(ino).mode & 0o777), (0, 0o600));
        Ok(())
    }),
    ("a named user has what the entry says", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        assert_eq!((may(fs, ino, &alice()), may(fs, ino, &bob())), (6, 0));
        Ok(())
    }),
    ("the mask bounds a named user", |fs| {
        let ino = fs.file("f");
        for mask in 0..8 {
            set(
                fs,
                ino,
                ACCESS,
                &[(OWNER, 7, 0), (USER, 7, 1000), (GROUP_OBJ, 0, 0), (MASK, mask, 0), (OTHER, 0, 0)],
            )?;
            assert_eq!(may(fs, ino, &alice()), u32::from(mask));
        }
        Ok(())
    }),
    ("a named user has no rights of a group, nor of others", |fs| {
        let ino = fs.file("f");
        let entries =
            [(OWNER, 7, 0), (USER, 0, 5), (GROUP_OBJ, 7, 0), (GROUP, 7, 50), (MASK, 7, 0), (OTHER, 7, 0)];
        set(fs, ino, ACCESS, &entries)?;
        assert_eq!((may(fs, ino, &groups(&[0, 50])), may(fs, ino, &alice())), (0, 7));
        Ok(())
    }),
    ("a named group has what the entry says, within the mask", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        assert_eq!(may(fs, ino, &groups(&[50])), 5);
        set(fs, ino, ACCESS, &usual(6))?;
        assert_eq!(may(fs, ino, &groups(&[50])), 4);
        Ok(())
    }),
    ("the owning group has what its entry says, within the mask", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        assert_eq!(may(fs, ino, &groups(&[0])), 4);
        set(fs, ino, ACCESS, &usual(3))?;
        assert_eq!(may(fs, ino, &groups(&[0])), 0);
        Ok(())
    }),
    ("the owner is not masked, and has no entry but the owner's", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        set(fs, ino, ACCESS, &usual(0))?;
        assert_eq!(may(fs, ino, &alice()), 7);
        set(
            fs,
            ino,
            ACCESS,
            &[(OWNER, 0, 0), (USER, 7, 1000), (GROUP_OBJ, 7, 0), (MASK, 7, 0), (OTHER, 7, 0)],
        )?;
        assert_eq!(may(fs, ino, &alice()), 0);
        Ok(())
    }),
    ("any group of one's is enough, and rights of two do not add up", |fs| {
        let ino = fs.file("f");
        let entries =
            [(OWNER, 7, 0), (GROUP_OBJ, 0, 0), (GROUP, 4, 50), (GROUP, 2, 60), (MASK, 7, 0), (OTHER, 0, 0)];
        set(fs, ino, ACCESS, &entries)?;
        let both = groups(&[50, 60, 0]);
        assert_eq!(may(fs, ino, &both), 6);
        fails(fs.access(ino, Access::READ_WRITE, &both), Code::NoAccess);
        Ok(())
    }),
    ("a member of a group in the list has no rights of others", |fs| {
        let ino = fs.file("f");
        set(
            fs,
            ino,
            ACCESS,
            &[(OWNER, 7, 0), (GROUP_OBJ, 7, 0), (GROUP, 0, 50), (MASK, 7, 0), (OTHER, 7, 0)],
        )?;
        assert_eq!((may(fs, ino, &groups(&[50])), may(fs, ino, &groups(&[51]))), (0, 7));
        Ok(())
    }),
    ("others are not masked", |fs| {
        let ino = fs.file("f");
        set(
            fs,
            ino,
            ACCESS,
            &[(OWNER, 7, 0), (USER, 7, 1000), (GROUP_OBJ, 7, 0), (MASK, 0, 0), (OTHER, 5, 0)],
        )?;
        assert_eq!(may(fs, ino, &bob()), 5);
        Ok(())
    }),
    ("root passes a list, but executes only what somebody may execute", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        set(
            fs,
            ino,
            ACCESS,
            &[(OWNER, 0, 0), (USER, 7, 2000), (GROUP_OBJ, 0, 0), (MASK, 6, 0), (OTHER, 0, 0)],
        )?;
        assert_eq!(may(fs, ino, R), 6);
        Ok(())
    }),
    ("a list opens a directory to one user", |fs| {
        let dir = fs.mkdir(ROOT, b"d", 0o700, R)?.ino;
        fails(fs.create(dir, b"f", 0o600, &alice()), Code::NoAccess);
        set(
            fs,
            dir,
            ACCESS,
            &[(OWNER, 7, 0), (USER, 7, 1000), (GROUP_OBJ, 0, 0), (MASK, 7, 0), (OTHER, 0, 0)],
        )?;
        fs.create(dir, b"f", 0o600, &alice())?;
        fails(fs.lookup(dir, b"f", &bob()), Code::NoAccess);
        Ok(())
    }),
    ("chmod changes the mask, and not the owning group's entry", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        fs.mode(ino, 0o740);
        assert_eq!(fs.attribute(ino, ACCESS, R)?, list(&usual(4)));
        assert_eq!(may(fs, ino, &alice()), 4);
        Ok(())
    }),
    ("chmod changes the owner's and the others' entries", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        fs.mode(ino, 0o475);
        let mut entries = usual(7);
        (entries[0].1, entries[5].1) = (4, 5);
        assert_eq!(fs.attribute(ino, ACCESS, R)?, list(&entries));
        assert_eq!(may(fs, ino, &bob()), 5);
        Ok(())
    }),
    ("chmod with a size changes both the list and the size", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        fs.setattr(ino, &SetAttr { size: Some(100), ..chmod(0o740) }, R)?;
        assert_eq!((fs.stat(ino).size, fs.stat(ino).mode & 0o777), (100, 0o740));
        assert_eq!(fs.attribute(ino, ACCESS, R)?, list(&usual(4)));
        Ok(())
    }),
    ("a default list says nothing of its directory", |fs| {
        let dir = fs.mkdir(ROOT, b"d", 0o711, R)?.ino;
        set(
            fs,
            dir,
            DEFAULT,
            &[(OWNER, 7, 0), (USER, 7, 1000), (GROUP_OBJ, 7, 0), (MASK, 7, 0), (OTHER, 7, 0)],
        )?;
        assert_eq!((may(fs, dir, &alice()), fs.stat(dir).mode & 0o777), (1, 0o711));
        fails(fs.attribute(dir, ACCESS, R), Code::NoAttribute);
        Ok(())
    }),
    ("a new file has its directory's default list, as far as its mode goes", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, DEFAULT, &usual(7))?;
        let stat = fs.create(dir, b"f", 0o664, R)?;
        let mut expected = usual(6);
        expected[0].1 = 6;
        assert_eq!(fs.attribute(stat.ino, ACCESS, R)?, list(&expected));
        assert_eq!(stat.mode & 0o7777, 0o660);
        fails(fs.attribute(stat.ino, DEFAULT, R), Code::NoAttribute);
        Ok(())
    }),
    ("a default list takes the place of the umask", |fs| {
        let dir = fs.dir("d");
        set(
            fs,
            dir,
            DEFAULT,
            &[(OWNER, 7, 0), (USER, 7, 1000), (GROUP_OBJ, 7, 0), (MASK, 7, 0), (OTHER, 7, 0)],
        )?;
        let who = Credentials { umask: 0o077, ..alice() };
        assert_eq!(fs.create(dir, b"f", 0o666, &who)?.mode & 0o777, 0o666);
        assert_eq!(fs.mkdir(dir, b"e", 0o777, &who)?.mode & 0o777, 0o777);
        Ok(())
    }),
    ("a new directory has the default list twice: for itself, and to hand on", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, DEFAULT, &usual(7))?;
        let below = fs.mkdir(dir, b"e", 0o750, R)?;
        assert_eq!(fs.attribute(below.ino, ACCESS, R)?, list(&usual(5)));
        assert_eq!(fs.attribute(below.ino, DEFAULT, R)?, list(&usual(7)));
        let file = fs.create(below.ino, b"f", 0o777, R)?.ino;
        assert_eq!(fs.attribute(file, ACCESS, R)?, list(&usual(7)));
        Ok(())
    }),
    ("pipes and files without names have the default list too", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, DEFAULT, &usual(7))?;
        let pipe = fs.mknod(dir, b"p", libc::S_IFIFO | 0o777, 0, R)?.ino;
        let file = fs.tmpfile(dir, 0o777, R)?;
        assert_eq!(fs.attribute(pipe, ACCESS, R)?, list(&usual(7)));
        assert_eq!(fs.attribute(file.ino(), ACCESS, R)?, list(&usual(7)));
        Ok(())
    }),
    ("symbolic links have no lists, by inheritance or by hand", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, DEFAULT, &usual(7))?;
        let link = fs.symlink(dir, b"s", b"x", R)?;
        assert_eq!(link.mode & 0o777, 0o777);
        assert!(fs.attributes(link.ino, R)?.is_empty());
        fails(set(fs, link.ino, ACCESS, &usual(7)), Code::NotSupported);
        Ok(())
    }),
    ("a minimal default list bounds the modes of new files, which have no list", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, DEFAULT, &[(OWNER, 7, 0), (GROUP_OBJ, 4, 0), (OTHER, 0, 0)])?;
        let stat = fs.create(dir, b"f", 0o666, R)?;
        assert_eq!(stat.mode & 0o777, 0o640);
        fails(fs.attribute(stat.ino, ACCESS, R), Code::NoAttribute);
        assert!(fs.attribute(fs.mkdir(dir, b"e", 0o777, R)?.ino, DEFAULT, R).is_ok());
        Ok(())
    }),
    ("names that come by link or rename inherit nothing", |fs| {
        let (dir, one, other) = (fs.dir("d"), fs.file("one"), fs.file("other"));
        set(fs, dir, DEFAULT, &usual(7))?;
        fs.link(one, dir, b"one", R)?;
        fs.rename(ROOT, b"other", dir, b"other", Rename::Replace, R)?;
        assert!(fs.attributes(one, R)?.is_empty() && fs.attributes(other, R)?.is_empty());
        Ok(())
    }),
    ("without its default list a directory hands nothing on", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, DEFAULT, &usual(7))?;
        fs.remove_attribute(dir, DEFAULT, R)?;
        let stat = fs.create(dir, b"f", 0o664, R)?;
        assert_eq!(stat.mode & 0o777, 0o664);
        fails(fs.attribute(stat.ino, ACCESS, R), Code::NoAttribute);
        Ok(())
    }),
    ("without its list a file has its mode", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(6))?;
        fs.remove_attribute(ino, ACCESS, R)?;
        assert_eq!(
            (fs.stat(ino).mode & 0o777, may(fs, ino, &alice()), may(fs, ino, &groups(&[0]))),
            (0o760, 0, 6)
        );
        Ok(())
    }),
    ("a list of no entries takes a list away", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, DEFAULT, &usual(7))?;
        set(fs, dir, ACCESS, &usual(7))?;
        set(fs, dir, DEFAULT, &[])?;
        set(fs, dir, ACCESS, &[])?;
        assert!(fs.attributes(dir, R)?.is_empty());
        Ok(())
    }),
    ("lists that miss an entry are invalid", |fs| {
        let dir = fs.dir("d");
        let all = usual(7);
        for missing in [0, 2, 4, 5] {
            let mut entries = all.to_vec();
            entries.remove(missing);
            fails(set(fs, dir, ACCESS, &entries), Code::Invalid);
            fails(set(fs, dir, DEFAULT, &entries), Code::Invalid);
        }
        Ok(())
    }),
    ("lists with two entries of one kind are invalid", |fs| {
        let ino = fs.file("f");
        for twice in 0..6 {
            let mut entries = usual(7).to_vec();
            entries.insert(twice, entries[twice]);
            fails(set(fs, ino, ACCESS, &entries), Code::Invalid);
        }
        Ok(())
    }),
    ("lists out of order, and of unknown tags or permissions, are invalid", |fs| {
        let ino = fs.file("f");
        fails(set(fs, ino, ACCESS, &[(GROUP_OBJ, 4, 0), (OWNER, 6, 0), (OTHER, 4, 0)]), Code::Invalid);
        fails(
            set(fs, ino, ACCESS, &[(OWNER, 6, 0), (GROUP_OBJ, 4, 0), (OTHER, 4, 0), (64, 4, 0)]),
            Code::Invalid,
        );
        fails(set(fs, ino, ACCESS, &[(OWNER, 8, 0), (GROUP_OBJ, 4, 0), (OTHER, 4, 0)]), Code::Invalid);
        assert_eq!(fs.stat(ino).mode & 0o777, 0o644);
        Ok(())
    }),
    ("values that are no lists are invalid", |fs| {
        let ino = fs.file("f");
        let good = list(&usual(7));
        let mut other_version = good.clone();
        other_version[0] = 1;
        for value in [&b""[..], b"\x02\0\0", b"some text", &good[..good.len() - 1], &other_version] {
            fails(fs.set_attribute(ino, ACCESS, value, AttributeMode::Set, R), Code::Invalid);
        }
        Ok(())
    }),
    ("a file has no default list", |fs| {
        let ino = fs.file("f");
        fails(set(fs, ino, DEFAULT, &usual(7)), Code::NoAccess);
        fails(fs.attribute(ino, DEFAULT, R), Code::NoAttribute);
        Ok(())
    }),
    ("only the owner and root set and remove lists, and everybody reads them", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        let value = list(&usual(7));
        fails(fs.set_attribute(ino, ACCESS, &value, AttributeMode::Set, &bob()), Code::NotPermitted);
        fs.set_attribute(ino, ACCESS, &value, AttributeMode::Set, &alice())?;
        fails(fs.remove_attribute(ino, ACCESS, &bob()), Code::NotPermitted);
        assert_eq!(fs.attribute(ino, ACCESS, &bob())?, value);
        fs.remove_attribute(ino, ACCESS, &alice())
    }),
    ("the system has no other attributes", |fs| {
        let ino = fs.file("f");
        fails(fs.set_attribute(ino, b"system.x", b"1", AttributeMode::Set, R), Code::NotSupported);
        fails(fs.attribute(ino, b"system.x", R), Code::NotSupported);
        Ok(())
    }),
    ("lists are among the names of attributes", |fs| {
        let dir = fs.dir("d");
        set(fs, dir, ACCESS, &usual(7))?;
        set(fs, dir, DEFAULT, &usual(7))?;
        let mut names = fs.attributes(dir, &bob())?;
        names.sort();
        assert_eq!(names, [ACCESS, DEFAULT]);
        Ok(())
    }),
    ("set-group-id goes when an owner who is not in the group sets a list", |fs| {
        let ino = fs.file("f");
        let value = list(&usual(7));
        fs.setattr(ino, &SetAttr { uid: Some(1000), gid: Some(50), ..chmod(0o2755) }, R)?;
        fs.set_attribute(ino, ACCESS, &value, AttributeMode::Set, R)?;
        assert_eq!(fs.stat(ino).mode & 0o7000, 0o2000);
        fs.set_attribute(ino, ACCESS, &value, AttributeMode::Set, &alice())?;
        assert_eq!(fs.stat(ino).mode & 0o7000, 0);
        Ok(())
    }),
    ("setting a list changes the change time, and no other", |fs| {
        let ino = fs.file("f");
        let before = fs.stat(ino);
        set(fs, ino, ACCESS, &usual(7))?;
        let after = fs.stat(ino);
        assert!(after.changed > before.changed);
        assert_eq!((after.modified, after.accessed), (before.modified, before.accessed));
        Ok(())
    }),
    ("a list of many users is a list", |fs| {
        let ino = fs.file("f");
        let mut entries = vec![(OWNER, 7, 0)];
        entries.extend((0..300).map(|at| (USER, 4, 10_000 + at)));
        entries.extend([(GROUP_OBJ, 0, 0), (MASK, 7, 0), (OTHER, 0, 0)]);
        set(fs, ino, ACCESS, &entries)?;
        assert_eq!(may(fs, ino, &Credentials::user(10_299, 1)), 4);
        assert_eq!(may(fs, ino, &Credentials::user(10_300, 1)), 0);
        Ok(())
    }),
    ("lists are there after a mount, and count", |_| {
        let nova = FormatOptions::new().format(Mapping::memfd(4 << 20)?, MountOptions::new())?;
        let dir = nova.mkdir(ROOT, b"d", 0o755, R)?.ino;
        set(&nova, dir, DEFAULT, &usual(7))?;
        set(&nova, dir, ACCESS, &usual(5))?;
        let nova = MountOptions::new().mount(nova.unmount()?)?;
        assert_eq!(nova.attribute(dir, ACCESS, R)?, list(&usual(5)));
        assert_eq!(may(&nova, dir, &alice()), 4);
        let file = nova.create(dir, b"f", 0o777, R)?.ino;
        assert_eq!(nova.attribute(file, ACCESS, R)?, list(&usual(7)));
        assert!(nova.fsck()?.is_clean());
        Ok(())
    }),
    ("a size alone leaves a list as it is", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(6))?;
        fs.setattr(ino, &SetAttr { size: Some(5000), ..SetAttr::default() }, R)?;
        assert_eq!(fs.attribute(ino, ACCESS, R)?, list(&usual(6)));
        Ok(())
    }),
    ("a list goes with its file: another of the same name has none", |fs| {
        let ino = fs.file("f");
        set(fs, ino, ACCESS, &usual(7))?;
        fs.unlink(ROOT, b"f", R)?;
        let next = fs.file("f");
        assert!(fs.attributes(next, R)?.is_empty());
        assert_eq!(may(fs, next, &alice()), 4);
        Ok(())
    }),
    ("the masked list of a directory decides who searches it", |fs| {
        let dir = fs.mkdir(ROOT, b"d", 0o700, R)?.ino;
        fs.create(dir, b"f", 0o644, R)?;
        let entries =
            |mask| [(OWNER, 7, 0), (USER, 7, 1000), (GROUP_OBJ, 0, 0), (MASK, mask, 0), (OTHER, 0, 0)];
        set(fs, dir, ACCESS, &entries(6))?;
        fails(fs.lookup(dir, b"f", &alice()), Code::NoAccess);
        set(fs, dir, ACCESS, &entries(1))?;
        fs.lookup(dir, b"f", &alice())?;
        fails(fs.readdir(dir, 0, 9, &alice()), Code::NoAccess);
        Ok(())
    }),
];
