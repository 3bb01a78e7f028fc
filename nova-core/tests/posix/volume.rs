//! A volume: how full it is, how it is mounted, and what it does when there is no space.

use crate::{kit::*, own::*};
use nova_core::*;
use pmem_map::Mapping;

fn fill(fs: &Fs, name: &str) -> File {
    let file = fs.with(name, b"");
    while file.append(&[7; 8 * B as usize]).is_ok() {}
    while file.append(&[7; B as usize]).is_ok() {}
    file
}

/// A volume with some files, unmounted.
fn prepared() -> Mapping {
    let fs = volume(2 << 20, &MountOptions::new());
    drop(fs.with("f", &pattern(1, 3 * B + 5)));
    let dir = fs.dir("d");
    fs.create(dir, b"inner", 0o644, R).unwrap();
    fs.symlink(ROOT, b"l", b"f", R).unwrap();
    fs.set_attribute(dir, b"user.x", b"value", AttributeMode::Set, R).unwrap();
    fs.nova.unmount().unwrap()
}

fn read_only() -> Fs {
    Fs { nova: MountOptions::new().read_only(true).mount(prepared()).unwrap() }
}

/// Formats, and works on it for a while.
fn works_with(bytes: u64, options: FormatOptions) -> Fs {
    let fs = Fs { nova: options.format(Mapping::memfd(bytes).unwrap(), MountOptions::new()).unwrap() };
    let dir = fs.dir("d");
    for number in 0..40 {
        let name = number.to_string();
        let file = fs.open_ino(fs.create(dir, name.as_bytes(), 0o644, R).unwrap().ino);
        file.write_at(number * 13, &pattern(number, 700 + number)).unwrap();
        same(&part(&file, number * 13, B), &pattern(number, 700 + number));
        if number % 3 == 0 {
            fs.unlink(dir, name.as_bytes(), R).unwrap();
        }
    }
    fs.check();
    let fs = fs.again(&MountOptions::new());
    assert_eq!(fs.names(dir).len(), 26);
    fs
}

