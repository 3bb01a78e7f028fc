//! The log: order, many threads, truncation, damage, and every state that a power failure could leave.

use crate::{
    crash::{config, image, print},
    maps::{media, reopened},
};
use pmem_collections::{concurrent::Shortcut, *};
use pmem_crash::{Exploration, Image, Report, Tear};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const LEN: u64 = 512 << 10;

fn pool(len: u64) -> Pool {
    Pool::create_on(Mapping::anonymous(len).unwrap()).unwrap()
}

fn all(log: &ConcurrentLog) -> Result<Vec<Vec<u8>>> {
    let (mut last, mut records) = (0, Vec::new());
    for record in log.iter() {
        let (seq, record) = record?;
        assert!(seq > last, "{seq} after {last}");
        last = seq;
        records.push(record);
    }
    assert!(last == log.watermark() || records.is_empty());
    Ok(records)
}

fn record(n: u64) -> Vec<u8> {
    (0..n % 200).map(|i| (n * 7 + i) as u8).collect()
}

#[test]
fn a_log_keeps_all_records_in_order_also_when_reopened() {
    let mut pool = pool(16 << 20);
    let mut log = ConcurrentLog::open(&pool, "log").unwrap();
    let (mut model, mut numbers) = (Vec::new(), Vec::new());
    for n in 0..12_000u64 {
        if n % 5 == 0 {
            let batch = [record(n), record(n + 1), Vec::new()];
            numbers.push(log.append_all(batch.iter().map(Vec::as_slice)).unwrap());
            model.extend(batch);
        } else {
            numbers.push(log.append(&record(n)).unwrap());
            model.push(record(n));
        }
        if n % 3_000 == 2_999 {
            assert_eq!(all(&log).unwrap(), model);
            pool = reopened(&pool);
            log = ConcurrentLog::open(&pool, "log").unwrap();
            assert_eq!(all(&log).unwrap(), model, "reopened");
        }
    }
    assert!(numbers.is_sorted());
    assert_eq!(log.get(numbers[77]).unwrap(), Some(record(77)));
    assert_eq!(log.get(numbers[0] - 1).unwrap(), None);
    let from = log.iter_from(numbers[11_000]).next().unwrap().unwrap();
    assert_eq!(from, (numbers[11_000], record(11_000)));
    assert!(pool.check().unwrap().is_ok());
}

#[test]
fn producers_keep_their_order_and_readers_see_a_prefix_without_gaps() {
    let pool = pool(16 << 20);
    let log = ConcurrentLog::open(&pool, "log").unwrap();
    let writing = AtomicBool::new(true);
    std::thread::scope(|s| {
        let (log, writing) = (&log, &writing);
        let producers: Vec<_> = (0..4u64)
            .map(|producer| {
                s.spawn(move || {
                    for n in 0..3_000u64 {
                        let seq = log.append(&[producer.to_le_bytes(), n.to_le_bytes()].concat()).unwrap();
                        assert!(log.watermark() >= seq);
                        assert!(log.get(seq).unwrap().is_some());
                    }
                })
            })
            .collect();
        s.spawn(move || {
            let mut seen = 0;
            while writing.load(SeqCst) {
                let (mut count, mut last, watermark) = (0, 0, log.watermark());
                for entry in log.iter() {
                    last = entry.unwrap().0;
                    count += 1;
                }
                assert!(last >= watermark && count >= seen);
                seen = count;
            }
        });
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        writing.store(false, SeqCst);
    });
    for log in [log, ConcurrentLog::open(&reopened(&pool), "log").unwrap()] {
        let mut next = [0u64; 4];
        for record in all(&log).unwrap() {
            let (producer, n) = record.split_at(8);
            let producer = u64::from_le_bytes(producer.try_into().unwrap()) as usize;
            assert_eq!(n, next[producer].to_le_bytes());
            next[producer] += 1;
        }
        assert_eq!(next, [3_000; 4]);
    }
}

