//! Snapshots sent to other volumes: at random, damaged, cut off, and over crashes of the receiver.

#[path = "change/mod.rs"]
mod change;
mod image;

use change::{change, volume};
use image::{Image, ROOT_USER, code, quiet};
use nova_core::*;
use std::collections::BTreeMap;

/// What is the same on both sides: all that can be seen but numbers of inodes, and blocks that are only reserved.
#[derive(Clone, Debug, PartialEq)]
struct Same {
    stat: Stat,
    data: Vec<(u64, Vec<u8>)>,
    target: Option<Vec<u8>>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names of one file have the same number.
    file: usize,
}

type Tree = BTreeMap<Vec<u8>, Same>;

fn tree(nova: &Nova) -> Tree {
    let mut files = BTreeMap::new();
    let seen = image::everything(nova).into_iter();
    seen.map(|(path, seen)| {
        let next = files.len();
        let file = *files.entry(seen.stat.ino).or_insert(next);
        let stat = Stat { ino: 0, generation: 0, blocks: 0, changes: 0, ..seen.stat };
        (path, Same { stat, data: seen.data, target: seen.target, attributes: seen.attributes, file })
    })
    .collect()
}

#[track_caller]
fn assert_tree(found: &Tree, expected: &Tree, when: &str) {
    let paths: Vec<_> = found.keys().chain(expected.keys()).collect();
    let Some(path) = paths.into_iter().find(|path| found.get(*path) != expected.get(*path)) else { return };
    let brief = |tree: &Tree| {
        tree.get(path).map(|one| {
            let data: Vec<_> = one.data.iter().map(|(at, bytes)| (*at, bytes.len())).collect();
            (one.stat, data, one.file, one.attributes.clone())
        })
    };
    let path = String::from_utf8_lossy(path);
    panic!("{when}: {path} is {:?}\nnot {:?}", brief(found), brief(expected));
}

fn past(nova: &Nova, name: &str) -> Tree {
    tree(&nova.mount_snapshot(name).unwrap())
}

fn send(nova: &Nova, from: Option<&str>, to: &str) -> Vec<u8> {
    let mut stream = Vec::new();
    let report = nova.send(from, to, &mut stream).unwrap();
    assert_eq!(report.bytes, stream.len() as u64);
    stream
}

fn receive(nova: &Nova, stream: &[u8]) -> Result<ReceiveReport> {
    nova.receive(&mut &*stream)
}

fn clean(nova: &Nova) {
    let report = nova.fsck().unwrap();
    assert!(report.is_clean() && report.busy == 0, "{report}");
}

