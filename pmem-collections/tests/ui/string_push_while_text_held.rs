use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut s = tx.open::<PString>("s")?;
        let text = s.as_str()?;
        s.push('!')?;
        println!("{text}");
        Ok(())
    })
}

fn main() {}
