//! What replicas cost, by the mapping's counters: no drain, in any operation.

use crate::volume::options;
use nova_core::{AttributeMode, Credentials, FormatOptions, Nova, ROOT, Rename, SetAttr};
use pmem_map::Mapping;

const WHO: &Credentials = &Credentials::ROOT;
const TIMES: u64 = 200;

/// Lines and drains of `work`, on average.
fn cost(nova: &Nova, work: &dyn Fn(&Nova, u64)) -> (f64, f64) {
    nova.sync().unwrap();
    let before = nova.counters();
    (0..TIMES).for_each(|n| work(nova, n));
    nova.sync().unwrap();
    let spent = nova.counters() - before;
    (spent.lines() as f64 / TIMES as f64, spent.drains as f64 / TIMES as f64)
}

fn name(kind: char, n: u64) -> Vec<u8> {
    format!("{kind}{n:04}").into_bytes()
}

#[test]
fn replicas_take_no_drain() {
    type Work<'w> = &'w dyn Fn(&Nova, u64);
    let ino = |nova: &Nova| nova.metadata("/f").unwrap().ino;
    let operations: [(&str, Work<'_>); 13] = [
        ("create", &|nova, n| assert!(nova.create(ROOT, &name('c', n), 0o644, WHO).is_ok())),
        ("mkdir", &|nova, n| assert!(nova.mkdir(ROOT, &name('d', n), 0o755, WHO).is_ok())),
        ("symlink", &|nova, n| assert!(nova.symlink(ROOT, &name('s', n), b"there", WHO).is_ok())),
        ("link", &|nova, n| assert!(nova.link(ino(nova), ROOT, &name('l', n), WHO).is_ok())),
        ("rename", &|nova, n| {
            nova.rename(ROOT, &name('c', n), ROOT, &name('r', n), Rename::Replace, WHO).unwrap()
        }),
        ("setattr", &|nova, n| {
            let set = SetAttr { mode: Some(0o600 | n as u32 & 7), ..SetAttr::default() };
            nova.setattr(ino(nova), &set, WHO).unwrap();
        }),
        ("set an attribute", &|nova, n| {
            nova.set_attribute(
                ino(nova),
                &[b"user.", &name('x', n)[..]].concat(),
                b"1",
                AttributeMode::Set,
                WHO,
            )
            .unwrap()
        }),
        ("write 64 B", &|nova, n| nova.open("/f").unwrap().write_at(n * 64, &[1; 64]).unwrap()),
        ("write 4 KiB", &|nova, n| nova.open("/f").unwrap().write_at(n * 4096, &[1; 4096]).unwrap()),
        ("append 100 B", &|nova, _| assert!(nova.open("/g").unwrap().append(&[1; 100]).is_ok())),
        ("truncate", &|nova, n| nova.open("/g").unwrap().set_len(20_000 - n * 50).unwrap()),
        ("unlink", &|nova, n| nova.unlink(ROOT, &name('r', n), WHO).unwrap()),
        ("rmdir", &|nova, n| nova.rmdir(ROOT, &name('d', n), WHO).unwrap()),
    ];
    let volumes = [false, true].map(|replicas| {
        let format = FormatOptions::new().stripes(1).replicas(replicas);
        let nova = format.format(Mapping::memfd(64 << 20).unwrap(), options()).unwrap();
        nova.write_file("/f", &vec![1; 1 << 20]).unwrap();
        nova.write_file("/g", b"").unwrap();
        nova
    });
    for (what, work) in operations {
        let [without, with] = volumes.each_ref().map(|nova| cost(nova, work));
        println!("budget | {what:<18} | lines / drains: {without:?}, with replicas {with:?}");
        // A segment of the table has a few slots less, and each new one takes a drain.
        assert!(with.1 <= without.1 + 0.03, "{what}: {} drains, {} without", with.1, without.1);
        assert!(with.0 <= 2.0 * without.0 + 1.0, "{what}: {} lines, {} without", with.0, without.0);
    }
}
