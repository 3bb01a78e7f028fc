//! `PLog` does what a `VecDeque` of records, counted from its beginning, does: random operations on both, in transactions that
//! commit, are dropped, or go back to a savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Records, and the seq of the first.
#[derive(Clone, Default, Debug, PartialEq)]
struct Model {
    first: u64,
    records: VecDeque<Vec<u8>>,
}

impl Model {
    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn append(&mut self, record: Vec<u8>) -> u64 {
        self.records.push_back(record);
        self.end() - 1
    }

    fn truncate_before(&mut self, seq: u64) {
        while self.first < seq && self.records.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn get(&self, seq: u64) -> Option<&[u8]> {
        self.records.get(seq.checked_sub(self.first)? as usize).map(|record| &record[..])
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first..).zip(self.records.iter().map(|record| &record[..]))
    }
}

fn assert_same<M: Mode>(log: &LogGuard<'_, M>, model: &Model) -> Result<()> {
    assert_eq!(log.seqs()?, model.first..model.end());
    assert_eq!((log.len()?, log.is_empty()?), (model.records.len() as u64, model.records.is_empty()));
    assert_eq!(log.check()?.records, model.records.len() as u64);
    assert!(log.iter().map(Result::unwrap).eq(model.iter()));
    assert_eq!(log.first()?, model.iter().next());
    assert_eq!(log.last()?, model.iter().last());
    Ok(())
}

/// The `n`th record of a length.
fn record(n: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (n as u8).wrapping_mul(31).wrapping_add(i as u8)).collect()
}

/// A length: mostly some words, at times nothing, at times more than a segment.
fn length(random: &mut Rng) -> usize {
    match random.u8(..40) {
        0 => 0,
        1 => random.usize(2_000..9_000),
        2..6 => random.usize(..2_000),
        _ => random.usize(..120),
    }
}

fn operate(log: &mut LogGuard<'_, Write>, model: &mut Model, random: &mut Rng) -> Result<()> {
    let any = random.u64(model.first.saturating_sub(3)..model.end() + 3);
    match random.u8(..12) {
        0..6 => {
            let record = record(random.u64(..), length(random));
            assert_eq!(log.append(&record)?, model.append(record));
        }
        6 => {
            let records: Vec<_> = (0..random.usize(..30)).map(|n| record(n as u64, length(random))).collect();
            let start = model.end();
            records.iter().for_each(|record| _ = model.append(record.clone()));
            assert_eq!(log.append_all(&records)?, start..model.end());
        }
        7 => assert_eq!(log.get(any)?, model.get(any)),
        8 => {
            let end = any + random.u64(..40);
            let expected = model.iter().filter(|(seq, _)| (any..end).contains(seq));
            assert!(log.range(any..end).map(Result::unwrap).eq(expected));
            assert!(log.range(any..).map(Result::unwrap).eq(model.iter().filter(|(seq, _)| *seq >= any)));
        }
        9 if random.u8(..4) == 0 => {
            log.truncate_before(any)?;
            model.truncate_before(any);
        }
        10 if random.u8(..60) == 0 => {
            log.clear()?;
            model.truncate_before(u64::MAX);
        }
        _ => assert_eq!(log.seqs()?, model.first..model.end()),
    }
    Ok(())
}

