//! Copies that share blocks.

use crate::{kit::*, own::*};
use nova_core::*;

fn blocks(file: &File) -> u64 {
    file.stat().unwrap().blocks / 8
}

/// A file and a clone of all of it.
fn pair(fs: &Fs, seed: u64, len: u64) -> (Twin, Twin) {
    let one = Twin::new(fs, "one", pattern(seed, len));
    let two = Twin { file: fs.with("two", b""), bytes: pattern(seed, len) };
    two.file.clone_range(&one.file, 0, 0, len).unwrap();
    (one, two)
}

const SEEDS: u64 = 4;

/// Writes, cuts, clones and moves among three files; what they are in the end.
fn change_at_random(fs: &Fs, seed: u64, relaxed: bool) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut files: Vec<(&str, Twin)> =
        ["a", "b", "c"].into_iter().map(|name| (name, Twin::new(fs, name, Vec::new()))).collect();
    if relaxed {
        let set = SetAttr { flags: Some(flags::IN_PLACE), ..SetAttr::default() };
        for (_, twin) in &files {
            fs.setattr(twin.file.ino(), &set, R).unwrap();
        }
    }
    for step in 0..250 {
        let (which, other) = (random.usize(0..3), random.usize(0..3));
        let source = files[other].1.file.clone();
        let content = files[other].1.bytes.clone();
        let twin = &mut files[which].1;
        let (at, len) = (random.u64(0..60_000), random.u64(1..20_000));
        let (from, to) = (at as usize, (at + len) as usize);
        let size = twin.bytes.len();
        match random.u32(0..12) {
            0 | 1 => twin.write(at, &pattern(step, len)),
            2 | 3 => twin.write(at, &pattern(step, len % 300 + 1)),
            4 => twin.set_len(at),
            5 => {
                twin.file.allocate(at, len, Allocate::Zero).unwrap();
                twin.bytes.resize(size.max(to), 0);
                twin.zero(at, len);
            }
            6 => {
                twin.file.allocate(at, len, Allocate::PunchHole).unwrap();
                twin.bytes[from.min(size)..to.min(size)].fill(0);
            }
            7 if size > 3 * B as usize => {
                twin.file.allocate(B, B, Allocate::Collapse).unwrap();
                twin.bytes.drain(B as usize..2 * B as usize);
            }
            8 if size > B as usize && size < 200_000 => {
                twin.file.allocate(B, 2 * B, Allocate::Insert).unwrap();
                twin.bytes.splice(B as usize..B as usize, vec![0; 2 * B as usize]);
            }
            9 => twin.file.allocate(at, len, Allocate::KeepSize).unwrap(),
            _ => {
                let (start, place) = (at / B * B, random.u64(0..15) * B);
                let len = len.min((content.len() as u64).saturating_sub(start));
                if twin.file.copy_from(&source, start, place, len).is_ok_and(|done| done > 0) {
                    let end = (place + len) as usize;
                    twin.bytes.resize(size.max(end), 0);
                    twin.bytes[place as usize..end]
                        .copy_from_slice(&content[start as usize..][..len as usize]);
                }
            }
        }
        files.iter().for_each(|(_, twin)| twin.check());
    }
    files.into_iter().map(|(name, twin)| (name, twin.bytes)).collect()
}

