//! Looking for data and for holes.

use crate::{kit::*, own::*};
use nova_core::*;

fn data(file: &File, at: u64) -> u64 {
    file.seek(at, Seek::Data).unwrap()
}

fn hole(file: &File, at: u64) -> u64 {
    file.seek(at, Seek::Hole).unwrap()
}

/// Where the data is: all of it, as a program that copies sparse files finds it.
fn ranges(file: &File) -> Vec<(u64, u64)> {
    let (mut at, mut found) = (0, Vec::new());
    while let Ok(start) = file.seek(at, Seek::Data) {
        at = hole(file, start);
        found.push((start, at));
    }
    found
}

pub(crate) const CASES: &[Case] = &[
    ("in an empty file there is neither data nor a hole", |fs| {
        let file = fs.with("f", b"");
        fails(file.seek(0, Seek::Data), Code::NoSuchPosition);
        fails(file.seek(0, Seek::Hole), Code::NoSuchPosition);
        Ok(())
    }),
    ("at the end and behind it is ENXIO", |fs| {
        let file = fs.with("f", &pattern(1, B + 5));
        for at in [B + 5, B + 6, 2 * B, 1 << 40, u64::MAX] {
            fails(file.seek(at, Seek::Data), Code::NoSuchPosition);
            fails(file.seek(at, Seek::Hole), Code::NoSuchPosition);
        }
        Ok(())
    }),
    ("in data the next data is where one is", |fs| {
        let file = fs.with("f", &pattern(1, 3 * B));
        for at in [0, 1, B - 1, B, 2 * B + 7, 3 * B - 1] {
            assert_eq!(data(&file, at), at);
        }
        Ok(())
    }),
    ("the end of a file without holes is its hole", |fs| {
        for size in [1, 100, B - 1, B, B + 1, 3 * B] {
            let file = fs.with(&size.to_string(), &pattern(1, size));
            assert_eq!((hole(&file, 0), hole(&file, size - 1)), (size, size));
        }
        Ok(())
    }),
    ("in a hole the next hole is where one is, and the next data where it begins", |fs| {
        let file = fs.with("f", b"");
        file.write_at(5 * B + 100, b"x")?;
        for at in [0, 1, B, 5 * B - 1] {
            assert_eq!((hole(&file, at), data(&file, at)), (at, 5 * B));
        }
        Ok(())
    }),
    ("a file that is one hole has no data", |fs| {
        let file = fs.with("f", b"");
        file.set_len(10 * B + 1)?;
        fails(file.seek(0, Seek::Data), Code::NoSuchPosition);
        fails(file.seek(10 * B, Seek::Data), Code::NoSuchPosition);
        assert_eq!((hole(&file, 0), hole(&file, 10 * B)), (0, 10 * B));
        Ok(())
    }),
    ("behind the last data is none", |fs| {
        let file = fs.with("f", &pattern(1, B));
        file.set_len(4 * B)?;
        fails(file.seek(B, Seek::Data), Code::NoSuchPosition);
        assert_eq!((hole(&file, 0), hole(&file, 2 * B)), (B, 2 * B));
        Ok(())
    }),
    ("neighbours that were written apart are one range", |fs| {
        let file = fs.with("f", b"");
        for block in [3, 1, 2, 0, 5] {
            file.write_at(block * B, &pattern(block, B))?;
        }
        assert_eq!(ranges(&file), [(0, 4 * B), (5 * B, 6 * B)]);
        Ok(())
    }),
    ("every other block is found", |fs| {
        let file = fs.with("f", b"");
        for block in 0..40 {
            file.write_at((2 * block + 1) * B + 5, b"x")?;
        }
        let last = 79 * B + 6;
        let expected = (0..40).map(|block| ((2 * block + 1) * B, ((2 * block + 2) * B).min(last)));
        assert_eq!(ranges(&file), expected.collect::<Vec<_>>());
        Ok(())
    }),
    ("data at 16 TiB is found", |fs| {
        let file = fs.with("f", b"x");
        file.write_at(16 << 40, b"y")?;
        assert_eq!(ranges(&file), [(0, B), (16 << 40, (16 << 40) + 1)]);
        Ok(())
    }),
    ("a punched hole is found, where it is of whole blocks", |fs| {
        let file = fs.with("f", &pattern(1, 8 * B));
        file.allocate(2 * B + 5, 3 * B, Allocate::PunchHole)?;
        assert_eq!(ranges(&file), [(0, 3 * B), (5 * B, 8 * B)]);
        Ok(())
    }),
    ("written zeros are data", |fs| {
        let file = fs.with("f", &[0; 2 * B as usize]);
        assert_eq!(ranges(&file), [(0, 2 * B)]);
        Ok(())
    }),
    ("zeroed blocks are a hole, written ones among them data again", |fs| {
        let file = fs.with("f", &pattern(1, 6 * B));
        file.allocate(B, 4 * B, Allocate::Zero)?;
        assert_eq!(ranges(&file), [(0, B), (5 * B, 6 * B)]);
        file.write_at(2 * B + 1, b"x")?;
        assert_eq!(ranges(&file), [(0, B), (2 * B, 3 * B), (5 * B, 6 * B)]);
        Ok(())
    }),
    ("blocks that are reserved behind the end are not seen", |fs| {
        let file = fs.with("f", &pattern(1, 100));
        file.allocate(0, 5 * B, Allocate::KeepSize)?;
        assert_eq!(ranges(&file), [(0, 100)]);
        fails(file.seek(B, Seek::Hole), Code::NoSuchPosition);
        Ok(())
    }),
    ("a cut moves the end, and with it the last hole", |fs| {
        let file = fs.with("f", &pattern(1, 3 * B));
        file.set_len(B + 9)?;
        assert_eq!(ranges(&file), [(0, B + 9)]);
        file.set_len(5 * B)?;
        assert_eq!(ranges(&file), [(0, 2 * B)]);
        Ok(())
    }),
    ("seeking changes neither times nor anything else", |fs| {
        let file = fs.with("f", &pattern(1, 3 * B));
        let before = file.stat()?;
        let _ = (ranges(&file), file.seek(1 << 50, Seek::Data));
        assert_eq!(file.stat()?, before);
        Ok(())
    }),
    ("directories are EISDIR, and pipes EINVAL", |fs| {
        let dir = fs.open_inode(fs.dir("d"), Access::READ, R)?;
        fails(dir.seek(0, Seek::Data), Code::IsADirectory);
        let fifo = fs.open_ino(fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o644, 0, R)?.ino);
        fails(fifo.seek(0, Seek::Hole), Code::Invalid);
        Ok(())
    }),
    ("copying the data ranges alone copies a sparse file", |fs| {
        let from = fs.with("from", b"");
        let mut random = fastrand::Rng::with_seed(5);
        for step in 0..30 {
            from.write_at(random.u64(0..1 << 30), &pattern(step, random.u64(1..9000)))?;
        }
        let to = fs.with("to", b"");
        to.set_len(from.len()?)?;
        for (start, end) in ranges(&from) {
            to.write_at(start, &part(&from, start, end - start))?;
        }
        assert_eq!((ranges(&to), to.stat()?.blocks), (ranges(&from), from.stat()?.blocks));
        for (start, end) in ranges(&from) {
            same(&part(&to, start, end - start), &part(&from, start, end - start));
        }
        Ok(())
    }),
    ("what is data and what is a hole stands after a mount", |_| {
        let fs = volume(4 << 20, &MountOptions::new());
        let file = fs.with("f", &pattern(1, 2 * B));
        file.allocate(4 * B, 2 * B, Allocate::Grow)?;
        file.write_at(9 * B, b"x")?;
        let before = ranges(&file);
        drop(file);
        let fs = fs.again(&MountOptions::new());
        assert_eq!(ranges(&fs.open("/f")?), before);
        assert_eq!(before, [(0, 2 * B), (9 * B, 9 * B + 1)]);
        Ok(())
    }),
];