/// An access control list: the owner's, a user's, the group's, the mask, others'.
fn acl(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, id) in [(1u16, u32::MAX), (2, 5), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)] {
        value.extend(tag.to_le_bytes());
        value.extend(random.u16(..8).to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// One more kind of change: what `change` does not do. What cannot be done is not done.
fn more(nova: &Nova, random: &mut fastrand::Rng) {
    const DIRS: [&str; 5] = ["", "/a", "/b", "/a/c", "/b/d"];
    let dir = DIRS[random.usize(..5)];
    let path = format!("{dir}/{}", random.u8(..6));
    let any = if random.bool() { path.clone() } else { format!("{dir}/") };
    let Ok(parent) = nova.metadata(format!("{dir}/")) else { return };
    let set = |path: &str, set: &SetAttr| nova.set_metadata(path, set).map(drop);
    let _ = match random.u8(..9) {
        0 => {
            let kind = [libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR, libc::S_IFBLK][random.usize(..4)];
            let name = random.u8(..6).to_string();
            let mode = kind | random.u32(..0o777);
            nova.mknod(parent.ino, name.as_bytes(), mode, random.u64(..9999), ROOT_USER).map(drop)
        }
        1 => {
            let which = [&b"system.posix_acl_access"[..], b"system.posix_acl_default"][random.usize(..2)];
            nova.metadata(&any).and_then(|stat| {
                nova.set_attribute(stat.ino, which, &acl(random), AttributeMode::Set, ROOT_USER)
            })
        }
        2 => {
            let all = [0, 0, flags::IMMUTABLE, flags::APPEND, flags::NO_DUMP];
            set(&any, &SetAttr { flags: Some(all[random.usize(..5)]), ..SetAttr::default() })
        }
        3 => {
            let time = |random: &mut fastrand::Rng| Some(Time::At(random.i64(-1 << 60..1 << 60)));
            let times = SetAttr { accessed: time(random), modified: time(random), ..SetAttr::default() };
            set(&any, &times)
        }
        4 => {
            let mode = Some(random.u32(..0o10000));
            let (uid, gid) = (Some(random.u32(..9)), Some(random.u32(..9)));
            set(&any, &SetAttr { mode, uid, gid, ..SetAttr::default() })
        }
        5 => nova.open(&path).and_then(|file| {
            let at = random.u64(..8 << 20);
            file.write_at(at, &vec![random.u8(..); random.usize(1..3 << 20)])
        }),
        6 => nova.metadata(&any).and_then(|stat| {
            let value = vec![random.u8(..); random.usize(..9000)];
            nova.set_attribute(stat.ino, b"trusted.t", &value, AttributeMode::Set, ROOT_USER)
        }),
        7 => {
            let stat = nova.metadata(&any);
            stat.and_then(|stat| nova.remove_attribute(stat.ino, b"user.x", ROOT_USER))
        }
        _ => {
            let other = DIRS[random.usize(1..5)];
            let Ok((to, name)) = nova.metadata("/").map(|root| (root.ino, other.rsplit('/').next().unwrap()))
            else {
                return;
            };
            nova.rename(parent.ino, b"c", to, name.as_bytes(), Rename::Exchange, ROOT_USER)
        }
    };
}

/// A volume with `count` snapshots, named by numbers.
fn sender(seed: u64, count: u32, changes: u32) -> Nova {
    let mut random = fastrand::Rng::with_seed(seed);
    let nova = volume(96 << 20);
    for snapshot in 0..count {
        for _ in 0..random.u32(1..changes) {
            change(&nova, &mut random);
            if random.bool() {
                more(&nova, &mut random);
            }
        }
        nova.create_snapshot(&snapshot.to_string()).unwrap();
    }
    nova
}

fn receiver(seed: u64) -> Nova {
    let stripes = 1 + (seed % 3) as u32;
    let mapping = pmem_map::Mapping::memfd((128 + seed % 5) << 20).unwrap();
    FormatOptions::new().stripes(stripes).format(mapping, quiet()).unwrap()
}

#[test]
fn a_snapshot_and_increments_make_the_same_trees_elsewhere() {
    let (mut frames, mut content) = (0, 0);
    for seed in 0..20 {
        let from = sender(seed, 6, 150);
        let to = receiver(seed);
        let mut base = None;
        for snapshot in 0..6 {
            let name = snapshot.to_string();
            if snapshot > 0 && seed % 4 == 3 && snapshot % 2 == 1 {
                continue; // over one
            }
            let stream = send(&from, base.as_deref(), &name);
            assert!(send(&from, base.as_deref(), &name) == stream, "the same again");
            let report = receive(&to, &stream).unwrap();
            assert!(report.skipped == 0 && report.bytes == stream.len() as u64 && !report.was_there);
            frames += report.applied;
            content += stream.len();
            let expected = past(&from, &name);
            assert_tree(&tree(&to), &expected, &format!("seed {seed}, live after {base:?} to {name}"));
            assert_tree(&past(&to, &name), &expected, &format!("seed {seed}, snapshot {name}"));
            clean(&to);
            assert!(receive(&to, &stream).unwrap().was_there);
            base = Some(name);
        }
    }
    println!("{frames} frames, {content} bytes");
    assert!(frames > 2000);
}

#[test]
fn every_kind_of_file_arrives() {
    let from = volume(16 << 20);
    from.create_dir_all("/d/e").unwrap();
    let file = from.create_new("/d/sparse").unwrap();
    file.write_at(5 << 20, &[1; 3000]).unwrap();
    file.set_len(9 << 20).unwrap();
    from.hard_link("/d/sparse", "/d/e/again").unwrap();
    from.symlink_path("../sparse", "/d/e/link").unwrap();
    from.mknod(ROOT, b"device", libc::S_IFBLK | 0o640, 0x801, ROOT_USER).unwrap();
    let set = SetAttr {
        mode: Some(0o2751),
        uid: Some(7),
        gid: Some(8),
        modified: Some(Time::At(-5)),
        flags: Some(flags::IMMUTABLE),
        ..SetAttr::default()
    };
    from.set_metadata("/d/e", &set).unwrap();
    from.create_snapshot("s").unwrap();
    let to = volume(8 << 20);
    let stream = send(&from, None, "s");
    assert!(stream.len() < 10_000, "holes are not sent: {} bytes", stream.len());
    receive(&to, &stream).unwrap();
    let stat = to.metadata("/d/e").unwrap();
    assert_eq!(
        (stat.mode & 0o7777, stat.uid, stat.gid, stat.modified, stat.flags),
        (0o2751, 7, 8, -5, flags::IMMUTABLE)
    );
    assert_eq!(to.metadata("/d/e/again").unwrap().ino, to.metadata("/d/sparse").unwrap().ino);
    assert_eq!(to.open("/d/sparse").unwrap().seek(0, Seek::Data).unwrap(), 5 << 20);
    assert_eq!(to.symlink_metadata("/device").unwrap().device, 0x801);
    assert_tree(&tree(&to), &past(&from, "s"), "all of it");
}

#[test]
fn names_that_change_places_arrive() {
    let from = volume(8 << 20);
    from.create_dir_all("/a/b").unwrap();
    from.write_file("/a/b/f", b"f").unwrap();
    from.write_file("/x", b"x").unwrap();
    from.write_file("/y", b"y").unwrap();
    from.create_snapshot("0").unwrap();
    // Above and below, two files, and what is removed with a directory that others left.
    from.rename_path("/a/b", "/b").unwrap();
    from.rename_path("/a", "/b/a").unwrap();
    from.rename(ROOT, b"x", ROOT, b"y", Rename::Exchange, ROOT_USER).unwrap();
    from.create_snapshot("1").unwrap();
    from.rename_path("/b/f", "/f").unwrap();
    from.remove_dir("/b/a").unwrap();
    from.remove_dir("/b").unwrap();
    from.write_file("/b", b"no directory any more").unwrap();
    from.create_snapshot("2").unwrap();
    let to = volume(4 << 20);
    for (base, name) in [(None, "0"), (Some("0"), "1"), (Some("1"), "2")] {
        receive(&to, &send(&from, base, name)).unwrap();
        assert_tree(&tree(&to), &past(&from, name), name);
    }
    assert_eq!(to.read_file("/x").unwrap(), b"y");
    assert_eq!(to.read_dir("/").unwrap().len(), 4);
}

#[test]
fn damage_and_truncation_are_errors_and_the_good_stream_goes_on() {
    let mut damages = 0;
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let from = sender(seed, 2, 60);
        let streams = [send(&from, None, "0"), send(&from, Some("0"), "1")];
        let to = receiver(seed);
        for (name, stream) in ["0", "1"].into_iter().zip(&streams) {
            let header = stream.len().min(90);
            for round in 0..60 {
                let mut bad = stream.clone();
                let place = random.usize(..if round % 3 == 0 { header } else { stream.len() });
                if round % 2 == 0 {
                    bad[place] ^= random.u8(1..);
                } else {
                    bad.truncate(place);
                }
                let error = receive(&to, &bad).expect_err("it is damaged");
                damages += 1;
                match error {
                    Error::StreamTruncated { offset, .. } if round % 2 == 1 => {
                        assert_eq!(offset, place as u64)
                    }
                    Error::StreamDamaged { offset, .. } => assert!(offset <= place as u64),
                    // A length that is too large reaches behind the end.
                    Error::StreamTruncated { .. } | Error::NotAStream | Error::StreamVersion { .. } => {}
                    other => panic!("seed {seed}, byte {place}: {other:?}"),
                }
                assert!(to.snapshot(name).is_err(), "no snapshot of a damaged stream");
            }
            receive(&to, stream).unwrap();
            assert_tree(&tree(&to), &past(&from, name), &format!("seed {seed}, {name}"));
            assert_tree(&past(&to, name), &past(&from, name), &format!("seed {seed}, snapshot {name}"));
            clean(&to);
        }
    }
    println!("{damages} damaged streams");
}

/// The bytes of a stream, and a look at the volume in front of some.
struct Watched<'a> {
    bytes: &'a [u8],
    at: usize,
    look: &'a mut dyn FnMut(usize),
}

