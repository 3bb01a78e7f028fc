//! What a file's medium asks for and promises: one table, and the questions whose answers it takes.

#![forbid(unsafe_code)]

use crate::{Durability, Filesystem, FlushMethod, Granularity, Medium};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What was found out about a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// `f_type` of its filesystem.
    pub(crate) magic: u64,
    /// Whether the kernel granted `MAP_SYNC`.
    pub(crate) map_sync: bool,
    /// `persistence_domain` of the region that holds it, as sysfs has it.
    pub(crate) persistence_domain: Option<&'a str>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) granularity: Granularity,
    pub(crate) durability: Durability,
    pub(crate) medium: Medium,
}

/// The kernel reports `memory_controller` for ADR and `cpu_cache` for eADR (Documentation/ABI, sysfs-bus-nvdimm).
/// Anything else confirms nothing.
fn of_domain(domain: Option<&str>) -> (Granularity, Durability) {
    match domain {
        Some("cpu_cache") => (Granularity::Byte, Durability::Power),
        Some("memory_controller") => (Granularity::CacheLine, Durability::Power),
        _ => (Granularity::CacheLine, Durability::Claimed),
    }
}

/// The table.
pub(crate) fn judge(facts: Facts<'_>) -> Verdict {
    use Filesystem::{Btrfs, Ext4, Hugetlbfs, Ramfs, Tmpfs, Xfs};
    let filesystem = Filesystem::from_magic(facts.magic);
    if facts.map_sync {
        let (granularity, durability) = of_domain(facts.persistence_domain);
        return Verdict { granularity, durability, medium: Medium::DaxFile(filesystem) };
    }
    let (granularity, durability) = match filesystem {
        Tmpfs | Ramfs | Hugetlbfs => (Granularity::CacheLine, Durability::Process),
        Ext4 | Xfs | Btrfs => (Granularity::Page, Durability::Power),
        _ => (Granularity::Page, Durability::Unknown),
    };
    Verdict { granularity, durability, medium: Medium::File(filesystem) }
}

/// The verdict on a DAX device, given the `persistence_domain` of its region. Without a region it may well be volatile
/// memory, which outlives the process at least.
pub(crate) fn judge_device(persistence_domain: Option<&str>) -> Verdict {
    let (granularity, durability) = match persistence_domain {
        None => (Granularity::CacheLine, Durability::Process),
        Some(domain) => of_domain(Some(domain)),
    };
    Verdict { granularity, durability, medium: Medium::DaxDevice }
}

/// The verdict on a block device: it is written back by pages, and keeps what was. Or it is treated as persistent memory.
pub(crate) fn judge_block(kept: Durability, emulate: Option<Granularity>) -> Verdict {
    let none = Filesystem::BlockDevice;
    match emulate {
        Some(granularity) => {
            Verdict { granularity, durability: Durability::Process, medium: Medium::EmulatedPmem(none) }
        }
        None => Verdict { granularity: Granularity::Page, durability: kept, medium: Medium::File(none) },
    }
}

/// The verdict on a file that is treated as persistent memory of this granularity, whatever it is.
pub(crate) fn emulated(magic: u64, granularity: Granularity) -> Verdict {
    let medium = Medium::EmulatedPmem(Filesystem::from_magic(magic));
    Verdict { granularity, durability: Durability::Process, medium }
}

/// What is left of a medium's promise when its lines are flushed by `method`: without an instruction that
/// reaches the persistence domain, a line may still be in a cache when the power fails.
pub(crate) fn kept_by(method: FlushMethod, verdict: Verdict) -> Durability {
    if verdict.granularity != Granularity::CacheLine {
        return verdict.durability;
    }
    match method {
        FlushMethod::None => verdict.durability.min(Durability::Process),
        FlushMethod::DcCvac => verdict.durability.min(Durability::Claimed),
        _ => verdict.durability,
    }
}

/// `persistence_domain` of the region under block device `major:minor`, from the tree at `sysfs`.
///
/// A device's directory lies below its region's (`.../region0/namespace0.0/block/pmem0/pmem0p1`), so the
/// answer is in the nearest directory upwards that has one. A device-mapper device lies elsewhere and lists
/// what it is made of in `slaves`: all have to agree.
pub(crate) fn persistence_domain(sysfs: &Path, major: u32, minor: u32) -> Option<String> {
    domain_of(&sysfs.join(format!("dev/block/{major}:{minor}")), 0)
}

/// The nearest `persistence_domain` from a device's own directory upwards. A region of which the firmware does not say
/// one has no such file (drivers/nvdimm/region_devs.c); it is persistent all the same if its `devtype` is `nd_pmem`
/// (`nd_volatile` is memory), and its domain is `unknown`.
pub(crate) fn domain_above(device: &Path) -> Option<String> {
    let says =
        |folder: &Path, file: &str| Some(fs::read_to_string(folder.join(file)).ok()?.trim().to_owned());
    device.ancestors().find_map(|folder| {
        says(folder, "persistence_domain")
            .or_else(|| (says(folder, "devtype")? == "nd_pmem").then(|| "unknown".to_owned()))
    })
}

