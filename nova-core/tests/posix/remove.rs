//! Names go: unlink, rmdir; what stays open, and what comes back.

use crate::kit::*;
use nova_core::*;

/// Free blocks, those included that are free after this.
fn free(fs: &Fs) -> u64 {
    fs.sync().unwrap();
    fs.statfs().free
}

pub(crate) const CASES: &[Case] = &[
    ("an unlinked name is not found, and its file is gone", |fs| {
        let ino = fs.file("f");
        fs.unlink(ROOT, b"f", R)?;
        fails(fs.lookup(ROOT, b"f", R), Code::NotFound);
        fails(fs.unlink(ROOT, b"f", R), Code::NotFound);
        assert!(fs.getattr(ino).is_err());
        Ok(())
    }),
    ("an unlinked name can be made again, for another file", |fs| {
        drop(fs.with("f", b"old"));
        fs.unlink(ROOT, b"f", R)?;
        let file = fs.open_ino(fs.file("f"));
        assert!(file.read_to_end()?.is_empty());
        Ok(())
    }),
    ("unlinking changes the directory's times", |fs| {
        fs.file("f");
        let before = fs.stat(ROOT);
        fs.unlink(ROOT, b"f", R)?;
        let after = fs.stat(ROOT);
        assert!(after.modified > before.modified && after.changed > before.changed);
        assert_eq!((after.size, after.accessed), (before.size - 64, before.accessed));
        Ok(())
    }),
    ("unlinking one of two names changes the file's change time, and no other", |fs| {
        let ino = fs.file("f");
        let before = fs.link(ino, ROOT, b"g", R)?;
        fs.unlink(ROOT, b"f", R)?;
        let after = fs.stat(ino);
        assert!(after.changed > before.changed);
        assert_eq!((after.links, after.modified, after.accessed), (1, before.modified, before.accessed));
        Ok(())
    }),
    ("a directory is not unlinked", |fs| {
        fs.dir("d");
        fails(fs.unlink(ROOT, b"d", R), Code::IsADirectory);
        assert_eq!(fs.names(ROOT), ["d"]);
        Ok(())
    }),
    ("what is no directory is not removed as one", |fs| {
        fs.file("f");
        fs.symlink(ROOT, b"s", b"/", R)?;
        fails(fs.rmdir(ROOT, b"f", R), Code::NotADirectory);
        fails(fs.rmdir(ROOT, b"s", R), Code::NotADirectory);
        assert_eq!(fs.names(ROOT), ["f", "s"]);
        Ok(())
    }),
    ("nothing is removed from what is no directory", |fs| {
        let file = fs.file("f");
        fails(fs.unlink(file, b"x", R), Code::NotADirectory);
        fails(fs.rmdir(file, b"x", R), Code::NotADirectory);
        Ok(())
    }),
    ("a name that is not there is not removed", |fs| {
        fails(fs.unlink(ROOT, b"x", R), Code::NotFound);
        fails(fs.rmdir(ROOT, b"x", R), Code::NotFound);
        Ok(())
    }),
    ("a name of 256 bytes is too long to remove", |fs| {
        fails(fs.unlink(ROOT, &[b'x'; 256], R), Code::NameTooLong);
        fails(fs.rmdir(ROOT, &[b'x'; 256], R), Code::NameTooLong);
        Ok(())
    }),
    ("an empty directory is removed, and its parent has a link less", |fs| {
        let before = fs.stat(ROOT).links;
        let dir = fs.dir("d");
        fs.rmdir(ROOT, b"d", R)?;
        assert_eq!(fs.stat(ROOT).links, before);
        assert!(fs.getattr(dir).is_err());
        fails(fs.lookup(ROOT, b"d", R), Code::NotFound);
        Ok(())
    }),
    ("a directory with a name in it is not removed, whatever the name stands for", |fs| {
        let makes: [fn(&Fs, u64) -> Result<Stat>; 3] = [
            |fs, dir| fs.create(dir, b"x", 0o644, R),
            |fs, dir| fs.mkdir(dir, b"x", 0o755, R),
            |fs, dir| fs.symlink(dir, b"x", b"y", R),
        ];
        for (at, make) in makes.iter().enumerate() {
            let name = format!("d{at}");
            let dir = fs.dir(&name);
            make(fs, dir)?;
            fails(fs.rmdir(ROOT, name.as_bytes(), R), Code::NotEmpty);
            assert_eq!(fs.names(dir), ["x"]);
        }
        Ok(())
    }),
    ("a directory whose names are all removed is empty", |fs| {
        let dir = fs.dir("d");
        for at in 0..100 {
            fs.create(dir, format!("f{at}").as_bytes(), 0o644, R)?;
        }
        for at in 0..100 {
            fails(fs.rmdir(ROOT, b"d", R), Code::NotEmpty);
            fs.unlink(dir, format!("f{at}").as_bytes(), R)?;
        }
        fs.rmdir(ROOT, b"d", R)
    }),
    ("a file without a name does not keep its directory", |fs| {
        let dir = fs.dir("d");
        let file = fs.open_ino(fs.create(dir, b"f", 0o644, R)?.ino);
        fs.unlink(dir, b"f", R)?;
        fs.rmdir(ROOT, b"d", R)?;
        file.write_at(0, b"still")?;
        assert_eq!(file.read_to_end()?, b"still");
        Ok(())
    }),
    ("`.` is not removed, nor `..`", |fs| {
        let dir = fs.dir("d");
        fails(fs.rmdir(dir, b".", R), Code::Invalid);
        fails(fs.rmdir(dir, b"..", R), Code::NotEmpty);
        assert!(fs.unlink(dir, b".", R).is_err() && fs.unlink(dir, b"..", R).is_err());
        assert_eq!(fs.stat(dir).links, 2);
        Ok(())
    }),
    ("unlinking a symbolic link leaves what it leads to", |fs| {
        fs.file("f");
        fs.symlink(ROOT, b"s", b"f", R)?;
        fs.remove_file("/s")?;
        assert_eq!(fs.names(ROOT), ["f"]);
        Ok(())
    }),
    ("a file that is open keeps its content without a name", |fs| {
        let file = fs.with("f", &[7; 10_000]);
        fs.unlink(ROOT, b"f", R)?;
        assert_eq!(file.stat()?.links, 0);
        assert_eq!(file.read_to_end()?, [7; 10_000]);
        Ok(())
    }),
    ("a file without a name is written, cut and changed by its handle", |fs| {
        let file = fs.with("f", b"one");
        fs.unlink(ROOT, b"f", R)?;
        file.append(b"two")?;
        file.set_len(4)?;
        fs.mode(file.ino(), 0o600);
        assert_eq!(file.read_to_end()?, b"onet");
        assert_eq!(file.stat()?.mode & 0o777, 0o600);
        Ok(())
    }),
    ("a file without a name is opened again while it is open", |fs| {
        let file = fs.with("f", b"here");
        fs.unlink(ROOT, b"f", R)?;
        let again = fs.open_ino(file.ino());
        drop(file);
        assert_eq!(again.read_to_end()?, b"here");
        Ok(())
    }),
    ("a file without a name is gone after its last handle, not before", |fs| {
        let file = fs.with("f", b"here");
        let (other, ino) = (file.clone(), file.ino());
        fs.unlink(ROOT, b"f", R)?;
        drop(file);
        assert_eq!(fs.stat(ino).links, 0);
        drop(other);
        assert!(fs.getattr(ino).is_err() && fs.open_inode(ino, Access::READ, R).is_err());
        Ok(())
    }),
    ("blocks of a file come back when its last name goes", |fs| {
        let file = fs.open_ino(fs.file("f"));
        let before = free(fs);
        file.write_at(0, &vec![1; 50 * 4096])?;
        drop(file);
        assert!(free(fs) <= before - 50);
        fs.unlink(ROOT, b"f", R)?;
        assert!(free(fs) >= before);
        Ok(())
    }),
    ("blocks of an unlinked file come back at the last close", |fs| {
        let file = fs.open_ino(fs.file("f"));
        let before = free(fs);
        file.write_at(0, &vec![1; 50 * 4096])?;
        fs.unlink(ROOT, b"f", R)?;
        assert!(free(fs) <= before - 50);
        drop(file);
        assert!(free(fs) >= before);
        Ok(())
    }),
    ("blocks stay as long as there is a name", |fs| {
        let file = fs.open_ino(fs.file("f"));
        let before = free(fs);
        file.write_at(0, &vec![1; 50 * 4096])?;
        fs.link(file.ino(), ROOT, b"g", R)?;
        drop(file);
        fs.unlink(ROOT, b"f", R)?;
        assert!(free(fs) <= before - 50);
        fs.unlink(ROOT, b"g", R)?;
        assert!(free(fs) + 1 >= before, "a page of the directory's log may have come");
        Ok(())
    }),
    ("inode numbers come back", |fs| {
        fs.file("first");
        let before = fs.statfs();
        for round in 0..300 {
            let ino = fs.file("f");
            fs.unlink(ROOT, b"f", R)?;
            assert!(ino < 1 << 32, "round {round}");
        }
        fs.sync()?;
        assert_eq!(fs.statfs().inodes - fs.statfs().free_inodes, before.inodes - before.free_inodes);
        Ok(())
    }),
    ("a volume that was filled and emptied takes as much again", |fs| {
        let fill = || -> Result<u32> {
            let file = fs.open_ino(fs.file("f"));
            let mut blocks = 0;
            loop {
                match file.append(&[3; 16 * 4096]) {
                    Ok(_) => blocks += 16,
                    Err(error) if error.code() == Some(Code::NoSpace) => break,
                    Err(error) => return Err(error),
                }
            }
            fs.unlink(ROOT, b"f", R)?;
            drop(file);
            fs.sync()?;
            Ok(blocks)
        };
        let first = fill()?;
        assert!(first > 500, "{first}");
        assert_eq!(fill()?, first);
        Ok(())
    }),
    ("names are removed from a full volume", |fs| {
        let file = fs.open_ino(fs.file("f"));
        fs.dir("d");
        while file.append(&[3; 4096]).is_ok() {}
        fs.unlink(ROOT, b"f", R)?;
        fs.rmdir(ROOT, b"d", R)?;
        assert!(fs.names(ROOT).is_empty());
        Ok(())
    }),
    ("a removed directory that is open has no links, and stays a directory", |fs| {
        let dir = fs.dir("d");
        let handle = fs.open_inode(dir, Access::READ, R)?;
        fs.rmdir(ROOT, b"d", R)?;
        assert_eq!((handle.stat()?.links, handle.stat()?.kind()), (0, Kind::Directory));
        assert!(fs.names(dir).is_empty());
        drop(handle);
        assert!(fs.getattr(dir).is_err());
        Ok(())
    }),
    ("nothing gets into a removed directory by link or rename", |fs| {
        let (file, dir) = (fs.file("f"), fs.dir("d"));
        let handle = fs.open_inode(dir, Access::READ, R)?;
        fs.rmdir(ROOT, b"d", R)?;
        fails(fs.link(file, dir, b"g", R), Code::NotFound);
        fails(fs.rename(ROOT, b"f", dir, b"f", Rename::Replace, R), Code::NotFound);
        fails(fs.tmpfile(dir, 0o600, R), Code::NotFound);
        drop(handle);
        Ok(())
    }),
    ("removed pipes, devices and links give their numbers back", |fs| {
        let pipe = fs.mknod(ROOT, b"p", libc::S_IFIFO | 0o600, 0, R)?.ino;
        let link = fs.symlink(ROOT, b"s", &[b'x'; 3000], R)?.ino;
        let device = fs.mknod(ROOT, b"c", libc::S_IFCHR | 0o600, 5, R)?.ino;
        for name in [b"p", b"s", b"c"] {
            fs.unlink(ROOT, name, R)?;
        }
        assert!([pipe, link, device].iter().all(|ino| fs.getattr(*ino).is_err()));
        Ok(())
    }),
    ("remove_file takes files, remove_dir directories, and each says the path", |fs| {
        fs.create_dir_all("/a/b")?;
        fs.create_file("/a/f")?;
        let error = fs.remove_file("/a/b").unwrap_err();
        assert_eq!(error.code(), Some(Code::IsADirectory));
        assert!(error.to_string().contains("/a/b"));
        fails(fs.remove_dir("/a/f"), Code::NotADirectory);
        fs.remove_file("/a/f")?;
        fs.remove_dir("/a/b/")?;
        fs.remove_dir("/a")
    }),
];