impl std::io::Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        (self.look)(self.at);
        let len = into.len().min(self.bytes.len() - self.at);
        into[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

#[test]
fn a_receiver_that_crashed_goes_on() {
    let (mut crashes, mut skipped) = (0, 0);
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let from = sender(seed + 100, 3, 60);
        let mut bytes = {
            let image = Image::new(48 << 20);
            let nova = image.format(FormatOptions::new().stripes(1 + (seed % 3) as u32));
            nova.unmount().unwrap();
            image.bytes()
        };
        for (base, name) in [(None, "0"), (Some("0"), "1"), (Some("1"), "2")] {
            let stream = send(&from, base, name);
            let expected = past(&from, name);
            let image = Image::of(&bytes);
            let nova = image.mount();
            let mut taken = Vec::new();
            // Half of them among the names, which come first.
            let mut places: Vec<usize> = (0..8)
                .map(|n| random.usize(..if n % 2 == 0 { 4000.min(stream.len()) } else { stream.len() }))
                .collect();
            places.sort_unstable_by(|one, other| other.cmp(one));
            let mut look = |at: usize| {
                if places.pop_if(|place| *place <= at).is_some() {
                    taken.push(image.bytes());
                }
            };
            nova.receive(&mut Watched { bytes: &stream, at: 0, look: &mut look }).unwrap();
            for crashed in taken {
                // It crashes once more on the way.
                let image = Image::of(&crashed);
                let nova = image.mount();
                let part = random.usize(..stream.len());
                let _ = receive(&nova, &stream[..part]);
                let nova = image::after_crash(&image.bytes());
                let report = receive(&nova, &stream).unwrap();
                skipped += report.skipped;
                crashes += 1;
                assert_tree(&tree(&nova), &expected, &format!("seed {seed}, {name} after a crash"));
                assert_tree(&past(&nova, name), &expected, &format!("seed {seed}, snapshot {name}"));
                clean(&nova);
            }
            nova.unmount().unwrap();
            bytes = image.bytes();
        }
    }
    println!("{crashes} crashes, {skipped} frames were not applied again");
    assert!(crashes > 100 && skipped > 100);
}