#[test]
fn random_operations_do_what_a_queue_of_std_does() -> Result<()> {
    for seed in 0..8 {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let mut pool = Pool::anonymous(16 << 20)?;
        let mut model = Model::default();
        for _ in 0..120 {
            let mut tx = pool.begin()?;
            let mut changed = model.clone();
            for _ in 0..random.usize(1..4) {
                let (savepoint, before) = (tx.savepoint(), changed.clone());
                let mut log = tx.open::<PLog>("log")?;
                for _ in 0..random.usize(..40) {
                    operate(&mut log, &mut changed, &mut random)?;
                }
                if random.u8(..4) == 0 {
                    tx.rollback_to(&savepoint)?;
                    changed = before;
                }
            }
            assert_same(&tx.open::<PLog>("log")?, &changed)?;
            if random.u8(..4) == 0 {
                drop(tx);
            } else if tx.commit().is_ok() {
                model = changed;
            } // else it was too much for the log, and nothing happened
            if random.u8(..8) == 0 {
                pool = support::reopened(&pool);
            }
            let tx = pool.read()?;
            let mut blocks = 1; // the directory's
            match tx.open::<PLog>("log") {
                Ok(log) => {
                    assert_same(&log, &model)?;
                    let summary = log.check()?;
                    blocks += 1 + summary.index_blocks + summary.segments;
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model == Model::default());
                }
            }
            drop(tx);
            let report = pool.check()?;
            assert!(report.is_ok(), "{report}");
            assert!(blocks == 1 || report.small_blocks + report.large_blocks == blocks, "{report}");
        }
        pool.write(|tx| tx.open::<PLog>("log")?.clear())?;
        let report = pool.check()?;
        assert_eq!((report.small_blocks, report.large_blocks), (3, 0), "directory, header, index");
        assert_eq!(pool.read()?.open::<PLog>("log")?.seqs()?, model.end()..model.end());
    }
    Ok(())
}

#[test]
fn records_are_found_by_seq_among_many_segments_and_truncation_frees_them() -> Result<()> {
    let pool = Pool::anonymous(16 << 20)?;
    pool.write(|tx| tx.open::<PLog>("log").map(drop))?;
    let empty = pool.stats()?.used;
    let count = 20_000;
    for start in (0..count).step_by(500) {
        pool.write(|tx| tx.open::<PLog>("log")?.append_all((start..start + 500).map(|n| record(n, 64))))?;
    }
    let mut random = Rng::with_seed(2);
    let mut first = 0;
    loop {
        let tx = pool.read()?;
        let log = tx.open::<PLog>("log")?;
        for _ in 0..200 {
            let seq = random.u64(..count + 10);
            let expected = (first..count).contains(&seq).then(|| record(seq, 64));
            assert_eq!(log.get(seq)?, expected.as_deref());
        }
        assert_eq!(log.seqs()?, first..count);
        let (summary, records) = (log.check()?, count - first);
        // 41 in a segment; those of the first one that were truncated are there as well.
        assert!(summary.segments <= records / 41 + 5, "{summary:?}");
        if first == count {
            break;
        }
        drop(tx);
        first = (first + random.u64(..3_000)).min(count);
        pool.write(|tx| tx.open::<PLog>("log")?.truncate_before(first))?;
    }
    pool.write(|tx| {
        let mut log = tx.open::<PLog>("log")?;
        assert_eq!((log.get(count - 1)?, log.last()?, log.first()?), (None, None, None));
        log.truncate_before(u64::MAX)?;
        assert_eq!(log.append(b"the next one")?, count);
        log.clear()
    })?;
    assert_eq!(pool.stats()?.used, empty, "all segments are free");
    Ok(())
}

#[test]
fn a_log_of_a_full_pool_takes_a_batch_as_a_whole_or_not_at_all() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let mut appended = 0;
    pool.write(|tx| tx.open::<PLog>("log").map(drop))?;
    let mut refused = 0;
    while refused < 3 {
        let tx = pool.begin()?;
        let mut log = tx.open::<PLog>("log")?;
        // Batches of several segments, then of less, until nothing is left.
        let batch: Vec<_> = (0..90 >> (2 * refused)).map(|n| record(appended + n, 100)).collect();
        match log.append_all(&batch) {
            Ok(seqs) => appended = seqs.end,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                refused += 1;
            }
        }
        assert_eq!(log.seqs()?, 0..appended);
        let summary = log.check()?;
        drop(log);
        tx.commit()?;
        let report = pool.check()?;
        let blocks = 2 + summary.index_blocks + summary.segments;
        assert!(report.is_ok() && report.small_blocks + report.large_blocks == blocks, "{report}");
    }
    assert!(appended > 3_000, "{appended}");
    for seq in 0..appended {
        assert_eq!(pool.read()?.open::<PLog>("log")?.get(seq)?, Some(&*record(seq, 100)));
    }
    pool.write(|tx| tx.open::<PLog>("log")?.truncate_before(appended / 2))?;
    pool.write(|tx| tx.open::<PLog>("log")?.append_all((0..500).map(|n| record(n, 100))).map(drop))?;
    assert_eq!(pool.read()?.open::<PLog>("log")?.check()?.records, appended - appended / 2 + 500);
    Ok(())
}

