use pmem_collections::*;

fn write(pool: &Pool) -> Result<()> {
    pool.write(|tx| tx.open::<PHashMap<f64, u64>>("m").map(drop))
}

fn main() {}
