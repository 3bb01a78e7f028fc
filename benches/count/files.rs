//! Files of a volume, in this process.

use crate::operations::{Operation, Work, memory, repeat};
use nova_core::{Access, Credentials, File, FormatOptions, MountOptions, Nova, ROOT as TOP, Rename};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "nova: create", start: create },
    Operation { name: "nova: rename", start: rename },
    Operation { name: "nova: unlink", start: unlink },
    Operation { name: "nova: append 1 KiB", start: append },
    Operation { name: "nova: overwrite 4 KiB", start: || overwrite(BLOCK) },
    Operation { name: "nova: overwrite 64 B", start: || overwrite(64) },
    Operation { name: "nova: read 4 KiB", start: read },
];

const ROOT: &Credentials = &Credentials::ROOT;
const BLOCK: usize = 4096;
/// Blocks of the file that is read and written.
const BLOCKS: u64 = 1024;
/// Names that are made ready before anything is counted.
const NAMES: u64 = crate::WARM_UP + crate::OPERATIONS;

fn volume() -> Nova {
    FormatOptions::new().format(memory(64 << 20), MountOptions::new()).expect("a volume")
}

fn names(prefix: &str) -> Vec<String> {
    (0..NAMES).map(|number| format!("{prefix}-{number:06}")).collect()
}

fn make(nova: &Nova, name: &str) -> u64 {
    nova.create(TOP, name.as_bytes(), 0o644, ROOT).expect("created").ino
}

fn open(nova: &Nova, name: &str) -> File {
    nova.open_inode(make(nova, name), Access::READ_WRITE, ROOT).expect("opened")
}

/// How many names there are.
fn present(nova: &Nova) -> u64 {
    nova.readdir(TOP, 2, usize::MAX, ROOT).expect("read").len() as u64
}

fn exists(nova: &Nova, name: &str) -> bool {
    nova.lookup(TOP, name.as_bytes(), ROOT).is_ok()
}

fn create() -> Box<dyn Work> {
    let step = |(nova, names): &mut (Nova, Vec<String>), number| _ = make(nova, &names[number as usize]);
    repeat((volume(), names("file")), step, |(nova, names), count| {
        assert_eq!(present(&nova), count);
        assert!(names[..count as usize].iter().all(|name| exists(&nova, name)));
    })
}

/// A volume with files of all names.
fn filled() -> (Nova, Vec<String>) {
    let (nova, names) = (volume(), names("file"));
    names.iter().for_each(|name| _ = make(&nova, name));
    (nova, names)
}

fn rename() -> Box<dyn Work> {
    let (nova, from) = filled();
    let step = |(nova, from, to): &mut (Nova, Vec<String>, Vec<String>), number| {
        let (from, to) = (from[number as usize].as_bytes(), to[number as usize].as_bytes());
        nova.rename(TOP, from, TOP, to, Rename::Replace, ROOT).expect("renamed");
    };
    repeat((nova, from, names("other")), step, |(nova, from, to), count| {
        assert_eq!(present(&nova), NAMES);
        let (from, to) = (&from[..count as usize], &to[..count as usize]);
        assert!(from.iter().all(|name| !exists(&nova, name)) && to.iter().all(|name| exists(&nova, name)));
    })
}

fn unlink() -> Box<dyn Work> {
    let step = |(nova, names): &mut (Nova, Vec<String>), number| {
        nova.unlink(TOP, names[number as usize].as_bytes(), ROOT).expect("unlinked");
    };
    repeat(filled(), step, |(nova, _), count| assert_eq!(present(&nova), NAMES - count))
}

fn append() -> Box<dyn Work> {
    let nova = volume();
    let file = open(&nova, "log");
    let step = |(_, file): &mut (Nova, File), number: u64| {
        file.append(&[number as u8; 1024]).expect("appended");
    };
    repeat((nova, file), step, |(_, file), count| {
        assert_eq!(file.len().expect("a length"), count * 1024);
        let mut bytes = [0; 1024];
        for number in 0..count {
            assert_eq!(file.read_at(number * 1024, &mut bytes).expect("read"), 1024);
            assert_eq!(bytes, [number as u8; 1024]);
        }
    })
}

/// A file of blocks, each of which has its number in all bytes, and the next of which is chosen at random.
struct Data {
    _nova: Nova,
    file: File,
    random: fastrand::Rng,
    /// What each block begins with.
    expected: Vec<u8>,
}

fn data() -> Data {
    let nova = volume();
    let file = open(&nova, "data");
    let expected: Vec<u8> = (0..BLOCKS).map(|block| block as u8).collect();
    (0..)
        .zip(&expected)
        .for_each(|(block, byte)| file.write_at(block * BLOCK as u64, &[*byte; BLOCK]).expect("space"));
    Data { _nova: nova, file, random: fastrand::Rng::with_seed(5), expected }
}

fn overwrite(len: usize) -> Box<dyn Work> {
    let step = move |data: &mut Data, number: u64| {
        let block = data.random.u64(..BLOCKS);
        let bytes = [number as u8; BLOCK];
        data.file.write_at(block * BLOCK as u64, &bytes[..len]).expect("written");
        data.expected[block as usize] = number as u8;
    };
    repeat(data(), step, move |data, _| {
        let mut bytes = [0; BLOCK];
        for (block, expected) in (0..BLOCKS).zip(&data.expected) {
            assert_eq!(data.file.read_at(block * BLOCK as u64, &mut bytes).expect("read"), BLOCK);
            assert!(bytes[..len].iter().all(|byte| byte == expected));
            assert!(bytes[len..].iter().all(|byte| *byte == block as u8));
        }
    })
}

fn read() -> Box<dyn Work> {
    let step = |data: &mut Data, _| {
        let block = data.random.u64(..BLOCKS);
        let mut bytes = [0; BLOCK];
        assert_eq!(data.file.read_at(block * BLOCK as u64, &mut bytes).expect("read"), BLOCK);
        assert_eq!((bytes[0], bytes[BLOCK - 1]), (block as u8, block as u8));
    };
    repeat(data(), step, |data, _| assert_eq!(data.file.len().expect("a length"), BLOCKS * BLOCK as u64))
}
