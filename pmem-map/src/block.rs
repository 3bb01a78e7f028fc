//! Block devices without a filesystem: disks, and persistent memory that is used as one (`/dev/pmem0`).
//!
//! The kernel maps them through its page cache, persistent memory too: DAX of block devices was taken out of Linux 4.5, and `MAP_SYNC`
//! is refused. So pages are written back, whatever is below. What their filesystem says is of no use: that is the one of `/dev`, a
//! tmpfs. While a device is mounted, or another program has it for itself, it is refused (`O_EXCL`).

#![forbid(unsafe_code)]

use crate::{Durability, PAGE, durability};
use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    path::Path,
};

/// What is found out about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    /// Bytes in whole pages, at least one.
    pub(crate) len: u64,
    /// What a page that was written back survives.
    pub(crate) durability: Durability,
}

/// The device `major:minor`, which is open as `file`, with what the tree at `sysfs` says of it.
pub(crate) fn look(mut file: &File, sysfs: &Path, major: u32, minor: u32) -> io::Result<BlockDevice> {
    let bytes = file.seek(SeekFrom::End(0))?;
    let len = bytes / PAGE * PAGE;
    if len == 0 {
        let what = format!("a block device of {bytes} bytes cannot be mapped");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let durability = durability_of(&sysfs.join(format!("dev/block/{major}:{minor}")), 0);
    Ok(BlockDevice { len, durability })
}

/// What is written to a device and flushed survives the loss of power if a disk is below, or persistent memory of which the
/// firmware says that it is safe. Memory that plays a disk (`ram`, `zram`) ends with the machine; what is made of other devices
/// (device-mapper, RAID) is as good as the worst of them. Of a file that plays a disk, or a server, nothing is known.
fn durability_of(device: &Path, depth: u32) -> Durability {
    const DEEPEST_STACK: u32 = 8;
    let Ok(device) = fs::canonicalize(device) else { return Durability::Unknown };
    // A partition's folder is in its device's.
    let made_up =
        device.ancestors().find(|folder| folder.parent().is_some_and(|all| all.ends_with("virtual/block")));
    let Some(device) = made_up else {
        return match durability::domain_above(&device).as_deref() {
            None | Some("memory_controller" | "cpu_cache") => Durability::Power,
            Some(_) => Durability::Claimed,
        };
    };
    let name = device.file_name().unwrap_or_default().as_encoded_bytes();
    if name.starts_with(b"ram") || name.starts_with(b"zram") {
        return Durability::Process;
    }
    let parts = fs::read_dir(device.join("slaves")).into_iter().flatten();
    let of_part = |part: io::Result<fs::DirEntry>| match part {
        Ok(part) if depth < DEEPEST_STACK => durability_of(&part.path(), depth + 1),
        _ => Durability::Unknown,
    };
    parts.map(of_part).min().unwrap_or(Durability::Unknown)
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_device_is_as_durable_as_what_is_below_it() {
        let folder = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
        let sysfs = tempfile::tempdir_in(folder).unwrap();
        let at = |path: &str| sysfs.path().join(path);
        let is = |number: &str, path: &str, below: &[&str]| {
            let path = at("devices").join(path);
            fs::create_dir_all(path.join("slaves")).unwrap();
            below.iter().for_each(|part| {
                symlink(at("devices").join(part), path.join("slaves").join(part.replace('/', "!"))).unwrap();
            });
            fs::create_dir_all(at("dev/block")).unwrap();
            symlink(path, at("dev/block").join(number)).unwrap();
        };
        for (region, domain) in
            [("region0", "memory_controller"), ("region1", "unknown"), ("region2", "cpu_cache")]
        {
            fs::create_dir_all(at("devices/ndbus0").join(region)).unwrap();
            fs::write(at("devices/ndbus0").join(region).join("persistence_domain"), domain).unwrap();
        }
        is("8:0", "pci/virtio0/block/vda", &[]);
        is("8:1", "pci/virtio0/block/vda/vda1", &[]);
        is("259:0", "ndbus0/region0/namespace0.0/block/pmem0", &[]);
        is("259:1", "ndbus0/region1/namespace1.0/block/pmem1", &[]);
        is("259:2", "ndbus0/region2/namespace2.0/block/pmem2", &[]);
        is("7:0", "virtual/block/loop0", &[]);
        is("1:0", "virtual/block/ram0", &[]);
        is("254:0", "virtual/block/zram0", &[]);
        is(
            "253:0",
            "virtual/block/dm-0",
            &["pci/virtio0/block/vda", "ndbus0/region0/namespace0.0/block/pmem0"],
        );
        is("253:1", "virtual/block/dm-1", &["virtual/block/dm-0", "ndbus0/region1/namespace1.0/block/pmem1"]);
        is("253:2", "virtual/block/dm-2", &["virtual/block/dm-0", "virtual/block/ram0"]);
        is("9:0", "virtual/block/md0", &["pci/virtio0/block/vda"]);
        is("9:1", "virtual/block/md0/md0p1", &[]);
        use Durability::{Claimed, Power, Process, Unknown};
        for (number, durability) in [
            ("8:0", Power),
            ("8:1", Power),
            ("259:0", Power),
            ("259:1", Claimed),
            ("259:2", Power),
            ("7:0", Unknown),
            ("1:0", Process),
            ("254:0", Process),
            ("253:0", Power),
            ("253:1", Claimed),
            ("253:2", Process),
            ("9:0", Power),
            ("9:1", Power),
            ("99:99", Unknown),
        ] {
            assert_eq!(durability_of(&at("dev/block").join(number), 0), durability, "{number}");
        }
    }

    #[test]
    fn a_device_without_a_page_is_refused() {
        let file = tempfile::tempfile().unwrap();
        for (len, whole) in
            [(0, None), (PAGE - 512, None), (PAGE, Some(PAGE)), (3 * PAGE - 512, Some(2 * PAGE))]
        {
            file.set_len(len).unwrap();
            let found = look(&file, Path::new("/sys"), 0, 0).map(|device| device.len);
            assert_eq!(found.ok(), whole, "{len} bytes");
        }
    }
}
