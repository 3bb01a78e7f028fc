//! A string while it grows, is changed in the middle, and shrinks.

use crate::harness::{Subject, explore};
use pmem_collections::*;

struct Text;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// So many characters, of 2 bytes each.
    Push(char, usize),
    /// Two appends in one transaction.
    PushTwice(char, usize),
    /// At a byte.
    Insert(usize, char, usize),
    /// A range of bytes by so many characters.
    Replace(usize, usize, char, usize),
    Set(char, usize),
    Pop,
    Truncate(usize),
    Clear,
    /// Changes that are dropped.
    Abort(usize),
}
use Op::*;

fn times(character: char, count: usize) -> String {
    character.to_string().repeat(count)
}

impl Subject for Text {
    type Op = Op;
    type Model = String;
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, model: &mut String) {
        match *op {
            Push(c, count) => model.push_str(&times(c, count)),
            PushTwice(c, count) => model.push_str(&times(c, 2 * count)),
            Insert(at, c, count) => model.insert_str(at, &times(c, count)),
            Replace(from, to, c, count) => model.replace_range(from..to, &times(c, count)),
            Set(c, count) => *model = times(c, count),
            Pop => drop(model.pop()),
            Truncate(len) => model.truncate(len),
            Clear => model.clear(),
            Abort(_) => {}
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        let tx = pool.begin()?;
        let mut text = tx.open::<PString>("text")?;
        match *op {
            Push(c, count) => text.push_str(&times(c, count))?,
            PushTwice(c, count) => text.extend([times(c, count), times(c, count)])?,
            Insert(at, c, count) => text.insert_str(at, &times(c, count))?,
            Replace(from, to, c, count) => text.replace_range(from..to, &times(c, count))?,
            Set(c, count) => text.set(&times(c, count))?,
            Pop => _ = text.pop()?,
            Truncate(len) => text.truncate(len)?,
            Clear => text.clear()?,
            Abort(count) => {
                text.push_str(&times('a', count))?;
                text.insert_str(0, "b")?;
                return Ok(());
            }
        }
        tx.commit()
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(String, u64)> {
        let text = tx.open::<PString>("text")?;
        let summary = text.check()?;
        Ok((text.as_str()?.into_owned(), 1 + summary.leaves + summary.inner_nodes))
    }

    fn later() -> Vec<Op> {
        vec![Push('é', 30), Insert(0, 'ü', 600), Pop, Set('ß', 2), Push('ö', 5), Clear, Push('ä', 1)]
    }
}

#[test]
fn a_string_may_be_created_and_grow_at_any_store() {
    let ops = [Push('ä', 3), Push('ö', 40), PushTwice('ü', 200), Abort(700), Push('é', 200), Push('ß', 700)];
    let blocks = explore::<Text>("string: creation, growth", &[], &ops);
    assert_eq!(blocks, (0, 1 + 3 + 1), "header, three pieces, a node over them");
}

#[test]
fn a_string_may_be_changed_and_shrink_at_any_store() {
    let before = [Push('ä', 700), Push('ö', 700)];
    let ops = [
        Insert(1014, 'ü', 2),
        Replace(1010, 1030, 'é', 10),
        Replace(1000, 1400, 'ß', 1),
        Pop,
        Set('ü', 800),
        Truncate(1100),
        Truncate(30),
        Clear,
        Push('x', 2),
    ];
    let blocks = explore::<Text>("string: insert, replace, truncate, clear", &before, &ops);
    assert_eq!(blocks, (1 + 3 + 1, 2));
}
