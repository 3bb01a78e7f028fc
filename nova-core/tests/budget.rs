//! Lines and drains of every operation, as the mapping counts them: averages over a thousand, a closing sync included.
//!
//! The drains of each single call are exact; what comes seldom (a segment of the inode table, a log that is written anew) is in the average.
//!
//! `cargo test -p nova-core --test budget -- --nocapture` prints the table.

use nova_core::{AccessTimes, Credentials, FormatOptions, MountOptions, Nova, ROOT, Rename, SetAttr};
use pmem_map::Mapping;

const WHO: &Credentials = &Credentials::ROOT;
const TIMES: u64 = 1000;

fn volume() -> Nova {
    let options = MountOptions::new().access_times(AccessTimes::Never);
    FormatOptions::new().stripes(1).format(Mapping::memfd(64 << 20).unwrap(), options).unwrap()
}

fn name(n: u64) -> Vec<u8> {
    format!("file-{n:06}").into_bytes()
}

/// What one call costs.
struct Cost {
    /// Lines flushed, or stored past the caches, on average.
    lines: f64,
    /// Drains, on average.
    drains: f64,
    /// Drains of nearly all calls.
    usual: u64,
    /// Calls that took another number of drains.
    others: u64,
}

/// Calls `work` a thousand times, and prints what that costs.
fn measure(what: &str, nova: &Nova, mut work: impl FnMut(u64)) -> Cost {
    nova.sync().unwrap();
    let start = nova.counters();
    let mut each = Vec::new();
    for n in 0..TIMES {
        let before = nova.counters().drains;
        work(n);
        each.push(nova.counters().drains - before);
    }
    nova.sync().unwrap();
    let end = nova.counters();
    each.sort_unstable();
    let usual = each[each.len() / 2];
    let cost = Cost {
        lines: (end - start).lines() as f64 / TIMES as f64,
        drains: (end - start).drains as f64 / TIMES as f64,
        usual,
        others: each.iter().filter(|drains| **drains != usual).count() as u64,
    };
    println!(
        "budget | {what:<34} | {:>6.2} lines | {:>5.3} drains | {} in one call, {} calls another number",
        cost.lines, cost.drains, cost.usual, cost.others
    );
    cost
}

impl Cost {
    /// So many drains in each call but a few, and on average hardly more.
    fn drains(self, drains: u64) -> Cost {
        assert_eq!(self.usual, drains, "drains of a call");
        assert!(self.others * 50 <= TIMES, "{} calls took another number of drains", self.others);
        assert!(self.drains <= drains as f64 + 0.06, "{} drains on average", self.drains);
        self
    }

    fn lines(self, most: f64) {
        assert!(self.lines <= most, "{} lines on average, at most {most}", self.lines);
    }
}

#[test]
fn budget_of_names_is_one_drain() {
    let nova = volume();
    let dir = nova.mkdir(ROOT, b"dir", 0o755, WHO).unwrap().ino;
    let other = nova.mkdir(ROOT, b"other", 0o755, WHO).unwrap().ino;
    let file = nova.create(ROOT, b"linked", 0o644, WHO).unwrap().ino;
    let into = Rename::Replace;
    let table = |what, drains, most: f64, work: &mut dyn FnMut(u64)| {
        measure(what, &nova, work).drains(drains).lines(most);
    };
    table("create", 1, 11.0, &mut |n| _ = nova.create(dir, &name(n), 0o644, WHO).unwrap());
    table("link", 1, 8.0, &mut |n| _ = nova.link(file, other, &name(n), WHO).unwrap());
    table("rename in a directory", 1, 9.0, &mut |n| {
        nova.rename(dir, &name(n), dir, &[&name(n)[..], b"-"].concat(), into, WHO).unwrap();
    });
    table("rename over a name elsewhere", 1, 15.0, &mut |n| {
        nova.rename(dir, &[&name(n)[..], b"-"].concat(), other, &name(n), into, WHO).unwrap();
    });
    table("unlink, the last name", 1, 8.0, &mut |n| nova.unlink(other, &name(n), WHO).unwrap());
    table("mkdir", 1, 9.0, &mut |n| _ = nova.mkdir(dir, &name(n), 0o755, WHO).unwrap());
    table("rmdir", 1, 9.0, &mut |n| nova.rmdir(dir, &name(n), WHO).unwrap());
    table("symlink", 1, 16.0, &mut |n| _ = nova.symlink(dir, &name(n), b"../a/target", WHO).unwrap());
}

#[test]
fn budget_of_attributes_is_one_drain() {
    let nova = volume();
    let file = nova.create(ROOT, b"file", 0o644, WHO).unwrap().ino;
    measure("setattr, mode", &nova, |n| {
        let set = SetAttr { mode: Some(0o600 | n as u32 & 7), ..SetAttr::default() };
        nova.setattr(file, &set, WHO).unwrap();
    })
    .drains(1)
    .lines(5.0);
    measure("xattr of 40 bytes, replaced", &nova, |n| {
        nova.set_attribute(file, b"user.name", &[n as u8; 40], Default::default(), WHO).unwrap();
    })
    .drains(1)
    .lines(9.0);
}

#[test]
fn budget_of_writes_is_their_data_and_six_lines() {
    let nova = volume();
    let file = nova.create_file("/file").unwrap();
    let block = [7; 4096];
    measure("append of 4 KiB", &nova, |_| _ = file.append(&block).unwrap()).drains(2).lines(70.0);
    measure("overwrite of 4 KiB", &nova, |n| file.write_at(n * 4096, &block).unwrap()).drains(2).lines(70.0);
    measure("write of 4 KiB in two blocks", &nova, |n| file.write_at(n % 900 * 4096 + 100, &block).unwrap())
        .drains(2)
        .lines(137.0);
    let small = nova.create_file("/small").unwrap();
    // In the record, and in its place.
    measure("append of 1 KiB", &nova, |_| _ = small.append(&block[..1024]).unwrap()).drains(1).lines(46.0);
    measure("overwrite of 16 bytes", &nova, |n| small.write_at(n * 512 + 8, &block[..16]).unwrap())
        .drains(1)
        .lines(10.0);
}

#[test]
fn budget_of_reading_is_nothing() {
    let nova = volume();
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[7; 10_000]).unwrap();
    let mut bytes = [0; 4096];
    let table = |what, work: &mut dyn FnMut(u64)| measure(what, &nova, work).drains(0).lines(0.0);
    table("read of 4 KiB", &mut |_| _ = file.read_at(100, &mut bytes).unwrap());
    table("stat", &mut |_| _ = nova.getattr(file.ino()).unwrap());
    table("look-up", &mut |_| _ = nova.lookup(ROOT, b"file", WHO).unwrap());
    table("readdir", &mut |_| _ = nova.readdir(ROOT, 0, 100, WHO).unwrap());
}

#[test]
fn budget_of_a_mount_and_an_unmount_is_a_few_drains() {
    let nova = volume();
    nova.write_file("/file", &[1; 100_000]).unwrap();
    let before = nova.counters().drains;
    let mapping = nova.unmount().unwrap();
    let unmount = mapping.counters().drains - before;
    let before = mapping.counters().drains;
    let nova = Nova::mount(mapping).unwrap();
    let mount = nova.counters().drains - before;
    println!("budget | unmount, mount                     | {unmount} drains, {mount} drains");
    assert!(unmount <= 6 && mount <= 3);
}
