use pmem_collections::*;

fn keys(tx: &ReadTx<'_>) -> Result<impl Iterator<Item = u64>> {
    let scores = tx.open::<PBTreeMap<u64, i64>>("scores")?;
    Ok(scores.keys().map_while(|key| key.ok().copied()))
}

fn main() {}
