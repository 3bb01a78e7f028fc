use pmem_collections::*;

fn write(names: &mut Mut<'_, PBTreeMap<String, String>>) -> Result<()> {
    let name = names.get("ada")?.unwrap();
    names.insert("bob", "hopper")?;
    println!("{name}");
    Ok(())
}

fn main() {}
