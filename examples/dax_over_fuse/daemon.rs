//! The process that serves the volume.

use crate::Result;
use nova_core::{FormatOptions, MountOptions};
use nova_fuse::{Options, Server};
use pmem_map::MapOptions;
use std::{fs, path::Path};

/// Makes a volume in `image`, and serves it at `dir` until nobody listens any more. Then it checks the volume.
///
/// For each line that it is given it makes a snapshot, while others use the volume, and copies the pool from it to the file of that name.
pub(crate) fn run(image: &Path, dir: &Path) -> Result<()> {
    // SAFETY: a file of this program's own; it is mapped by leases beside this, which the volume knows of.
    let mapping = unsafe { MapOptions::new().len(64 << 20).create(true).emulate_pmem(true).open(image) }?;
    let nova = FormatOptions::new().checksums(true).parity(true).format(mapping, MountOptions::new())?;
    let server = Server::mount(nova, dir, &Options::new())?;
    println!("mounted");
    for line in std::io::stdin().lines() {
        let (nova, name) = (server.nova(), "at work");
        nova.create_snapshot(name)?;
        fs::write(line?, nova.mount_snapshot(name)?.read_file("/accounts.pool")?)?;
        println!("copied");
    }
    let nova = server.unmount()?;
    let report = nova.fsck()?;
    if !report.is_clean() {
        return Err(format!("the volume is damaged: {report}").into());
    }
    nova.unmount()?;
    println!("clean");
    Ok(())
}
