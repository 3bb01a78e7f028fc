//! Which machine this is.

use crate::place;
use pmem_map::FlushMethod;
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What results depend on, as far as the system tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// How many there are for this program.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Architecture and operating system.
    pub system: String,
    /// The kernel's version.
    pub kernel: String,
    /// How lines are flushed.
    pub flush: String,
    /// Where files that stand for persistent memory are.
    pub folder: String,
    /// What their bytes are made of.
    pub medium: String,
    /// Whether it says that it is a virtual one.
    pub is_virtual: Option<bool>,
    /// Of how many programs that want a CPU, over the last minute, when the run began.
    pub load: Option<f64>,
}

fn first_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(|line| line.trim().to_owned())
}

/// The first value of that key in a file of `key: value`.
fn value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let of_key = |line: &str| {
        line.split_once(':').filter(|(name, _)| name.trim() == key).map(|(_, v)| v.trim().to_owned())
    };
    text.lines().find_map(of_key)
}

impl Machine {
    /// This one.
    pub fn this() -> Machine {
        let cpuinfo = |key| value("/proc/cpuinfo", key);
        let kilobytes =
            value("/proc/meminfo", "MemTotal").and_then(|v| v.split(' ').next()?.parse::<u64>().ok());
        let medium = place::mapping(4096).map(|mapping| mapping.medium().to_string());
        Machine {
            cpu: cpuinfo("model name").unwrap_or_else(|| "unknown".into()),
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory: kilobytes.map(|kilobytes| kilobytes << 10),
            system: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into()),
            flush: format!("{:?}", FlushMethod::detect()).to_lowercase(),
            folder: place::folder().display().to_string(),
            medium: medium.unwrap_or_else(|error| format!("unusable: {error}")),
            is_virtual: cpuinfo("flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            load: first_line("/proc/loadavg").and_then(|line| line.split(' ').next()?.parse().ok()),
        }
    }
}

/// The folder of this package: of the `cargo run` that runs this program, or else the one that it was built in. (Trees are moved and copied,
/// and cargo does not build anew for that.)
pub fn package() -> PathBuf {
    let running = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let running = running.filter(|package| package.join("nova_bench.rs").is_file());
    running.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned())
}

/// The commit that the source is at, if it is in a repository.
pub fn commit() -> Option<String> {
    let source = package();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&source).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_dirty { commit + "-dirty" } else { commit })
}
