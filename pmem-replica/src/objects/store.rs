//! A place that is open: single objects, and the list of all.

use super::{
    Error, Result,
    manifest::{ENDING, Kind, Manifest},
    place::Place,
};
use opendal::{ErrorKind, Operator};
use std::{fs::File, path::Path};
use tokio::runtime::Runtime;

/// A place that is open. Its work happens on the calling thread.
pub struct Store {
    pub(super) place: Place,
    operator: Operator,
    runtime: Runtime,
}

/// What a place has.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listed {
    /// By kind, source and version: what a manifest goes on from comes before it.
    pub manifests: Vec<Manifest>,
    /// Why others could not be read.
    pub unreadable: Vec<Error>,
}

impl Store {
    /// Opens a place. A folder is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`Error::NoS3`], [`Error::Storage`].
    pub fn open(place: &Place) -> Result<Store> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io(Path::new("the event loop")))?;
        Ok(Store { place: place.clone(), operator: place.operator()?, runtime })
    }

    /// Opens a place that is there already: for who reads, and mistyped a path.
    ///
    /// # Errors
    ///
    /// [`Error::NoFolder`], and those of [`open`](Store::open).
    pub fn open_existing(place: &Place) -> Result<Store> {
        match place.folder() {
            Some(folder) if !folder.is_dir() => Err(Error::NoFolder { path: folder.into() }),
            _ => Store::open(place),
        }
    }

    /// Everything that was pushed as a whole.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`]. Manifests that cannot be read are in the list's second part.
    pub fn list(&self) -> Result<Listed> {
        let mut listed = Listed::default();
        for kind in Kind::ALL {
            for (path, _) in self.names(&format!("{}s/", kind.name()))? {
                // Pruned meanwhile, or something else's file.
                let Some(bytes) = path.ends_with(ENDING).then(|| self.get(&path)).transpose()?.flatten()
                else {
                    continue;
                };
                match Manifest::decode(&path, &bytes) {
                    Ok(manifest) => listed.manifests.push(manifest),
                    Err(error) => listed.unreadable.push(error),
                }
            }
        }
        let order = |one: &Manifest| (one.label.kind, one.label.source.clone(), one.label.version.number);
        listed.manifests.sort_by_key(order);
        Ok(listed)
    }

    /// The newest of a kind with a name; with any name, if none is given.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Ambiguous`] if several volumes or pools have such ones.
    pub fn find<'m>(&self, all: &'m [Manifest], kind: Kind, name: Option<&str>) -> Result<&'m Manifest> {
        let is_one =
            |one: &&Manifest| one.label.kind == kind && name.is_none_or(|name| one.label.name == name);
        let mut sources: Vec<String> =
            all.iter().filter(is_one).map(|one| one.label.source.clone()).collect();
        sources.dedup(); // they are in order
        let (place, name) = (self.place.to_string(), name.unwrap_or_default().to_owned());
        if sources.len() > 1 {
            return Err(Error::Ambiguous { place, name, sources });
        }
        all.iter().rfind(is_one).ok_or(Error::NotFound { place, kind: kind.name(), name })
    }

    /// Writes an object; atomically, and durably.
    pub(super) fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let written = self.runtime.block_on(self.operator.write(path, bytes));
        written.map_err(self.failed("write", path))?;
        let Some(root) = self.place.folder() else { return Ok(()) };
        // The names, too: of the object, and of folders that were made for it.
        let mut folder = root.join(path);
        while folder.pop() && folder.starts_with(root) {
            File::open(&folder).and_then(|folder| folder.sync_all()).map_err(Error::io(&folder))?;
        }
        Ok(())
    }

    /// An object; `None` if there is none.
    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.runtime.block_on(self.operator.read(path)) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", path)(error)),
        }
    }

    /// Bytes of an object; `None` if there is none.
    pub(super) fn length(&self, path: &str) -> Result<Option<u64>> {
        match self.runtime.block_on(self.operator.stat(path)) {
            Ok(found) => Ok(Some(found.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("look for", path)(error)),
        }
    }

    /// Deletes an object, if it is there.
    pub(super) fn delete(&self, path: &str) -> Result<()> {
        self.runtime.block_on(self.operator.delete(path)).map_err(self.failed("delete", path))
    }

    /// All objects below a folder, with their bytes.
    pub(super) fn names(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let listing = self.operator.list_with(folder).recursive(true);
        let found = self.runtime.block_on(async { listing.await }).map_err(self.failed("list", folder))?;
        let files = found.into_iter().filter(|entry| entry.metadata().mode().is_file());
        Ok(files.map(|entry| (entry.path().to_owned(), entry.metadata().content_length())).collect())
    }

    fn failed(&self, what: &'static str, path: &str) -> impl FnOnce(opendal::Error) -> Error {
        let (place, path) = (self.place.to_string(), path.to_owned());
        move |source| Error::Storage { place, what, path, source: Box::new(source) }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("place", &self.place).finish_non_exhaustive()
    }
}
