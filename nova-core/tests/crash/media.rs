//! The same on other media: pages of a file, and caches that persist. And stores of several threads, every store of the code.

use crate::{
    ace::{BEFORE, operations},
    harness::{Setting, Totals, explore, is_long},
    ops::Op::{self, *},
    ops::{content, leaked},
};
use nova_core::{MountOptions, Nova};
use pmem_crash::{Config, Exploration, Image};
use pmem_map::Granularity;

/// Workloads of three operations each, for which all operations are used once.
fn threes(group: &str, setting: &Setting) {
    let seed = 7;
    println!("crash | {group}: operations shuffled with seed {seed}");
    let mut all = operations();
    fastrand::Rng::with_seed(seed).shuffle(&mut all);
    let mut totals = Totals::default();
    let most = if is_long() { all.len() } else { 45 };
    for (number, ops) in all[..most].chunks(3).enumerate() {
        explore(&mut totals, &format!("{group} {number}"), setting, BEFORE, ops).assert_ok();
    }
    totals.print(group);
}

#[test]
fn on_pages_of_a_file_operations_are_done_or_not_at_all() {
    threes("pages", &Setting { granularity: Granularity::Page, blocks: 48, ..Setting::default() });
}

#[test]
fn with_persistent_caches_operations_are_done_or_not_at_all() {
    let setting = Setting {
        granularity: Granularity::Byte,
        blocks: 48,
        bound: 8,
        samples: 2,
        nested: 1,
        ..Setting::default()
    };
    threes("persistent caches", &setting);
}

#[test]
fn a_journal_that_is_full_is_retired_and_goes_on() {
    let ops: Vec<Op> = (0..5u64)
        .flat_map(|n| {
            let name = leaked(format!("/A/{n}"));
            [Create(name), Append(name, 1000, n as u8), Write("/foo", 500 * n, 700, n as u8), Unlink(name)]
        })
        .collect();
    let mut totals = Totals::default();
    for granularity in [Granularity::Page, Granularity::CacheLine] {
        let setting =
            Setting { granularity, journal: 2 * 4096, nested: 1, bound: 4, samples: 1, ..Setting::default() };
        explore(&mut totals, &format!("full journal, {granularity:?}"), &setting, BEFORE, &ops).assert_ok();
    }
    totals.print("full journals");
}

#[test]
fn a_volume_of_several_stripes_is_as_safe() {
    threes("stripes", &Setting { stripes: 3, blocks: 72, nested: 1, ..Setting::default() });
}

#[test]
fn threads_that_share_drains_lose_nothing() {
    for granularity in [Granularity::CacheLine, Granularity::Page, Granularity::Byte] {
        threads(granularity);
    }
}

