use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut v = tx.open::<PVec<u64>>("v")?;
        for element in &v {
            v.push(*element?)?;
        }
        Ok(())
    })
}

fn main() {}
