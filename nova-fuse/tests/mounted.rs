//! A mounted volume, used by system calls. Needs root and /dev/fuse; says so and does nothing where they are missing.

use nova_core::{FormatOptions, MountOptions, Nova};
use nova_fuse::{Options, Server};
use pmem_map::{MapOptions, Mapping};
use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};
use tempfile::TempDir;

struct Mounted {
    server: Option<Server>,
    folder: TempDir,
}

/// A new volume, mounted; `None` where nothing can be mounted.
fn mounted(bytes: u64) -> Option<Mounted> {
    let nova = FormatOptions::new().format(Mapping::memfd(bytes).unwrap(), MountOptions::new()).unwrap();
    serve(nova)
}

fn serve(nova: Nova) -> Option<Mounted> {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    match Server::mount(nova, folder.path(), &Options::new().threads(2)) {
        Ok(server) => Some(Mounted { server: Some(server), folder }),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

impl Mounted {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn unmount(mut self) -> Nova {
        self.server.take().unwrap().unmount().unwrap()
    }
}

#[test]
fn what_programs_write_is_there_after_the_next_mount() {
    let Some(mount) = mounted(64 << 20) else { return };
    fs::create_dir_all(mount.path("a/b/c")).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let mut written = Vec::new();
    for n in 0..200 {
        let path = format!("a/b/file {n}");
        let bytes: Vec<u8> = (0..random.usize(..70_000)).map(|_| random.u8(..)).collect();
        fs::write(mount.path(&path), &bytes).unwrap();
        written.push((path, bytes));
    }
    for (path, bytes) in &written {
        assert!(fs::read(mount.path(path)).unwrap() == *bytes, "{path}");
    }
    fs::rename(mount.path("a/b"), mount.path("moved")).unwrap();
    symlink("moved/file 7", mount.path("link")).unwrap();
    fs::hard_link(mount.path("moved/file 8"), mount.path("second name")).unwrap();
    assert_eq!(fs::metadata(mount.path("second name")).unwrap().nlink(), 2);
    assert_eq!(fs::read_dir(mount.path("moved")).unwrap().count(), 201);
    let nova = mount.unmount();
    let mapping = nova.unmount().unwrap();
    let mount = serve(Nova::mount(mapping).unwrap()).unwrap();
    for (path, bytes) in &written {
        let path = path.replace("a/b", "moved");
        assert!(fs::read(mount.path(&path)).unwrap() == *bytes, "{path}");
    }
    assert!(fs::read(mount.path("link")).unwrap() == written[7].1);
    assert!(fs::read(mount.path("second name")).unwrap() == written[8].1);
}

#[test]
fn a_file_without_a_name_stays_as_long_as_it_is_open_and_its_blocks_come_back() {
    let Some(mount) = mounted(16 << 20) else { return };
    let nova = mount.server.as_ref().unwrap().nova().clone();
    let path = mount.path("gone");
    nova.sync().unwrap();
    let before = nova.statfs().free;
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.write_all(&vec![7; 3 << 20]).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert!(bytes == vec![7; 3 << 20]);
    drop(file);
    drop(mount);
    nova.sync().unwrap();
    let after = nova.statfs().free;
    assert!(
        before - after < 20,
        "{before} blocks were free, and now {after}: tables and logs may have grown, data not"
    );
}

#[test]
fn holes_allocation_and_shared_copies_are_what_system_calls_say() {
    let Some(mount) = mounted(32 << 20) else { return };
    let open = |name: &str| {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(mount.path(name)).unwrap()
    };
    let file = open("sparse");
    file.write_all_at(b"end", 1 << 20).unwrap();
    assert!(file.metadata().unwrap().blocks() < 64);
    // SAFETY: calls of the system with a descriptor that is open.
    let (data, punched, allocated) = unsafe {
        (
            libc::lseek(file.as_raw_fd(), 0, libc::SEEK_DATA),
            libc::fallocate(
                file.as_raw_fd(),
                libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                1 << 20,
                4096,
            ),
            libc::fallocate(file.as_raw_fd(), 0, 0, 1 << 20),
        )
    };
    assert_eq!((data, punched, allocated), (1 << 20, 0, 0));
    let mut end = [1; 3];
    file.read_exact_at(&mut end, 1 << 20).unwrap();
    assert_eq!(end, [0; 3]);
    assert!(file.metadata().unwrap().blocks() >= 2048);

    let source = open("source");
    source.write_all_at(&vec![9; 1 << 20], 0).unwrap();
    let nova = mount.server.as_ref().unwrap().nova();
    let before = nova.statfs().free;
    let target = open("target");
    // SAFETY: as above; null offsets mean the files' own.
    let copied = unsafe {
        let (from, to) = (source.as_raw_fd(), target.as_raw_fd());
        libc::copy_file_range(from, std::ptr::null_mut(), to, std::ptr::null_mut(), 1 << 20, 0)
    };
    assert_eq!(copied, 1 << 20);
    assert!(before - nova.statfs().free < 10, "blocks are shared");
    let mut copy = vec![0; 1 << 20];
    target.read_exact_at(&mut copy, 0).unwrap();
    assert!(copy == vec![9; 1 << 20]);
}

#[test]
fn stores_of_a_shared_mapping_of_the_kernels_are_in_the_file_after_msync() {
    let Some(mount) = mounted(16 << 20) else { return };
    let path = mount.path("mapped");
    fs::write(&path, vec![1; 16384]).unwrap();
    // SAFETY: nobody else has the file.
    let mut mapping = unsafe { MapOptions::new().lease(false).open(&path) }.unwrap();
    mapping.write(5000, b"stored").unwrap();
    mapping.persist(5000..5006).unwrap();
    assert_eq!(fs::read(&path).unwrap()[5000..5006], *b"stored");
}

#[test]
fn modes_are_checked_by_the_kernel_and_kept() {
    let Some(mount) = mounted(16 << 20) else { return };
    let path = mount.path("file");
    fs::write(&path, b"x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4751);
    std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (1000, 1000, 0o751));
}
