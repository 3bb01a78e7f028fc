//! The check of a volume finds nothing where nothing is wrong: after every kind of operation, beside operations, after mounts.
#![allow(missing_docs)]

use nova_core::*;
use pmem_map::Mapping;

const ROOT_USER: &Credentials = &Credentials::ROOT;

fn volume(bytes: u64, stripes: u32) -> Nova {
    let options = FormatOptions::new().stripes(stripes);
    options.format(Mapping::anonymous(bytes).expect("memory"), MountOptions::new()).expect("a volume")
}

fn assert_clean(nova: &Nova, when: &str) {
    let report = nova.fsck().expect("a check");
    assert!(report.is_clean() && report.busy == 0, "{when}:\n{report}");
}

/// An access control list with a named user.
fn list() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1u16, 7u16, u32::MAX), (2, 6, 77), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 1, u32::MAX)]
    {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

#[test]
fn a_new_volume_is_clean_and_so_is_it_after_each_kind_of_operation() {
    let nova = volume(4 << 20, 2);
    assert_clean(&nova, "new");
    let step = |what: &str| assert_clean(&nova, what);
    nova.create_dir_all("/a/b/c").unwrap();
    step("mkdir");
    let file = nova.create_file("/a/file").unwrap();
    step("create");
    file.write_at(0, &[1; 100]).unwrap();
    step("small write");
    file.write_at(5000, &[2; 20_000]).unwrap();
    step("write");
    file.append(&[3; 500]).unwrap();
    step("append");
    file.allocate(8192, 4096, Allocate::PunchHole).unwrap();
    step("punch");
    file.allocate(0, 65_536, Allocate::KeepSize).unwrap();
    step("keep size");
    file.allocate(4096, 8192, Allocate::Insert).unwrap();
    step("insert");
    file.allocate(4096, 4096, Allocate::Collapse).unwrap();
    step("collapse");
    let copy = nova.create_file("/a/copy").unwrap();
    let len = file.len().unwrap();
    copy.clone_range(&file, 0, 0, len).unwrap();
    step("reflink");
    copy.write_at(4096, &[4; 5000]).unwrap();
    step("write to a shared block");
    file.set_len(3000).unwrap();
    step("truncate");
    nova.hard_link("/a/file", "/a/b/other").unwrap();
    step("link");
    nova.symlink_path("/a/file", "/link").unwrap();
    step("symlink");
    nova.mknod(ROOT, b"pipe", libc::S_IFIFO | 0o600, 0, ROOT_USER).unwrap();
    nova.mknod(ROOT, b"null", libc::S_IFCHR | 0o600, 0x103, ROOT_USER).unwrap();
    step("mknod");
    nova.set_attribute(file.ino(), b"user.large", &[9; 20_000], AttributeMode::Set, ROOT_USER).unwrap();
    step("setxattr in parts");
    let a = nova.metadata("/a").unwrap().ino;
    nova.set_attribute(a, b"system.posix_acl_default", &list(), AttributeMode::Set, ROOT_USER).unwrap();
    nova.create_file("/a/inherits").unwrap();
    nova.create_dir("/a/inherits too").unwrap();
    step("lists");
    nova.set_quota(Quota::User(5), 100, 10).unwrap();
    step("quota");
    nova.setattr(file.ino(), &SetAttr { uid: Some(5), gid: Some(6), ..SetAttr::default() }, ROOT_USER)
        .unwrap();
    step("chown");
    nova.rename_path("/a/b/c", "/c").unwrap();
    step("rename of a directory");
    nova.rename(ROOT, b"c", a, b"b", Rename::Exchange, ROOT_USER).unwrap();
    step("exchange of directories");
    nova.rename_path("/a/copy", "/a/inherits").unwrap();
    step("rename over a file that is not open");
    drop(copy);
    nova.remove_file("/a/file").unwrap();
    step("unlink of one of two names");
    let unnamed = nova.tmpfile(ROOT, 0o600, ROOT_USER).unwrap();
    unnamed.write_at(0, &[1; 9000]).unwrap();
    step("a file without a name");
    drop(unnamed);
    step("which is gone");
    let open = nova.open("/a/inherits").unwrap();
    nova.remove_file("/a/inherits").unwrap();
    step("unlink of an open file");
    drop(open);
    step("which is gone");
    nova.remove_dir("/a/inherits too").unwrap();
    step("rmdir");
    nova.remove_attribute(file.ino(), b"user.large", ROOT_USER).unwrap();
    step("removexattr");
    drop(file);
    let nova = MountOptions::new().mount(nova.unmount().unwrap()).unwrap();
    assert_clean(&nova, "mounted again");
    let nova = MountOptions::new().read_only(true).mount(nova.unmount().unwrap()).unwrap();
    assert_clean(&nova, "mounted read-only");
    assert!(nova.fsck().unwrap().inodes > 5);
}

#[test]
fn a_volume_stays_clean_through_thousands_of_random_operations_and_mounts() {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut nova = volume(1 << 20, 1 + random.u32(0..3));
        for step in 0..1500 {
            random_operation(&nova, &mut random);
            if step % 16 == 0 {
                assert_clean(&nova, &format!("seed {seed}, step {step}"));
            }
            if step % 400 == 399 {
                nova = Nova::mount(nova.unmount().unwrap()).unwrap();
                assert_clean(&nova, &format!("seed {seed}, step {step}, mounted again"));
            }
        }
    }
}

