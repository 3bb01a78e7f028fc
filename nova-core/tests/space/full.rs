//! Volumes that are full to the last block.

use crate::{image::*, operations::*};
use nova_core::*;

/// Fills a volume: with data, then with names, until nothing goes in any more.
fn fill(nova: &Nova) -> u64 {
    let who = &user();
    let dir = nova.mkdir(ROOT, b"filler", 0o755, who).unwrap().ino;
    let file = nova.create(dir, b"data", 0o644, who).unwrap().ino;
    let file = nova.open_inode(file, Access::READ_WRITE, who).unwrap();
    let mut size = 1 << 20;
    while size >= 4096 {
        match file.append(&vec![0xf0; size]) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), Some(Code::NoSpace), "{error:?}");
                size /= 2;
            }
        }
    }
    let mut names = 0;
    loop {
        let name = format!("{names:0>200}");
        match nova.create(dir, name.as_bytes(), 0o644, who) {
            Ok(_) => names += 1,
            Err(error) => {
                assert_eq!(error.code(), Some(Code::NoSpace), "{error:?}");
                return names;
            }
        }
    }
}

#[test]
fn on_a_full_volume_operations_fail_whole_and_what_frees_goes_through() {
    for at_page_end in [false, true] {
        let image = Image::of(&prepare(at_page_end));
        let nova = image.mount();
        fill(&nova);
        let place = Place::open(&nova);
        let mut failed = 0;
        for (name, operation) in operations() {
            nova.sync().unwrap();
            let (before, free) = (everything(&nova), nova.statfs());
            if let Err(error) = operation(&nova, &place) {
                let expected =
                    [Code::NoSpace, Code::NotFound, Code::Exists, Code::NoAttribute, Code::Invalid];
                assert!(error.code().is_some_and(|code| expected.contains(&code)), "{name}: {error:?}");
                assert_same(&before, &everything(&nova), name);
                nova.sync().unwrap();
                assert_eq!(free, nova.statfs(), "{name}");
                failed += 1;
            }
        }
        assert!(failed > 10, "{failed}");
        drop(place);
        assert_same(&everything(&nova), &everything(&after_crash(&image.bytes())), "a crash when full");
        drop(nova.unmount().unwrap());
        let nova = image.mount();
        // Nothing that frees may find the volume too full for it.
        let filler = nova.lookup(ROOT, b"filler", ROOT_USER).unwrap().ino;
        let data = nova.lookup(filler, b"data", ROOT_USER).unwrap().ino;
        let file = nova.open_inode(data, Access::READ_WRITE, ROOT_USER).unwrap();
        let len = file.len().unwrap();
        file.allocate(8192, 4096, Allocate::PunchHole).unwrap();
        file.set_len(len - 4096).unwrap();
        drop(file);
        empty(&nova, ROOT);
        assert_eq!(nova.readdir(ROOT, 2, usize::MAX, ROOT_USER).unwrap(), []);
        nova.sync().unwrap();
        assert_eq!(nova.statfs(), after_crash(&image.bytes()).statfs());
        // Everything works again.
        assert!(fill(&nova) > 0);
        empty(&nova, ROOT);
        drop(nova.unmount().unwrap());
        image.mount();
    }
}

#[test]
fn a_volume_that_is_filled_and_emptied_again_and_again_loses_no_block() {
    let image = Image::new(2 << 20);
    let nova = image.format(FormatOptions::new().stripes(2));
    let set = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    nova.setattr(ROOT, &set, ROOT_USER).unwrap();
    let mut free = None;
    for turn in 0..12 {
        fill(&nova);
        empty(&nova, ROOT);
        nova.sync().unwrap();
        let now = nova.statfs().free;
        // Segments of the inode table stay: after a few turns there are enough.
        if turn > 2 {
            assert_eq!(*free.get_or_insert(now), now, "turn {turn}");
        }
    }
    assert_eq!(after_crash(&image.bytes()).statfs(), nova.statfs());
}

fn empty(nova: &Nova, dir: u64) {
    for entry in nova.readdir(dir, 2, usize::MAX, ROOT_USER).unwrap() {
        if entry.kind == Kind::Directory {
            empty(nova, entry.ino);
            nova.rmdir(dir, &entry.name, ROOT_USER).unwrap();
        } else {
            nova.unlink(dir, &entry.name, ROOT_USER).unwrap();
        }
    }
}
