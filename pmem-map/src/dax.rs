//! DAX character devices: persistent memory without a filesystem (`/dev/dax0.0`), and what sysfs says of them.
//!
//! Such a device is mapped as a whole, with the alignment of its pages; nothing is between a store and the medium, so
//! that it is what `MAP_SYNC` makes of a file. It has no private views, no length but its own, and `msync` refuses it.

#![forbid(unsafe_code)]

use crate::{PAGE, address_space::HUGE_PAGE, durability};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What sysfs says about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DaxDevice {
    /// Bytes that can be mapped: whole pages of `align` bytes, at least one.
    pub(crate) len: u64,
    /// Bytes of a page: a power of two, at least [`PAGE`].
    pub(crate) align: u64,
    /// `persistence_domain` of its region, `unknown` if that is persistent and does not say. Devices of volatile memory
    /// have no region, or a volatile one, and none.
    pub(crate) persistence_domain: Option<String>,
}

/// Character device `major:minor` in the tree at `sysfs`; `None` if it is not a DAX device.
pub(crate) fn look(sysfs: &Path, major: u32, minor: u32) -> io::Result<Option<DaxDevice>> {
    let Ok(device) = fs::canonicalize(sysfs.join(format!("dev/char/{major}:{minor}"))) else {
        return Ok(None);
    };
    let subsystem = fs::canonicalize(device.join("subsystem"));
    if !subsystem.is_ok_and(|subsystem| subsystem.file_name().is_some_and(|name| name == "dax")) {
        return Ok(None);
    }
    let size = number(&device.join("size"))?;
    // Where the alignment is has changed: with the device (bus), or with its region (class, before Linux 5.1).
    let places = ["align", "device/align", "dax_region/align", "device/dax_region/align"];
    let align = places.iter().find_map(|place| number(&device.join(place)).ok()).unwrap_or(HUGE_PAGE);
    let len = if align.is_power_of_two() { size & !(align - 1) } else { 0 };
    if align < PAGE || len == 0 {
        let what = format!("{size} bytes in pages of {align} cannot be mapped");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let persistence_domain = durability::domain_above(&device);
    Ok(Some(DaxDevice { len, align, persistence_domain }))
}

/// The number that a file of sysfs holds.
fn number(path: &PathBuf) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| {
        let what = format!("{} is {:?}, no number", path.display(), text.trim());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::{
        Durability, Error, FlushMethod, Granularity, Lock, MapOptions, Medium,
        durability::{Verdict, kept_by},
        file::{Device, LockedFile},
        system,
    };
    use std::os::unix::fs::symlink;

    /// A tree as the kernel makes it: a namespace in device mode, a device of volatile memory, and `/dev/null`.
    struct Sysfs(tempfile::TempDir);

    impl Sysfs {
        fn new(domain: &str) -> Sysfs {
            let folder = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
            let sysfs = Sysfs(tempfile::tempdir_in(folder).unwrap());
            for path in ["dev/char", "bus/dax", "class/mem", "devices/virtual/mem/null"] {
                fs::create_dir_all(sysfs.at(path)).unwrap();
            }
            for (device, number) in
                [("devices/ndbus0/region0/dax0.1/dax0.0", "252:5"), ("devices/hmem.1/dax1.0", "252:6")]
            {
                fs::create_dir_all(sysfs.at(device)).unwrap();
                symlink(sysfs.at("bus/dax"), sysfs.at(device).join("subsystem")).unwrap();
                symlink(sysfs.at(device), sysfs.at("dev/char").join(number)).unwrap();
            }
            symlink(sysfs.at("class/mem"), sysfs.at("devices/virtual/mem/null/subsystem")).unwrap();
            symlink(sysfs.at("devices/virtual/mem/null"), sysfs.at("dev/char/1:3")).unwrap();
            fs::write(sysfs.at("devices/ndbus0/region0/persistence_domain"), domain).unwrap();
            sysfs
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn say(&self, minor: u32, file: &str, content: &str) {
            fs::write(self.at(&format!("dev/char/252:{minor}")).join(file), content).unwrap();
        }

        fn look(&self, major: u32, minor: u32) -> io::Result<Option<DaxDevice>> {
            look(self.0.path(), major, minor)
        }
    }

    #[test]
    fn size_alignment_and_persistence_domain_are_those_of_sysfs() {
        let sysfs = Sysfs::new("memory_controller\n");
        sysfs.say(5, "size", "8388608\n");
        sysfs.say(5, "align", "4096\n");
        let device = sysfs.look(252, 5).unwrap().unwrap();
        let domain = Some("memory_controller".to_owned());
        assert_eq!(device, DaxDevice { len: 8 << 20, align: 4096, persistence_domain: domain });
        // Older kernels have the alignment elsewhere; a device ends with a page of its own.
        fs::remove_file(sysfs.at("dev/char/252:5/align")).unwrap();
        fs::create_dir(sysfs.at("dev/char/252:5/dax_region")).unwrap();
        sysfs.say(5, "dax_region/align", "2097152\n");
        sysfs.say(5, "size", "8388607\n");
        let device = sysfs.look(252, 5).unwrap().unwrap();
        assert_eq!((device.len, device.align), (6 << 20, 2 << 20));
        // No region: nobody says that it is persistent.
        sysfs.say(6, "size", "4194304\n");
        let device = sysfs.look(252, 6).unwrap().unwrap();
        assert_eq!(device, DaxDevice { len: 4 << 20, align: 2 << 20, persistence_domain: None });
    }

    /// Seen on a real kernel: without a word from the firmware there is no `persistence_domain`, on persistent memory too.
    #[test]
    fn a_persistent_region_that_names_no_domain_is_not_taken_for_volatile_memory() {
        let sysfs = Sysfs::new("");
        sysfs.say(5, "size", "8388608\n");
        fs::remove_file(sysfs.at("devices/ndbus0/region0/persistence_domain")).unwrap();
        fs::write(sysfs.at("devices/ndbus0/region0/devtype"), "nd_pmem\n").unwrap();
        let device = sysfs.look(252, 5).unwrap().unwrap();
        assert_eq!(device.persistence_domain.as_deref(), Some("unknown"));
        fs::write(sysfs.at("devices/ndbus0/region0/devtype"), "nd_volatile\n").unwrap();
        let device = sysfs.look(252, 5).unwrap().unwrap();
        assert_eq!(device.persistence_domain, None);
    }

    #[test]
    fn other_devices_are_none_and_what_cannot_be_mapped_is_an_error() {
        let sysfs = Sysfs::new("cpu_cache");
        assert_eq!(sysfs.look(1, 3).unwrap(), None, "a device of another kind");
        assert_eq!(sysfs.look(9, 9).unwrap(), None, "no such device");
        assert!(sysfs.look(252, 5).is_err(), "no size");
        for (size, align) in
            [("0", "4096"), ("4095", "4096"), ("8192", "3000"), ("8192", "64"), ("-1", "4096")]
        {
            sysfs.say(5, "size", size);
            sysfs.say(5, "align", align);
            assert!(sysfs.look(252, 5).is_err(), "{size} in pages of {align}");
        }
    }

    /// A nameless file stands for the device; everything but the device's own `mmap` is what a device gets.
    fn standing_for(device: DaxDevice) -> LockedFile {
        let file = system::memfd("stands for a device").unwrap();
        file.set_len(device.len).unwrap();
        LockedFile::of_device(file, Path::new("/dev/dax0.0"), Device::Dax(device))
    }

    /// What is left of a device's promise on this processor.
    fn kept(durability: Durability) -> Durability {
        let (granularity, medium) = (Granularity::CacheLine, Medium::DaxDevice);
        kept_by(FlushMethod::detect(), Verdict { granularity, durability, medium })
    }

    #[test]
    fn a_device_is_mapped_as_a_whole_at_its_alignment_and_never_grows() {
        for (align, len) in [(4096, 12 << 10), (2 << 20, 4 << 20), (16 << 20, 16 << 20)] {
            let device = DaxDevice { len, align, persistence_domain: Some("memory_controller".into()) };
            let options = MapOptions::new().len(1).max_len(1 << 30);
            let mut mapping = options.map_existing(standing_for(device), &[]).unwrap();
            assert_eq!((mapping.len(), mapping.base().as_ptr() as u64 % align), (len, 0));
            assert_eq!(
                (mapping.granularity(), mapping.durability()),
                (Granularity::CacheLine, kept(Durability::Power))
            );
            assert_eq!(
                (mapping.medium(), mapping.medium().to_string()),
                (Medium::DaxDevice, "DAX device".into())
            );
            assert_eq!(mapping.max_len(), len);
            assert!(matches!(mapping.grow(len + 1), Err(Error::CannotGrow { .. })));
            mapping.write(len - 5, b"there").unwrap();
            mapping.persist(len - 5..len).unwrap();
            assert_eq!((mapping.counters().lines_flushed, mapping.counters().syncs), (1, 0));
        }
    }

    #[test]
    fn a_device_promises_what_its_persistence_domain_says() {
        let of = |domain: Option<&str>| {
            let persistence_domain = domain.map(str::to_owned);
            let device = DaxDevice { len: 4096, align: 4096, persistence_domain };
            let mapping = MapOptions::new().map_existing(standing_for(device), &[]).unwrap();
            (mapping.granularity(), mapping.durability())
        };
        assert_eq!(of(Some("cpu_cache")), (Granularity::Byte, Durability::Power));
        assert_eq!(of(Some("memory_controller")), (Granularity::CacheLine, kept(Durability::Power)));
        assert_eq!(of(Some("unknown")), (Granularity::CacheLine, kept(Durability::Claimed)));
        assert_eq!(of(None), (Granularity::CacheLine, Durability::Process));
    }

    #[test]
    fn a_device_has_no_private_view() {
        let device = DaxDevice { len: 4096, align: 4096, persistence_domain: None };
        let view = MapOptions::new().lock(Lock::Shared).map_existing(standing_for(device), &[]);
        assert!(matches!(view, Err(Error::Io { action: "map", .. })), "{view:?}");
    }
}
