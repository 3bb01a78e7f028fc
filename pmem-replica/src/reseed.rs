//! A follower begins again, from a seed: one that has stopped, one that was fenced as a primary, or a new one.
#![expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]

use crate::{
    Config, Error, Result,
    lease::{Bucket, Progress},
    link::{self, Link},
    outbox,
};
use pmem_alloc::PoolOptions;
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// What a follower begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reseeded {
    /// The last record that the seed has.
    pub record: u64,
    /// Records that the stream has beyond that.
    pub behind: u64,
    /// Where the pool is that was there before.
    pub before: Option<PathBuf>,
}

/// Puts a copy of a seed (or of a follower that is not open) at `path`, to be opened by [`Follower::open`](crate::Follower::open) under the
/// name `follower`; the stream is kept for it from now on. What was at `path` (a pool, and an outbox) gets the ending `.before`. Durable on return;
/// wherever it is cut short, it can be done again.
///
/// # Errors
///
/// [`Error::NotAFollower`] if the seed is none; [`Error::WrongStream`]; [`Error::Gap`] if the stream was trimmed since; [`Error::Io`], also if there
/// is a pool `.before` already; the pool's errors and the servers'. The pool at `path` is as it was then.
///
/// # Safety
///
/// As for [`PoolOptions::open`], of both files.
pub unsafe fn reseed(
    seed: impl AsRef<Path>,
    path: impl AsRef<Path>,
    config: &Config,
    follower: &str,
) -> Result<Reseeded> {
    let path = path.as_ref();
    // SAFETY: the caller's promise.
    let pool = unsafe { PoolOptions::new().open_private(seed) }?;
    let position = pool.following().ok_or(Error::NotAFollower)?;
    let record = link::block_on(async {
        let link = Link::connect_patiently(config).await?;
        link::patiently(config.patience, async || {
            let name = || config.name.clone();
            let last = link.last().await?.ok_or_else(|| Error::NoStream { name: name() })?.envelope;
            if last.stream != position.stream {
                return Err(Error::WrongStream {
                    name: name(),
                    expected: position.stream,
                    found: last.stream,
                });
            }
            let progress = Progress { message: position.message, record: position.record };
            let bucket = Bucket::open(&link).await?;
            bucket.report(follower, progress).await?;
            // Only now is it sure that nobody trims what is there.
            let (first, _) = link.bounds().await?;
            if first > position.message + 1 {
                bucket.forget(follower).await?;
                let (missing, why) =
                    (position.message + 1..first, "the stream was trimmed since this seed was made");
                return Err(Error::Gap { what: "messages", missing, record: position.record, why });
            }
            Ok(last.complete)
        })
        .await
    })??;
    let next = with_ending(path, ".reseeding");
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&next)(error)),
        _ => {}
    }
    // SAFETY: as above.
    unsafe { pool.backup(&next) }?;
    let mut before = None;
    for old in [path.to_path_buf(), outbox::path_of(path)] {
        if old.symlink_metadata().is_err() {
            continue;
        }
        let kept = with_ending(&old, ".before");
        if kept.symlink_metadata().is_ok() {
            let why = "is there already; remove it, or take it away";
            return Err(Error::io(&kept)(std::io::Error::new(std::io::ErrorKind::AlreadyExists, why)));
        }
        std::fs::rename(&old, &kept).map_err(Error::io(&old))?;
        before.get_or_insert(kept);
    }
    std::fs::rename(&next, path).map_err(Error::io(path))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
    Ok(Reseeded { record: position.record, behind: record.saturating_sub(position.record), before })
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    path.with_file_name(name)
}