/// Something that may fail for want of space, or because of what is there.
fn random_operation(nova: &Nova, random: &mut fastrand::Rng) {
    let dirs = ["", "/d", "/d/e", "/f"];
    let name = |random: &mut fastrand::Rng| {
        let dir = dirs[random.usize(..dirs.len())];
        format!(
            "{dir}/{}",
            random
                .choice(["a", "b", "c", "d", "e", "f", "a rather long name that takes two lines in a log"])
                .unwrap()
        )
    };
    let (one, other) = (name(random), name(random));
    let (at, len) = (random.u64(..60_000), random.u64(1..12_000));
    let open = |name: &str| nova.open(name);
    let _ = match random.u8(..18) {
        0 | 1 => nova.create_new(&one).map(drop),
        2 => nova.create_dir(&one),
        3..6 => open(&one).and_then(|file| file.write_at(at, &vec![7; len as usize])),
        6 => open(&one).and_then(|file| file.append(&[8; 700])).map(drop),
        7 => open(&one).and_then(|file| file.set_len(at)),
        8 => open(&one).and_then(|file| file.allocate(at, len, Allocate::PunchHole)),
        9 => open(&one).and_then(|file| file.allocate(at, len, Allocate::Zero)),
        10 => open(&one).and_then(|file| file.allocate(at / 4096 * 4096, 8192, Allocate::Insert)),
        11 => open(&one).and_then(|file| file.allocate(at / 4096 * 4096, 4096, Allocate::Collapse)),
        12 => open(&one).and_then(|from| {
            let to = open(&other)?;
            to.clone_range(&from, 0, at / 4096 * 4096, from.len()? / 4096 * 4096)
        }),
        13 => nova.hard_link(&one, &other),
        14 => nova.rename_path(&one, &other),
        15 => nova.remove_file(&one),
        16 => nova.remove_dir(&one),
        _ => nova.metadata(&one).and_then(|stat| {
            let value = vec![1; random.usize(..6000)];
            nova.set_attribute(stat.ino, b"user.x", &value, AttributeMode::Set, ROOT_USER)
        }),
    };
}

#[test]
fn a_check_beside_operations_of_other_threads_reports_nothing() {
    let nova = volume(8 << 20, 2);
    for dir in ["/d", "/d/e", "/f"] {
        nova.create_dir(dir).unwrap();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (nova, stop) = (&nova, &stop);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    random_operation(nova, &mut random);
                }
            });
        }
        for _ in 0..200 {
            let report = nova.fsck().unwrap();
            if !report.is_clean() {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                panic!("{report}");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_clean(&nova, "at the end");
}

#[test]
fn zeroing_beyond_the_end_of_a_file_zeroes_each_line_once() {
    let nova = volume(1 << 20, 1);
    for (size, start, end) in [
        (100, 200, 5000),
        (100, 50, 300),
        (100, 150, 300),
        (5000, 0, 6000),
        (5000, 4500, 9000),
        (4096, 5000, 6000),
        (100, 4096, 9000),
        (100, 9000, 9100),
    ] {
        let file = nova.create_file("/file").unwrap();
        // Bytes behind the end that are not zero.
        file.write_at(0, &[7; 10_000]).unwrap();
        file.set_len(size).unwrap();
        file.allocate(start, end - start, Allocate::Zero).unwrap();
        let found = file.read_to_end().unwrap();
        let mut right = vec![7; size as usize];
        right.resize(end.max(size) as usize, 0);
        right[start as usize..end as usize].fill(0);
        assert!(found == right, "{size} bytes, zeroed from {start} to {end}");
    }
}
