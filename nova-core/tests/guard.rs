//! Write protection of the volume: everything works, and a stray store of the program ends it before it does damage.

use nova_core::{FormatOptions, MountOptions, Nova, WriteProtection};
use pmem_map::Mapping;
use std::{os::unix::process::ExitStatusExt, process::Command};

fn guarded() -> MountOptions {
    MountOptions::new().write_protected(true)
}

/// What a program does with files, a mapping and a snapshot among it.
fn work(nova: &Nova) {
    nova.create_dir_all("/a/b").unwrap();
    let file = nova.create_file("/a/b/file").unwrap();
    file.write_at(0, &[1; 100]).unwrap();
    file.write_at(50, &[2; 20_000]).unwrap();
    nova.create_snapshot("s").unwrap();
    let mut mapping = file.map().unwrap();
    mapping.write(5000, &[3; 5000]).unwrap();
    mapping.persist(5000..10_000).unwrap();
    nova.create_snapshot("t").unwrap();
    mapping.write(0, &[4; 10]).unwrap();
    drop(mapping);
    assert_eq!(nova.mount_snapshot("t").unwrap().read_file("/a/b/file").unwrap()[..3], [1; 3]);
    nova.rename_path("/a/b/file", "/file").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..50 {
                    nova.create_new(format!("/{thread}-{n}")).unwrap().append(&[n; 3000]).unwrap();
                }
            });
        }
    });
    nova.delete_snapshot("s").unwrap();
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn everything_works_in_windows() {
    let nova = FormatOptions::new().format(Mapping::memfd(32 << 20).unwrap(), guarded()).unwrap();
    work(&nova);
    let mut mapping = nova.unmount().unwrap();
    // It is the caller's again.
    let last = mapping.len() as usize - 1;
    mapping.as_mut_slice()[last] = 0;
    let nova = guarded().mount(mapping).unwrap();
    assert!(nova.mount_report().clean);
    assert_eq!(nova.read_file("/file").unwrap()[..10], [4; 10]);
    assert_eq!(nova.read_dir("/").unwrap().len(), 202);
}

/// A processor with protection keys that the kernel uses says so.
#[test]
fn a_processor_that_has_keys_is_asked_for_one() {
    let has_keys = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" ospke"));
    let nova = FormatOptions::new().format(Mapping::memfd(8 << 20).unwrap(), guarded()).unwrap();
    let expected = if has_keys { WriteProtection::Key } else { WriteProtection::Pages };
    assert_eq!(nova.write_protection(), expected);
    println!("stray stores are stopped by: {expected:?}");
    let plain = FormatOptions::new().format(Mapping::memfd(8 << 20).unwrap(), MountOptions::new()).unwrap();
    assert_eq!(plain.write_protection(), WriteProtection::None);
}

/// Such a thread has no right to a key: not to store, not even to load and to flush.
#[test]
fn threads_that_were_there_before_the_mount_work_too() {
    let (sender, volumes) = std::sync::mpsc::channel::<Nova>();
    let (mappings_sender, mappings) = std::sync::mpsc::channel::<Mapping>();
    // Its first call is a flush.
    let flusher = std::thread::spawn(move || {
        for mapping in mappings.iter() {
            mapping.sync(0..9000).unwrap();
        }
    });
    let worker = std::thread::spawn(move || {
        for (n, nova) in volumes.iter().enumerate() {
            match n {
                0 => assert_eq!(nova.read_file("/file").unwrap(), [7; 9000]),
                1 => work(&nova),
                _ => assert!(nova.fsck().unwrap().is_clean()),
            }
        }
    });
    let nova = FormatOptions::new().format(Mapping::memfd(32 << 20).unwrap(), guarded()).unwrap();
    nova.write_file("/file", &[7; 9000]).unwrap();
    let mut mapping = nova.open("/file").unwrap().map().unwrap();
    mapping.write(0, &[7]).unwrap();
    mappings_sender.send(mapping).unwrap();
    drop(mappings_sender);
    flusher.join().unwrap();
    for _ in 0..3 {
        sender.send(nova.clone()).unwrap();
    }
    drop(sender);
    worker.join().unwrap();
}

const CHILD: &str = "NOVA_GUARD_CHILD";

/// What the process does that is to end: stores to the volume's bytes, past all that is allowed.
#[test]
fn child() {
    let Ok(protected) = std::env::var(CHILD) else { return };
    let mapping = Mapping::memfd(8 << 20).unwrap();
    let bytes = mapping.as_slice().as_ptr().cast_mut();
    let options = FormatOptions::new();
    let nova = options.format(mapping, MountOptions::new().write_protected(protected == "yes")).unwrap();
    nova.create_new("/f").unwrap().append(b"hello").unwrap();
    // SAFETY: none: this is the stray store. The bytes are mapped as long as `nova` lives.
    unsafe { bytes.add(5 << 20).write_volatile(7) };
    drop(nova);
}

#[test]
fn a_stray_store_is_a_signal_and_not_damage() {
    let run = |protected: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--test-threads=1"]).env(CHILD, protected).output().unwrap().status
    };
    assert_eq!(run("yes").signal(), Some(libc::SIGSEGV));
    assert!(run("no").success(), "without protection nobody notices");
}
