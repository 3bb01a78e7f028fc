//! Writing: where, how much, over what.

use crate::{kit::*, own::*};
use nova_core::*;

/// Lengths about those where a write is done in another way.
const LENGTHS: &[u64] = &[1, 7, 8, 63, 64, 65, 511, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 10_000];
/// Offsets about the borders of blocks and lines.
const OFFSETS: &[u64] = &[0, 1, 63, 64, 1000, 4032, 4095, 4096, 4097, 8191, 12_000];

pub(crate) const CASES: &[Case] = &[
    ("what is written at any offset and of any length is read back from a new file", |fs| {
        for (number, offset) in OFFSETS.iter().enumerate() {
            for len in LENGTHS {
                let name = format!("{offset}-{len}");
                let mut twin = Twin::new(fs, &name, Vec::new());
                twin.write(*offset, &pattern(number as u64, *len));
                twin.check();
                drop(twin);
                fs.unlink(ROOT, name.as_bytes(), R)?;
            }
        }
        Ok(())
    }),
    ("overwriting at any offset and of any length keeps what is around it", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(1, 24_000));
        for (number, offset) in OFFSETS.iter().enumerate() {
            for len in LENGTHS {
                twin.write(*offset, &pattern(number as u64 + len, *len));
                twin.check();
            }
        }
        Ok(())
    }),
    ("writes that end in the file's last block keep the bytes behind them, and the size", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(2, 2 * B + 700));
        for (offset, len) in [(0, 2 * B + 699), (B - 1, B + 1), (2 * B, 1), (2 * B + 698, 1), (5, 2 * B)] {
            twin.write(offset, &pattern(offset + 3, len));
            twin.check();
            assert_eq!(twin.file.len()?, 2 * B + 700);
        }
        Ok(())
    }),
    ("a gap between the old end and a small write reads as zeros", |fs| {
        for (size, at) in [(1, 100), (100, B - 1), (100, B), (B, B + 9), (B, 3 * B), (5 * B - 1, 5 * B + 1)] {
            let mut twin = Twin::new(fs, &format!("{size}-{at}"), pattern(size, size));
            twin.write(at, b"x");
            twin.check();
        }
        Ok(())
    }),
    ("a gap between the old end and a large write reads as zeros", |fs| {
        for (size, at) in [(1, 100), (100, B - 1), (100, B), (B, B + 9), (B, 3 * B), (5 * B - 1, 5 * B + 1)] {
            let mut twin = Twin::new(fs, &format!("{size}-{at}"), pattern(size, size));
            twin.write(at, &pattern(9, 2 * B + 33));
            twin.check();
        }
        Ok(())
    }),
    ("after a cut, a small write behind the end shows nothing of what was there", |fs| {
        for (cut, at) in [(1, 200), (10, B - 1), (B + 5, B + 6), (B + 5, 2 * B), (B + 5, 2 * B + 100)] {
            let mut twin = Twin::new(fs, &format!("{cut}-{at}"), pattern(4, 3 * B));
            twin.set_len(cut);
            twin.write(at, b"yz");
            twin.check();
        }
        Ok(())
    }),
    ("after a cut, a large write behind the end shows nothing of what was there", |fs| {
        for (cut, at) in [(1, 200), (10, B - 1), (B + 5, B + 6), (B + 5, 2 * B), (B + 5, 2 * B + 100)] {
            let mut twin = Twin::new(fs, &format!("{cut}-{at}"), pattern(5, 3 * B));
            twin.set_len(cut);
            twin.write(at, &pattern(6, 5000));
            twin.check();
        }
        Ok(())
    }),
    ("after a cut, appending shows nothing of what was there", |fs| {
        for (cut, len) in [(1, 1), (4000, 10), (4000, 500), (B - 1, 2 * B), (B, 1), (0, 30)] {
            let mut twin = Twin::new(fs, &format!("{cut}-{len}"), pattern(7, 2 * B));
            twin.set_len(cut);
            assert_eq!(twin.file.append(&pattern(8, len))?, cut);
            twin.bytes.extend(pattern(8, len));
            twin.check();
            twin.set_len(3 * B);
            twin.check();
        }
        Ok(())
    }),
    ("one byte after the other, in order, makes the same file as one write", |fs| {
        let bytes = pattern(9, B + 50);
        let file = fs.with("f", b"");
        for (at, byte) in bytes.iter().enumerate() {
            file.write_at(at as u64, &[*byte])?;
        }
        same(&all(&file), &bytes);
        assert_eq!(file.stat()?.blocks, 16);
        Ok(())
    }),
    ("bytes written from the end to the start make the same file as one write", |fs| {
        let bytes = pattern(10, 300);
        let file = fs.with("f", b"");
        for at in (0..bytes.len()).rev() {
            file.write_at(B - 100 + at as u64, &bytes[at..=at])?;
        }
        same(&part(&file, B - 100, 400), &bytes);
        same(&part(&file, 0, B - 100), &vec![0; B as usize - 100]);
        Ok(())
    }),
    ("small writes to many blocks and a large one over all of them are told apart", |fs| {
        let mut twin = Twin::new(fs, "f", Vec::new());
        for block in 0..12 {
            twin.write(block * B + 17 * block, &pattern(block, 40));
        }
        twin.write(3 * B + 5, &pattern(11, 6 * B));
        for block in 0..12 {
            twin.write(block * B + 4000, &pattern(block + 20, 200));
        }
        twin.check();
        Ok(())
    }),
    ("of two writes to the same bytes the later one counts, small or large", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(0, 3 * B));
        for (number, len) in [30, 5000, 30, 900, 6000, 1, 4096, 1024].into_iter().enumerate() {
            twin.write(B - 20, &pattern(number as u64 + 30, len));
            twin.check();
        }
        Ok(())
    }),
    ("random writes leave what an array would have", |fs| {
        let mut random = fastrand::Rng::with_seed(7);
        let mut twin = Twin::new(fs, "f", Vec::new());
        for step in 0..400 {
            let len = if random.bool() { random.u64(1..300) } else { random.u64(1..9000) };
            twin.write(random.u64(0..60_000), &pattern(step, len));
        }
        twin.check();
        Ok(())
    }),
    ("random writes and cuts leave what an array would have", |fs| {
        let mut random = fastrand::Rng::with_seed(8);
        let mut twin = Twin::new(fs, "f", Vec::new());
        for step in 0..400 {
            if random.u32(0..4) == 0 {
                twin.set_len(random.u64(0..40_000));
            } else {
                let len = if random.bool() { random.u64(1..200) } else { random.u64(1..9000) };
                twin.write(random.u64(0..40_000), &pattern(step, len));
            }
            twin.check();
        }
        Ok(())
    }),
    ("an empty write behind the end changes neither size, times nor blocks", |fs| {
        let file = fs.with("f", b"abc");
        let before = file.stat()?;
        file.write_at(1 << 30, b"")?;
        file.write_at(0, b"")?;
        assert_eq!(file.append(b"")?, 3);
        assert_eq!(file.stat()?, before);
        Ok(())
    }),
    ("append says where it wrote, and writes at the end whatever the end is", |fs| {
        let file = fs.with("f", b"");
        assert_eq!(file.append(b"one")?, 0);
        assert_eq!(file.append(&pattern(1, 5000))?, 3);
        assert_eq!(file.append(b"two")?, 5003);
        file.set_len(10)?;
        assert_eq!(file.append(b"three")?, 10);
        file.set_len(9000)?;
        assert_eq!(file.append(b"four")?, 9000);
        same(&part(&file, 8998, 10), b"\0\0four");
        Ok(())
    }),
    ("two handles append to one end", |fs| {
        let one = fs.with("f", b"");
        let two = fs.open_ino(one.ino());
        for step in 0..50u8 {
            assert_eq!(if step % 2 == 0 { &one } else { &two }.append(&[step; 100])?, u64::from(step) * 100);
        }
        assert_eq!(one.len()?, 5000);
        assert!(all(&two).chunks(100).enumerate().all(|(step, chunk)| chunk == [step as u8; 100]));
        Ok(())
    }),
    ("what one handle writes, another reads at once", |fs| {
        let one = fs.with("f", b"before");
        let two = fs.open_ino(one.ino());
        one.write_at(0, b"after!")?;
        assert_eq!(all(&two), b"after!");
        assert_eq!(two.len()?, 6);
        Ok(())
    }),
    ("a file that has no name any more can be written and read", |fs| {
        let file = fs.with("f", &pattern(1, 5000));
        fs.unlink(ROOT, b"f", R)?;
        file.write_at(6000, &pattern(2, 3000))?;
        same(&part(&file, 0, 5000), &pattern(1, 5000));
        same(&part(&file, 6000, 3000), &pattern(2, 3000));
        assert_eq!(file.stat()?.links, 0);
        Ok(())
    }),
    ("a write that would end behind the largest size is EFBIG, and changes nothing", |fs| {
        let file = fs.with("f", b"abc");
        let before = file.stat()?;
        fails(file.write_at(1 << 62, b"x"), Code::FileTooLarge);
        fails(file.write_at((1 << 62) - 1, b"xy"), Code::FileTooLarge);
        fails(file.write_at(u64::MAX, b"x"), Code::FileTooLarge);
        fails(file.write_at(u64::MAX - 5, &[0; 100]), Code::FileTooLarge);
        assert_eq!(file.stat()?, before);
        Ok(())
    }),
    ("appending at the largest size is EFBIG", |fs| {
        let file = fs.with("f", b"");
        file.set_len(1 << 62)?;
        fails(file.append(b"x"), Code::FileTooLarge);
        assert_eq!(file.append(b"")?, 1 << 62);
        file.write_at((1 << 62) - 1, b"x")?;
        assert_eq!(part(&file, (1 << 62) - 2, 9), b"\0x");
        Ok(())
    }),
    ("a byte at 16 TiB takes one block", |fs| {
        let file = fs.with("f", b"start");
        file.write_at(16 << 40, b"far away")?;
        assert_eq!(file.len()?, (16 << 40) + 8);
        assert_eq!(file.stat()?.blocks, 16);
        assert_eq!(part(&file, (16 << 40) - 3, 100), b"\0\0\0far away");
        assert_eq!(part(&file, 0, 7), b"start\0\0");
        Ok(())
    }),
    ("writes on both sides of 2 and 4 GiB are kept apart", |fs| {
        let file = fs.with("f", b"");
        for border in [1u64 << 31, 1 << 32, 1 << 44] {
            file.write_at(border - 5, &pattern(border >> 30, 10))?;
            same(&part(&file, border - 5, 10), &pattern(border >> 30, 10));
        }
        same(&part(&file, (1 << 31) - 5, 10), &pattern(2, 10));
        assert_eq!(file.stat()?.blocks, 6 * 8);
        Ok(())
    }),
    ("blocks count what has data, in units of 512 bytes", |fs| {
        let file = fs.with("f", b"");
        assert_eq!(file.stat()?.blocks, 0);
        for (offset, len, blocks) in
            [(0, 1, 1), (1, B, 2), (10 * B, 1, 3), (10 * B + 5, 10, 3), (9 * B, 2 * B, 4)]
        {
            file.write_at(offset, &pattern(1, len))?;
            assert_eq!(file.stat()?.blocks, blocks * 8, "{offset} {len}");
        }
        Ok(())
    }),
    ("overwriting many times takes no more space", |fs| {
        let file = fs.with("f", &pattern(1, 10 * B));
        file.write_at(3, &pattern(0, 9 * B))?;
        let free = fs.free();
        for step in 0..300 {
            file.write_at(step % 50, &pattern(step, 9 * B))?;
        }
        assert_eq!(file.stat()?.blocks, 80);
        assert!(fs.free() + 4 >= free, "{} of {free}", fs.free());
        Ok(())
    }),
    ("directories, links, pipes and devices take no writes", |fs| {
        let dir = fs.open_inode(fs.dir("d"), Access::READ, R)?;
        fails(dir.write_at(0, b"x"), Code::IsADirectory);
        fails(dir.append(b"x"), Code::IsADirectory);
        fails(dir.read_at(0, &mut [0; 4]), Code::IsADirectory);
        fails(fs.open_inode(dir.ino(), Access::READ_WRITE, R), Code::IsADirectory);
        let fifo = fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o644, 0, R)?.ino;
        let link = fs.symlink(ROOT, b"l", b"target", R)?.ino;
        let device = fs.mknod(ROOT, b"c", libc::S_IFCHR | 0o644, 259, R)?.ino;
        for ino in [fifo, link, device] {
            let before = fs.stat(ino);
            fails(fs.open_ino(ino).write_at(0, b"x"), Code::Invalid);
            fails(fs.open_ino(ino).read_at(0, &mut [0; 4]), Code::Invalid);
            assert_eq!(fs.stat(ino), before);
        }
        Ok(())
    }),
    ("reading goes as far as the file, and no further", |fs| {
        let file = fs.with("f", &pattern(1, B + 10));
        assert_eq!(file.read_at(B + 10, &mut [0; 4])?, 0);
        assert_eq!(file.read_at(u64::MAX, &mut [0; 4])?, 0);
        assert_eq!(file.read_at(B + 9, &mut [0; 4])?, 1);
        assert_eq!(file.read_at(0, &mut [])?, 0);
        let mut bytes = [0xaa; 20];
        assert_eq!(file.read_at(B, &mut bytes)?, 10);
        assert_eq!(bytes[10..], [0xaa; 10], "bytes behind the end stay as they were");
        Ok(())
    }),
    ("an immutable file takes no write, and one to append to takes those at its end", |fs| {
        let file = fs.with("f", b"abc");
        let flags = |flags| fs.setattr(file.ino(), &SetAttr { flags: Some(flags), ..SetAttr::default() }, R);
        flags(flags::APPEND)?;
        fails(file.write_at(0, b"x"), Code::NotPermitted);
        file.write_at(3, b"def")?;
        file.append(b"ghi")?;
        flags(flags::IMMUTABLE)?;
        fails(file.write_at(0, b"x"), Code::NotPermitted);
        fails(file.append(b"x"), Code::NotPermitted);
        flags(0)?;
        file.write_at(0, b"A")?;
        assert_eq!(all(&file), b"Abcdefghi");
        Ok(())
    }),
    ("who writes a set-id file and is not root takes the bits away", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        fs.mode(ino, 0o6775);
        fs.open_ino(ino).write_at(0, b"root")?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o6775);
        fs.open_inode(ino, Access::READ_WRITE, &alice())?.write_at(0, b"alice")?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o775);
        fs.mode(ino, 0o2765);
        fs.open_inode(ino, Access::READ_WRITE, &alice())?.append(b"alice")?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o2765, "without the group's x it is no set-id bit");
        Ok(())
    }),
    ("who writes a set-id file that has no name yet takes the bits away, too", |fs| {
        let dir = fs.dir("d");
        let file = fs.tmpfile(dir, 0o6755, &alice())?;
        assert_eq!(file.stat()?.mode & 0o7777, 0o6755);
        file.write_at(0, b"alice")?;
        assert_eq!(file.stat()?.mode & 0o7777, 0o755);
        fs.link(file.ino(), dir, b"f", &alice())?;
        assert_eq!(fs.lookup(dir, b"f", R)?.mode & 0o7777, 0o755);
        Ok(())
    }),
    ("a write that finds no space changes nothing", |fs| {
        let file = fs.with("f", &pattern(1, 3 * B));
        let before = file.stat()?;
        fails(file.write_at(100, &vec![9; 8 << 20]), Code::NoSpace);
        assert_eq!(file.stat()?, before);
        same(&all(&file), &pattern(1, 3 * B));
        Ok(())
    }),
    ("a file whose flag says in place reads back what is written like any other", |fs| {
        let mut twin = Twin::new(fs, "f", pattern(1, 5 * B));
        fs.setattr(twin.file.ino(), &SetAttr { flags: Some(flags::IN_PLACE), ..SetAttr::default() }, R)?;
        for (number, offset) in OFFSETS.iter().enumerate() {
            for len in LENGTHS {
                twin.write(*offset, &pattern(number as u64 + len, *len));
            }
            twin.check();
        }
        twin.write(8 * B + 3, &pattern(50, 77));
        twin.set_len(8 * B + 20);
        twin.write(9 * B, b"z");
        twin.check();
        Ok(())
    }),
];
