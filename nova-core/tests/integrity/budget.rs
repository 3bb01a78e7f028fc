//! What protection costs, by the mapping's counters: no drain, and no lines but its own.

use crate::volume::{BLOCK, options};
use nova_core::{File, FormatOptions, Nova};
use pmem_map::Mapping;

/// Lines and drains of `work`, on average of a hundred calls.
fn cost(nova: &Nova, file: &File, work: &dyn Fn(&File, u64)) -> (f64, f64) {
    nova.sync().unwrap();
    let before = nova.counters();
    (0..100).for_each(|n| work(file, n));
    let spent = nova.counters() - before;
    (spent.lines() as f64 / 100.0, spent.drains as f64 / 100.0)
}

#[test]
fn protection_takes_no_drain_and_only_its_own_lines() {
    let bytes = vec![7; 16 * BLOCK as usize];
    type Work<'w> = &'w dyn Fn(&File, u64);
    // Lines more at most, with checksums, and with parity: in a record each is stored where it belongs, and is a line of the record, more or less.
    let operations: [(&str, Work<'_>, f64, f64); 7] = [
        ("overwrite 64 B", &|file, n| file.write_at(n * 4096 + 64, &bytes[..64]).unwrap(), 2.5, 5.0),
        ("overwrite 1 KiB", &|file, n| file.write_at(n * 4096 + 512, &bytes[..1024]).unwrap(), 2.5, 20.0),
        ("overwrite 4 KiB", &|file, n| file.write_at(n * 4096, &bytes[..4096]).unwrap(), 1.5, 10.5),
        ("overwrite 64 KiB", &|file, n| file.write_at(n * 4096, &bytes).unwrap(), 18.0, 150.0),
        ("append 1 KiB", &|file, _| assert!(file.append(&bytes[..1024]).is_ok()), 6.0, 24.0),
        ("append 4 KiB", &|file, _| assert!(file.append(&bytes[..4096]).is_ok()), 1.5, 10.5),
        (
            "read 4 KiB",
            &|file, n| assert_eq!(file.read_at(n * 4096, &mut [0; 4096]).unwrap(), 4096),
            0.0,
            0.0,
        ),
    ];
    let volumes = [(false, false), (true, false), (true, true)].map(|(checksums, parity)| {
        let format = FormatOptions::new().stripes(1).checksums(checksums).parity(parity);
        let nova = format.format(Mapping::memfd(32 << 20).unwrap(), options()).unwrap();
        nova.write_file("/f", &vec![1; 1 << 20]).unwrap();
        nova
    });
    for (what, work, of_checksums, of_parity) in operations {
        let [none, checksums, parity] = volumes.each_ref().map(|nova| {
            let file = nova.open("/f").unwrap();
            cost(nova, &file, work)
        });
        println!("budget | {what:<18} | lines / drains: {none:?}, {checksums:?}, {parity:?}");
        for ((lines, drains), most) in [(checksums, of_checksums), (parity, of_parity)] {
            assert!(drains <= none.1 + 0.05, "{what}: {drains} drains, {} without", none.1);
            assert!(lines <= none.0 + most, "{what}: {lines} lines, {} without", none.0);
        }
    }
}
