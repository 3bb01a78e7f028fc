//! A volume in a file in memory, its bytes at any moment, and everything that can be seen of it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use nova_core::*;
use pmem_map::{MapOptions, Mapping};
use std::collections::BTreeMap;

pub const ROOT_USER: &Credentials = &Credentials::ROOT;

/// A file that a volume is in: its bytes can be read while the volume is mounted, as a power failure would leave them.
pub struct Image {
    file: tempfile::NamedTempFile,
    len: u64,
}

impl Image {
    pub fn new(len: u64) -> Image {
        let memory = std::path::Path::new("/dev/shm");
        let file = if memory.is_dir() {
            tempfile::NamedTempFile::new_in(memory)
        } else {
            tempfile::NamedTempFile::new()
        };
        let file = file.unwrap();
        file.as_file().set_len(len).unwrap();
        Image { file, len }
    }

    /// An image of these bytes.
    pub fn of(bytes: &[u8]) -> Image {
        let image = Image::new(bytes.len() as u64);
        std::fs::write(image.file.path(), bytes).unwrap();
        image
    }

    pub fn map(&self) -> Mapping {
        let options = MapOptions::new().len(self.len).emulate_pmem(true);
        // SAFETY: the file is this test's own, and while it is mapped others only read it.
        unsafe { options.open(self.file.path()) }.unwrap()
    }

    /// What is there now.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file.path()).unwrap()
    }

    pub fn format(&self, options: FormatOptions) -> Nova {
        options.format(self.map(), quiet()).unwrap()
    }

    pub fn mount(&self) -> Nova {
        quiet().mount(self.map()).unwrap()
    }
}

/// Mounting so that looking changes nothing, and so that nothing happens between calls: a copy of the bytes is of one moment.
pub fn quiet() -> MountOptions {
    MountOptions::new().access_times(AccessTimes::Never).cleaning(Cleaning::AtOnce)
}

/// A volume of these bytes, mounted as after a power failure.
pub fn after_crash(bytes: &[u8]) -> Nova {
    let mut copy = Mapping::memfd(bytes.len() as u64).unwrap();
    copy.as_mut_slice().copy_from_slice(bytes);
    let nova = quiet().mount(copy).unwrap();
    let report = nova.mount_report();
    assert!(!report.clean && report.damage.is_empty() && !nova.is_read_only(), "{report:?}");
    nova
}

/// Everything that can be seen of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub stat: Stat,
    /// Data and where it is; nothing in holes.
    pub data: Vec<(u64, Vec<u8>)>,
    pub target: Option<Vec<u8>>,
    pub names: Vec<DirEntry>,
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Everything that can be seen of a volume, by path.
pub type Everything = BTreeMap<Vec<u8>, Seen>;

pub fn everything(nova: &Nova) -> Everything {
    let mut all = Everything::new();
    let mut todo = vec![(Vec::new(), ROOT)];
    while let Some((path, ino)) = todo.pop() {
        let seen = see(nova, ino);
        for entry in seen.names.iter().filter(|entry| entry.name != b"." && entry.name != b"..") {
            let path = [&path[..], b"/", &entry.name].concat();
            todo.push((path, entry.ino));
        }
        all.insert(path, seen);
    }
    all
}

pub fn see(nova: &Nova, ino: u64) -> Seen {
    let stat = nova.getattr(ino).unwrap();
    let (mut data, mut target, mut names) = (Vec::new(), None, Vec::new());
    match stat.kind() {
        Kind::File => data = data_of(&nova.open_inode(ino, Access::READ, ROOT_USER).unwrap()),
        Kind::Symlink => target = Some(nova.readlink(ino).unwrap()),
        Kind::Directory => names = nova.readdir(ino, 0, usize::MAX, ROOT_USER).unwrap(),
        _ => {}
    }
    let attributes = nova.attributes(ino, ROOT_USER).unwrap();
    let attributes =
        attributes.into_iter().map(|name| (name.clone(), nova.attribute(ino, &name, ROOT_USER).unwrap()));
    Seen { stat, data, target, names, attributes: attributes.collect() }
}

/// A file's data, as `seek` finds it.
pub fn data_of(file: &File) -> Vec<(u64, Vec<u8>)> {
    let (mut data, mut at) = (Vec::new(), 0);
    while let Ok(start) = file.seek(at, Seek::Data) {
        let end = file.seek(start, Seek::Hole).unwrap();
        let mut bytes = vec![0; (end - start) as usize];
        assert_eq!(file.read_at(start, &mut bytes).unwrap(), bytes.len());
        data.push((start, bytes));
        at = end;
    }
    data
}

/// Where two views differ, in few words.
pub fn difference(one: &Everything, other: &Everything) -> Option<String> {
    for (path, seen) in one {
        let name = String::from_utf8_lossy(path);
        match other.get(path) {
            None => return Some(format!("{name} is in the first alone")),
            Some(there) if there == seen => {}
            Some(there) if there.stat != seen.stat => {
                return Some(format!("{name}: {:?}\nand {:?}", seen.stat, there.stat));
            }
            Some(there) if there.data != seen.data => {
                let brief = |seen: &Seen| -> Vec<(u64, usize)> {
                    seen.data.iter().map(|(at, bytes)| (*at, bytes.len())).collect()
                };
                let byte = seen.data.iter().zip(&there.data).find_map(|((at, one), (_, other))| {
                    let byte = one.iter().zip(other).position(|(one, other)| one != other)?;
                    Some(at + byte as u64)
                });
                return Some(format!(
                    "{name}: data {:?}\nand {:?}, first byte {byte:?}",
                    brief(seen),
                    brief(there)
                ));
            }
            Some(there) => {
                return Some(format!(
                    "{name}: {:?}\nand {:?}",
                    (&seen.names, &seen.attributes),
                    (&there.names, &there.attributes)
                ));
            }
        }
    }
    let more = other.keys().find(|path| !one.contains_key(*path))?;
    Some(format!("{} is in the second alone", String::from_utf8_lossy(more)))
}

/// Panics where two views differ.
#[track_caller]
pub fn assert_same(one: &Everything, other: &Everything, when: &str) {
    if let Some(difference) = difference(one, other) {
        panic!("{when}: {difference}");
    }
}

/// What kind of error a result is.
pub fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    let error = result.expect_err("an error");
    error.code().unwrap_or_else(|| panic!("{error:?}"))
}
