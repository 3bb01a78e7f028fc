use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut log = tx.open::<PLog>("log")?;
        for item in &log {
            let (_, record) = item?;
            log.append(record)?;
        }
        Ok(())
    })
}

fn main() {}
