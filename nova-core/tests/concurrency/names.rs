//! Names: directories of one's own, shared ones, and renames in all directions.

use crate::{check, image::*, threads};
use nova_core::*;
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

#[test]
fn each_thread_finds_its_own_names_as_it_left_them_in_a_directory_of_all() {
    let image = Image::new(32 << 20);
    let nova = image.format(FormatOptions::new().stripes(4));
    let dir = nova.mkdir(ROOT, b"all", 0o755, ROOT_USER).unwrap().ino;
    threads(4, |thread, random, progress| {
        let mut mine: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let name = |number: u32| format!("{thread}-{number}").into_bytes();
        for _ in 0..1500 {
            let (one, other) = (name(random.u32(0..30)), name(random.u32(0..30)));
            match random.u8(0..8) {
                0..3 => match nova.create(dir, &one, 0o644, ROOT_USER) {
                    Ok(stat) => assert!(mine.insert(one, stat.ino).is_none()),
                    Err(error) => assert!(error.code() == Some(Code::Exists) && mine.contains_key(&one)),
                },
                3 => match nova.unlink(dir, &one, ROOT_USER) {
                    Ok(()) => assert!(mine.remove(&one).is_some()),
                    Err(error) => assert!(error.code() == Some(Code::NotFound) && !mine.contains_key(&one)),
                },
                4 => {
                    if nova.rename(dir, &one, dir, &other, Rename::Replace, ROOT_USER).is_ok() {
                        let ino = mine[&one];
                        if mine.get(&other) != Some(&ino) {
                            mine.remove(&one);
                            mine.insert(other, ino);
                        }
                    } else {
                        assert!(!mine.contains_key(&one));
                    }
                }
                5 => {
                    if let (Some(ino), false) = (mine.get(&one).copied(), mine.contains_key(&other)) {
                        nova.link(ino, dir, &other, ROOT_USER).unwrap();
                        mine.insert(other, ino);
                    }
                }
                6 => match nova.lookup(dir, &one, ROOT_USER) {
                    Ok(stat) => assert_eq!(mine.get(&one), Some(&stat.ino)),
                    Err(_) => assert!(!mine.contains_key(&one)),
                },
                _ => {
                    let prefix = format!("{thread}-").into_bytes();
                    let all = nova.readdir(dir, 2, usize::MAX, ROOT_USER).unwrap();
                    let seen: BTreeMap<Vec<u8>, u64> = all
                        .into_iter()
                        .filter(|entry| entry.name.starts_with(&prefix))
                        .map(|entry| (entry.name, entry.ino))
                        .collect();
                    assert_eq!(seen, mine);
                }
            }
            progress.fetch_add(1, Relaxed);
        }
    });
    check(&image, nova);
}

#[test]
fn renames_of_files_and_directories_in_all_directions_at_once_come_to_an_end() {
    let image = Image::new(32 << 20);
    let nova = image.format(FormatOptions::new().stripes(4));
    // Directories at several depths, which move, too.
    let mut dirs = vec![ROOT];
    for number in 0..12 {
        let parent = dirs[number / 2];
        dirs.push(nova.mkdir(parent, format!("d{number}").as_bytes(), 0o755, ROOT_USER).unwrap().ino);
    }
    threads(6, |thread, random, progress| {
        for number in 0..1500 {
            let (from, to) = (dirs[random.usize(..dirs.len())], dirs[random.usize(..dirs.len())]);
            let name = |random: &mut fastrand::Rng| match random.u8(0..3) {
                0 => format!("f{}", random.u8(0..4)).into_bytes(),
                _ => format!("d{}", random.u8(0..12)).into_bytes(),
            };
            let (one, other) = (name(random), name(random));
            let result = match random.u8(0..12) {
                0..6 => {
                    let how = [Rename::Replace, Rename::NoReplace, Rename::Exchange][random.usize(0..3)];
                    nova.rename(from, &one, to, &other, how, ROOT_USER)
                }
                6 => nova.create(from, &one, 0o644, ROOT_USER).map(drop),
                7 => nova.unlink(from, &one, ROOT_USER),
                // A directory that others know by number goes only if it is empty, and then comes back as another.
                8 => nova.mkdir(from, format!("t{thread}-{number}").as_bytes(), 0o755, ROOT_USER).map(drop),
                9 => nova.rmdir(from, &one, ROOT_USER),
                10 => nova.readdir(from, 0, usize::MAX, ROOT_USER).map(|names| assert!(names.len() >= 2)),
                _ => {
                    let file = nova.lookup(from, &one, ROOT_USER).map(|stat| stat.ino);
                    file.and_then(|ino| nova.link(ino, to, &other, ROOT_USER)).map(drop)
                }
            };
            if let Err(error) = result {
                let expected = [
                    Code::NotFound,
                    Code::Exists,
                    Code::Invalid,
                    Code::NotEmpty,
                    Code::IsADirectory,
                    Code::NotADirectory,
                    Code::NotPermitted,
                ];
                assert!(error.code().is_some_and(|code| expected.contains(&code)), "{error:?}");
            }
            progress.fetch_add(1, Relaxed);
        }
    });
    check(&image, nova);
}