#[test]
fn a_directory_that_has_the_number_of_one_that_is_gone_is_not_taken_for_it() {
    let from = volume(8 << 20);
    from.create_dir("/d").unwrap();
    from.write_file("/d/x", b"x").unwrap();
    from.create_snapshot("0").unwrap();
    from.create_dir("/e").unwrap();
    from.rename_path("/d/x", "/e/x").unwrap();
    from.remove_dir("/d").unwrap();
    from.create_snapshot("1").unwrap();
    let stream = send(&from, Some("0"), "1");
    let image = Image::new(8 << 20);
    let to = image.format(FormatOptions::new().stripes(1));
    receive(&to, &send(&from, None, "0")).unwrap();
    let old = to.metadata("/d").unwrap().ino;
    // What is remembered is that the first frame, which holds the file, is applied. Then comes all the rest, and a crash.
    let held = &stream[..frames(&stream)[1]];
    assert!(matches!(receive(&to, held), Err(Error::StreamTruncated { frame: 1, .. })));
    let mut crashed = Vec::new();
    let mut look = |at: usize| {
        if at + 40 > stream.len() && crashed.is_empty() {
            crashed = image.bytes();
        }
    };
    to.receive(&mut Watched { bytes: &stream, at: 0, look: &mut look }).unwrap();
    assert_eq!(to.metadata("/e").unwrap().ino, old, "the number was given away again");
    let to = image::after_crash(&crashed);
    assert_eq!(receive(&to, &stream).unwrap().skipped, 1);
    assert_tree(&tree(&to), &past(&from, "1"), "after the crash");
    clean(&to);
}