pub(crate) const CASES: &[Case] = &[
    ("a clone has the bytes, the size and the blocks of the original", |fs| {
        let (one, two) = pair(fs, 1, 5 * B);
        one.check();
        two.check();
        assert_eq!((blocks(&one.file), blocks(&two.file)), (5, 5));
        Ok(())
    }),
    ("blocks that two files share are counted once by statfs", |fs| {
        let one = fs.with("one", &pattern(1, 200 * B));
        let two = fs.with("two", b"");
        let free = fs.free();
        two.clone_range(&one, 0, 0, 200 * B)?;
        let left = fs.free();
        assert!(left + 3 >= free, "{left} of {free}");
        Ok(())
    }),
    ("more than the volume has can be cloned", |fs| {
        let one = fs.with("one", &pattern(1, 300 * B));
        for number in 0..20 {
            let clone = fs.with(&number.to_string(), b"");
            clone.clone_range(&one, 0, 0, 300 * B)?;
            assert_eq!(blocks(&clone), 300);
        }
        Ok(())
    }),
    ("a write to the clone does not change the original", |fs| {
        let (one, mut two) = pair(fs, 2, 6 * B);
        for (at, len) in [(0, 1), (100, 900), (B - 5, 10), (2 * B, B), (3 * B + 9, 2 * B), (6 * B - 1, 1)] {
            two.write(at, &pattern(at + 9, len));
            two.check();
            one.check();
        }
        Ok(())
    }),
    ("a write to the original does not change the clone", |fs| {
        let (mut one, two) = pair(fs, 3, 6 * B);
        for (at, len) in [(0, 1), (100, 900), (B - 5, 10), (2 * B, B), (3 * B + 9, 2 * B), (6 * B - 1, 1)] {
            one.write(at, &pattern(at + 9, len));
            one.check();
            two.check();
        }
        Ok(())
    }),
    ("a write takes a block of its own for each shared one that it touches, once", |fs| {
        let (mut one, _two) = pair(fs, 4, 8 * B);
        let free = fs.free();
        one.write(B - 1, b"xy");
        let left = fs.free();
        assert!((free - left).abs_diff(2) <= 1, "{left} of {free}");
        for _ in 0..10 {
            one.write(B - 1, b"zz");
            one.write(10, b"again");
        }
        assert!(fs.free() + 1 >= left);
        assert_eq!(blocks(&one.file), 8);
        Ok(())
    }),
    ("appending to a clone whose last block is shared leaves the original", |fs| {
        let (one, mut two) = pair(fs, 5, 2 * B + 100);
        two.write(2 * B + 100, b"appended");
        two.write(3 * B + 5, &pattern(1, 2000));
        two.check();
        one.check();
        one.file.set_len(3 * B)?;
        same(&part(&one.file, 2 * B + 100, B), &vec![0; B as usize - 100]);
        Ok(())
    }),
    ("the unaligned end of the original may become the end of the clone", |fs| {
        let (one, two) = pair(fs, 6, 3 * B + 77);
        one.check();
        two.check();
        let three = fs.with("three", &pattern(7, B + 5));
        three.clone_range(&one.file, 2 * B, B, B + 77)?;
        same(&part(&three, 0, B), &pattern(7, B));
        same(&part(&three, B, 5 * B), &pattern(6, 3 * B + 77)[2 * B as usize..]);
        Ok(())
    }),
    ("an unaligned end inside the clone is EINVAL", |fs| {
        let one = fs.with("one", &pattern(1, B + 77));
        let two = Twin::new(fs, "two", pattern(2, 4 * B));
        fails(two.file.clone_range(&one, 0, 0, B + 77), Code::Invalid);
        fails(two.file.clone_range(&one, 0, 0, B + 76), Code::Invalid);
        fails(two.file.clone_range(&one, 0, 5 * B, 100), Code::Invalid);
        two.check();
        Ok(())
    }),
    ("offsets that are not of whole blocks are EINVAL", |fs| {
        let (one, two) = pair(fs, 8, 4 * B);
        for (from, to) in [(1, 0), (0, 1), (64, 64), (B - 1, B), (B, B + 512)] {
            fails(two.file.clone_range(&one.file, from, to, B), Code::Invalid);
        }
        two.check();
        Ok(())
    }),
    ("behind the end of the original is EINVAL", |fs| {
        let (one, two) = pair(fs, 9, 2 * B);
        for (at, len) in [(0, 3 * B), (2 * B, B), (B, 2 * B), (1 << 50, B), (B, u64::MAX)] {
            fails(two.file.clone_range(&one.file, at, 0, len), Code::Invalid);
        }
        two.check();
        Ok(())
    }),
    ("a clone that would end behind the largest size is EFBIG", |fs| {
        let (one, two) = pair(fs, 10, 2 * B);
        fails(two.file.clone_range(&one.file, 0, (1 << 62) - B, 2 * B), Code::FileTooLarge);
        two.check();
        two.file.clone_range(&one.file, 0, (1 << 62) - 2 * B, 2 * B)?;
        assert_eq!(two.file.len()?, 1 << 62);
        same(&part(&two.file, (1 << 62) - B, B), &pattern(10, 2 * B)[B as usize..]);
        Ok(())
    }),
    ("cloning nothing changes nothing", |fs| {
        let (one, two) = pair(fs, 11, 2 * B);
        let before = two.file.stat()?;
        two.file.clone_range(&one.file, 0, 9 * B, 0)?;
        assert_eq!(two.file.copy_from(&one.file, 7, 9, 0)?, 0);
        assert_eq!(two.file.copy_from(&one.file, 5 * B, 0, B)?, 0);
        assert_eq!(two.file.stat()?, before);
        Ok(())
    }),
    ("directories and pipes are no source and no target", |fs| {
        let file = fs.with("f", &pattern(1, B));
        let dir = fs.open_inode(fs.dir("d"), Access::READ, R)?;
        let fifo = fs.open_ino(fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o644, 0, R)?.ino);
        for other in [&dir, &fifo] {
            fails(other.clone_range(&file, 0, 0, B), Code::Invalid);
            fails(file.clone_range(other, 0, 0, B), Code::Invalid);
        }
        Ok(())
    }),
    ("a file of another volume is EXDEV", |fs| {
        let other = volume(1 << 20, &MountOptions::new());
        let (one, two) = (fs.with("f", &pattern(1, B)), other.with("f", &pattern(2, B)));
        fails(one.clone_range(&two, 0, 0, B), Code::CrossDevice);
        fails(two.clone_range(&one, 0, 0, B), Code::CrossDevice);
        same(&all(&one), &pattern(1, B));
        Ok(())
    }),
    ("in one file ranges that overlap are EINVAL, and those that touch are cloned", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(12, 6 * B));
        for (from, to) in [(0, B), (B, 0), (2 * B, 2 * B)] {
            fails(twin.file.clone_range(&twin.file, from, to, 2 * B), Code::Invalid);
            fails(twin.file.copy_from(&twin.file, from, to, 2 * B), Code::Invalid);
        }
        twin.check();
        twin.file.clone_range(&twin.file, 0, 2 * B, 2 * B)?;
        twin.bytes.copy_within(0..2 * B as usize, 2 * B as usize);
        twin.check();
        twin.write(2 * B + 3, b"only here");
        twin.write(B, &pattern(1, B));
        twin.check();
        Ok(())
    }),
    ("a file cloned into itself again and again gives its blocks back", |fs| {
        let free = {
            drop(fs.with("f", b"x"));
            fs.free()
        };
        let mut twin = Twin { file: fs.open("/f")?, bytes: pattern(13, 4 * B) };
        twin.file.write_at(0, &pattern(13, 4 * B))?;
        for step in [4, 8, 16, 32] {
            twin.file.clone_range(&twin.file, 0, step * B, step * B)?;
            twin.bytes.extend_from_within(..);
        }
        twin.check();
        assert_eq!(blocks(&twin.file), 64);
        assert!(free - fs.free() <= 6);
        twin.file.clone_range(&twin.file, 0, 32 * B, 4 * B)?;
        twin.check();
        twin.set_len(1);
        assert!(fs.free() + 2 >= free, "{} of {free}", fs.free());
        Ok(())
    }),
    ("cloning again what is cloned already changes no byte and takes no block", |fs| {
        let (one, two) = pair(fs, 14, 10 * B);
        let free = fs.free();
        for _ in 0..5 {
            two.file.clone_range(&one.file, 0, 0, 10 * B)?;
        }
        one.check();
        two.check();
        assert!(fs.free() + 2 >= free);
        Ok(())
    }),
    ("a clone over data replaces it, and gives its blocks back", |fs| {
        let one = fs.with("one", &pattern(1, 4 * B));
        let mut two = Twin::new(fs, "two", pattern(2, 100 * B));
        let free = fs.free();
        two.file.clone_range(&one, 0, 3 * B, 4 * B)?;
        two.bytes[3 * B as usize..7 * B as usize].copy_from_slice(&pattern(1, 4 * B));
        two.check();
        assert!(fs.free() >= free + 3);
        Ok(())
    }),
    ("holes are cloned as holes, over data, too", |fs| {
        let one = fs.with("one", &pattern(1, B));
        one.write_at(4 * B, &pattern(2, B))?;
        let two = fs.with("two", &pattern(3, 6 * B));
        two.clone_range(&one, 0, 0, 5 * B)?;
        assert_eq!(blocks(&two), 3);
        same(&part(&two, 0, 5 * B), &all(&one));
        same(&part(&two, 5 * B, B), &pattern(3, 6 * B)[5 * B as usize..]);
        assert_eq!((two.seek(0, Seek::Hole)?, two.seek(B, Seek::Data)?), (B, 4 * B));
        Ok(())
    }),
    ("reserved blocks are cloned as zeros, and written apart", |fs| {
        let one = fs.with("one", b"");
        one.allocate(0, 4 * B, Allocate::Grow)?;
        let two = fs.with("two", b"");
        two.clone_range(&one, 0, 0, 4 * B)?;
        one.write_at(B + 5, b"one")?;
        two.write_at(B + 50, b"two")?;
        assert_eq!(part(&one, B + 4, 60)[..5], *b"\0one\0");
        assert_eq!(part(&one, B + 49, 5), [0; 5]);
        assert_eq!(part(&two, B, 50), [0; 50]);
        assert_eq!(part(&two, B + 49, 5), *b"\0two\0");
        Ok(())
    }),
    ("a clone behind the end leaves a hole, and zeros in the old last block", |fs| {
        let one = fs.with("one", &pattern(1, 2 * B));
        let mut two = Twin::new(fs, "two", pattern(2, B));
        two.set_len(50);
        two.file.clone_range(&one, 0, 3 * B, 2 * B)?;
        two.bytes.resize(3 * B as usize, 0);
        two.bytes.extend(pattern(1, 2 * B));
        two.check();
        Ok(())
    }),
    ("clones of clones are freed in any order, and all blocks come back", |fs| {
        let mut random = fastrand::Rng::with_seed(3);
        drop(fs.with("x", b"x"));
        let mut free = None;
        for round in 0..4 {
            let mut names: Vec<String> = (0..8).map(|number| format!("{round}-{number}")).collect();
            let mut last = fs.with(&names[0], &pattern(round, 50 * B));
            for name in &names[1..] {
                let next = fs.with(name, b"");
                next.clone_range(&last, 0, 0, 50 * B)?;
                next.write_at(random.u64(0..49 * B), b"its own")?;
                last = next;
            }
            drop(last);
            random.shuffle(&mut names);
            for name in &names {
                assert_eq!(fs.metadata(format!("/{name}"))?.blocks, 400);
                fs.unlink(ROOT, name.as_bytes(), R)?;
            }
            let now = fs.free();
            assert!(now + 2 >= *free.get_or_insert(now), "{now} of {free:?}");
        }
        Ok(())
    }),
    ("the original may go: the clone keeps the bytes, and their blocks", |fs| {
        let (one, mut two) = pair(fs, 15, 20 * B);
        drop(one);
        fs.unlink(ROOT, b"one", R)?;
        let other = fs.with("other", &pattern(1, 100 * B));
        two.check();
        two.write(B + 5, b"by now the only owner");
        two.check();
        same(&all(&other), &pattern(1, 100 * B));
        Ok(())
    }),
    ("each owner pays for shared blocks, and a quota keeps from cloning more", |fs| {
        let one = fs.with("one", &pattern(1, 10 * B));
        let two = fs.with("two", b"");
        fs.own(two.ino(), &alice());
        fs.set_quota(Quota::User(1000), 12, 0)?;
        two.clone_range(&one, 0, 0, 10 * B)?;
        assert_eq!(fs.quota(Quota::User(1000)).blocks, 10);
        fails(two.clone_range(&one, 0, 10 * B, 3 * B), Code::QuotaExceeded);
        assert_eq!((fs.quota(Quota::User(1000)).blocks, two.len()?), (10, 10 * B));
        two.clone_range(&one, 0, 5 * B, 7 * B)?;
        assert_eq!(fs.quota(Quota::User(1000)).blocks, 12);
        Ok(())
    }),
    ("cloning changes modified and changed of the target, and nothing of the original", |fs| {
        let (one, two) = pair(fs, 16, B);
        let (from, to) = (one.file.stat()?, two.file.stat()?);
        two.file.clone_range(&one.file, 0, 0, B)?;
        assert_eq!(one.file.stat()?, from);
        let after = two.file.stat()?;
        assert!(after.modified > to.modified && after.changed > to.changed);
        Ok(())
    }),
    ("immutable targets and those to append to are not cloned into", |fs| {
        let (one, two) = pair(fs, 17, B);
        for flag in [flags::IMMUTABLE, flags::APPEND] {
            fs.setattr(two.file.ino(), &SetAttr { flags: Some(flag), ..SetAttr::default() }, R)?;
            fails(two.file.clone_range(&one.file, 0, 0, B), Code::NotPermitted);
        }
        one.file.clone_range(&two.file, 0, 0, B)?;
        Ok(())
    }),
    ("copy_from copies any bytes to any place, as far as there are some", |fs| {
        let one = fs.with("one", &pattern(18, 5 * B + 9));
        for (number, (at, to, len)) in [
            (0, 0, 5 * B + 9),
            (0, 0, u64::MAX),
            (1, 0, 2 * B),
            (0, 1, 2 * B),
            (B, 3 * B, 2 * B),
            (B + 7, B + 7, 3 * B),
            (5 * B, 0, 100),
            (0, 2 * B, B + 1),
        ]
        .into_iter()
        .enumerate()
        {
            let mut two = Twin::new(fs, &number.to_string(), pattern(19, 2 * B));
            let expected = len.min(5 * B + 9 - at);
            assert_eq!(two.file.copy_from(&one, at, to, len)?, expected);
            two.bytes.resize((2 * B).max(to + expected) as usize, 0);
            two.bytes[to as usize..(to + expected) as usize]
                .copy_from_slice(&pattern(18, 5 * B + 9)[at as usize..(at + expected) as usize]);
            two.check();
        }
        Ok(())
    }),
    ("copy_from shares whole blocks, where both places allow it", |fs| {
        let one = fs.with("one", &pattern(20, 100 * B + 50));
        let two = fs.with("two", b"");
        let free = fs.free();
        assert_eq!(two.copy_from(&one, 0, 0, 100 * B + 50)?, 100 * B + 50);
        assert!(free - fs.free() <= 4);
        same(&all(&two), &pattern(20, 100 * B + 50));
        Ok(())
    }),
    ("on a full volume a file can be cloned, though not written apart", |fs| {
        let one = fs.with("one", &pattern(1, 100 * B));
        let two = fs.with("two", b"x");
        let filler = fs.with("filler", b"");
        while filler.append(&[1; 8 * B as usize]).is_ok() {}
        while filler.append(&[1; B as usize]).is_ok() {}
        match two.clone_range(&one, 0, 0, 100 * B) {
            Ok(()) => same(&all(&two), &pattern(1, 100 * B)),
            Err(error) => assert_eq!(error.code(), Some(Code::NoSpace)),
        }
        fails(one.write_at(0, &[9; 50 * B as usize]), Code::NoSpace);
        same(&all(&one), &pattern(1, 100 * B));
        Ok(())
    }),
    ("clones stand after a mount and after a scan, and are still written apart", |_| {
        let killable = Killable::new(4 << 20);
        let one = killable.fs.with("one", &pattern(21, 30 * B));
        let two = killable.fs.with("two", b"");
        two.clone_range(&one, 0, 0, 30 * B)?;
        for fs in [killable.killed(), killable.killed().again(&MountOptions::new())] {
            let (one, two) = (fs.open("/one")?, fs.open("/two")?);
            one.write_at(100, b"apart")?;
            same(&all(&two), &pattern(21, 30 * B));
            two.set_len(5)?;
            same(&part(&one, 105, B), &pattern(21, 30 * B)[105..105 + B as usize]);
            fs.check();
        }
        Ok(())
    }),
    ("random changes of three files that share blocks leave what arrays would have", |_| {
        for seed in 0..SEEDS {
            for relaxed in [false, true] {
                let killable = Killable::new(8 << 20);
                let mut expected = change_at_random(&killable.fs, seed, relaxed);
                let fs = killable.killed();
                for (name, bytes) in &mut expected {
                    same(&fs.read_file(format!("/{name}"))?, bytes);
                }
                fs.check();
                killable.fs.check();
            }
        }
        Ok(())
    }),
];