fn domain_of(device: &Path, depth: u32) -> Option<String> {
    const DEEPEST_STACK: u32 = 8;
    let device: PathBuf = fs::canonicalize(device).ok()?;
    if let Some(domain) = domain_above(&device) {
        return Some(domain);
    }
    if depth == DEEPEST_STACK {
        return None;
    }
    let mut agreed = None;
    for part in fs::read_dir(device.join("slaves")).ok()? {
        let domain = domain_of(&part.ok()?.path(), depth + 1)?;
        if *agreed.get_or_insert_with(|| domain.clone()) != domain {
            return None;
        }
    }
    agreed
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Claimed, Power, Process, Unknown};
    use Granularity::{Byte, CacheLine, Page};

    const EXT4: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;

    fn of(magic: u64, map_sync: bool, persistence_domain: Option<&str>) -> (Granularity, Durability, String) {
        let verdict = judge(Facts { magic, map_sync, persistence_domain });
        (verdict.granularity, verdict.durability, verdict.medium.to_string())
    }

    #[test]
    fn each_medium_asks_for_and_promises_what_the_table_says() {
        for (magic, granularity, durability, name) in [
            (0x0102_1994, CacheLine, Process, "tmpfs"),
            (0x8584_58f6, CacheLine, Process, "ramfs"),
            (0x9584_58f6, CacheLine, Process, "hugetlbfs"),
            (EXT4, Page, Power, "ext4"),
            (XFS, Page, Power, "XFS"),
            (0x9123_683e, Page, Power, "Btrfs"),
            (0x6573_5546, Page, Unknown, "FUSE"),
            (0x6969, Page, Unknown, "NFS"),
            (0xff53_4d42, Page, Unknown, "SMB"),
            (0x00c3_6400, Page, Unknown, "Ceph"),
            (0x0102_1997, Page, Unknown, "9P"),
            (0x794c_7630, Page, Unknown, "overlayfs"),
            (0x1234, Page, Unknown, "an unknown filesystem (0x1234)"),
        ] {
            assert_eq!(of(magic, false, None), (granularity, durability, name.into()), "{name}");
            // A persistence domain means nothing where MAP_SYNC was refused (virtio-pmem).
            assert_eq!(of(magic, false, Some("cpu_cache")).1, durability, "{name}");
        }
    }

    #[test]
    fn map_sync_is_a_claim_until_a_persistence_domain_confirms_it() {
        for magic in [EXT4, XFS, 0x1234] {
            assert_eq!(of(magic, true, Some("memory_controller")).0, CacheLine);
            assert_eq!(of(magic, true, Some("memory_controller")).1, Power);
            assert_eq!(of(magic, true, Some("cpu_cache")).0, Byte);
            assert_eq!(of(magic, true, Some("cpu_cache")).1, Power);
            for nothing in [None, Some("unknown"), Some(""), Some("Memory_Controller")] {
                assert_eq!((of(magic, true, nothing).0, of(magic, true, nothing).1), (CacheLine, Claimed));
            }
        }
        assert_eq!(of(EXT4, true, None).2, "DAX file on ext4");
    }

    #[test]
    fn emulation_never_promises_more_than_the_process() {
        for granularity in [CacheLine, Byte] {
            let verdict = emulated(EXT4, granularity);
            assert_eq!((verdict.granularity, verdict.durability), (granularity, Process));
            assert_eq!(verdict.medium.to_string(), "emulated persistent memory on ext4");
        }
    }

    #[test]
    fn without_a_flush_instruction_persistent_memory_promises_no_more_than_the_process() {
        let dax = judge(Facts { magic: EXT4, map_sync: true, persistence_domain: Some("memory_controller") });
        assert_eq!(kept_by(FlushMethod::Clwb, dax), Power);
        assert_eq!(kept_by(FlushMethod::DcCvac, dax), Claimed);
        assert_eq!(kept_by(FlushMethod::None, dax), Process);
        let eadr = judge(Facts { magic: EXT4, map_sync: true, persistence_domain: Some("cpu_cache") });
        assert_eq!(kept_by(FlushMethod::None, eadr), Power);
        let disk = judge(Facts { magic: EXT4, map_sync: false, persistence_domain: None });
        assert_eq!(kept_by(FlushMethod::None, disk), Power);
    }

    #[test]
    fn the_persistence_domain_is_found_above_partitions_and_below_device_mapper() {
        let folder = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let sysfs = tempfile::tempdir_in(folder).unwrap();
        let at = |path: &str| sysfs.path().join(path);
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(at(to), at(name)).unwrap();
        for path in [
            "dev/block",
            "devices/region0/namespace0.0/block/pmem0/pmem0p1",
            "devices/region1/namespace1.0/block/pmem1",
            "devices/virtual/block/dm-0/slaves",
            "devices/virtual/block/dm-1/slaves",
            "devices/pci/block/sda",
        ] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("devices/region0/persistence_domain"), "memory_controller\n").unwrap();
        fs::write(at("devices/region1/persistence_domain"), "cpu_cache\n").unwrap();
        link("devices/region0/namespace0.0/block/pmem0/pmem0p1", "dev/block/259:1");
        link("devices/pci/block/sda", "dev/block/8:0");
        link("devices/virtual/block/dm-0", "dev/block/253:0");
        link("devices/virtual/block/dm-1", "dev/block/253:1");
        link("devices/region0/namespace0.0/block/pmem0", "devices/virtual/block/dm-0/slaves/pmem0");
        link("devices/region0/namespace0.0/block/pmem0", "devices/virtual/block/dm-1/slaves/pmem0");
        link("devices/region1/namespace1.0/block/pmem1", "devices/virtual/block/dm-1/slaves/pmem1");
        let domain = |major, minor| persistence_domain(sysfs.path(), major, minor);
        assert_eq!(domain(259, 1).as_deref(), Some("memory_controller"));
        assert_eq!(domain(253, 0).as_deref(), Some("memory_controller"));
        assert_eq!(domain(253, 1), None, "its parts disagree");
        assert_eq!(domain(8, 0), None, "a disk");
        assert_eq!(domain(1, 1), None, "no such device");
    }
}