#[test]
fn only_the_base_is_gone_on_from() {
    let from = volume(8 << 20);
    from.write_file("/f", b"0").unwrap();
    from.create_snapshot("0").unwrap();
    from.write_file("/f", b"1").unwrap();
    from.create_snapshot("1").unwrap();
    let (whole, more) = (send(&from, None, "0"), send(&from, Some("0"), "1"));
    let to = volume(4 << 20);
    assert!(matches!(receive(&to, &more), Err(Error::WrongBase { .. })));
    to.create_snapshot("0").unwrap();
    assert!(matches!(receive(&to, &more), Err(Error::WrongBase { .. })), "another of the same name");
    assert_eq!(code(receive(&to, &whole)), Code::Exists);
    to.delete_snapshot("0").unwrap();
    to.write_file("/own", b"own").unwrap();
    assert!(matches!(receive(&to, &whole), Err(Error::ReceiverNotEmpty { names: 1 })));
    to.remove_file("/own").unwrap();
    receive(&to, &whole).unwrap();
    to.write_file("/own", b"own").unwrap();
    let error = receive(&to, &more).unwrap_err();
    assert!(matches!(&error, Error::BaseChanged { base, changes } if base == "0" && *changes > 0), "{error}");
    // The memory of what was received is rolled back with it, and has it still.
    let to = to.rollback("0").unwrap();
    receive(&to, &more).unwrap();
    assert_eq!(to.read_file("/f").unwrap(), b"1");
    let to = to.rollback("1").unwrap();
    from.write_file("/f", b"2").unwrap();
    from.create_snapshot("2").unwrap();
    receive(&to, &send(&from, Some("1"), "2")).unwrap();
    assert_eq!(to.read_file("/f").unwrap(), b"2");
    assert_eq!(code(from.send(None, "3", &mut Vec::new())), Code::NotFound);
    assert_eq!(code(receive(&to.mount_snapshot("2").unwrap(), &more)), Code::ReadOnly);
}

#[test]
fn a_crash_between_the_last_frame_and_the_snapshot_is_gone_on_from() {
    let from = volume(8 << 20);
    (0..20).for_each(|n| from.write_file(format!("/{n}"), &[n; 5000]).unwrap());
    from.create_snapshot("s").unwrap();
    let stream = send(&from, None, "s");
    let mut stopped = 0;
    for allocations in 0..6 {
        let image = Image::new(8 << 20);
        let to = image.format(FormatOptions::new());
        // From the end frame on, one allocation finds no space: the volume stays as it is there.
        let mut look = |at: usize| {
            if at + 40 > stream.len() {
                to.fail_allocation(Some(allocations));
            }
        };
        let received = to.receive(&mut Watched { bytes: &stream, at: 0, look: &mut look });
        to.fail_allocation(None);
        let to = image::after_crash(&image.bytes());
        if let Err(error) = received {
            assert!(error.code() == Some(Code::NoSpace), "{error}");
            assert_eq!(code(to.snapshot("s")), Code::NotFound);
            assert_eq!(receive(&to, &stream).unwrap().applied, 1, "the end frame alone");
            stopped += 1;
        } else {
            assert!(receive(&to, &stream).unwrap().was_there);
        }
        assert_tree(&past(&to, "s"), &past(&from, "s"), "made when it went on");
        clean(&to);
    }
    assert!(stopped > 0);
}

#[test]
fn a_snapshot_that_was_deleted_is_not_made_again_of_other_files() {
    let from = volume(8 << 20);
    from.write_file("/f", b"0").unwrap();
    from.create_snapshot("0").unwrap();
    let stream = send(&from, None, "0");
    let to = volume(4 << 20);
    receive(&to, &stream).unwrap();
    // The root remembers the moment right before the snapshot: all frames are applied.
    let to = to.rollback("0").unwrap();
    to.write_file("/f", b"another").unwrap();
    to.delete_snapshot("0").unwrap();
    assert!(matches!(receive(&to, &stream), Err(Error::ReceiverNotEmpty { names: 1 })));
    to.remove_file("/f").unwrap();
    assert_eq!(receive(&to, &stream).unwrap().skipped, 0);
    assert_tree(&tree(&to), &past(&from, "0"), "received anew");
}

