//! A box while its value is set, replaced by values of other lengths, and taken out.

use crate::harness::{Subject, explore};
use pmem_collections::*;

struct Boxed;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A value of a length.
    Set(usize),
    /// Several in one transaction.
    SetEach([usize; 3]),
    Take,
    Clear,
    /// Changes that are dropped.
    Abort(usize),
}
use Op::*;

fn value(len: usize) -> Vec<u8> {
    (0..len).map(|i| (len + i) as u8).collect()
}

impl Subject for Boxed {
    type Op = Op;
    type Model = Option<usize>;
    const LEN: u64 = 256 << 10;

    fn apply(op: &Op, model: &mut Self::Model) {
        match *op {
            Set(len) | SetEach([.., len]) => *model = Some(len),
            Take | Clear => *model = None,
            Abort(_) => {}
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        let tx = pool.begin()?;
        let mut guard = tx.open::<PBox<Vec<u8>>>("box")?;
        match *op {
            Set(len) => guard.set(value(len))?,
            SetEach(lens) => lens.iter().try_for_each(|&len| guard.set(value(len)))?,
            Take => drop(guard.take()?),
            Clear => guard.clear()?,
            Abort(len) => {
                guard.set(value(len))?;
                guard.take()?;
                return Ok(());
            }
        }
        tx.commit()
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(Self::Model, u64)> {
        let guard = tx.open::<PBox<Vec<u8>>>("box")?;
        guard.check()?;
        match guard.get()? {
            None => Ok((None, 1)),
            Some(found) if found == value(found.len()) => Ok((Some(found.len()), 2)),
            Some(found) => Err(Error::abort(format!("a value of {} bytes is torn", found.len()))),
        }
    }

    fn later() -> Vec<Op> {
        vec![Set(10), Set(11), Take, Set(300)]
    }
}

#[test]
fn a_box_may_be_filled_replaced_and_emptied_at_any_store() {
    let lens = [Set(5), Set(100), Set(104), Abort(104), Set(1000), SetEach([990, 1010, 1000]), Set(5000)];
    let ends = [Set(0), Take, Set(7), Clear, SetEach([3, 5000, 70])];
    let blocks = explore::<Boxed>("box: set, take, clear", &[], &[&lens[..], &ends].concat());
    assert_eq!(blocks, (0, 2), "header and value");
}
