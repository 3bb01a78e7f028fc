//! A log while records are appended, with new segments and in batches, and while it is truncated.

use crate::harness::{Subject, explore};
use pmem_collections::*;
use std::collections::VecDeque;

struct Records;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A record of a length.
    Append(usize),
    /// So many in one transaction.
    AppendAll(usize, usize),
    /// An append, and a truncation before a seq, in one transaction.
    Rotate(usize, u64),
    TruncateBefore(u64),
    Clear,
    /// Changes that are dropped.
    Abort(usize),
}
use Op::*;

/// The seq of the first record, and the lengths of all.
type Model = (u64, VecDeque<usize>);

fn record(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seq as usize + len + i) as u8).collect()
}

fn truncate(model: &mut Model, seq: u64) {
    while model.0 < seq && model.1.pop_front().is_some() {
        model.0 += 1;
    }
}

impl Subject for Records {
    type Op = Op;
    type Model = Model;
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, model: &mut Model) {
        match *op {
            Append(len) => model.1.push_back(len),
            AppendAll(count, len) => model.1.extend(std::iter::repeat_n(len, count)),
            Rotate(len, seq) => {
                model.1.push_back(len);
                truncate(model, seq);
            }
            TruncateBefore(seq) => truncate(model, seq),
            Clear => truncate(model, u64::MAX),
            Abort(_) => {}
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        let tx = pool.begin()?;
        let mut log = tx.open::<PLog>("log")?;
        let next = log.seqs()?.end;
        match *op {
            Append(len) => _ = log.append(&record(next, len))?,
            AppendAll(count, len) => {
                log.append_all((next..next + count as u64).map(|seq| record(seq, len)))?;
            }
            Rotate(len, seq) => {
                log.append(&record(next, len))?;
                log.truncate_before(seq)?;
            }
            TruncateBefore(seq) => log.truncate_before(seq)?,
            Clear => log.clear()?,
            Abort(len) => {
                log.append(&record(next, len))?;
                log.truncate_before(next)?;
                return Ok(());
            }
        }
        tx.commit()
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(Model, u64)> {
        let log = tx.open::<PLog>("log")?;
        let summary = log.check()?;
        let mut model = (log.seqs()?.start, VecDeque::new());
        for found in &log {
            let (seq, bytes) = found?;
            if bytes != record(seq, bytes.len()) {
                return Err(Error::abort(format!("record {seq} is torn")));
            }
            model.1.push_back(bytes.len());
        }
        Ok((model, 1 + summary.index_blocks + summary.segments))
    }

    fn later() -> Vec<Op> {
        vec![Append(40), AppendAll(20, 200), Append(7), TruncateBefore(12), Clear, Append(9)]
    }
}

#[test]
fn a_log_may_be_created_and_appended_to_at_any_store() {
    let ops = [Append(64), Append(0), Append(64), Append(130), Abort(64), Append(64), Append(64), Append(9)];
    let blocks = explore::<Records>("log: creation, first appends", &[], &ops);
    assert_eq!(blocks, (0, 5), "header, index and its leaf, two segments");
}

#[test]
fn a_segment_may_be_added_at_any_store() {
    let ops =
        [Append(64), Append(64), AppendAll(3, 500), Append(64), Append(5000), Append(64), AppendAll(60, 64)];
    let (before, after) = explore::<Records>("log: new segments", &[AppendAll(5, 64)], &ops);
    assert!(before == 4 && after >= 9, "{before} blocks before, {after} after");
}

#[test]
fn a_log_may_be_truncated_at_any_store() {
    let before = [AppendAll(60, 64), AppendAll(60, 64)];
    let ops = [
        TruncateBefore(3),
        TruncateBefore(50),
        Rotate(64, 80),
        Rotate(3000, 120),
        Append(1),
        Clear,
        Append(2),
    ];
    let (before, after) = explore::<Records>("log: truncation", &before, &ops);
    assert!(before > after && after == 4, "{before} blocks before, {after} after");
}
