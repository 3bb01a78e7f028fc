//! A batch is imported in one transaction: bad rows are undone, each on its own, and the rest is committed.
//!
//! A row touches two maps before anything is found to be wrong with it. `nested` undoes both changes when the row fails
//! and the transaction goes on. There is still one commit, and one drain, for the whole batch. A savepoint does the
//! same without a closure: `order_down_to` sees only afterwards that an order was one too many.

use pmem_collections::*;

const STOCK: Named<PBTreeMap<u32, u32>> = Named::new("stock"); // item: pieces
const ORDERS: Named<PBTreeMap<u64, [u32; 2]>> = Named::new("orders"); // number: item, pieces

/// Order number, item, pieces.
const BATCH: [(u64, u32, u32); 6] = [(1, 7, 4), (2, 8, 3), (2, 7, 1), (3, 7, 20), (4, 9, 1), (5, 7, 6)];

fn order(tx: &mut WriteTx<'_>, number: u64, item: u32, pieces: u32) -> Result<()> {
    let (mut orders, mut stock) = (tx.open(ORDERS)?, tx.open(STOCK)?);
    if orders.insert(number, [item, pieces])?.is_some() {
        return Err(Error::abort("the number is taken")); // by now the old order is overwritten
    }
    let left = stock.get_mut(item)?.ok_or_else(|| Error::abort("there is no such item"))?;
    *left = left.checked_sub(pieces).ok_or_else(|| Error::abort("there are not that many"))?;
    Ok(())
}

/// Returns how many rows were refused.
fn import(pool: &Pool, rows: &[(u64, u32, u32)]) -> Result<usize> {
    pool.write(|tx| {
        let mut refused = 0;
        for &(number, item, pieces) in rows {
            match tx.nested(|tx| order(tx, number, item, pieces)) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), ErrorKind::Aborted(_)) => {
                    println!("order {number} of {pieces} times item {item}: {e}");
                    refused += 1;
                }
                Err(e) => return Err(e), // the pool is full, or damaged: no row of this batch shall stay
            }
        }
        Ok(refused)
    })
}

/// Orders pieces one at a time, until an item would run below `least`; returns how many.
fn order_down_to(pool: &Pool, first_number: u64, item: u32, least: u32) -> Result<u64> {
    let mut tx = pool.begin()?;
    let mut made = 0;
    loop {
        let before = tx.savepoint();
        order(&mut tx, first_number + made, item, 1)?;
        if tx.open(STOCK)?.get(item)?.is_none_or(|left| *left < least) {
            tx.rollback_to(&before)?;
            break;
        }
        made += 1;
    }
    tx.commit()?;
    Ok(made)
}

fn main() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| tx.open(STOCK)?.extend([(7, 10), (8, 5)]))?;
    let drains = pool.region().counters().drains;

    assert_eq!(import(&pool, &BATCH)?, 3);
    assert_eq!(pool.region().counters().drains - drains, 1);
    assert_eq!(order_down_to(&pool, 100, 8, 1)?, 1);

    let tx = pool.read()?;
    let (orders, stock) = (tx.open(ORDERS)?, tx.open(STOCK)?);
    let numbers = orders.keys().collect::<Result<Vec<_>>>()?;
    assert_eq!(numbers, [&1, &2, &5, &100]);
    assert_eq!(orders.get(2)?, Some(&[8, 3])); // not the one that failed
    assert_eq!((stock.get(7)?, stock.get(8)?), (Some(&0), Some(&1)));
    println!("{} orders are committed", numbers.len());
    Ok(())
}
