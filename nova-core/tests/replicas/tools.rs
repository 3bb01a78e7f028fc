//! Where volumes with replicas go through what moves metadata: collection of logs, growth of the table, snapshots, roll back, streams, repair.

use crate::volume::{BLOCK, Memory, mapped, options};
use nova_core::{Code, Credentials, Error, FormatOptions, Holds, Nova, ROOT, ScrubOptions};

fn volume() -> (Memory, Nova) {
    let (memory, mapping) = mapped(&[]);
    (memory, FormatOptions::new().stripes(2).replicas(true).format(mapping, options()).unwrap())
}

/// Nothing is wrong, and first blocks and copies are the same: now, and after a crash.
fn is_whole(memory: &Memory, nova: &Nova) {
    let found = nova.fsck().unwrap();
    assert!(found.is_clean() && found.busy == 0, "{found}");
    let report = nova.scrub(&ScrubOptions::new()).unwrap();
    assert!(report.damage.is_empty() && report.repairs.metadata == 0, "{report:?}");
    nova.sync().unwrap();
    let (_, killed) = mapped(&memory.all());
    let again = options().mount(killed).unwrap();
    assert!(again.mount_report().damage.is_empty() && !again.mount_report().clean);
    assert_eq!(again.statfs().free, nova.statfs().free, "what a scan finds free");
    assert!(again.fsck().unwrap().is_clean());
}

#[test]
fn logs_grow_and_are_collected_with_their_copies() {
    let (memory, nova) = volume();
    let before = nova.statfs().free;
    for round in 0..4 {
        for n in 0..300 {
            nova.create_new(format!("/name-{round}-{n}")).unwrap();
        }
        is_whole(&memory, &nova);
        for n in 0..300 {
            nova.remove_file(format!("/name-{round}-{n}")).unwrap();
        }
        is_whole(&memory, &nova);
    }
    let collected = nova.collections();
    assert!(collected.rewritten_logs > 0 && collected.rewritten_pages > 0, "{collected:?}");
    let file = nova.create_file("/f").unwrap();
    for n in 0..2000u64 {
        file.write_at(n % 7 * BLOCK, &[n as u8; 4096]).unwrap();
    }
    assert!(nova.collections().dropped_pages > 0, "{:?}", nova.collections());
    drop(file);
    is_whole(&memory, &nova);
    nova.remove_file("/f").unwrap();
    nova.sync().unwrap();
    // What is left are segments, each with its copies, and the root's log.
    let anatomy = nova.anatomy().unwrap();
    let kept = anatomy.bytes(Holds::InodeTable) + anatomy.bytes(Holds::Log);
    assert_eq!(kept % (2 * BLOCK), 0);
    assert_eq!(nova.statfs().free + kept / BLOCK, nova.statfs().blocks);
    assert!(before > 0);
}

#[test]
fn a_full_volume_gives_everything_back() {
    let (memory, nova) = volume();
    let mut made = 0;
    let last = loop {
        match nova.create_new(format!("/a-name-that-takes-some-room-in-its-directory-{made}")) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    let is_no_space = |error: &Error| match error {
        Error::At { source, .. } => matches!(**source, Error::Posix(Code::NoSpace)),
        error => matches!(error, Error::Posix(Code::NoSpace)),
    };
    assert!(is_no_space(&last), "{last}");
    is_whole(&memory, &nova);
    for n in 0..made {
        nova.remove_file(format!("/a-name-that-takes-some-room-in-its-directory-{n}")).unwrap();
    }
    is_whole(&memory, &nova);
    assert!(made > 1000, "{made}");
}

#[test]
fn snapshots_roll_backs_and_streams_keep_copies() {
    let (memory, nova) = volume();
    nova.create_dir("/d").unwrap();
    nova.write_file("/d/f", &[1; 9000]).unwrap();
    nova.symlink_path("d/f", "/l").unwrap();
    nova.create_snapshot("one").unwrap();
    nova.write_file("/d/f", &[2; 5000]).unwrap();
    nova.rename_path("/l", "/m").unwrap();
    nova.create_snapshot("two").unwrap();
    (0..50).for_each(|n| drop(nova.create_new(format!("/d/n{n}")).unwrap()));
    is_whole(&memory, &nova);
    nova.create_snapshot("three").unwrap();
    nova.delete_snapshot("two").unwrap();
    is_whole(&memory, &nova);
    let mut stream = Vec::new();
    nova.send(None, "three", &mut stream).unwrap();
    for replicas in [false, true] {
        let (memory, mapping) = mapped(&[]);
        let there = FormatOptions::new().stripes(1).replicas(replicas).format(mapping, options()).unwrap();
        there.receive(&mut stream.as_slice()).unwrap();
        let link = there.symlink_metadata("/m").unwrap();
        assert_eq!(there.readlink(link.ino).unwrap(), b"d/f");
        assert_eq!(there.read_file("/m").unwrap(), [2; 5000]);
        is_whole(&memory, &there);
    }
    let nova = nova.rollback("one").unwrap();
    assert_eq!(nova.read_file("/l").unwrap(), [1; 9000]);
    is_whole(&memory, &nova);
    nova.delete_snapshot("one").unwrap();
    nova.delete_snapshot("three").unwrap();
    assert_eq!(nova.read_file("/l").unwrap(), [1; 9000]);
    is_whole(&memory, &nova);
}

#[test]
fn a_snapshot_of_mapped_files_has_its_table_twice() {
    let (memory, nova) = volume();
    let file = nova.create_file("/f").unwrap();
    file.write_at(0, &[1; 3 * BLOCK as usize]).unwrap();
    let mut mapping = file.map().unwrap();
    nova.create_snapshot("mapped").unwrap();
    mapping.write(BLOCK, &[2; 100]).unwrap();
    mapping.persist(BLOCK..BLOCK + 100).unwrap();
    let found = nova.fsck().unwrap();
    assert!(found.is_clean(), "{found}");
    let bytes = memory.all();
    drop((mapping, file));
    let table = bytes.chunks(4096).position(|block| &block[4..8] == b"COPY").expect("a table") * 4096;
    assert!(bytes[table..table + 4096] == bytes[table + 4096..table + 8192]);
    // The line that says where the content is, damaged in the first block.
    let (memory, mapping) = mapped(&bytes);
    memory.write(table as u64 + 64 + 20, &[0xaa; 8]);
    let again = options().mount(mapping).unwrap();
    let past = again.mount_snapshot("mapped").unwrap();
    assert_eq!(past.read_file("/f").unwrap(), [1; 3 * BLOCK as usize]);
    assert!(again.repairs().metadata > 0);
    drop(past);
    is_whole(&memory, &again);
}

#[test]
fn targets_of_every_length_are_in_the_log() {
    let (memory, nova) = volume();
    let root = &Credentials::ROOT;
    for len in [1, 50, 2000, 4000, 4095] {
        let target: Vec<u8> = (0..len).map(|n| b'a' + (n % 26) as u8).collect();
        let stat = nova.symlink(ROOT, format!("l{len}").as_bytes(), &target, root).unwrap();
        assert_eq!((stat.size, stat.blocks), (len, 0));
        assert_eq!(nova.readlink(stat.ino).unwrap(), target);
        assert!(nova.attributes(stat.ino, root).unwrap().is_empty());
    }
    is_whole(&memory, &nova);
    for len in [1, 50, 2000, 4000, 4095] {
        nova.unlink(ROOT, format!("l{len}").as_bytes(), root).unwrap();
    }
    is_whole(&memory, &nova);
}
