use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut words = tx.open::<PArt<u64>>("words")?;
        for entry in words.prefix("a") {
            let (key, value) = entry?;
            words.insert(key, *value)?;
        }
        Ok(())
    })
}

fn main() {}
