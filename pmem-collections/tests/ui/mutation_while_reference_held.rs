use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut scores = tx.open::<PBTreeMap<u64, i64>>("scores")?;
        let best = scores.get(1)?;
        scores.insert(2, 20)?;
        println!("{best:?}");
        Ok(())
    })
}

fn main() {}
