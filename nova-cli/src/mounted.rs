//! Files of volumes that are mounted: what the daemon says of them, through the mount.

use crate::{Outcome, attribute, files, size::Size};
use nova_fuse::report::{ATTRIBUTE, Report};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the daemon of a mount says of a file; `None` where no daemon of ours serves it.
pub(crate) fn report(path: &Path) -> Option<Report> {
    Report::parse(&attribute::read(path, ATTRIBUTE).ok()?).ok()
}

/// Prints what a mounted file is.
pub(crate) fn stat(path: &Path, report: &Report, as_json: bool) -> Outcome {
    let metadata = fs::symlink_metadata(path)?;
    if as_json {
        let time = |seconds: i64, nanoseconds: i64| seconds * 1_000_000_000 + nanoseconds;
        let mut said = json!({
            "path": path, "inode": metadata.ino(), "mode": metadata.mode(), "links": metadata.nlink(), "uid": metadata.uid(),
            "gid": metadata.gid(), "size": metadata.size(), "blocks_512": metadata.blocks(),
            "accessed_ns": time(metadata.atime(), metadata.atime_nsec()),
            "modified_ns": time(metadata.mtime(), metadata.mtime_nsec()),
            "changed_ns": time(metadata.ctime(), metadata.ctime_nsec()),
            "flag_names": files::flag_names(report.flags),
        });
        if let (Value::Object(said), Value::Object(more)) = (&mut said, json!(report)) {
            said.extend(more);
        }
        println!("{said:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let Report { generation, extents, shared, log_pages, changes, .. } = report;
    println!("file      {}", path.display());
    println!("mode      {:o}", metadata.mode() & 0o7777);
    println!("inode     {}, generation {generation}, {} links", metadata.ino(), metadata.nlink());
    println!("owner     {}, group {}", metadata.uid(), metadata.gid());
    println!("size      {} bytes, {} in blocks", metadata.size(), Size(metadata.blocks() * 512));
    let huge = Size(report.huge_bytes);
    println!("extents   {extents}, {shared} of them shared; {huge} can be mapped by pages of 2 MiB");
    println!("log       {log_pages} pages, {} of them used", Size(report.log_used));
    let names = files::flag_names(report.flags);
    println!("flags     {}", if names.is_empty() { "none".into() } else { names.join(", ") });
    println!("changes   {changes}");
    println!(
        "content   {}",
        match report.protected {
            None => "has no checksums",
            Some(true) => "protected",
            Some(false) => "not protected while it is mapped",
        }
    );
    for lease in &report.leases {
        let since = UNIX_EPOCH + Duration::from_nanos(lease.since_ns);
        let seconds = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
        let (bytes, pid, uid) = (Size(lease.bytes), lease.pid, lease.uid);
        println!("lease     {bytes} mapped by process {pid} of user {uid}, for {seconds} s");
    }
    Ok(ExitCode::SUCCESS)
}
