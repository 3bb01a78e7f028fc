//! Every operation that changes anything, as an ordinary user, in a place where each has something to do.

use crate::image::*;
use nova_core::*;

pub fn user() -> Credentials {
    Credentials::user(7, 7)
}

/// Where the operations work.
pub struct Place {
    pub dir: u64,
    pub other: u64,
    pub file: File,
    pub shared: File,
    pub foreign: u64,
}

pub type Operation = Box<dyn Fn(&Nova, &Place) -> Result<()>>;

/// Bytes of a volume with a place; `at_page_end`: the next entry of the directory's, and of the file's log needs a new page.
pub fn prepare(at_page_end: bool) -> Vec<u8> {
    let image = Image::new(4 << 20);
    let nova = image.format(FormatOptions::new().stripes(1));
    let who = &user();
    let all = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    nova.setattr(ROOT, &all, ROOT_USER).unwrap();
    let dir = nova.mkdir(ROOT, b"dir", 0o755, who).unwrap().ino;
    let other = nova.mkdir(ROOT, b"other", 0o755, who).unwrap().ino;
    nova.mkdir(ROOT, b"acl", 0o755, who).unwrap();
    let foreign = nova.create(ROOT, b"foreign", 0o666, ROOT_USER).unwrap().ino;
    let foreign = nova.open_inode(foreign, Access::READ_WRITE, ROOT_USER).unwrap();
    foreign.write_at(0, &[9; 9000]).unwrap();
    let open = |ino| nova.open_inode(ino, Access::READ_WRITE, who).unwrap();
    let file = open(nova.create(dir, b"file", 0o644, who).unwrap().ino);
    let shared = open(nova.create(dir, b"shared", 0o644, who).unwrap().ino);
    for at in 0..4 {
        file.write_at(at * 8192, &[at as u8 + 1; 5000]).unwrap();
    }
    shared.clone_range(&file, 0, 0, file.len().unwrap()).unwrap();
    nova.set_attribute(file.ino(), b"user.small", b"value", AttributeMode::Set, who).unwrap();
    nova.mkdir(dir, b"empty", 0o755, who).unwrap();
    nova.mkdir(other, b"empty", 0o755, who).unwrap();
    nova.create(other, b"target", 0o644, who).unwrap();
    nova.create(dir, b"gone", 0o644, who).unwrap();
    let list = operations_acl();
    nova.set_attribute(dir, b"user.a", b"1", AttributeMode::Set, who).unwrap();
    let acl = nova.lookup(ROOT, b"acl", who).unwrap().ino;
    nova.set_attribute(acl, b"system.posix_acl_default", &list, AttributeMode::Set, who).unwrap();
    nova.set_attribute(file.ino(), b"system.posix_acl_access", &list, AttributeMode::Set, who).unwrap();
    nova.set_quota(Quota::User(99), 5, 5).unwrap();
    if at_page_end {
        // Until the next one takes a page.
        let next_takes_page = |work: &dyn Fn() -> Result<()>| {
            nova.fail_allocation(Some(0));
            let failed = work().is_err();
            nova.fail_allocation(None);
            failed
        };
        let turn = |dir: u64| {
            let change = || nova.rename(dir, b"empty", dir, b"empty2", Rename::Replace, who);
            while !next_takes_page(&change) {
                nova.rename(dir, b"empty2", dir, b"empty", Rename::Replace, who).unwrap_or_default();
            }
            if nova.lookup(dir, b"empty", who).is_err() {
                nova.rename(dir, b"empty2", dir, b"empty", Rename::Replace, who).unwrap();
            }
        };
        turn(dir);
        turn(other);
        for file in [&file, &shared] {
            while !next_takes_page(&|| file.set_len(40_000).and_then(|()| file.set_len(29_576))) {}
        }
    }
    drop((file, shared, foreign));
    drop(nova.unmount().unwrap());
    image.bytes()
}

