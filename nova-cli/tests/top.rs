//! What a mount is doing, as its daemon counts it.

mod command;

use command::{fails, volume, works};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Runs a test at a mount; says so where nothing can be mounted.
fn mounted(options: &[&str], test: impl FnOnce(&str)) {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let dir = folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let output = command::nova(&[&["mount", "--background"], options, &[&image, dir]].concat());
    if !output.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(dir)));
    works(&["umount", dir]);
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
    }
}

fn looks(arguments: &[&str]) -> Vec<Value> {
    works(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn requests_are_counted_with_their_bytes_and_latencies() {
    mounted(&[], |dir| {
        for n in 0..20 {
            fs::write(format!("{dir}/f{n}"), vec![n; 10_000]).unwrap();
            assert_eq!(fs::read(format!("{dir}/f{n}")).unwrap().len(), 10_000);
        }
        let look = &looks(&["top", "--json", "--count", "1", dir])[0];
        assert_eq!(
            (&look["bytes_written"], &look["bytes_read"]),
            (&200_000.into(), &200_000.into()),
            "{look}"
        );
        let count = |name: &str| look["operations"][name]["count"].as_u64().unwrap();
        assert_eq!((count("create"), count("write")), (20, 20));
        assert!(count("read") >= 20 && count("open") >= 40);
        let write = &look["operations"]["write"];
        let time = |name: &str| write[name].as_u64().unwrap();
        assert!(time("p50_ns") > 0 && time("p50_ns") <= time("p99_ns") && time("p99_ns") <= time("max_ns"));
        // A create drains once, a write of more than 2,048 bytes twice at most.
        let drains = look["drains"].as_u64().unwrap();
        assert!((40..=100).contains(&drains), "{look}");
        assert!(
            look["inodes"].as_u64().unwrap() >= 21
                && look["free"].as_u64().unwrap() < look["size"].as_u64().unwrap()
        );
    });
}

#[test]
fn the_second_look_has_only_what_came_after_the_first() {
    mounted(&[], |dir| {
        fs::write(format!("{dir}/before"), b"before").unwrap();
        let looks = looks(&["top", "--json", "--count", "2", "--interval", "0.05", dir]);
        assert_eq!(looks[0]["bytes_written"], 6);
        assert_eq!((&looks[1]["bytes_written"], &looks[1]["operations"]["write"]), (&0.into(), &Value::Null));
        assert!(looks[1]["interval_ns"].as_u64().unwrap() >= 50_000_000);
    });
}

#[test]
fn without_a_terminal_it_is_plain_text_of_all_mounts() {
    mounted(&[], |dir| {
        fs::write(format!("{dir}/file"), b"hello").unwrap();
        let said = works(&["top", "--count", "1"]);
        assert!(
            said.contains(dir) && said.contains("p99") && said.contains("write  ") && said.contains("space"),
            "{said}"
        );
        assert!(!said.contains('\x1b'));
    });
    let folder = tempfile::tempdir().unwrap();
    assert!(fails(&["top", "--count", "1", folder.path().to_str().unwrap()]).contains("no volume of nova"));
    assert_eq!(command::nova(&["top", "--interval", "0"]).status.code(), Some(2));
}

#[test]
fn the_counters_are_an_attribute_of_the_root_alone_and_in_no_list() {
    mounted(&[], |dir| {
        fs::write(format!("{dir}/file"), b"hello").unwrap();
        let python = "import os,sys,json; d=sys.argv[1]; json.loads(os.getxattr(d,'nova.stats')); assert os.listxattr(d)==[];\n\
                      try: os.getxattr(d+'/file','nova.stats'); sys.exit(1)\nexcept OSError: pass";
        match Command::new("python3").args(["-c", python, dir]).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(_) => println!("skipped: there is no python3"),
        }
    });
}

#[test]
fn a_verbose_mount_logs_what_it_serves() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let dir = folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_nova"))
        .args(["mount", "-vvv", &image, dir.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    if !line.starts_with("mounted ") {
        child.wait().unwrap();
        println!("skipped: nothing can be mounted here");
        return;
    }
    fs::write(dir.join("file"), b"hello").unwrap();
    assert!(fs::read(dir.join("missing")).is_err());
    works(&["umount", dir.to_str().unwrap()]);
    child.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    for part in ["serving", "operation=\"write\"", "refused"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
