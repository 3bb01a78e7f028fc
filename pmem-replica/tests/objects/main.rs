//! Objects in a folder, and in a bucket where there is a server for one.

mod content;
mod kill;
mod prune;
#[cfg(feature = "s3")]
mod s3;
mod wrong;

use pmem_replica::objects::{Kind, Label, Manifest, Place, Pushed, Store, Version};
use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// A folder for objects, in a folder of the test's own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let shm = Path::new("/dev/shm");
        Folder(if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("objects")
    }

    fn store(&self) -> Store {
        open(self.path().to_str().unwrap())
    }

    /// Its files, without what is being written.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let (mut found, mut todo) = (Vec::new(), vec![self.path().join(folder)]);
        while let Some(folder) = todo.pop() {
            for entry in folder.read_dir().into_iter().flatten().map(Result::unwrap) {
                if entry.path().is_dir() { todo.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found.sort();
        found
    }
}

fn open(url: &str) -> Store {
    Store::open(&Place::parse(url, None).unwrap()).unwrap()
}

fn version(number: u64) -> Version {
    Version { number, created: number as i64 * 7 }
}

fn label(kind: Kind, number: u64, parent: Option<u64>) -> Label {
    Label {
        kind,
        source: "00c0ffee".into(),
        name: format!("v{number}"),
        version: version(number),
        parent: parent.map(version),
        size: 1 << 30,
    }
}

/// Bytes that are different for each seed, and that no two chunks have in common.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn push(store: &Store, label: Label, content: &[u8]) -> Pushed {
    let mut push = store.push(label).unwrap();
    push.write_all(content).unwrap();
    push.finish().unwrap()
}

fn read(store: &Store, manifest: &Manifest) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    store.content(manifest).read_to_end(&mut content)?;
    Ok(content)
}