pub(crate) const CASES: &[Case] = &[
    ("free and available blocks are no more than there are", |fs| {
        let stat = fs.statfs();
        assert!(stat.available < stat.free && stat.free < stat.blocks);
        assert!(stat.blocks * B < fs.size() && fs.size() == 4 << 20);
        assert!(0 < stat.free_inodes && stat.free_inodes < stat.inodes);
        Ok(())
    }),
    ("blocks that a file takes are not free, and are free again without it", |fs| {
        drop(fs.with("f", b"x"));
        let before = fs.free();
        let file = fs.with("g", &pattern(1, 100 * B));
        let with = fs.free();
        assert!((100..=102).contains(&(before - with)), "{with} of {before}");
        assert_eq!(before - with, fs.statfs().free.abs_diff(before));
        drop(file);
        fs.unlink(ROOT, b"g", R)?;
        assert!(fs.free() + 2 >= before);
        Ok(())
    }),
    ("a removed file's blocks count as free at once", |fs| {
        drop(fs.with("f", &pattern(1, 100 * B)));
        let with = fs.statfs().free;
        fs.unlink(ROOT, b"f", R)?;
        assert!(fs.statfs().free >= with + 100);
        Ok(())
    }),
    ("each file takes one of the free inodes, and gives it back", |fs| {
        let before = fs.statfs();
        for number in 0..10 {
            fs.file(&number.to_string());
        }
        let with = fs.statfs();
        let used = |stat: StatFs| stat.inodes - stat.free_inodes;
        assert_eq!(used(with), used(before) + 10);
        for number in 0..10 {
            fs.unlink(ROOT, number.to_string().as_bytes(), R)?;
        }
        assert_eq!(used(fs.statfs()), used(before));
        Ok(())
    }),
    ("statfs says the same after a mount", |_| {
        let fs = volume(2 << 20, &MountOptions::new());
        drop(fs.with("f", &pattern(1, 50 * B)));
        fs.unlink(ROOT, b"f", R)?;
        drop(fs.with("g", &pattern(1, 30 * B)));
        fs.sync()?;
        let before = fs.statfs();
        assert_eq!(fs.again(&MountOptions::new()).statfs(), before);
        Ok(())
    }),
    ("statfs says the same after a scan", |_| {
        let killable = Killable::new(2 << 20);
        let file = killable.fs.with("g", &pattern(1, 30 * B));
        file.allocate(0, 60 * B, Allocate::KeepSize)?;
        killable.fs.sync()?;
        assert_eq!(killable.killed().statfs(), killable.fs.statfs());
        Ok(())
    }),
    ("what is available can be written, but for what leads there", |fs| {
        drop(fs.with("f", b"x"));
        fs.sync()?;
        let available = fs.statfs().available;
        let written = fill(fs, "g").len()? / B;
        assert!(
            written <= available && written + available / 50 + 4 >= available,
            "{written} of {available}"
        );
        Ok(())
    }),
    ("a full volume says ENOSPC for writes and files, and keeps what is there", |fs| {
        let kept = fs.with("kept", &pattern(1, 5 * B));
        fill(fs, "filler");
        fails(kept.append(&pattern(2, 10 * B)), Code::NoSpace);
        let failed = (0..2000).find_map(|number| {
            let made = fs.create(ROOT, format!("{number:0200}").as_bytes(), 0o644, R);
            made.err().and_then(|error| error.code())
        });
        assert_eq!(failed, Some(Code::NoSpace));
        same(&all(&kept), &pattern(1, 5 * B));
        Ok(())
    }),
    ("on a full volume files can be removed, and then written again", |fs| {
        for round in 0..4 {
            let len = fill(fs, "filler").len()?;
            fs.unlink(ROOT, b"filler", R)?;
            assert!(len > 3 << 20, "{len} in round {round}");
        }
        Ok(())
    }),
    ("on a full volume attributes, modes and names still change", |fs| {
        let ino = fs.file("f");
        fill(fs, "filler");
        fs.mode(ino, 0o600);
        fs.rename(ROOT, b"f", ROOT, b"g", Rename::Replace, R)?;
        fs.setattr(ino, &SetAttr { modified: Some(Time::At(5)), ..SetAttr::default() }, R)?;
        assert_eq!((fs.stat(ino).mode & 0o777, fs.stat(ino).modified), (0o600, 5));
        assert_eq!(fs.names(ROOT).len(), 2);
        Ok(())
    }),
    ("a full volume is mounted again, and goes on", |_| {
        let fs = volume(1 << 20, &MountOptions::new());
        let len = fill(&fs, "filler").len()?;
        let nova = Nova::mount(fs.nova.unmount()?)?;
        let fs = Fs { nova };
        same(&fs.read_file("/filler")?, &vec![7; len as usize]);
        fs.unlink(ROOT, b"filler", R)?;
        drop(fs.with("f", &pattern(1, len / 2)));
        fs.check();
        Ok(())
    }),
    ("mounted read-only, everything can be read", |_| {
        let fs = read_only();
        assert!(fs.is_read_only());
        same(&fs.read_file("/f")?, &pattern(1, 3 * B + 5));
        same(&fs.read_file("/l")?, &pattern(1, 3 * B + 5));
        let dir = fs.metadata("/d")?.ino;
        assert_eq!(fs.names(dir), ["inner"]);
        assert_eq!(fs.attribute(dir, b"user.x", R)?, b"value");
        assert!(fs.statfs().free > 0);
        fs.check();
        Ok(())
    }),
    ("mounted read-only, no name is made, removed or changed: EROFS", |_| {
        let fs = read_only();
        let ino = fs.metadata("/f")?.ino;
        fails(fs.create(ROOT, b"n", 0o644, R), Code::ReadOnly);
        fails(fs.mkdir(ROOT, b"n", 0o755, R), Code::ReadOnly);
        fails(fs.mknod(ROOT, b"n", libc::S_IFIFO | 0o644, 0, R), Code::ReadOnly);
        fails(fs.symlink(ROOT, b"n", b"t", R), Code::ReadOnly);
        fails(fs.tmpfile(ROOT, 0o600, R), Code::ReadOnly);
        fails(fs.link(ino, ROOT, b"n", R), Code::ReadOnly);
        fails(fs.unlink(ROOT, b"f", R), Code::ReadOnly);
        fails(fs.rmdir(ROOT, b"d", R), Code::ReadOnly);
        fails(fs.rename(ROOT, b"f", ROOT, b"n", Rename::Replace, R), Code::ReadOnly);
        fails(fs.rename(ROOT, b"f", ROOT, b"d", Rename::Exchange, R), Code::ReadOnly);
        Ok(())
    }),
    ("mounted read-only, no attribute and no quota is set: EROFS", |_| {
        let fs = read_only();
        let ino = fs.metadata("/f")?.ino;
        fails(fs.setattr(ino, &SetAttr { mode: Some(0), ..SetAttr::default() }, R), Code::ReadOnly);
        fails(fs.setattr(ino, &SetAttr { size: Some(0), ..SetAttr::default() }, R), Code::ReadOnly);
        fails(fs.set_attribute(ino, b"user.x", b"v", AttributeMode::Set, R), Code::ReadOnly);
        fails(fs.remove_attribute(fs.metadata("/d")?.ino, b"user.x", R), Code::ReadOnly);
        fails(fs.set_quota(Quota::User(1), 1, 1), Code::ReadOnly);
        Ok(())
    }),
    ("mounted read-only, no file is opened to write, and none is written: EROFS", |_| {
        let fs = read_only();
        let ino = fs.metadata("/f")?.ino;
        fails(fs.open_inode(ino, Access::READ_WRITE, R), Code::ReadOnly);
        fails(fs.access(ino, Access::READ_WRITE, R), Code::ReadOnly);
        let file = fs.open_inode(ino, Access::READ, R)?;
        fails(file.write_at(0, b"x"), Code::ReadOnly);
        fails(file.append(b"x"), Code::ReadOnly);
        fails(file.set_len(0), Code::ReadOnly);
        fails(file.allocate(0, B, Allocate::Grow), Code::ReadOnly);
        fails(file.allocate(0, B, Allocate::PunchHole), Code::ReadOnly);
        fails(file.clone_range(&file, 0, 2 * B, B), Code::ReadOnly);
        Ok(())
    }),
    ("mounted read-only, no byte of the volume changes, by reading or by trying", |_| {
        let mapping = prepared();
        let before = mapping.as_slice().to_vec();
        let options = MountOptions::new().read_only(true).access_times(AccessTimes::Always);
        let fs = Fs { nova: options.mount(mapping)? };
        let file = fs.open("/f")?;
        let accessed = file.stat()?.accessed;
        all(&file);
        assert_eq!(file.stat()?.accessed, accessed);
        assert!(file.write_at(0, b"x").is_err() && fs.create(ROOT, b"n", 0o644, R).is_err());
        fs.sync()?;
        drop(file);
        let mapping = fs.nova.unmount()?;
        same(mapping.as_slice(), &before);
        assert!(Nova::mount(mapping)?.mount_report().clean);
        Ok(())
    }),
    ("one stripe is enough", |_| {
        assert_eq!(works_with(1 << 20, FormatOptions::new().stripes(1)).stripes(), 1);
        Ok(())
    }),
    ("three stripes, and as many as there can be, work as well", |_| {
        assert_eq!(works_with(2 << 20, FormatOptions::new().stripes(3)).stripes(), 3);
        assert_eq!(works_with(8 << 20, FormatOptions::new().stripes(62)).stripes(), 62);
        Ok(())
    }),
    ("no stripes, and more than there can be, are an error", |_| {
        for stripes in [0, 63, u32::MAX] {
            let made =
                FormatOptions::new().stripes(stripes).format(Mapping::memfd(1 << 20)?, MountOptions::new());
            assert!(matches!(made, Err(Error::BadSize { .. })), "{stripes}");
        }
        Ok(())
    }),
    ("the smallest volume has 24 blocks", |_| {
        let small = FormatOptions::new().stripes(1);
        let fs = Fs { nova: small.format(Mapping::memfd(24 * B)?, MountOptions::new())? };
        drop(fs.with("f", b"small"));
        let fs = fs.again(&MountOptions::new());
        assert_eq!(fs.read_file("/f")?, b"small");
        fs.check();
        let made = small.format(Mapping::memfd(23 * B)?, MountOptions::new());
        assert!(matches!(made, Err(Error::BadSize { .. })));
        Ok(())
    }),
    ("a journal of other sizes works; one of no whole blocks, or too large, is an error", |_| {
        works_with(1 << 20, FormatOptions::new().stripes(2).journal(6 * B));
        works_with(2 << 20, FormatOptions::new().stripes(2).journal(1 << 20));
        for journal in [0, B, 3 * B + 1, (512 << 10) + B] {
            let options = FormatOptions::new().stripes(1).journal(journal);
            let made = options.format(Mapping::memfd(1 << 20)?, MountOptions::new());
            assert!(matches!(made, Err(Error::BadSize { .. })), "{journal}");
        }
        Ok(())
    }),
    ("a label of up to 32 bytes stands after a mount, and a longer one is an error", |_| {
        for label in ["", "x", "Größe", "12345678901234567890123456789012"] {
            let fs = works_with(1 << 20, FormatOptions::new().stripes(1).label(label));
            assert_eq!(fs.label(), label);
        }
        let options = FormatOptions::new().stripes(1).label("123456789012345678901234567890123");
        assert!(options.format(Mapping::memfd(1 << 20)?, MountOptions::new()).is_err());
        Ok(())
    }),
    ("no two volumes have one identity, and a mount keeps it", |_| {
        let (one, two) = (volume(1 << 20, &MountOptions::new()), volume(1 << 20, &MountOptions::new()));
        let identity = one.identity();
        assert_ne!(identity, two.identity());
        assert_eq!(one.again(&MountOptions::new()).identity(), identity);
        Ok(())
    }),
    ("formatting again leaves nothing of what was there", |_| {
        let mapping = prepared();
        let options = FormatOptions::new().stripes(2);
        let fs = Fs { nova: options.format(mapping, MountOptions::new())? };
        assert!(fs.names(ROOT).is_empty());
        let file = fs.with("f", b"");
        file.allocate(0, 100 * B, Allocate::Grow)?;
        same(&all(&file), &vec![0; 100 * B as usize]);
        fs.check();
        Ok(())
    }),
    ("what is no volume is not mounted", |_| {
        assert!(matches!(Nova::mount(Mapping::memfd(1 << 20)?), Err(Error::NotAVolume { .. })));
        let mut noise = Mapping::memfd(1 << 20)?;
        fastrand::Rng::with_seed(1).fill(noise.as_mut_slice());
        assert!(matches!(Nova::mount(noise), Err(Error::NotAVolume { .. })));
        Ok(())
    }),
    ("a volume is mounted many times, and each mount finds what the ones before did", |_| {
        let mut fs = volume(1 << 20, &MountOptions::new());
        for number in 0..12 {
            drop(fs.with(&number.to_string(), &pattern(number, 900 * number)));
            if number >= 3 {
                fs.unlink(ROOT, (number - 3).to_string().as_bytes(), R)?;
            }
            fs = fs.again(&MountOptions::new().in_place(number % 2 == 0));
        }
        assert_eq!(fs.names(ROOT), ["9", "10", "11"]);
        same(&fs.read_file("/10")?, &pattern(10, 9000));
        fs.check();
        Ok(())
    }),
    ("an open file, and a clone of the volume, keep it from being unmounted", |_| {
        let nova = volume(1 << 20, &MountOptions::new()).nova;
        let (file, clone) = (nova.create_file("/f")?, nova.clone());
        assert!(matches!(nova.unmount(), Err(Error::InUse { handles: 2 })));
        let nova = file.nova().clone();
        drop(clone);
        assert!(matches!(nova.unmount(), Err(Error::InUse { handles: 1 })));
        file.write_at(0, b"still there")?;
        let nova = file.nova().clone();
        drop(file);
        assert_eq!(Nova::mount(nova.unmount()?)?.read_file("/f")?, b"still there");
        Ok(())
    }),
    ("a volume that was dropped is as unmounted as one that was unmounted", |_| {
        let killable = Killable::new(1 << 20);
        drop(killable.fs.with("f", b"content"));
        let Killable { fs, memory, bytes } = killable;
        drop(fs);
        let mut mapping = Mapping::memfd(bytes)?;
        std::os::unix::fs::FileExt::read_exact_at(&*memory, mapping.as_mut_slice(), 0).unwrap();
        let nova = Nova::mount(mapping)?;
        assert!(nova.mount_report().clean);
        assert_eq!(nova.read_file("/f")?, b"content");
        Ok(())
    }),
    ("a file without a name that was open at a crash is gone, and its blocks are free", |_| {
        let killable = Killable::new(1 << 20);
        let file = killable.fs.tmpfile(ROOT, 0o600, R)?;
        file.write_at(0, &pattern(1, 50 * B))?;
        killable.fs.sync()?;
        let fs = killable.killed();
        assert_eq!(fs.mount_report().orphans, 1);
        assert!(fs.free() >= killable.fs.statfs().free + 50);
        fails(fs.getattr(file.ino()), Code::NotFound);
        fs.check();
        Ok(())
    }),
    ("relaxed, files have what was written, and metadata is as ever", |_| {
        let relaxed = MountOptions::new().in_place(true);
        let fs = volume(2 << 20, &relaxed);
        let mut random = fastrand::Rng::with_seed(9);
        let mut twin = Twin::new(&fs, "f", Vec::new());
        for step in 0..200 {
            if step % 9 == 8 {
                twin.set_len(random.u64(0..30_000));
            }
            twin.write(random.u64(0..30_000), &pattern(step, random.u64(1..7000)));
            twin.check();
        }
        let bytes = std::mem::take(&mut twin.bytes);
        drop(twin);
        let fs = fs.again(&MountOptions::new());
        same(&fs.read_file("/f")?, &bytes);
        fs.check();
        Ok(())
    }),
    ("relaxed, overwriting keeps the blocks, and a clone apart", |_| {
        let fs = volume(2 << 20, &MountOptions::new().in_place(true));
        let one = fs.with("one", &pattern(1, 20 * B));
        let two = fs.with("two", b"");
        two.clone_range(&one, 0, 0, 20 * B)?;
        one.write_at(5, &pattern(2, 3 * B))?;
        same(&all(&two), &pattern(1, 20 * B));
        let free = fs.free();
        for seed in 0..50 {
            one.write_at(5, &pattern(seed, 3 * B))?;
        }
        assert_eq!(fs.free(), free);
        fs.check();
        Ok(())
    }),
    ("sync retires what was freed, and may be called at any time", |fs| {
        let file = fs.with("f", &pattern(1, 10 * B));
        for seed in 0..20 {
            fs.sync()?;
            file.sync()?;
            file.write_at(seed, &pattern(seed, 5000))?;
        }
        same(&part(&file, 19, 5000), &pattern(19, 5000));
        Ok(())
    }),
];
