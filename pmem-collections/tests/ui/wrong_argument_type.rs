use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut scores = tx.open::<PBTreeMap<u64, i64>>("scores")?;
        scores.insert("one", 1)?;
        Ok(())
    })
}

fn main() {}
