use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut d = tx.open::<PDeque<u64>>("d")?;
        for item in &d {
            let n = item?;
            d.push_front(n + 1)?;
        }
        Ok(())
    })
}

fn main() {}
