use pmem_collections::*;

fn transfer(accounts: &mut Mut<PBTreeMap<u64, i64>>) -> Result<()> {
    let from = accounts.entry(1).or_insert(0)?;
    let to = accounts.entry(2).or_insert(0)?;
    *from -= 1;
    *to += 1;
    Ok(())
}

fn main() {}
