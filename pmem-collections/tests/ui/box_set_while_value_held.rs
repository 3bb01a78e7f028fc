use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut b = tx.open::<PBox<String>>("b")?;
        let value = b.get()?;
        b.set("another")?;
        println!("{value:?}");
        Ok(())
    })
}

fn main() {}