fn operations_acl() -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 7u16, u32::MAX), (2, 6, 8), (4, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 4, u32::MAX)]
    {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

impl Place {
    pub fn open(nova: &Nova) -> Place {
        let who = &user();
        let find = |parent, name: &[u8]| nova.lookup(parent, name, ROOT_USER).unwrap().ino;
        let (dir, other) = (find(ROOT, b"dir"), find(ROOT, b"other"));
        let open = |ino| nova.open_inode(ino, Access::READ_WRITE, who).unwrap();
        let (file, shared) = (open(find(dir, b"file")), open(find(dir, b"shared")));
        Place { dir, other, file, shared, foreign: find(ROOT, b"foreign") }
    }
}

fn acl_dir(nova: &Nova) -> u64 {
    nova.lookup(ROOT, b"acl", ROOT_USER).unwrap().ino
}

pub fn operations() -> Vec<(&'static str, Operation)> {
    let mut all: Vec<(&'static str, Operation)> = Vec::new();
    macro_rules! operation {
        ($name:literal, |$nova:ident, $place:ident| $work:expr) => {
            all.push(($name, Box::new(|$nova: &Nova, $place: &Place| $work.map(drop))))
        };
    }
    operation!("create", |nova, p| nova.create(p.dir, b"new", 0o644, &user()));
    operation!("create below a default list", |nova, _p| nova.create(acl_dir(nova), b"new", 0o644, &user()));
    operation!("mkdir", |nova, p| nova.mkdir(p.dir, b"new", 0o755, &user()));
    operation!("mkdir below a default list", |nova, _p| nova.mkdir(acl_dir(nova), b"new", 0o755, &user()));
    operation!("mknod", |nova, p| nova.mknod(p.dir, b"new", libc::S_IFIFO | 0o644, 0, &user()));
    operation!("symlink", |nova, p| nova.symlink(p.dir, b"new", b"target", &user()));
    operation!("symlink of a long target", |nova, p| nova.symlink(p.dir, b"new", &[b'x'; 4000], &user()));
    operation!("a long name", |nova, p| nova.create(p.dir, &[b'n'; 255], 0o644, &user()));
    operation!("link", |nova, p| nova.link(p.file.ino(), p.other, b"new", &user()));
    operation!("unlink", |nova, p| nova.unlink(p.dir, b"gone", &user()));
    operation!("unlink of an open file", |nova, p| nova.unlink(p.dir, b"file", &user()));
    operation!("rmdir", |nova, p| nova.rmdir(p.dir, b"empty", &user()));
    operation!("rename", |nova, p| nova.rename(p.dir, b"gone", p.dir, b"new", Rename::Replace, &user()));
    operation!("rename that replaces", |nova, p| {
        nova.rename(p.dir, b"file", p.dir, b"gone", Rename::Replace, &user())
    });
    operation!("rename across", |nova, p| {
        nova.rename(p.dir, b"empty", p.other, b"new", Rename::NoReplace, &user())
    });
    operation!("rename across that replaces a file", |nova, p| {
        nova.rename(p.dir, b"file", p.other, b"target", Rename::Replace, &user())
    });
    operation!("rename across that replaces a directory", |nova, p| {
        nova.rename(p.dir, b"empty", p.other, b"empty", Rename::Replace, &user())
    });
    operation!("exchange", |nova, p| nova.rename(p.dir, b"file", p.dir, b"gone", Rename::Exchange, &user()));
    operation!("exchange across", |nova, p| {
        nova.rename(p.dir, b"empty", p.other, b"target", Rename::Exchange, &user())
    });
    operation!("tmpfile", |nova, p| nova.tmpfile(p.dir, 0o600, &user()));
    operation!("link of a tmpfile", |nova, p| {
        let file = nova.tmpfile(p.dir, 0o600, &user())?;
        nova.link(file.ino(), p.dir, b"new", &user())
    });
    operation!("a little write", |_nova, p| p.file.write_at(100, b"little"));
    operation!("a little write to a shared block", |_nova, p| p.shared.write_at(100, b"little"));
    operation!("a little write over a hole", |_nova, p| p.file.write_at(5100, b"little"));
    operation!("a little write behind the end", |_nova, p| p.file.write_at(50_000, b"little"));
    operation!("a large write", |_nova, p| p.file.write_at(3000, &[7; 20_000]));
    operation!("a large write behind a shared end", |_nova, p| p.shared.write_at(60_000, &[7; 20_000]));
    operation!("a little append", |_nova, p| p.file.append(b"little"));
    operation!("a large append", |_nova, p| p.file.append(&[7; 20_000]));
    operation!("longer", |_nova, p| p.file.set_len(100_000));
    operation!("longer, from a shared end", |_nova, p| p.shared.set_len(100_000));
    operation!("shorter", |_nova, p| p.file.set_len(9000));
    operation!("a size by attributes", |nova, p| {
        nova.setattr(p.shared.ino(), &SetAttr { size: Some(77), ..SetAttr::default() }, &user())
    });
    operation!("allocate", |_nova, p| p.file.allocate(3000, 50_000, Allocate::Grow));
    operation!("allocate, same size", |_nova, p| p.file.allocate(30_000, 50_000, Allocate::KeepSize));
    operation!("punch", |_nova, p| p.file.allocate(3000, 10_000, Allocate::PunchHole));
    operation!("punch shared", |_nova, p| p.shared.allocate(3000, 10_000, Allocate::PunchHole));
    operation!("zero", |_nova, p| p.file.allocate(3000, 50_000, Allocate::Zero));
    operation!("zero shared", |_nova, p| p.shared.allocate(3000, 20_000, Allocate::ZeroKeepSize));
    operation!("collapse", |_nova, p| p.file.allocate(4096, 8192, Allocate::Collapse));
    operation!("insert", |_nova, p| p.file.allocate(4096, 8192, Allocate::Insert));
    operation!("clone", |_nova, p| p.file.clone_range(&p.shared, 8192, 0, 12_288));
    operation!("clone to another place", |_nova, p| p.file.clone_range(&p.file, 0, 65_536, 16_384));
    operation!("copy", |_nova, p| p.file.copy_from(&p.shared, 100, 40_000, 3000));
    operation!("chmod of a list", |nova, p| {
        nova.setattr(p.file.ino(), &SetAttr { mode: Some(0o600), ..SetAttr::default() }, &user())
    });
    operation!("chown", |nova, p| {
        let set = SetAttr { uid: Some(7), gid: Some(7), ..SetAttr::default() };
        nova.setattr(p.foreign, &set, ROOT_USER)
    });
    operation!("chown and a size", |nova, p| {
        let set = SetAttr { uid: Some(7), gid: Some(7), size: Some(100), ..SetAttr::default() };
        nova.setattr(p.foreign, &set, ROOT_USER)
    });
    operation!("times", |nova, p| {
        nova.setattr(p.file.ino(), &SetAttr { modified: Some(Time::At(5)), ..SetAttr::default() }, &user())
    });
    operation!("an attribute", |nova, p| {
        nova.set_attribute(p.file.ino(), b"user.new", b"value", AttributeMode::Create, &user())
    });
    operation!("a large attribute", |nova, p| {
        nova.set_attribute(p.dir, b"user.a", &[3; 20_000], AttributeMode::Replace, &user())
    });
    operation!("an attribute less", |nova, p| nova.remove_attribute(p.file.ino(), b"user.small", &user()));
    operation!("a list", |nova, p| {
        let list = operations_acl();
        nova.set_attribute(p.dir, b"system.posix_acl_default", &list, AttributeMode::Set, &user())
    });
    operation!("a quota", |nova, _p| nova.set_quota(Quota::User(50), 1000, 1000));
    all
}
