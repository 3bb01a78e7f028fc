//! Readers on their own threads go on while a writer writes, and see whole commits only.
//!
//! The writer always sets both numbers to the same value, in one transaction. A read transaction can be shared
//! by several threads.

use pmem_collections::*;
use std::thread;

type Pair = PBTreeMap<u8, u64>;

fn main() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let write = |n: u64| {
        pool.write(|tx| {
            let mut pair = tx.open::<Pair>("pair")?;
            pair.insert(b'a', n)?;
            pair.insert(b'b', n)?;
            Ok(())
        })
    };
    let read = || -> Result<u64> {
        let tx = pool.read()?;
        let pair = tx.open::<Pair>("pair")?;
        let get = |key: u8| pair.get(key).map(|n| n.copied().unwrap_or_default());
        let (a, b) = thread::scope(|scope| {
            let a = scope.spawn(|| get(b'a'));
            (a.join().expect("it does not panic"), get(b'b'))
        });
        let (a, b) = (a?, b?);
        assert_eq!(a, b, "half a commit");
        Ok(a)
    };

    write(0)?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..=200).try_for_each(write));
        let readers =
            [(); 2].map(|()| scope.spawn(|| (0..200).map(|_| read()).collect::<Result<Vec<u64>>>()));
        for reader in readers {
            let seen = reader.join().expect("it saw whole commits")?;
            assert!(seen.is_sorted(), "time does not run backwards");
        }
        writer.join().expect("it does not panic")
    })?;
    println!("in the end both are {}", read()?);
    Ok(())
}
