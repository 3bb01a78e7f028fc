//! The size of files, and what a change of it leaves.

use crate::{kit::*, own::*};
use nova_core::*;

fn size(size: u64) -> SetAttr {
    SetAttr { size: Some(size), ..SetAttr::default() }
}

/// Makes a file as long as it says.
type Grow = fn(&File, u64);

/// Ways to make a file as long as `to` again, which is more than a block behind its end.
const GROW: &[(&str, Grow)] = &[
    ("set_len", |file, to| file.set_len(to).unwrap()),
    ("setattr", |file, to| assert_eq!(file.nova().setattr(file.ino(), &size(to), R).unwrap().size, to)),
    ("a small write", |file, to| file.write_at(to - 1, &[0]).unwrap()),
    ("a large write", |file, to| file.write_at(to - 2 * B, &[0; 2 * B as usize]).unwrap()),
    ("an allocation", |file, to| file.allocate(to - 10, 10, Allocate::Grow).unwrap()),
    ("an allocation of everything", |file, to| file.allocate(0, to, Allocate::Grow).unwrap()),
    ("zeros", |file, to| file.allocate(to - 10, 10, Allocate::Zero).unwrap()),
    ("a clone", |file, to| {
        let holes = file.nova().tmpfile(ROOT, 0o600, R).unwrap();
        holes.set_len(2 * B).unwrap();
        file.clone_range(&holes, 0, to.next_multiple_of(B) - 2 * B, 2 * B).unwrap();
        file.set_len(to).unwrap();
    }),
    ("two steps", |file, to| {
        file.set_len(file.len().unwrap() + 1).unwrap();
        file.set_len(to).unwrap();
    }),
];

/// Cuts a file at `cut`, lets it grow in all ways, and looks for what was cut off.
fn cut_and_grow(fs: &Fs, cut: u64) {
    for (how, grow) in GROW {
        let mut twin = Twin::new(fs, how, pattern(cut, 3 * B));
        twin.set_len(cut);
        let to = cut.next_multiple_of(B) + 4 * B - 77;
        grow(&twin.file, to);
        twin.bytes.resize(to as usize, 0);
        twin.check();
        drop(twin);
        fs.unlink(ROOT, how.as_bytes(), R).unwrap();
    }
}

