//! Reading and writing one file from several threads.

use crate::{check, image::*, threads};
use nova_core::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[test]
fn appends_of_many_threads_are_whole_in_one_piece_and_in_each_threads_order() {
    let image = Image::new(32 << 20);
    let nova = image.format(FormatOptions::new().stripes(4));
    let file = nova.create_file("/log").unwrap();
    const EACH: u64 = 400;
    threads(4, |thread, random, progress| {
        let file = nova.open("/log").unwrap();
        for number in 0..EACH {
            // Little ones go with the record, large ones beside.
            let len = if random.bool() { random.usize(16..200) } else { random.usize(2000..6000) };
            let mut record = vec![thread as u8 + 1; len];
            record[..4].copy_from_slice(&(len as u32).to_le_bytes());
            record[4..8].copy_from_slice(&(thread as u32).to_le_bytes());
            record[8..16].copy_from_slice(&number.to_le_bytes());
            let at = file.append(&record).unwrap();
            let mut back = vec![0; len];
            assert_eq!(file.read_at(at, &mut back).unwrap(), len);
            assert!(back == record);
            progress.fetch_add(1, Relaxed);
        }
    });
    let bytes = file.read_to_end().unwrap();
    let (mut at, mut next) = (0, [0u64; 4]);
    while at < bytes.len() {
        let word = |from: usize| u32::from_le_bytes(bytes[at + from..][..4].try_into().unwrap());
        let (len, thread) = (word(0) as usize, word(4) as usize);
        assert_eq!(u64::from(word(8)), next[thread], "thread {thread} at {at}");
        assert!(bytes[at + 16..at + len].iter().all(|byte| *byte == thread as u8 + 1));
        next[thread] += 1;
        at += len;
    }
    assert_eq!(next, [EACH; 4]);
    drop(file);
    check(&image, nova);
}

#[test]
fn a_read_sees_a_write_of_four_kibibytes_whole_or_not_at_all() {
    for offset in [0, 1000] {
        let image = Image::new(16 << 20);
        let nova = image.format(FormatOptions::new().stripes(2));
        let file = nova.create_file("/file").unwrap();
        file.write_at(0, &[1; 3 * 4096]).unwrap();
        let writing = AtomicU64::new(2);
        let torn = AtomicBool::new(false);
        threads(4, |thread, random, progress| {
            if thread < 2 {
                for _ in 0..1500 {
                    // A write in three ways: beside, in the record, after a truncation's shadow.
                    let byte = random.u8(1..);
                    file.write_at(offset, &[byte; 4096]).unwrap();
                    progress.fetch_add(1, Relaxed);
                }
                writing.fetch_sub(1, Relaxed);
            } else {
                let mut seen = [0; 4096];
                while writing.load(Relaxed) > 0 {
                    assert_eq!(file.read_at(offset, &mut seen).unwrap(), 4096);
                    if seen.iter().any(|byte| *byte != seen[0]) {
                        torn.store(true, Relaxed);
                    }
                    progress.fetch_add(1, Relaxed);
                }
            }
        });
        assert!(!torn.load(Relaxed), "a read saw a part of a write");
        drop(file);
        check(&image, nova);
    }
}

#[test]
fn a_little_write_is_whole_to_readers_too() {
    let image = Image::new(16 << 20);
    let nova = image.format(FormatOptions::new());
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[1; 8192]).unwrap();
    let writing = AtomicU64::new(2);
    threads(3, |thread, random, progress| {
        if thread < 2 {
            for _ in 0..3000 {
                file.write_at(3900, &[random.u8(1..); 400]).unwrap();
                progress.fetch_add(1, Relaxed);
            }
            writing.fetch_sub(1, Relaxed);
        } else {
            let mut seen = [0; 400];
            while writing.load(Relaxed) > 0 {
                file.read_at(3900, &mut seen).unwrap();
                assert!(seen.iter().all(|byte| *byte == seen[0]), "a read saw a part of a write");
            }
        }
    });
    drop(file);
    check(&image, nova);
}

