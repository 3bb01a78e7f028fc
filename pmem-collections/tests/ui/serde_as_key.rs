use pmem_collections::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Id(Vec<u8>);
impl Schema for Id {
    const NAME: &'static str = "Id";
}

fn write(tx: &WriteTx<'_>) -> Result<()> {
    tx.open::<PBTreeMap<Serde<Id>, u64>>("m")?;
    Ok(())
}

fn main() {}
