//! Times: how exact, who sets them, and what changes which.

use crate::{kit::*, own::*};
use nova_core::*;

const SECOND: i64 = 1_000_000_000;

fn times(accessed: Option<Time>, modified: Option<Time>) -> SetAttr {
    SetAttr { accessed, modified, ..SetAttr::default() }
}

/// Which of accessed, modified and changed the work changes: `amc`, with `-` for those that stay.
fn changed_by(fs: &Fs, ino: u64, work: impl FnOnce() -> Result<()>) -> String {
    let before = fs.stat(ino);
    work().unwrap();
    let after = fs.stat(ino);
    assert!(after.changed >= before.changed && after.created == before.created);
    let letter = |is: bool, letter| if is { letter } else { '-' };
    [
        letter(before.accessed != after.accessed, 'a'),
        letter(before.modified != after.modified, 'm'),
        letter(before.changed != after.changed, 'c'),
    ]
    .into_iter()
    .collect()
}

fn read(file: &File) -> Result<()> {
    file.read_at(0, &mut [0]).map(drop)
}

fn chmod(fs: &Fs, ino: u64) -> Result<()> {
    fs.setattr(ino, &SetAttr { mode: Some(0o600), ..SetAttr::default() }, R).map(|_| ())
}

fn chown(fs: &Fs, ino: u64) -> Result<()> {
    fs.setattr(ino, &SetAttr { uid: Some(5), gid: Some(6), ..SetAttr::default() }, R).map(|_| ())
}

fn policy(policy: AccessTimes) -> Fs {
    volume(1 << 20, &MountOptions::new().access_times(policy))
}

