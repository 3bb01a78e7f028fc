use pmem_collections::*;

fn write(scores: &mut Mut<'_, PBTreeMap<String, u64>>) -> Result<()> {
    scores.insert(7u64, 1)?;
    Ok(())
}

fn main() {}
