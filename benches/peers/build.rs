//! Which versions of the stores are compiled in; and libpmemobj, where its headers are.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

fn main() {
    let lock = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo says so")).join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-changed=build.rs");
    let text = fs::read_to_string(lock).expect("a lock file");
    for name in ["fjall", "heed", "redb", "rusqlite", "sled"] {
        let version = text
            .split("[[package]]")
            .find(|package| package.contains(&format!("name = \"{name}\"\n")))
            .and_then(|package| package.lines().find_map(|line| line.strip_prefix("version = ")))
            .unwrap_or_else(|| panic!("{name} is not in the lock file"));
        println!("cargo::rustc-env=VERSION_OF_{}={}", name.to_uppercase(), version.trim_matches('"'));
    }
    pmdk();
}

/// Compiles what is written against libpmemobj, if that is there.
fn pmdk() {
    println!("cargo::rustc-check-cfg=cfg(pmdk)");
    // Is run again when it was not there: cargo takes a file that is missing for one that has changed.
    println!("cargo::rerun-if-changed=/usr/include/libpmemobj.h");
    for file in ["pmdk/peer.c", "pmdk/peer.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut build = cc::Build::new();
    let compiler = build.get_compiler();
    let probe = Path::new(&env::var("OUT_DIR").expect("cargo says so")).join("probe.c");
    fs::write(&probe, "#include <libpmemobj.h>\n").expect("a folder for it");
    let mut command = compiler.to_command();
    let status = command.arg("-E").arg(&probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        return;
    }
    build.file("pmdk/peer.c").opt_level(3).extra_warnings(true).compile("pmdk_peer");
    println!("cargo::rustc-link-lib=pmemobj");
    println!("cargo::rustc-cfg=pmdk");
    let version = Command::new("pkg-config").args(["--modversion", "libpmemobj"]).output();
    let version = version.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    println!("cargo::rustc-env=VERSION_OF_PMDK={}", version.trim());
}
