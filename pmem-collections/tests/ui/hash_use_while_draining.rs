use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut m = tx.open::<PHashMap<u64, u64>>("m")?;
        let mut drain = m.drain()?;
        m.insert(1, 1)?;
        drop(drain.next());
        Ok(())
    })
}

fn main() {}
