use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut list = tx.open::<PLinkedList<u64>>("list")?;
        for element in &list {
            list.push_front(*element?)?;
        }
        Ok(())
    })
}

fn main() {}