#[test]
fn two_threads_that_move_a_directory_into_each_others_never_both_do() {
    let image = Image::new(16 << 20);
    let nova = image.format(FormatOptions::new());
    let barrier = std::sync::Barrier::new(2);
    let a = nova.mkdir(ROOT, b"a", 0o755, ROOT_USER).unwrap().ino;
    let b = nova.mkdir(ROOT, b"b", 0o755, ROOT_USER).unwrap().ino;
    let moved = std::sync::atomic::AtomicU64::new(0);
    threads(2, |thread, _, progress| {
        for _ in 0..600 {
            barrier.wait();
            let (name, to) = if thread == 0 { (b"a", b) } else { (b"b", a) };
            let result = nova.rename(ROOT, name, to, name, Rename::Replace, ROOT_USER);
            if result.is_ok() {
                moved.fetch_add(1, Relaxed);
            }
            barrier.wait();
            if result.is_ok() {
                nova.rename(to, name, ROOT, name, Rename::Replace, ROOT_USER).unwrap();
            }
            barrier.wait();
            progress.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(moved.load(Relaxed), 600, "each time one of them, and not both");
    check(&image, nova);
}

#[test]
fn a_reader_of_a_directory_meets_every_name_that_stays_once() {
    let image = Image::new(16 << 20);
    let nova = image.format(FormatOptions::new().stripes(2));
    let dir = nova.mkdir(ROOT, b"dir", 0o755, ROOT_USER).unwrap().ino;
    for number in 0..100 {
        nova.create(dir, format!("stays-{number}").as_bytes(), 0o644, ROOT_USER).unwrap();
    }
    let working = std::sync::atomic::AtomicU64::new(2);
    threads(3, |thread, random, progress| {
        if thread < 2 {
            for number in 0..1500 {
                let name = format!("comes-{thread}-{number}").into_bytes();
                nova.create(dir, &name, 0o644, ROOT_USER).unwrap();
                nova.unlink(dir, &name, ROOT_USER).unwrap();
                progress.fetch_add(1, Relaxed);
            }
            working.fetch_sub(1, Relaxed);
        } else {
            while working.load(Relaxed) > 0 {
                let (mut cookie, mut met) = (0, Vec::new());
                loop {
                    let part = nova.readdir(dir, cookie, random.usize(1..9), ROOT_USER).unwrap();
                    let Some(last) = part.last() else { break };
                    cookie = last.cookie;
                    met.extend(part.into_iter().map(|entry| entry.name));
                }
                let stays = met.iter().filter(|name| name.starts_with(b"stays")).count();
                assert_eq!(stays, 100);
            }
        }
    });
    check(&image, nova);
}

#[test]
fn a_full_volume_that_many_threads_fill_and_empty_stays_sound() {
    let image = Image::new(3 << 20);
    let nova = image.format(FormatOptions::new().stripes(4));
    threads(4, |thread, random, progress| {
        let dir = nova.mkdir(ROOT, format!("{thread}").as_bytes(), 0o755, ROOT_USER).unwrap().ino;
        for number in 0..400 {
            let name = format!("{}", random.u8(0..20)).into_bytes();
            let result = match number % 3 {
                0 => nova.unlink(dir, &name, ROOT_USER),
                _ => nova
                    .create(dir, &name, 0o644, ROOT_USER)
                    .or_else(|_| nova.lookup(dir, &name, ROOT_USER))
                    .and_then(|stat| nova.open_inode(stat.ino, Access::READ_WRITE, ROOT_USER))
                    .and_then(|file| file.write_at(0, &vec![number as u8; random.usize(1..80_000)])),
            };
            if let Err(error) = result {
                assert!(matches!(error.code(), Some(Code::NoSpace | Code::NotFound)), "{error:?}");
            }
            progress.fetch_add(1, Relaxed);
        }
    });
    check(&image, nova);
}
