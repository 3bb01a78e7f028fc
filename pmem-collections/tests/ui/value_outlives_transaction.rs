use pmem_collections::*;

fn read(pool: &Pool) -> Result<()> {
    let score;
    {
        let tx = pool.read()?;
        let scores = tx.open::<PBTreeMap<u64, i64>>("scores")?;
        score = scores.get(1)?;
    }
    println!("{score:?}");
    Ok(())
}

fn main() {}
