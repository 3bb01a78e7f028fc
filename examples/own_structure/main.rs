//! A structure of one's own: an interval tree, here for the bookings of a meeting room.
//!
//! Its structure is in `tree`; the guide in the documentation of `pmem-collections` builds it step by step, and
//! `examples/tests/own_structure.rs` tries to break it.

use examples::interval_tree::IntervalTree;
use pmem_collections::*;
use std::ops::Range;

/// Bookings by the minutes of a day, with the number of who booked.
const BOOKINGS: Named<IntervalTree> = Named::new("bookings");

/// Books the room, if it is free.
fn book(pool: &Pool, minutes: Range<u64>, who: u64) -> Result<()> {
    pool.write(|tx| {
        let mut bookings = tx.open(BOOKINGS)?;
        if let Some(taken) = bookings.overlapping(minutes.clone())?.next() {
            let (taken, other) = taken?;
            return Err(Error::abort(format!("{other} has booked {taken:?}")));
        }
        bookings.insert(minutes, who).map(drop)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("room.pool");
    // SAFETY: the file is in a folder of this program alone.
    let pool = unsafe { PoolOptions::new().size(1 << 20).create(&path) }?;
    for hour in 8..16 {
        book(&pool, hour * 60..hour * 60 + 45, hour)?;
    }
    let refused = book(&pool, 9 * 60 + 30..10 * 60, 99).unwrap_err();
    println!("9:30 to 10:00 is refused: {refused}");
    book(&pool, 9 * 60 + 45..10 * 60, 99)?;
    let moved = pool.write(|tx| {
        let mut bookings = tx.open(BOOKINGS)?;
        let who = bookings.remove(&(8 * 60..8 * 60 + 45))?;
        bookings.insert(17 * 60..18 * 60, who.unwrap_or(0))?;
        Ok(who)
    })?; // both or neither, with one drain
    println!("{moved:?} moved from 8:00 to 17:00");
    drop(pool);

    // SAFETY: as above.
    let pool = unsafe { PoolOptions::new().open(&path) }?;
    let tx = pool.read()?;
    let bookings = tx.open(BOOKINGS)?;
    bookings.check()?;
    println!("{} bookings; from 9:00 to 11:00:", bookings.len()?);
    for booking in bookings.overlapping(9 * 60..11 * 60)? {
        let (minutes, who) = booking?;
        println!("  minutes {minutes:?}: {who}");
    }
    assert_eq!(bookings.len()?, 9);
    assert_eq!(bookings.get(&(17 * 60..18 * 60))?, Some(8));
    drop(tx);
    println!("{}", pool.check()?);
    Ok(())
}