#[test]
fn threads_that_write_clone_cut_and_allocate_one_file_leave_a_sound_one() {
    let image = Image::new(32 << 20);
    let nova = image.format(FormatOptions::new().stripes(3));
    let files: Vec<File> = (0..3).map(|n| nova.create_file(format!("/{n}")).unwrap()).collect();
    threads(4, |_, random, progress| {
        for _ in 0..800 {
            let (one, other) = (&files[random.usize(0..3)], &files[random.usize(0..3)]);
            let (at, len) = (random.u64(0..60_000), random.u64(1..9000));
            let result = match random.u8(0..8) {
                0..3 => one.write_at(at, &vec![random.u8(1..); len as usize]),
                3 => one.set_len(at),
                4 => one.allocate(at, len, Allocate::PunchHole),
                5 => one.allocate(at, len, Allocate::Zero),
                // Both files' locks, in both orders.
                6 => one.clone_range(other, 0, 65_536, at / 4096 * 4096),
                _ => one.copy_from(other, at, 80_000, len).map(drop),
            };
            if let Err(error) = result {
                assert_eq!(error.code(), Some(Code::Invalid), "{error:?}");
            }
            progress.fetch_add(1, Relaxed);
        }
    });
    drop(files);
    check(&image, nova);
}

#[test]
fn an_open_file_outlives_its_name_and_its_blocks_come_back_with_the_last_handle() {
    let image = Image::new(32 << 20);
    let nova = image.format(FormatOptions::new().stripes(4));
    for thread in 0..4 {
        nova.create_dir(format!("/{thread}")).unwrap();
        nova.write_file(format!("/{thread}/file"), b"x").unwrap();
        nova.remove_file(format!("/{thread}/file")).unwrap();
    }
    nova.sync().unwrap();
    let free = nova.statfs().free;
    threads(4, |thread, random, progress| {
        for number in 0..150 {
            let path = format!("/{thread}/file");
            let file = nova.create_file(&path).unwrap();
            let content = vec![number as u8; random.usize(1..40_000)];
            file.write_at(0, &content).unwrap();
            let second = file.clone();
            nova.remove_file(&path).unwrap();
            assert_eq!(file.stat().unwrap().links, 0);
            // Another file of the name is another file.
            let other = nova.create_file(&path).unwrap();
            assert_ne!(other.ino(), file.ino());
            drop(file);
            assert!(second.read_to_end().unwrap() == content);
            second.append(b"more").unwrap();
            assert_eq!(second.len().unwrap(), content.len() as u64 + 4);
            nova.remove_file(&path).unwrap();
            progress.fetch_add(1, Relaxed);
        }
    });
    nova.sync().unwrap();
    let statfs = nova.statfs();
    let segments = (free - statfs.free) as i64;
    assert!(segments <= 4 * 4 + 8, "{segments} blocks are gone");
    check(&image, nova);
}

#[test]
fn the_last_handle_and_the_last_name_may_go_at_the_same_time() {
    let image = Image::new(16 << 20);
    let nova = image.format(FormatOptions::new().stripes(2));
    let turns: Vec<std::sync::Mutex<Option<File>>> = (0..400)
        .map(|number| {
            let file = nova.create_file(format!("/{number}")).unwrap();
            file.write_at(0, &[1; 5000]).unwrap();
            std::sync::Mutex::new(Some(file))
        })
        .collect();
    let barrier = std::sync::Barrier::new(2);
    threads(2, |thread, _, progress| {
        for (number, file) in turns.iter().enumerate() {
            let file = if thread == 0 { file.lock().unwrap().take() } else { None };
            barrier.wait();
            match thread {
                0 => drop(file),
                _ => nova.remove_file(format!("/{number}")).unwrap(),
            }
            progress.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(nova.quota(Quota::User(0)).inodes, 1, "the root alone");
    assert_eq!(nova.quota(Quota::User(0)).blocks, 0);
    check(&image, nova);
}