pub(crate) const CASES: &[Case] = &[
    ("a file that is cut keeps what is before the cut, at any place", |fs| {
        for cut in [0, 1, 63, 64, 100, B - 1, B, B + 1, 2 * B, 3 * B - 1, 3 * B] {
            let mut twin = Twin::new(fs, &cut.to_string(), pattern(1, 3 * B));
            twin.set_len(cut);
            twin.check();
            assert_eq!(twin.file.stat()?.blocks, cut.div_ceil(B) * 8);
        }
        Ok(())
    }),
    ("a cut in the first line of a block leaves nothing when the file grows", |fs| {
        cut_and_grow(fs, B + 1);
        cut_and_grow(fs, 63);
        Ok(())
    }),
    ("a cut at the border of a line leaves nothing when the file grows", |fs| {
        cut_and_grow(fs, 64);
        cut_and_grow(fs, 2 * B + 128);
        Ok(())
    }),
    ("a cut in the last line of a block leaves nothing when the file grows", |fs| {
        cut_and_grow(fs, B - 1);
        cut_and_grow(fs, 3 * B - 64);
        Ok(())
    }),
    ("a cut at the border of a block leaves nothing when the file grows", |fs| {
        cut_and_grow(fs, B);
        cut_and_grow(fs, 2 * B);
        Ok(())
    }),
    ("a file cut to nothing and grown reads as zeros, and has no blocks", |fs| {
        cut_and_grow(fs, 0);
        let file = fs.with("f", &pattern(1, 3 * B));
        file.set_len(0)?;
        file.set_len(3 * B)?;
        same(&all(&file), &vec![0; 3 * B as usize]);
        assert_eq!(file.stat()?.blocks, 0);
        Ok(())
    }),
    ("growing makes a hole: a size, zeros and no blocks", |fs| {
        let file = fs.with("f", b"abc");
        file.set_len(1 << 40)?;
        assert_eq!((file.len()?, file.stat()?.blocks), (1 << 40, 8));
        assert_eq!(part(&file, 0, 5), b"abc\0\0");
        assert_eq!(part(&file, (1 << 40) - 4, 10), [0; 4]);
        Ok(())
    }),
    ("a cut into a hole leaves the hole", |fs| {
        let file = fs.with("f", b"abc");
        file.write_at(10 * B, b"def")?;
        file.set_len(5 * B + 7)?;
        assert_eq!((file.len()?, file.stat()?.blocks), (5 * B + 7, 8));
        file.set_len(11 * B)?;
        same(&part(&file, 3, 11 * B), &vec![0; 11 * B as usize - 3]);
        Ok(())
    }),
    ("a size that is the size changes modified and changed, and nothing else", |fs| {
        let file = fs.with("f", &pattern(1, 5000));
        let before = file.stat()?;
        file.set_len(5000)?;
        let between = file.stat()?;
        fs.setattr(file.ino(), &size(5000), R)?;
        let after = file.stat()?;
        assert!(before.modified <= between.modified && between.modified <= after.modified);
        assert!(before.changed < after.changed);
        assert_eq!((after.size, after.blocks, after.accessed), (5000, before.blocks, before.accessed));
        same(&all(&file), &pattern(1, 5000));
        Ok(())
    }),
    ("a cut gives all blocks behind it back", |fs| {
        let before = fs.file("f");
        let file = fs.open_ino(before);
        file.write_at(0, b"x")?;
        let free = fs.free();
        for _ in 0..5 {
            file.write_at(0, &pattern(1, 100 * B))?;
            assert!(fs.free() <= free - 99);
            file.set_len(1)?;
        }
        assert_eq!(file.stat()?.blocks, 8);
        assert!(fs.free() + 2 >= free, "{} of {free}", fs.free());
        Ok(())
    }),
    ("a cut gives reserved blocks behind it back, those behind the old end included", |fs| {
        let file = fs.with("f", b"abc");
        file.allocate(0, 20 * B, Allocate::KeepSize)?;
        assert_eq!(file.stat()?.blocks, 160);
        file.set_len(2)?;
        assert_eq!((file.len()?, file.stat()?.blocks), (2, 8));
        Ok(())
    }),
    ("a size behind the largest is EFBIG, and changes nothing", |fs| {
        let file = fs.with("f", b"abc");
        let before = file.stat()?;
        fails(file.set_len((1 << 62) + 1), Code::FileTooLarge);
        fails(file.set_len(u64::MAX), Code::FileTooLarge);
        fails(fs.setattr(file.ino(), &size((1 << 62) + 1), R), Code::FileTooLarge);
        assert_eq!(file.stat()?, before);
        Ok(())
    }),
    ("the largest size can be, and be taken back", |fs| {
        let file = fs.with("f", b"abc");
        file.set_len(1 << 62)?;
        assert_eq!(file.len()?, 1 << 62);
        file.set_len(2)?;
        assert_eq!(all(&file), b"ab");
        Ok(())
    }),
    ("who may write may cut by setattr, who may only read may not", |fs| {
        let ino = fs.with("f", b"abcdef").ino();
        fs.own(ino, &alice());
        fs.mode(ino, 0o644);
        fails(fs.setattr(ino, &size(1), &bob()), Code::NoAccess);
        assert_eq!(fs.setattr(ino, &size(5), &alice())?.size, 5);
        fs.mode(ino, 0o646);
        assert_eq!(fs.setattr(ino, &size(4), &bob())?.size, 4);
        fs.mode(ino, 0o444);
        fails(fs.setattr(ino, &size(1), &alice()), Code::NoAccess);
        assert_eq!(fs.setattr(ino, &size(3), R)?.size, 3);
        Ok(())
    }),
    ("only files have a size to set", |fs| {
        let dir = fs.dir("d");
        fails(fs.setattr(dir, &size(0), R), Code::IsADirectory);
        let fifo = fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o644, 0, R)?.ino;
        let link = fs.symlink(ROOT, b"l", b"target", R)?.ino;
        for ino in [fifo, link] {
            fails(fs.setattr(ino, &size(0), R), Code::Invalid);
        }
        fails(fs.open_inode(dir, Access::READ, R)?.set_len(0), Code::IsADirectory);
        assert_eq!(fs.readlink(link)?, b"target");
        Ok(())
    }),
    ("immutable files and those to append to are not cut", |fs| {
        let file = fs.with("f", b"abc");
        for flag in [flags::IMMUTABLE, flags::APPEND] {
            fs.setattr(file.ino(), &SetAttr { flags: Some(flag), ..SetAttr::default() }, R)?;
            fails(file.set_len(1), Code::NotPermitted);
            fails(file.set_len(9), Code::NotPermitted);
            fails(fs.setattr(file.ino(), &size(1), R), Code::NotPermitted);
        }
        assert_eq!(all(&file), b"abc");
        Ok(())
    }),
    ("a size is set with other attributes or not at all", |fs| {
        let ino = fs.with("f", b"abcdef").ino();
        let before = fs.stat(ino);
        let set = SetAttr { mode: Some(0o600), size: Some(u64::MAX), ..SetAttr::default() };
        fails(fs.setattr(ino, &set, R), Code::FileTooLarge);
        assert_eq!(fs.stat(ino), before);
        let set = SetAttr {
            mode: Some(0o600),
            uid: Some(7),
            size: Some(2),
            modified: Some(Time::At(5)),
            ..SetAttr::default()
        };
        let after = fs.setattr(ino, &set, R)?;
        assert_eq!((after.mode & 0o7777, after.uid, after.size, after.modified), (0o600, 7, 2, 5));
        Ok(())
    }),
    ("who cuts a set-id file and is not root takes the bits away", |fs| {
        let ino = fs.with("f", b"abcdef").ino();
        fs.own(ino, &alice());
        fs.mode(ino, 0o6777);
        fs.setattr(ino, &size(5), R)?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o6777);
        fs.setattr(ino, &size(4), &bob())?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o777);
        fs.mode(ino, 0o6777);
        fs.open_inode(ino, Access::READ_WRITE, &bob())?.set_len(3)?;
        assert_eq!(fs.stat(ino).mode & 0o7777, 0o777);
        Ok(())
    }),
    ("a file without a name is cut like others", |fs| {
        let file = fs.tmpfile(ROOT, 0o600, R)?;
        file.write_at(0, &pattern(1, 5 * B))?;
        file.set_len(B + 3)?;
        file.set_len(2 * B)?;
        same(&part(&file, 0, B + 3), &pattern(1, B + 3));
        same(&part(&file, B + 3, B), &vec![0; B as usize - 3]);
        Ok(())
    }),
    ("a cut of a clone leaves the original as it is", |fs| {
        let original = fs.with("a", &pattern(1, 3 * B));
        let clone = fs.with("b", b"");
        clone.clone_range(&original, 0, 0, 3 * B)?;
        clone.set_len(B + 100)?;
        clone.set_len(2 * B)?;
        same(&all(&original), &pattern(1, 3 * B));
        same(&part(&clone, 0, B + 100), &pattern(1, B + 100));
        same(&part(&clone, B + 100, B), &vec![0; B as usize - 100]);
        Ok(())
    }),
    ("on a full volume a file can be cut", |fs| {
        let file = fs.with("f", b"");
        while file.append(&[7; 16 * B as usize]).is_ok() {}
        let full = file.len()?;
        file.set_len(full / 2 + 5)?;
        file.write_at(full - 20 * B, &[8; 10 * B as usize])?;
        assert_eq!(part(&file, full / 2 + 4, 3), [7, 0, 0]);
        Ok(())
    }),
    ("a cut and what follows stand after a mount", |_| {
        let fs = volume(4 << 20, &MountOptions::new());
        let mut twin = Twin::new(&fs, "f", pattern(3, 5 * B));
        twin.set_len(2 * B + 9);
        twin.set_len(4 * B + 1);
        let bytes = std::mem::take(&mut twin.bytes);
        drop(twin);
        let fs = fs.again(&MountOptions::new());
        same(&fs.read_file("/f")?, &bytes);
        fs.check();
        Ok(())
    }),
];
