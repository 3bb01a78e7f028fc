use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let mut queue = tx.open::<PPriorityQueue<u64>>("queue")?;
        if let Some(greatest) = queue.peek()? {
            queue.push(greatest + 1)?;
            println!("{greatest}");
        }
        Ok(())
    })
}

fn main() {}