/// Threads that each write beside the record, rename, and remove: so that blocks and inode numbers go from one to another.
fn threads(granularity: Granularity) {
    const THREADS: usize = 3;
    const FILES: usize = 3;
    let setting = Setting { granularity, stripes: 2, ..Setting::default() };
    let before: [Op; 3] = [Mkdir("/t0"), Mkdir("/t1"), Mkdir("/t2")];
    let start = setting.prepare(&before);
    let config =
        Config::from_env().raw_stores(false).bound(32).samples(if is_long() { 256 } else { 16 }).nested(2);
    let text = |thread: usize, file: usize| content(5000 + 100 * file, (thread * 16 + file) as u8);
    let report = Exploration::new(format!("threads, {granularity:?}"))
        .config(config.granularity(granularity))
        .start(Image::new(start))
        .run(
            |mapping, marks| -> nova_core::Result<()> {
                let nova = setting.mount().mount(mapping)?;
                marks.run("all threads", || {
                    std::thread::scope(|scope| {
                        let work = |thread: usize| {
                            let nova = &nova;
                            move || -> nova_core::Result<()> {
                                for n in 0..FILES {
                                    let path = format!("/t{thread}/{n}");
                                    nova.create_new(&path)?.write_at(0, &text(thread, n))?;
                                    nova.rename_path(&path, format!("/t{thread}/done{n}"))?;
                                    if n > 0 {
                                        nova.remove_file(format!("/t{thread}/done{}", n - 1))?;
                                    }
                                }
                                Ok(())
                            }
                        };
                        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
                        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
                    })
                })?;
                std::mem::forget(nova);
                Ok(())
            },
            |mapping| setting.mount().mount(mapping),
            |nova, point| {
                if !nova.mount_report().damage.is_empty() {
                    return Err(format!("{:?}", nova.mount_report().damage));
                }
                for thread in 0..THREADS {
                    let names = nova.read_dir(format!("/t{thread}")).map_err(|error| error.to_string())?;
                    for entry in &names {
                        let name = String::from_utf8_lossy(&entry.name).into_owned();
                        let n: usize =
                            name.trim_start_matches("done").parse().map_err(|_| format!("a file {name}"))?;
                        let found = nova
                            .read_file(format!("/t{thread}/{name}"))
                            .map_err(|error| error.to_string())?;
                        let whole = found == text(thread, n);
                        if !whole && (name.starts_with("done") || !found.is_empty()) {
                            return Err(format!(
                                "thread {thread}: {name} has {} bytes, and wrong ones",
                                found.len()
                            ));
                        }
                    }
                    let names: Vec<_> =
                        names.iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
                    if names.len() > 2 || point.acknowledged == 1 && names != ["done2"] {
                        return Err(format!("thread {thread}: {names:?}"));
                    }
                }
                crate::harness::used_to_the_end(&nova)
            },
        );
    println!(
        "crash | threads, {granularity:?}: {} images, {} recoveries, {} failures",
        report.images, report.recoveries, report.failures
    );
    report.assert_ok();
}

#[test]
fn every_store_of_the_code_is_one_that_the_volume_announces() {
    // Level 2 sees stores that nobody tells about; a whole life, from nothing.
    let config = Config::from_env().level2().bound(8).samples(2).nested(1).depth(1);
    let report = Exploration::new("every store").config(config).len(32 * 4096).run(
        |mapping, marks| -> nova_core::Result<()> {
            let options = crate::harness::format_options(crate::PROTECTED)
                .stripes(1)
                .journal(crate::harness::journal(2 * 4096));
            let nova = marks.run("format", || options.format(mapping, MountOptions::new().threads(1)))?;
            marks.run("mkdir", || nova.create_dir("/d"))?;
            marks.run("create", || nova.create_new("/d/f").map(drop))?;
            marks.run("write", || nova.open("/d/f")?.write_at(3, &content(5000, 1)))?;
            marks.run("patch", || nova.open("/d/f")?.write_at(70, &content(100, 2)))?;
            marks.run("unlink", || nova.remove_file("/d/f"))?;
            marks.run("unmount", || nova.unmount().map(drop))
        },
        |mapping| match MountOptions::new().threads(1).mount(mapping) {
            Ok(nova) => Ok(Some(nova)),
            Err(nova_core::Error::NotAVolume { .. }) => Ok(None),
            Err(error) => Err(error),
        },
        |nova: Option<Nova>, point| {
            let Some(nova) = nova else {
                return if point.acknowledged == 0 { Ok(()) } else { Err("no volume".into()) };
            };
            let patched: Vec<u8> = {
                let mut bytes = [&[0; 3][..], &content(5000, 1)].concat();
                bytes[70..170].copy_from_slice(&content(100, 2));
                bytes
            };
            let written = [&[0; 3][..], &content(5000, 1)].concat();
            let states: [Option<Vec<u8>>; 8] =
                [None, None, None, Some(Vec::new()), Some(written), Some(patched), None, None];
            let found = nova.read_file("/d/f").ok();
            if !point.range().any(|k| states[k] == found) {
                return Err(format!("{:?} bytes, of {:?}", found.map(|found| found.len()), point.range()));
            }
            crate::harness::used_to_the_end(&nova)
        },
    );
    println!(
        "crash | every store: {} stores, {} images, {} recoveries",
        report.stores, report.images, report.recoveries
    );
    report.assert_ok();
}
