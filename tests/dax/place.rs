//! Where tests named `dax` are: real DAX, if this machine has some, or a file that is treated as persistent memory.
//!
//! `PMEM_TEST_DIR` names a folder, and `PMEM_TEST_DAX_DEVICE` a device of which the content is lost; `tests/vm/run` sets both. A
//! scenario runs in all places that there are, one after the other.

use pmem_map::{Granularity, MapOptions, Mapping, Medium};
use std::{
    env,
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A file that is not there yet, or the device.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// Whether the file has to be treated as what it is not.
    pub(crate) is_emulated: bool,
    pub(crate) is_device: bool,
    _folder: Option<tempfile::TempDir>,
}

/// Held while the places are used: there is one device, for all tests of a program.
static USED: Mutex<()> = Mutex::new(());

/// All there are.
pub(crate) fn places() -> (Vec<Place>, MutexGuard<'static, ()>) {
    let used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let parent = env::var_os("PMEM_TEST_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let path = folder.path().join("file");
    let medium = map(&MapOptions::new().len(1).create(true), &folder.path().join("probe")).medium();
    let is_emulated = !matches!(medium, Medium::DaxFile(_));
    let mut places = vec![Place { path, is_emulated, is_device: false, _folder: Some(folder) }];
    if let Some(device) = env::var_os("PMEM_TEST_DAX_DEVICE") {
        places.push(Place { path: device.into(), is_emulated: false, is_device: true, _folder: None });
    }
    (places, used)
}

impl Place {
    /// How it is mapped.
    pub(crate) fn options(&self) -> MapOptions {
        MapOptions::new().emulate_pmem(self.is_emulated)
    }

    /// Maps it; a file that is not there is made with `len` bytes.
    pub(crate) fn map(&self, len: u64) -> Mapping {
        let mapping = map(&self.options().len(len).create(true), &self.path);
        assert_ne!(mapping.granularity(), Granularity::Page);
        mapping
    }

    /// The place that the parent of this process means, if it has one that means something by `name`.
    pub(crate) fn of_child(name: &str) -> Option<Place> {
        let told = env::var_os(CHILD)?;
        let told = told.to_str()?.strip_prefix(name)?.strip_prefix(' ')?;
        let (kind, path) = told.split_once(' ')?;
        let is = |letter| kind.contains(letter);
        Some(Place { path: path.into(), is_emulated: is('e'), is_device: is('d'), _folder: None })
    }

    /// Runs the test `name` in a process of its own, where [`of_child`](Place::of_child) is this place, and which has to abort.
    pub(crate) fn abandoned(&self, name: &str) {
        let mut told = OsString::from(format!("{name} -"));
        told.push(if self.is_emulated { "e" } else { "" });
        told.push(if self.is_device { "d" } else { "" });
        told.push(" ");
        told.push(&self.path);
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, told);
        let output = child.output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "not its abort: {output:?}");
    }
}

const CHILD: &str = "PMEM_DAX_TEST_CHILD";

fn map(options: &MapOptions, path: &Path) -> Mapping {
    // SAFETY: a file that only this test and its children know, and they take turns; or a device that was given to it.
    unsafe { options.open(path) }.unwrap()
}