pub(crate) const CASES: &[Case] = &[
    ("times are kept to the nanosecond", |fs| {
        let ino = fs.file("f");
        let set = times(Some(Time::At(1_234_567_890_123_456_789)), Some(Time::At(987_654_321)));
        let stat = fs.setattr(ino, &set, R)?;
        assert_eq!((stat.accessed, stat.modified), (1_234_567_890_123_456_789, 987_654_321));
        Ok(())
    }),
    ("times before 1970, and beyond 2038 and 2106, can be", |fs| {
        let ino = fs.file("f");
        for at in
            [-1, -SECOND, -10 * SECOND + 1, (1 << 31) * SECOND, (1 << 32) * SECOND + 1, i64::MAX, i64::MIN]
        {
            let stat = fs.setattr(ino, &times(Some(Time::At(at)), Some(Time::At(at))), R)?;
            assert_eq!((stat.accessed, stat.modified), (at, at));
            let _ = stat.modified_time();
        }
        Ok(())
    }),
    ("a new file's times are all the time of its creation", |fs| {
        let before = std::time::SystemTime::now();
        let stat = fs.stat(fs.file("f"));
        let after = std::time::SystemTime::now();
        assert_eq!((stat.accessed, stat.modified, stat.changed), (stat.created, stat.created, stat.created));
        assert!(before <= stat.modified_time() && stat.modified_time() <= after);
        Ok(())
    }),
    ("of two times the one that is not set stays", |fs| {
        let ino = fs.file("f");
        fs.setattr(ino, &times(Some(Time::At(5)), Some(Time::At(6))), R)?;
        let stat = fs.setattr(ino, &times(Some(Time::At(7)), None), R)?;
        assert_eq!((stat.accessed, stat.modified), (7, 6));
        let stat = fs.setattr(ino, &times(None, Some(Time::At(8))), R)?;
        assert_eq!((stat.accessed, stat.modified), (7, 8));
        Ok(())
    }),
    ("setting times changes changed, to now", |fs| {
        let ino = fs.file("f");
        let before = fs.stat(ino).changed;
        let stat = fs.setattr(ino, &times(Some(Time::At(5)), Some(Time::At(6))), R)?;
        assert!(stat.changed > before);
        Ok(())
    }),
    ("now is one time for both", |fs| {
        let ino = fs.file("f");
        let stat = fs.setattr(ino, &times(Some(Time::Now), Some(Time::Now)), R)?;
        assert_eq!((stat.accessed, stat.modified), (stat.changed, stat.changed));
        Ok(())
    }),
    ("the owner sets times to anything, whatever the mode says", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        fs.mode(ino, 0o000);
        fs.setattr(ino, &times(Some(Time::At(5)), Some(Time::At(6))), &alice())?;
        fs.setattr(ino, &times(Some(Time::Now), Some(Time::Now)), &alice())?;
        Ok(())
    }),
    ("who may write sets times to now, and to nothing else", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        fs.mode(ino, 0o666);
        fs.setattr(ino, &times(Some(Time::Now), Some(Time::Now)), &bob())?;
        fails(fs.setattr(ino, &times(Some(Time::At(5)), None), &bob()), Code::NotPermitted);
        fails(fs.setattr(ino, &times(Some(Time::Now), Some(Time::At(5))), &bob()), Code::NotPermitted);
        Ok(())
    }),
    ("who may not write sets no times: EACCES for now, EPERM for others", |fs| {
        let ino = fs.file("f");
        fs.own(ino, &alice());
        let before = fs.stat(ino);
        fails(fs.setattr(ino, &times(Some(Time::Now), Some(Time::Now)), &bob()), Code::NoAccess);
        fails(fs.setattr(ino, &times(None, Some(Time::At(5))), &bob()), Code::NotPermitted);
        assert_eq!(fs.stat(ino), before);
        Ok(())
    }),
    ("times of immutable files stay; of those to append to they become now only", |fs| {
        let ino = fs.file("f");
        let flag = |flags| fs.setattr(ino, &SetAttr { flags: Some(flags), ..SetAttr::default() }, R);
        flag(flags::APPEND)?;
        fs.setattr(ino, &times(Some(Time::Now), Some(Time::Now)), R)?;
        fails(fs.setattr(ino, &times(Some(Time::At(5)), None), R), Code::NotPermitted);
        flag(flags::IMMUTABLE)?;
        fails(fs.setattr(ino, &times(Some(Time::Now), Some(Time::Now)), R), Code::NotPermitted);
        Ok(())
    }),
    ("links and directories have times to set", |fs| {
        let link = fs.symlink(ROOT, b"l", b"target", R)?.ino;
        for ino in [link, fs.dir("d"), ROOT] {
            let stat = fs.setattr(ino, &times(Some(Time::At(-5)), Some(Time::At(6))), R)?;
            assert_eq!((stat.accessed, stat.modified), (-5, 6));
        }
        Ok(())
    }),
    ("writing changes modified and changed", |fs| {
        let file = fs.with("f", b"abc");
        let ino = file.ino();
        assert_eq!(changed_by(fs, ino, || file.write_at(0, b"x")), "-mc");
        assert_eq!(changed_by(fs, ino, || file.append(&pattern(1, 9000)).map(drop)), "-mc");
        assert_eq!(changed_by(fs, ino, || file.set_len(5)), "-mc");
        assert_eq!(changed_by(fs, ino, || file.allocate(0, 2, Allocate::PunchHole)), "-mc");
        Ok(())
    }),
    ("a change of mode, owner, flags or attributes changes changed", |fs| {
        let ino = fs.file("f");
        let flags = SetAttr { flags: Some(flags::NO_DUMP), ..SetAttr::default() };
        assert_eq!(changed_by(fs, ino, || chmod(fs, ino)), "--c");
        assert_eq!(changed_by(fs, ino, || chown(fs, ino)), "--c");
        assert_eq!(changed_by(fs, ino, || fs.setattr(ino, &flags, R).map(|_| ())), "--c");
        let set = || fs.set_attribute(ino, b"user.x", b"y", AttributeMode::Set, R);
        assert_eq!(changed_by(fs, ino, set), "--c");
        assert_eq!(changed_by(fs, ino, || fs.remove_attribute(ino, b"user.x", R)), "--c");
        Ok(())
    }),
    ("a new name, and a removed one, change changed of the file", |fs| {
        let ino = fs.file("f");
        assert_eq!(changed_by(fs, ino, || fs.link(ino, ROOT, b"g", R).map(|_| ())), "--c");
        assert_eq!(changed_by(fs, ino, || fs.unlink(ROOT, b"f", R)), "--c");
        let rename = || fs.rename(ROOT, b"g", ROOT, b"h", Rename::Replace, R);
        assert_eq!(changed_by(fs, ino, rename), "--c");
        Ok(())
    }),
    ("creating and removing change modified and changed of the directory", |fs| {
        let dir = fs.dir("d");
        assert_eq!(changed_by(fs, dir, || fs.create(dir, b"f", 0o644, R).map(|_| ())), "-mc");
        assert_eq!(changed_by(fs, dir, || fs.mkdir(dir, b"s", 0o755, R).map(|_| ())), "-mc");
        assert_eq!(changed_by(fs, dir, || fs.symlink(dir, b"l", b"t", R).map(|_| ())), "-mc");
        let make = || fs.mknod(dir, b"p", libc::S_IFIFO | 0o644, 0, R).map(|_| ());
        assert_eq!(changed_by(fs, dir, make), "-mc");
        let ino = fs.lookup(dir, b"f", R)?.ino;
        assert_eq!(changed_by(fs, dir, || fs.link(ino, dir, b"g", R).map(|_| ())), "-mc");
        assert_eq!(changed_by(fs, dir, || fs.unlink(dir, b"g", R)), "-mc");
        assert_eq!(changed_by(fs, dir, || fs.rmdir(dir, b"s", R)), "-mc");
        Ok(())
    }),
    ("a rename changes modified and changed of both directories", |fs| {
        let (one, two) = (fs.dir("one"), fs.dir("two"));
        fs.create(one, b"f", 0o644, R)?;
        let rename = || fs.rename(one, b"f", two, b"g", Rename::Replace, R);
        assert_eq!(
            changed_by(fs, one, || {
                assert_eq!(changed_by(fs, two, rename), "-mc");
                Ok(())
            }),
            "-mc"
        );
        Ok(())
    }),
    ("a change of a file's content or attributes is none of its directory", |fs| {
        let dir = fs.dir("d");
        let file = fs.open_ino(fs.create(dir, b"f", 0o644, R)?.ino);
        let work = || {
            file.write_at(0, &pattern(1, 5000))?;
            fs.mode(file.ino(), 0o600);
            all(&file);
            Ok(())
        };
        assert_eq!(changed_by(fs, dir, work), "---");
        Ok(())
    }),
    ("calls that fail change no times", |fs| {
        let dir = fs.dir("d");
        let file = fs.open_ino(fs.create(dir, b"f", 0o644, R)?.ino);
        let work = || {
            fails(fs.create(dir, b"f", 0o644, R), Code::Exists);
            fails(fs.unlink(dir, b"g", R), Code::NotFound);
            fails(file.write_at(u64::MAX, b"x"), Code::FileTooLarge);
            fails(fs.setattr(file.ino(), &times(Some(Time::Now), None), &bob()), Code::NoAccess);
            Ok(())
        };
        let inner = changed_by(fs, file.ino(), || {
            assert_eq!(changed_by(fs, dir, work), "---");
            Ok(())
        });
        assert_eq!(inner, "---");
        Ok(())
    }),
    ("stat, lookup and opening change no times", |fs| {
        let ino = fs.with("f", b"abc").ino();
        let work = || {
            fs.lookup(ROOT, b"f", R)?;
            fs.access(ino, Access::READ_WRITE, R)?;
            fs.open_ino(ino).stat().map(|_| ())
        };
        assert_eq!(changed_by(fs, ino, work), "---");
        Ok(())
    }),
    ("with the policy never, reading changes no access time", |_| {
        let fs = policy(AccessTimes::Never);
        let file = fs.with("f", b"abc");
        assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "---");
        Ok(())
    }),
    ("with the policy always, each read changes the access time, and nothing else", |_| {
        let fs = policy(AccessTimes::Always);
        let file = fs.with("f", b"abc");
        for _ in 0..3 {
            assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "a--");
        }
        Ok(())
    }),
    ("with the policy relative, the first read after a change changes the access time", |_| {
        let fs = policy(AccessTimes::Relative);
        let file = fs.with("f", b"abc");
        for _ in 0..2 {
            assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "a--");
            assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "---");
            file.write_at(0, b"x")?;
        }
        assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "a--");
        fs.mode(file.ino(), 0o600);
        assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "a--");
        Ok(())
    }),
    ("who lists a directory or reads a link reads it: its access time changes, by the policy", |_| {
        for (name, first, again) in [
            (AccessTimes::Never, "---", "---"),
            (AccessTimes::Relative, "a--", "---"),
            (AccessTimes::Always, "a--", "a--"),
        ] {
            let fs = policy(name);
            let dir = fs.dir("d");
            let link = fs.symlink(ROOT, b"s", b"target", R)?.ino;
            for expected in [first, again] {
                assert_eq!(changed_by(&fs, dir, || fs.readdir(dir, 0, 9, R).map(drop)), expected);
                assert_eq!(changed_by(&fs, link, || fs.readlink(link).map(drop)), expected);
            }
            fs.create(dir, b"x", 0o600, R)?;
            assert_eq!(changed_by(&fs, dir, || fs.lookup(dir, b"x", R).map(drop)), "---");
            assert_eq!(changed_by(&fs, dir, || fs.readdir(dir, 0, 9, R).map(drop)), first);
        }
        Ok(())
    }),
    ("with the policy relative, an access time of more than a day ago is changed", |_| {
        let fs = policy(AccessTimes::Relative);
        let file = fs.with("f", b"abc");
        let stat = fs.stat(file.ino());
        let future = stat.changed + 3600 * SECOND;
        fs.setattr(file.ino(), &times(Some(Time::At(future)), None), R)?;
        assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "---");
        let past = stat.changed - 90_000 * SECOND;
        fs.setattr(file.ino(), &times(Some(Time::At(past)), Some(Time::At(past - 1))), R)?;
        assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "a--");
        Ok(())
    }),
    ("a file with the flag has no access time, by any policy", |_| {
        let fs = policy(AccessTimes::Always);
        let file = fs.with("f", b"abc");
        fs.setattr(file.ino(), &SetAttr { flags: Some(flags::NO_ATIME), ..SetAttr::default() }, R)?;
        assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "---");
        fs.setattr(file.ino(), &SetAttr { flags: Some(0), ..SetAttr::default() }, R)?;
        assert_eq!(changed_by(&fs, file.ino(), || read(&file)), "a--");
        Ok(())
    }),
    ("reading no bytes into nothing changes no access time", |_| {
        let fs = policy(AccessTimes::Always);
        let file = fs.with("f", b"abc");
        assert_eq!(changed_by(&fs, file.ino(), || file.read_at(0, &mut []).map(drop)), "---");
        Ok(())
    }),
    ("times stand after a mount", |_| {
        let fs = policy(AccessTimes::Relative);
        let ino = fs.file("f");
        let set = times(Some(Time::At(-123_456_789_012)), Some(Time::At(9_000_000_000_000_000_001)));
        let before = fs.setattr(ino, &set, R)?;
        let fs = fs.again(&MountOptions::new());
        assert_eq!(fs.stat(ino), before);
        Ok(())
    }),
];