#[test]
fn logs_in_a_map_leak_nothing_and_a_compacted_copy_has_the_same_records_and_takes_more() -> Result<()> {
    type Logs = PBTreeMap<u64, PLog>;
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| tx.open::<Logs>("logs").map(drop))?;
    let empty = pool.stats()?.used;
    pool.write(|tx| {
        let mut logs = tx.open::<Logs>("logs")?;
        for n in 0..20 {
            let mut log = logs.open_mut(n)?;
            log.append_all((0..n * 20).map(|i| record(i, 50)))?;
            log.truncate_before(n * 3)?;
        }
        logs.remove(7).map(drop)
    })?;
    let report = pool.check()?;
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        pool.write(|tx| {
            let mut logs = tx.open::<Logs>("logs")?;
            for n in (0..20).filter(|n| *n != 7) {
                let mut log = logs.open_mut(n)?;
                let expected = (n * 3..n * 20).map(|i| (i, record(i, 50)));
                assert!(
                    log.iter()
                        .map(Result::unwrap)
                        .eq(expected.collect::<Vec<_>>().iter().map(|(i, r)| (*i, &r[..])))
                );
                assert_eq!(log.append(b"more")?, n * 20);
            }
            logs.check_objects(|log| log.check().map(drop)).map(drop)
        })?;
        assert!(pool.check()?.is_ok());
    }
    pool.write(|tx| tx.open::<Logs>("logs")?.clear())?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[derive(Clone, Debug)]
enum Operation {
    Append(usize),
    AppendAll(Vec<usize>),
    Truncate(u16),
    Clear,
}
use Operation::*;

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0usize..200, 2 => 200usize..3_100, 1 => 3_100usize..12_000]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => len().prop_map(Append),
        3 => prop::collection::vec(len(), 0..12).prop_map(AppendAll),
        3 => any::<u16>().prop_map(Truncate),
        1 => Just(Clear),
    ]
}

fn apply(log: &mut LogGuard<'_, Write>, model: &mut Model, operation: &Operation) -> Result<()> {
    match operation {
        Append(len) => {
            let record = record(model.end(), *len);
            assert_eq!(log.append(&record)?, model.append(record));
        }
        AppendAll(lens) => {
            let records: Vec<_> = (model.end()..).zip(lens).map(|(n, len)| record(n, *len)).collect();
            log.append_all(&records)?;
            records.into_iter().for_each(|record| _ = model.append(record));
        }
        Truncate(n) => {
            let seq = model.first + u64::from(*n) % (model.records.len() as u64 + 2);
            log.truncate_before(seq)?;
            model.truncate_before(seq);
        }
        Clear => {
            log.clear()?;
            model.truncate_before(u64::MAX);
        }
    }
    assert_same(log, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_a_queue_of_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..10), any::<bool>()), 1..6)
    ) {
        let pool = Pool::anonymous(16 << 20).unwrap();
        let mut committed = Model::default();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut log = tx.open::<PLog>("log").unwrap();
            let mut model = committed.clone();
            for operation in &operations {
                apply(&mut log, &mut model, operation).unwrap();
            }
            drop(log);
            if commit && tx.commit().is_ok() {
                committed = model;
            }
        }
    }
}
