//! Random changes of a small tree.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use crate::image::{ROOT_USER, quiet};
use nova_core::*;
use pmem_map::Mapping;

/// An empty volume in memory.
pub fn volume(bytes: u64) -> Nova {
    FormatOptions::new().stripes(2).format(Mapping::memfd(bytes).unwrap(), quiet()).unwrap()
}

/// One random change. What cannot be done is not done.
pub fn change(nova: &Nova, random: &mut fastrand::Rng) {
    const DIRS: [&str; 4] = ["/a", "/b", "/a/c", "/b/d"];
    let path = |random: &mut fastrand::Rng| {
        let dir = if random.bool() { "" } else { DIRS[random.usize(..4)] };
        format!("{dir}/{}", random.u8(..6))
    };
    let (one, other) = (path(random), path(random));
    let dir = DIRS[random.usize(..4)];
    let _ = match random.u8(..18) {
        0..3 => nova.create_new(&one).map(drop),
        3 | 4 => nova.create_dir(dir),
        5 => nova.remove_file(&one),
        6 => nova.rename_path(&one, &other),
        7 => nova.rename_path(dir, DIRS[random.usize(..4)]),
        8 => nova.hard_link(&one, &other),
        9 => nova.open(&one).and_then(|file| file.set_len(random.u64(..30_000))),
        10 => nova.open(&one).and_then(|file| {
            let from = nova.open(&other)?;
            file.copy_from(&from, 0, 0, from.len()?).map(drop)
        }),
        11 => nova.metadata(&one).and_then(|stat| {
            let value = vec![random.u8(..); random.usize(..400)];
            let name = [&b"user.x"[..], b"user.y"][random.usize(..2)];
            nova.set_attribute(stat.ino, name, &value, AttributeMode::Set, ROOT_USER)
        }),
        12 => nova.open(&one).and_then(|file| {
            let how =
                [Allocate::Zero, Allocate::PunchHole, Allocate::Grow, Allocate::Collapse][random.usize(..4)];
            file.allocate(random.u64(..5) * 4096, random.u64(1..4) * 4096, how)
        }),
        13 => {
            let set =
                SetAttr { mode: Some(random.u32(..0o777)), uid: Some(random.u32(..3)), ..SetAttr::default() };
            nova.set_metadata(&one, &set).map(drop)
        }
        14 => nova.symlink_path("t".repeat(random.usize(1..300)), &one),
        15 => nova.remove_dir(dir),
        _ => nova.open(&one).and_then(|file| {
            let bytes = vec![random.u8(..); random.usize(1..9000)];
            file.write_at(random.u64(..20_000), &bytes)
        }),
    };
}
