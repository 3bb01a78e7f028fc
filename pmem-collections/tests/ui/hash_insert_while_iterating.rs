use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut m = tx.open::<PHashMap<u64, u64>>("m")?;
        for item in &m {
            let (k, v) = item?;
            m.insert(k + 1, v)?;
        }
        Ok(())
    })
}

fn main() {}
