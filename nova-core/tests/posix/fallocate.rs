//! Blocks behind a range: reserved, taken out, zeroed, moved.

use crate::{kit::*, own::*};
use nova_core::*;

use Allocate::*;

const EVERY: [Allocate; 7] = [Grow, KeepSize, PunchHole, Zero, ZeroKeepSize, Collapse, Insert];

/// Ranges about the borders of five blocks.
const RANGES: &[(u64, u64)] = &[
    (0, 1),
    (0, B),
    (1, B - 2),
    (1, B),
    (B - 1, 2),
    (B, B),
    (B, 2 * B + 1),
    (B + 100, 50),
    (B + 64, 2 * B - 64),
    (2 * B - 1, B + 2),
    (0, 5 * B),
    (4 * B, B),
    (3 * B + 7, 2 * B - 7),
];

fn blocks(file: &File) -> u64 {
    file.stat().unwrap().blocks / 8
}

pub(crate) const CASES: &[Case] = &[
    ("an empty range is EINVAL in every mode", |fs| {
        let file = fs.with("f", &pattern(1, 3 * B));
        let before = file.stat()?;
        for how in EVERY {
            fails(file.allocate(B, 0, how), Code::Invalid);
        }
        assert_eq!(file.stat()?, before);
        Ok(())
    }),
    ("a range that ends behind the largest size is EFBIG in every mode", |fs| {
        let file = fs.with("f", &pattern(1, 3 * B));
        let before = file.stat()?;
        for how in EVERY {
            fails(file.allocate(1 << 62, B, how), Code::FileTooLarge);
            fails(file.allocate(B, u64::MAX, how), Code::FileTooLarge);
        }
        assert_eq!(file.stat()?, before);
        Ok(())
    }),
    ("directories are EISDIR, and pipes EINVAL", |fs| {
        let dir = fs.open_inode(fs.dir("d"), Access::READ, R)?;
        let fifo = fs.open_ino(fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o644, 0, R)?.ino);
        for how in EVERY {
            fails(dir.allocate(0, B, how), Code::IsADirectory);
            fails(fifo.allocate(0, B, how), Code::Invalid);
        }
        Ok(())
    }),
    ("growing makes the file longer, reserves its blocks, and keeps its bytes", |fs| {
        for (at, len) in RANGES {
            let mut twin = Twin::new(fs, &format!("{at}-{len}"), pattern(1, B + 50));
            twin.file.allocate(*at, *len, Grow)?;
            let end = (at + len).max(B + 50);
            twin.bytes.resize(end as usize, 0);
            twin.check();
            let reserved = (0..end.div_ceil(B))
                .filter(|block| *block < 2 || block * B < at + len && (block + 1) * B > *at);
            assert_eq!(blocks(&twin.file), reserved.count() as u64, "{at} {len}");
        }
        Ok(())
    }),
    ("keeping the size reserves blocks behind the end, which a later end shows as zeros", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(2, 100));
        twin.file.allocate(B + 1, 3 * B, KeepSize)?;
        twin.check();
        assert_eq!(blocks(&twin.file), 5);
        twin.set_len(4 * B);
        twin.check();
        assert_eq!(blocks(&twin.file), 5);
        Ok(())
    }),
    ("what is there already is not allocated again", |fs| {
        let twin = Twin::new(fs, "f", pattern(3, 5 * B));
        let free = fs.free();
        for (at, len) in RANGES {
            twin.file.allocate(*at, *len, Grow)?;
            twin.file.allocate(*at, *len, KeepSize)?;
        }
        twin.check();
        assert_eq!((blocks(&twin.file), fs.free()), (5, free));
        Ok(())
    }),
    ("writes to reserved blocks need no further ones", |fs| {
        let mut twin = Twin::new(fs, "f", Vec::new());
        twin.file.allocate(0, 10 * B, Grow)?;
        twin.bytes.resize(10 * B as usize, 0);
        for (at, len) in [(5, 10), (B, B), (3 * B - 5, 10), (4 * B + 9, 3 * B)] {
            twin.write(at, &pattern(at, len));
            twin.check();
            assert_eq!(blocks(&twin.file), 10);
        }
        Ok(())
    }),
    ("reserved blocks read as zeros, whatever was in them", |fs| {
        let dirty = fs.with("dirty", &vec![0xff; 400 * B as usize]);
        dirty.set_len(0)?;
        fs.sync()?;
        let file = fs.with("f", b"");
        file.allocate(0, 600 * B, Grow)?;
        same(&all(&file), &vec![0; 600 * B as usize]);
        file.write_at(300 * B + 10, b"one word")?;
        same(&part(&file, 300 * B, 10), &[0; 10]);
        same(&part(&file, 300 * B + 18, 2 * B), &vec![0; 2 * B as usize]);
        Ok(())
    }),
    ("reserved blocks are a hole for seek, until they are written", |fs| {
        let file = fs.with("f", b"");
        file.allocate(0, 4 * B, Grow)?;
        fails(file.seek(0, Seek::Data), Code::NoSuchPosition);
        assert_eq!(file.seek(5, Seek::Hole)?, 5);
        file.write_at(2 * B + 7, b"x")?;
        assert_eq!(file.seek(0, Seek::Data)?, 2 * B);
        assert_eq!(file.seek(2 * B, Seek::Hole)?, 3 * B);
        Ok(())
    }),
    ("growing changes modified and changed; reserving behind the end only changed", |fs| {
        let file = fs.with("f", b"abc");
        let before = file.stat()?;
        file.allocate(0, 3 * B, KeepSize)?;
        let between = file.stat()?;
        assert_eq!(between.modified, before.modified);
        assert!(between.changed > before.changed);
        file.allocate(0, 3 * B, Grow)?;
        assert!(file.stat()?.modified > before.modified);
        Ok(())
    }),
    ("more than there is, is ENOSPC, and changes nothing", |fs| {
        let file = fs.with("f", b"abc");
        let (before, free) = (file.stat()?, fs.free());
        for how in [Grow, KeepSize, Zero, ZeroKeepSize] {
            fails(file.allocate(0, 1 << 30, how), Code::NoSpace);
        }
        assert_eq!((file.stat()?, fs.free()), (before, free));
        Ok(())
    }),
    ("a punched hole reads as zeros, at any edges, and keeps what is around it", |fs| {
        for (at, len) in RANGES {
            let mut twin = Twin::new(fs, &format!("{at}-{len}"), pattern(4, 5 * B));
            twin.file.allocate(*at, *len, PunchHole)?;
            twin.zero(*at, *len);
            twin.check();
            let whole = ((at + len) / B).saturating_sub(at.div_ceil(B));
            assert_eq!(blocks(&twin.file), 5 - whole, "{at} {len}");
        }
        Ok(())
    }),
    ("a hole punched over the end keeps the size, and frees what is reserved behind it", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(5, 2 * B + 100));
        twin.file.allocate(0, 8 * B, KeepSize)?;
        twin.file.allocate(B + 50, 20 * B, PunchHole)?;
        twin.zero(B + 50, B + 50);
        twin.check();
        assert_eq!(blocks(&twin.file), 2);
        twin.set_len(3 * B);
        twin.check();
        Ok(())
    }),
    ("a hole in a hole, behind the end, or in nothing is no change of bytes", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(6, 100));
        twin.set_len(10 * B);
        twin.file.allocate(3 * B + 5, 2 * B, PunchHole)?;
        twin.file.allocate(20 * B, 5, PunchHole)?;
        twin.check();
        let empty = fs.with("empty", b"");
        empty.allocate(0, B, PunchHole)?;
        assert_eq!((empty.len()?, blocks(&empty), blocks(&twin.file)), (0, 0, 1));
        Ok(())
    }),
    ("punching in a clone leaves the original as it is", |fs| {
        let original = fs.with("a", &pattern(7, 5 * B));
        for (at, len) in RANGES {
            let mut twin = Twin::new(fs, &format!("{at}-{len}"), Vec::new());
            twin.file.clone_range(&original, 0, 0, 5 * B)?;
            twin.bytes = pattern(7, 5 * B);
            twin.file.allocate(*at, *len, PunchHole)?;
            twin.zero(*at, *len);
            twin.check();
            same(&all(&original), &pattern(7, 5 * B));
        }
        Ok(())
    }),
    ("zeroing makes zeros with blocks behind them, at any edges", |fs| {
        for how in [Zero, ZeroKeepSize] {
            for (at, len) in RANGES {
                let mut twin = Twin::new(fs, &format!("{how:?}-{at}-{len}"), pattern(8, 5 * B));
                twin.file.allocate(*at, *len, how)?;
                twin.zero(*at, *len);
                twin.check();
                assert_eq!(blocks(&twin.file), 5, "{at} {len}");
            }
        }
        Ok(())
    }),
    ("zeroing over the end makes the file longer, unless it is to keep its size", |fs| {
        let mut one = Twin::new(fs, "one", pattern(9, B + 200));
        one.file.allocate(B + 100, 3 * B, Zero)?;
        one.zero(B + 100, 100);
        one.bytes.resize(4 * B as usize + 100, 0);
        one.check();
        let mut two = Twin::new(fs, "two", pattern(9, B + 200));
        two.file.allocate(B + 100, 3 * B, ZeroKeepSize)?;
        two.zero(B + 100, 100);
        two.check();
        assert_eq!((blocks(&one.file), blocks(&two.file)), (5, 5));
        two.set_len(5 * B);
        two.check();
        Ok(())
    }),
    ("zeroing holes reserves them", |fs| {
        let file = fs.with("f", b"");
        file.set_len(8 * B)?;
        file.write_at(3 * B, b"x")?;
        file.allocate(B, 4 * B, Zero)?;
        same(&all(&file), &vec![0; 8 * B as usize]);
        assert_eq!(blocks(&file), 4);
        fails(file.seek(0, Seek::Data), Code::NoSuchPosition);
        Ok(())
    }),
    ("zeroing a clone leaves the original as it is", |fs| {
        let original = fs.with("a", &pattern(10, 5 * B));
        for (at, len) in RANGES {
            let mut twin = Twin::new(fs, &format!("{at}-{len}"), Vec::new());
            twin.file.clone_range(&original, 0, 0, 5 * B)?;
            twin.bytes = pattern(10, 5 * B);
            twin.file.allocate(*at, *len, Zero)?;
            twin.zero(*at, *len);
            twin.write(at + len - 1, b"!");
            twin.check();
            same(&all(&original), &pattern(10, 5 * B));
        }
        Ok(())
    }),
    ("collapsing takes blocks out, and what is behind them moves up", |fs| {
        for (at, len) in [(0, 1), (0, 4), (1, 1), (1, 3), (3, 1), (4, 1)] {
            let mut twin = Twin::new(fs, &format!("{at}-{len}"), pattern(11, 5 * B + 77));
            twin.file.allocate(at * B, len * B, Collapse)?;
            twin.bytes.drain((at * B) as usize..((at + len) * B) as usize);
            twin.check();
            assert_eq!(blocks(&twin.file), 6 - len);
        }
        Ok(())
    }),
    ("collapsing what is no whole blocks, or reaches the end, is EINVAL", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(12, 4 * B));
        let before = twin.file.stat()?;
        for (at, len) in [(1, B), (0, B - 1), (B, B + 1), (3 * B, B), (0, 4 * B), (B, 5 * B), (8 * B, B)] {
            fails(twin.file.allocate(at, len, Collapse), Code::Invalid);
        }
        assert_eq!(twin.file.stat()?, before);
        twin.check();
        twin.set_len(4 * B + 1);
        twin.file.allocate(3 * B, B, Collapse)?;
        twin.bytes.drain(3 * B as usize..4 * B as usize);
        twin.check();
        Ok(())
    }),
    ("collapsing moves holes and reserved blocks, too", |fs| {
        let mut twin = Twin::new(fs, "f", Vec::new());
        twin.write(0, &pattern(1, B));
        twin.write(4 * B, &pattern(2, B));
        twin.file.allocate(6 * B, 2 * B, Grow)?;
        twin.bytes.resize(8 * B as usize, 0);
        twin.write(9 * B, &pattern(3, 100));
        twin.file.allocate(B, 2 * B, Collapse)?;
        twin.bytes.drain(B as usize..3 * B as usize);
        twin.check();
        assert_eq!(blocks(&twin.file), 5);
        assert_eq!(twin.file.seek(B, Seek::Data)?, 2 * B);
        assert_eq!(twin.file.seek(3 * B, Seek::Data)?, 7 * B);
        Ok(())
    }),
    ("inserting makes a hole, and what was there moves down", |fs| {
        for (at, len) in [(0, 1), (0, 7), (1, 1), (2, 3), (4, 1), (5, 2)] {
            let mut twin = Twin::new(fs, &format!("{at}-{len}"), pattern(13, 5 * B + 77));
            twin.file.allocate(at * B, len * B, Insert)?;
            let at = (at * B) as usize;
            twin.bytes.splice(at..at, vec![0; (len * B) as usize]);
            twin.check();
            assert_eq!(blocks(&twin.file), 6);
            assert_eq!(twin.file.seek(at as u64, Seek::Hole)?, at as u64);
        }
        Ok(())
    }),
    ("inserting what is no whole blocks, or at the end, is EINVAL", |fs| {
        let twin = Twin::new(fs, "f", pattern(14, 4 * B));
        let before = twin.file.stat()?;
        for (at, len) in [(1, B), (0, B - 1), (B, B + 1), (4 * B, B), (9 * B, B), (B + 64, B - 64)] {
            fails(twin.file.allocate(at, len, Insert), Code::Invalid);
        }
        assert_eq!(twin.file.stat()?, before);
        twin.check();
        Ok(())
    }),
    ("inserting more than a file can have is EFBIG", |fs| {
        let file = fs.with("f", b"abc");
        file.set_len((1 << 62) - B)?;
        file.allocate(0, B, Insert)?;
        assert_eq!(part(&file, B - 1, 5), b"\0abc\0");
        fails(file.allocate(0, B, Insert), Code::FileTooLarge);
        assert_eq!(file.len()?, 1 << 62);
        Ok(())
    }),
    ("collapsing what was inserted gives the file back", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(15, 6 * B + 1));
        for (at, len) in [(0, 3), (2, 1), (6, 9)] {
            twin.file.allocate(at * B, len * B, Insert)?;
            twin.file.allocate(at * B, len * B, Collapse)?;
            twin.check();
        }
        twin.write(2 * B + 5, &pattern(16, 2 * B));
        twin.check();
        Ok(())
    }),
    ("moved blocks of a clone are the original's, which stays", |fs| {
        let original = fs.with("a", &pattern(17, 6 * B));
        let mut twin = Twin::new(fs, "b", Vec::new());
        twin.file.clone_range(&original, 0, 0, 6 * B)?;
        twin.bytes = pattern(17, 6 * B);
        twin.file.allocate(B, B, Collapse)?;
        twin.bytes.drain(B as usize..2 * B as usize);
        twin.file.allocate(3 * B, 2 * B, Insert)?;
        twin.bytes.splice(3 * B as usize..3 * B as usize, vec![0; 2 * B as usize]);
        twin.write(2 * B + 9, b"small");
        twin.write(5 * B + 100, &pattern(18, 2000));
        twin.check();
        same(&all(&original), &pattern(17, 6 * B));
        Ok(())
    }),
    ("files to append to may reserve and grow; nothing else, and immutable ones nothing", |fs| {
        let file = fs.with("f", &pattern(1, 2 * B));
        let flag = |flag| fs.setattr(file.ino(), &SetAttr { flags: Some(flag), ..SetAttr::default() }, R);
        flag(flags::APPEND)?;
        for how in [PunchHole, Zero, ZeroKeepSize, Collapse, Insert] {
            fails(file.allocate(0, B, how), Code::NotPermitted);
        }
        file.allocate(0, 3 * B, KeepSize)?;
        flag(flags::IMMUTABLE)?;
        for how in EVERY {
            fails(file.allocate(0, B, how), Code::NotPermitted);
        }
        same(&all(&file), &pattern(1, 2 * B));
        Ok(())
    }),
    ("on a full volume holes can be punched, and the space is there to write", |fs| {
        let file = fs.with("f", b"");
        while file.append(&[7; 16 * B as usize]).is_ok() {}
        let full = file.len()?;
        fails(file.write_at(full, &[1; 20 * B as usize]), Code::NoSpace);
        file.allocate(B, 64 * B, PunchHole)?;
        file.write_at(full, &[1; 20 * B as usize])?;
        assert_eq!(part(&file, B - 1, 3), [7, 0, 0]);
        Ok(())
    }),
    ("random changes of all modes leave what an array would have, after a mount, too", |_| {
        let fs = volume(4 << 20, &MountOptions::new());
        let mut random = fastrand::Rng::with_seed(31);
        let mut twin = Twin::new(&fs, "f", Vec::new());
        for step in 0..300 {
            let (at, len) = (random.u64(0..60_000), random.u64(1..20_000));
            let (from, to) = (at as usize, (at + len) as usize);
            let size = twin.bytes.len();
            match random.u32(0..8) {
                0 | 1 => twin.write(at, &pattern(step, len)),
                2 => twin.set_len(at),
                3 => {
                    twin.file.allocate(at, len, Grow)?;
                    twin.bytes.resize(size.max(to), 0);
                }
                4 => {
                    twin.file.allocate(at, len, Zero)?;
                    twin.bytes.resize(size.max(to), 0);
                    twin.zero(at, len);
                }
                5 => {
                    twin.file.allocate(at, len, PunchHole)?;
                    twin.bytes[from.min(size)..to.min(size)].fill(0);
                }
                6 if size > 3 * B as usize => {
                    twin.file.allocate(B, B, Collapse)?;
                    twin.bytes.drain(B as usize..2 * B as usize);
                }
                7 if size > B as usize => {
                    twin.file.allocate(B, B, Insert)?;
                    twin.bytes.splice(B as usize..B as usize, vec![0; B as usize]);
                }
                _ => twin.file.allocate(at, len, KeepSize)?,
            }
            twin.check();
        }
        let bytes = std::mem::take(&mut twin.bytes);
        drop(twin);
        let fs = fs.again(&MountOptions::new());
        same(&fs.read_file("/f")?, &bytes);
        fs.check();
        Ok(())
    }),
];