#[test]
fn what_is_truncated_is_used_again_and_the_rest_stays() {
    let pool = pool(2 << 20);
    let log = ConcurrentLog::open(&pool, "log").unwrap();
    let mut written = std::collections::VecDeque::new();
    for n in 0..20_000u64 {
        written.push_back((log.append(&[n as u8; 400]).unwrap(), n));
        if written.len() > 1_500 {
            log.truncate_before(written[1_400].0).unwrap();
            let first = log.iter().next().unwrap().unwrap().0;
            assert!(first <= written[1_400].0);
            while written[0].0 < first {
                written.pop_front();
            }
        }
    }
    let again = ConcurrentLog::open(&reopened(&pool), "log").unwrap();
    for log in [&log, &again] {
        let found =
            log.iter().map(|record| record.map(|(seq, bytes)| (seq, bytes[0]))).collect::<Result<Vec<_>>>();
        let expected: Vec<_> = written.iter().map(|&(seq, n)| (seq, n as u8)).collect();
        assert_eq!(found.unwrap(), expected);
    }
    log.truncate_before(u64::MAX).unwrap();
    again.append(b"more").unwrap();
    assert_eq!(again.iter().last().unwrap().unwrap().1, b"more");
}

#[test]
fn a_full_pool_a_record_too_large_and_an_empty_batch_change_nothing() {
    let pool = pool(LEN);
    let log = ConcurrentLog::open(&pool, "log").unwrap();
    let large = log.append(&vec![0; 300 << 10]).unwrap_err();
    assert!(matches!(large.kind(), ErrorKind::TooLarge { .. }), "{large}");
    let mut n = 0;
    let full = loop {
        match log.append(&record(n)) {
            Ok(_) => n += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(full.kind(), ErrorKind::NoSpace { .. }), "{full}");
    let last = log.watermark();
    assert_eq!(log.append_all([]).unwrap(), last);
    assert_eq!(all(&log).unwrap(), (0..n).map(record).collect::<Vec<_>>());
    log.truncate_before(last).unwrap();
    assert_eq!(
        all(&ConcurrentLog::open(&reopened(&pool), "log").unwrap()).unwrap().last(),
        Some(&record(n - 1))
    );
}

#[test]
fn an_append_of_64_bytes_is_two_lines_and_one_drain() {
    let pool = pool(1 << 20);
    let log = ConcurrentLog::open(&pool, "log").unwrap();
    log.append(b"the first segment").unwrap();
    let before = pool.region().counters();
    (0..100).for_each(|n| _ = log.append(&[n; 64]).unwrap());
    let one = pool.region().counters() - before;
    let batch = [[7u8; 64]; 32];
    log.append_all(batch.iter().map(|record| record.as_slice())).unwrap();
    let many = pool.region().counters() - before - one;
    println!("budget | ConcurrentLog append, 64 B | {} lines, {} drains for 100", one.lines(), one.drains);
    println!("budget | ConcurrentLog append of 32 x 64 B | {} lines, {} drains", many.lines(), many.drains);
    assert_eq!((one.lines(), one.drains), (200, 100));
    assert_eq!((many.lines(), many.drains), (64, 1));
}

/// The offset of a record's bytes on media, found by its content.
fn find(bytes: &[u8], content: &[u8]) -> usize {
    bytes.windows(content.len()).position(|window| window == content).expect("it is there")
}

/// A pool of these bytes.
fn pool_of(bytes: &[u8]) -> Pool {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.write(0, bytes).unwrap();
    Pool::on(mapping).unwrap()
}

/// Two crashes: the first one keeps a record and loses the first line of its segment, so that the log ends before it; the second one
/// keeps the first line of the segment's next use and loses its record. (The old record was in the log again.)
#[test]
fn a_record_that_an_earlier_use_of_its_segment_left_does_not_come_back() {
    let first = pool(2 << 20);
    let log = ConcurrentLog::open(&first, "log").unwrap();
    let long = vec![7; (256 << 10) - 200]; // the next one needs another segment
    log.append(&long).unwrap();
    log.append(&[0xa5; 64]).unwrap();
    let mut bytes = media(&first);
    let segment = find(&bytes, &[0xa5; 64]) - 64 - 40;
    bytes[segment..segment + 64].fill(0);

    let second = pool_of(&bytes);
    let log = ConcurrentLog::open(&second, "log").unwrap();
    assert_eq!(all(&log).unwrap(), std::slice::from_ref(&long));
    log.append(&[0x5a; 64]).unwrap();
    let mut after = media(&second);
    assert_eq!(find(&after, &[0x5a; 64]), segment + 64 + 40, "the segment is used again");
    let records = segment + 64..segment + 256;
    after[records.clone()].copy_from_slice(&bytes[records]);

    let third = pool_of(&after);
    assert_eq!(all(&ConcurrentLog::open(&third, "log").unwrap()).unwrap(), [long]);
}

#[test]
fn damage_before_durable_records_is_an_error_and_at_the_very_end_the_log_ends_there() {
    let start = pool(LEN);
    let log = ConcurrentLog::open(&start, "log").unwrap();
    for n in 0..10u8 {
        log.append(&[n + 100; 90]).unwrap();
    }
    start.checkpoint().unwrap();
    let bytes = media(&start);
    for n in 0..10u8 {
        let mut damaged = bytes.clone();
        let at = find(&damaged, &[n + 100; 90]);
        damaged[at + 13] ^= 4;
        let mut mapping = Mapping::anonymous(LEN).unwrap();
        mapping.write(0, &damaged).unwrap();
        match ConcurrentLog::open(&Pool::on(mapping).unwrap(), "log") {
            Err(error) if n < 8 => assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}"),
            // The record behind this one was made when this one was not known to be durable to whoever made it: or it was.
            Err(error) => assert!(n == 8 && matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}"),
            Ok(log) => assert!(n == 9 && all(&log).unwrap().len() == 9, "record {n}"),
        }
    }
}

