use pmem_collections::*;

fn read(pool: &Pool) -> Result<()> {
    let tx = pool.read()?;
    let mut scores = tx.open::<PBTreeMap<u64, i64>>("scores")?;
    scores.insert(1, 1)?;
    Ok(())
}

fn main() {}