#[test]
fn another_stream_does_not_go_on_where_one_stopped() {
    let from = volume(8 << 20);
    (0..40).for_each(|n| from.write_file(format!("/{n}"), &[n; 100]).unwrap());
    from.create_snapshot("s").unwrap();
    let stream = send(&from, None, "s");
    let to = volume(4 << 20);
    assert!(matches!(receive(&to, &stream[..stream.len() / 2]), Err(Error::StreamTruncated { .. })));
    // The same header, and other frames: as a stream of another program's version could be.
    let other = {
        let mut bytes = stream.clone();
        let head = 20 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let seed = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
        let len = u32::from_le_bytes(bytes[head + 16..head + 20].try_into().unwrap()) as usize;
        // The first file's name.
        bytes[head + 20 + 5] ^= 1;
        let checksum = crc32c::crc32c_append(seed, &bytes[head + 4..head + 20 + len]);
        bytes[head..head + 4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    assert!(matches!(receive(&to, &other), Err(Error::StreamForeign { frame }) if frame > 0));
    assert!(receive(&to, &stream).unwrap().skipped > 0);
    assert_tree(&tree(&to), &past(&from, "s"), "the right one goes on");
}

/// Where frames begin.
fn frames(stream: &[u8]) -> Vec<usize> {
    let word = |at: usize| u32::from_le_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut all) = (20 + word(12), Vec::new());
    while at < stream.len() {
        all.push(at);
        at += 20 + word(at + 16);
    }
    all
}

#[test]
fn streams_with_right_checksums_that_make_no_sense_leave_a_volume_that_does() {
    let (mut refused, mut received) = (0, 0);
    for seed in 0..5 {
        let mut random = fastrand::Rng::with_seed(seed);
        let from = sender(seed + 200, 2, 50);
        let streams = [send(&from, None, "0"), send(&from, Some("0"), "1")];
        let starts = streams.each_ref().map(|stream| frames(stream));
        let seal = |stream: &mut Vec<u8>, start: usize| {
            let first = u32::from_le_bytes(stream[16..20].try_into().unwrap());
            let len = u32::from_le_bytes(stream[start + 16..start + 20].try_into().unwrap()) as usize;
            let checksum = crc32c::crc32c_append(first, &stream[start + 4..start + 20 + len]);
            stream[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        };
        for _ in 0..20 {
            let to = receiver(seed);
            for (stream, starts) in streams.iter().zip(&starts) {
                let mut bad = stream.clone();
                for _ in 0..3 {
                    let n = random.usize(..starts.len());
                    let end = starts.get(n + 1).copied().unwrap_or(bad.len());
                    let payload = starts[n] + 20..end.min(starts[n] + 120);
                    if !payload.is_empty() {
                        bad[random.usize(payload)] = random.u8(..);
                        seal(&mut bad, starts[n]);
                    }
                }
                match receive(&to, &bad) {
                    Ok(_) => received += 1,
                    Err(_) => refused += 1,
                }
                clean(&to);
            }
        }
    }
    println!("{refused} were refused, {received} received");
    assert!(refused > 50);
}

#[test]
fn a_newer_version_and_what_is_no_stream_are_refused() {
    let from = volume(4 << 20);
    from.create_snapshot("s").unwrap();
    let stream = send(&from, None, "s");
    let to = volume(4 << 20);
    let mut newer = stream.clone();
    newer[8] = 2;
    assert!(matches!(receive(&to, &newer), Err(Error::StreamVersion { version: 2 })));
    assert!(matches!(receive(&to, &[b'x'; 100]), Err(Error::NotAStream)));
    assert!(matches!(receive(&to, b""), Err(Error::StreamTruncated { frame: 0, offset: 0 })));
    receive(&to, &stream).unwrap();
}

#[test]
fn a_receiver_without_space_goes_on_when_there_is_some() {
    let from = volume(16 << 20);
    (0..8).for_each(|n| from.write_file(format!("/{n}"), &[n; 400_000]).unwrap());
    from.create_snapshot("s").unwrap();
    let stream = send(&from, None, "s");
    let to = volume(4 << 20);
    to.write_file("/large", &[1; 1_500_000]).unwrap();
    to.create_snapshot("old").unwrap();
    to.remove_file("/large").unwrap();
    let error = receive(&to, &stream).unwrap_err();
    let Error::Receive { frame, offset, .. } = &error else { panic!("{error:?}") };
    assert!(*frame > 8 && *offset > 1_000_000 && error.code() == Some(Code::NoSpace), "{error}");
    assert_eq!(code(receive(&to, &stream)), Code::NoSpace);
    to.delete_snapshot("old").unwrap();
    let report = receive(&to, &stream).unwrap();
    assert!(report.skipped > 8, "{report:?}");
    assert_tree(&tree(&to), &past(&from, "s"), "with space");
    clean(&to);
}