/// (Opening stored zeros over what it had not understood before it said that it was damaged; and the oldest segment, or the newest, was
/// gone without an error.)
#[test]
fn damage_of_a_segments_first_line_is_an_error_that_leaves_everything_as_it_is() {
    let start = pool(4 << 20);
    let log = ConcurrentLog::open(&start, "log").unwrap();
    let records: Vec<_> = (0..8u8).map(|n| vec![n + 100; 100_000]).collect(); // two in each segment
    for record in &records {
        log.append(record).unwrap();
    }
    start.checkpoint().unwrap();
    let bytes = media(&start);
    for record in records.iter().step_by(2) {
        let segment = find(&bytes, &record[..4096]) - 64 - 40;
        for word in [8, 16] {
            let mut damaged = bytes.clone();
            damaged[segment + word] ^= 4;
            let pool = pool_of(&damaged);
            let error = ConcurrentLog::open(&pool, "log").expect_err("damaged");
            assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
            let mut mended = media(&pool);
            mended[segment + word] ^= 4;
            assert_eq!(all(&ConcurrentLog::open(&pool_of(&mended), "log").unwrap()).unwrap(), records);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Append(u64),
    Batch(u64),
    Truncate,
    Reopen,
}
use Op::*;

fn bytes_of(n: u64) -> Vec<u8> {
    vec![n as u8; (n * 37 % 300) as usize + 1]
}

fn large(n: u64) -> bool {
    n >= 1000
}

/// Records so large that a segment takes two of them.
fn content(n: u64) -> Vec<u8> {
    if large(n) { vec![n as u8; 7_000] } else { bytes_of(n) }
}

fn explore(name: &str, before: &[u64], ops: &[Op], shortcut: Option<Shortcut>) -> Report {
    // So small that segments are of 16 KiB: the pool has no longer stretch.
    let len = if before.iter().any(|n| large(*n)) { 240 << 10 } else { LEN };
    let start = pool(len);
    {
        let log = ConcurrentLog::open(&start, "log").unwrap();
        before.iter().for_each(|&n| _ = log.append(&content(n)).unwrap());
    }
    start.checkpoint().unwrap();
    let start: Image = image(&start);
    let mut model: Vec<Vec<u8>> = before.iter().map(|&n| content(n)).collect();
    let mut states = vec![model.clone()];
    for &op in ops {
        match op {
            Append(n) => model.push(content(n)),
            Batch(n) => {
                model.push(content(n));
                states.push(model.clone()); // a batch may be there in part
                model.push(content(n + 1));
            }
            Truncate | Reopen => {}
        }
        states.push(model.clone());
    }
    let mut last = None;
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config(tear)).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let pool = Pool::on(mapping)?;
                let mut log = Some(ConcurrentLog::open_with(&pool, "log", shortcut)?);
                for &op in ops {
                    let open = || log.as_ref().expect("open");
                    if let Batch(n) = op {
                        marks.begin(format!("the first of {op:?}"));
                        let second = marks.begin(format!("{op:?}"));
                        let batch = [content(n), content(n + 1)];
                        open().append_all(batch.iter().map(Vec::as_slice))?;
                        marks.acknowledged_to(second);
                        continue;
                    }
                    let number = marks.begin(format!("{op:?}"));
                    match op {
                        Append(n) => _ = open().append(&content(n))?,
                        Truncate => open().truncate_before(u64::MAX)?,
                        Reopen => {
                            drop(log.take());
                            log = Some(ConcurrentLog::open_with(&pool, "log", shortcut)?);
                        }
                        Batch(_) => {}
                    }
                    marks.acknowledged_to(number);
                }
                std::mem::forget(pool);
                Ok(())
            },
            Pool::on,
            |pool, point| {
                let text = |error: Error| error.to_string();
                let log = ConcurrentLog::open_with(&pool, "log", shortcut).map_err(text)?;
                let mut found = all(&log).map_err(text)?;
                // Truncation takes some of the first records, as it likes.
                let truncates = ops.iter().any(|op| matches!(op, Truncate));
                let fits = |state: &Vec<Vec<u8>>| {
                    found == *state || (truncates && !found.is_empty() && state.ends_with(&found))
                };
                if !point.range().any(|k| fits(&states[k])) {
                    let sizes: Vec<_> = found.iter().map(Vec::len).collect();
                    return Err(format!("records of {sizes:?} bytes are no state of {:?}", point.range()));
                }
                for n in 0..3 {
                    log.append(&bytes_of(n)).map_err(text)?;
                    found.push(bytes_of(n));
                }
                drop(log);
                let log = ConcurrentLog::open_with(&pool, "log", shortcut).map_err(text)?;
                if all(&log).map_err(text)? == found {
                    Ok(())
                } else {
                    Err("later records are not found".into())
                }
            },
        );
        if shortcut.is_none() {
            print(name, tear, &report);
            report.assert_ok();
        } else if report.failures > 0 {
            return report;
        }
        last = Some(report);
    }
    last.expect("two ways to tear")
}

const STORY: [Op; 7] = [Append(1), Append(2), Batch(3), Reopen, Append(5), Batch(6), Append(8)];

#[test]
fn a_log_survives_a_crash_at_any_store() {
    explore("ConcurrentLog: the first segment", &[], &[Append(1), Append(2), Batch(3)], None);
    explore("ConcurrentLog: appends and batches", &[20, 21], &STORY, None);
    let turns = [Append(1003), Append(1004), Append(1005), Append(6), Append(1007)];
    explore("ConcurrentLog: new segments", &[1001, 1002], &turns, None);
    let gone = [Truncate, Append(1006), Append(1007), Truncate, Append(8), Append(1009)];
    explore("ConcurrentLog: truncation", &[1001, 1002, 1003, 1004, 1005], &gone, None);
}

#[test]
fn shortcuts_through_the_protocol_of_the_log_are_found_by_a_crash() {
    for shortcut in [Shortcut::PutNotDrained, Shortcut::NoNewLife] {
        let report = explore("ConcurrentLog", &[20, 21], &STORY, Some(shortcut));
        println!("rule | ConcurrentLog: {shortcut:?} | found after {} images", report.images);
        assert!(report.failures > 0, "{shortcut:?}");
    }
}
