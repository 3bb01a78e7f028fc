//! The volumes that are damaged: small, with every structure in use, and what is in them.

use nova_core::*;
use pmem_map::{MapOptions, Mapping};
use std::collections::BTreeMap;

pub(crate) const LEN: u64 = 640 << 10;
const JOURNAL: u64 = 32 << 10;
const WHO: &Credentials = &Credentials::ROOT;

/// One file, as everything that the interface says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stat: Stat,
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) parent: Option<u64>,
    /// Of a file: its bytes.
    pub(crate) content: Option<Vec<u8>>,
}

/// What a volume has, by path.
pub(crate) type Content = BTreeMap<Vec<u8>, Entry>;

pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// What is there; further ones if the newest records are lost.
    pub(crate) states: Vec<Content>,
}

pub(crate) fn options() -> MountOptions {
    MountOptions::new().access_times(AccessTimes::Never).threads(1)
}

pub(crate) fn mapping(bytes: &[u8]) -> Mapping {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).expect("memory");
    mapping.as_mut_slice().copy_from_slice(bytes);
    mapping
}

/// A list that names a user.
pub(crate) fn list() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1u16, 7u16, u32::MAX), (2, 6, 77), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 1, u32::MAX)]
    {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// Everything that a program could ask for; the first error of each file instead of the file.
pub(crate) fn read(nova: &Nova) -> (Content, Vec<Error>) {
    let (mut content, mut errors) = (Content::new(), Vec::new());
    let mut next = vec![(Vec::new(), ROOT, None)];
    let mut steps = 0;
    while let Some((path, ino, parent)) = next.pop() {
        steps += 1;
        if steps > 400 {
            break; // directories in a circle
        }
        match read_one(nova, ino) {
            Ok((entry, names)) => {
                for name in names.into_iter().filter(|name| name.name != b"." && name.name != b"..") {
                    let below = [&path[..], b"/", &name.name].concat();
                    match nova.lookup(ino, &name.name, WHO) {
                        Ok(stat) if stat.ino == name.ino && stat.kind() == name.kind => {
                            next.push((below, name.ino, Some(ino)));
                        }
                        Ok(_) => drop(content.insert(below, entry.clone())), // a contradiction: never right
                        Err(error) => errors.push(error),
                    }
                }
                content.insert(path, Entry { parent, ..entry });
            }
            Err(error) => errors.push(error),
        }
    }
    (content, errors)
}

fn read_one(nova: &Nova, ino: u64) -> Result<(Entry, Vec<DirEntry>)> {
    let stat = nova.getattr(ino)?;
    let mut entry = Entry { stat, target: None, attributes: BTreeMap::new(), parent: None, content: None };
    for name in nova.attributes(ino, WHO)? {
        let value = nova.attribute(ino, &name, WHO)?;
        entry.attributes.insert(name, value);
    }
    let mut names = Vec::new();
    match stat.kind() {
        Kind::Directory => names = nova.readdir(ino, 0, 1000, WHO)?,
        Kind::Symlink => entry.target = Some(nova.readlink(ino)?),
        Kind::File => {
            let file = nova.open_inode(ino, Access::READ, WHO)?;
            let mut bytes = vec![0; stat.size.min(200_000) as usize];
            let read = file.read_at(0, &mut bytes)?;
            bytes.truncate(read);
            entry.content = Some(bytes);
        }
        _ => {}
    }
    Ok((entry, names))
}

/// Fills a volume with one of everything.
fn fill(nova: &Nova, seed: u64) -> Result<File> {
    let mut random = fastrand::Rng::with_seed(seed);
    nova.create_dir_all("/a/b/c")?;
    nova.create_dir_all("/d")?;
    for i in 0..24 {
        let dir = ["/a", "/a/b", "/a/b/c", "/d"][i % 4];
        let name = if i % 5 == 0 { format!("{i}{}", "long".repeat(50)) } else { format!("file {i}") };
        let file = nova.create_file(format!("{dir}/{name}"))?;
        let bytes: Vec<u8> = (0..random.usize(0..6000)).map(|_| random.u8(..)).collect();
        file.write_at(0, &bytes)?;
        if i % 6 == 0 {
            nova.remove_file(format!("{dir}/{name}"))?;
        }
    }
    let big = nova.create_file("/a/big")?;
    for _ in 0..90 {
        let at = random.u64(..60_000);
        big.write_at(at, &vec![random.u8(..); random.usize(1..6000)])?;
    }
    big.allocate(8192, 8192, Allocate::PunchHole)?;
    big.allocate(16_384, 4096, Allocate::Insert)?;
    big.allocate(100_000, 9000, Allocate::KeepSize)?;
    let copy = nova.create_file("/d/copy")?;
    copy.clone_range(&big, 0, 0, 40_960)?;
    copy.write_at(5000, &[9; 3000])?;
    nova.hard_link("/a/big", "/d/big too")?;
    nova.symlink_path("/a/b", "/link")?;
    nova.symlink_path("x".repeat(1500), "/d/long link")?;
    nova.mknod(ROOT, b"pipe", libc::S_IFIFO | 0o640, 0, WHO)?;
    nova.mknod(ROOT, b"null", libc::S_IFCHR | 0o600, 0x103, WHO)?;
    nova.set_attribute(big.ino(), b"user.parts", &[5; 7000], AttributeMode::Set, WHO)?;
    nova.set_attribute(big.ino(), b"trusted.small", b"value", AttributeMode::Set, WHO)?;
    let a = nova.metadata("/a")?.ino;
    nova.set_attribute(a, b"system.posix_acl_default", &list(), AttributeMode::Set, WHO)?;
    nova.create_file("/a/with a list")?.write_at(0, b"listed")?;
    nova.set_quota(Quota::User(5), 1000, 100)?;
    let set = SetAttr { uid: Some(5), gid: Some(6), modified: Some(Time::At(-5)), ..SetAttr::default() };
    nova.setattr(copy.ino(), &set, WHO)?;
    for i in 0..60 {
        // A directory's log of several pages.
        nova.create_file(format!("/d/short-lived {i}"))?;
        if i % 3 > 0 {
            nova.remove_file(format!("/d/short-lived {i}"))?;
        }
    }
    let unnamed = nova.create_file("/d/unnamed")?;
    unnamed.write_at(0, &[3; 9000])?;
    nova.remove_file("/d/unnamed")?;
    Ok(unnamed)
}

/// What a mount of an undamaged copy finds.
fn content(bytes: &[u8]) -> Content {
    let nova = options().mount(mapping(bytes)).expect("a volume");
    let (content, errors) = read(&nova);
    assert!(errors.is_empty(), "{errors:?}");
    content
}

/// Four volumes: unmounted in order, and left by a power failure, of one stripe and of three.
pub(crate) fn images() -> Vec<Image> {
    let mut images = Vec::new();
    for stripes in [1, 3] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("volume");
        let bytes = || std::fs::read(&path).expect("it is there");
        // SAFETY: the file is this test's alone.
        let mapped = unsafe { MapOptions::new().create(true).len(LEN).emulate_pmem(true).open(&path) };
        let format = FormatOptions::new().stripes(stripes).journal(JOURNAL).label("damaged");
        let nova = format.format(mapped.expect("a file"), options()).expect("a volume");
        let open = fill(&nova, u64::from(stripes)).expect("there is room");
        // A power failure after the newest record, and before what it says was in its place.
        nova.sync().expect("durable");
        let before = bytes();
        nova.rename_path("/d/copy", "/a/moved").expect("a rename");
        let after = bytes();
        let mut crashed = before.clone();
        let journal = 8192..8192 + JOURNAL as usize;
        crashed[journal.clone()].copy_from_slice(&after[journal]);
        drop(open);
        drop(nova.unmount().expect("nobody uses it"));
        let closed = bytes();
        let states = vec![content(&crashed), content(&before)];
        assert_ne!(states[0], states[1], "a record to replay");
        images.push(Image { name: format!("{stripes} stripes, crashed"), bytes: crashed, states });
        let states = vec![content(&closed)];
        images.push(Image { name: format!("{stripes} stripes, unmounted"), bytes: closed, states });
    }
    images
}
