//! A forked child has no mapping, and knows it.

use crate::children::fork;
use pmem_map::{Durability, Error, Extent, Granularity, Mapping, PAGE};
use std::{
    fs::File,
    io::Read,
    os::fd::{AsRawFd, FromRawFd},
    sync::Arc,
};

const EXITED_WITH_0: i32 = 0;

#[test]
fn a_forked_child_is_refused_and_its_parent_is_not() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    mapping.check_process().unwrap();
    let status = fork(|| {
        let refused = matches!(mapping.check_process(), Err(Error::Forked))
            && matches!(mapping.grow(2 * PAGE), Err(Error::Forked));
        u8::from(!refused)
    });
    assert_eq!(status, EXITED_WITH_0);
    mapping.check_process().unwrap();
}

#[test]
fn a_forked_child_has_nothing_at_the_addresses() {
    let mapping = Mapping::memfd(PAGE).unwrap();
    let base = mapping.base().as_ptr();
    // SAFETY: in the child this is SIGSEGV, which is what is asked.
    let status = fork(|| unsafe { base.read_volatile() });
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:#x}");
}

#[test]
fn the_lock_is_the_parents_whatever_its_child_does() {
    let folder = crate::folder::folder();
    let path = folder.path().join("file");
    // SAFETY: a file of this test's own folder.
    let open = || unsafe { Mapping::open(&path, PAGE) };
    let mut mapping = Some(open().unwrap());
    let status = fork(|| {
        drop(mapping.take());
        0
    });
    assert_eq!(status, EXITED_WITH_0);
    assert!(matches!(open(), Err(Error::Locked { .. })), "the child's drop does not unlock");

    // A child that holds a copy of the descriptor, and waits until its parent has opened the file again.
    let (reader, writer) = pipe(0);
    // SAFETY: the child only reads and ends.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let mut byte = [0u8];
            libc::close(writer.as_raw_fd());
            libc::read(reader.as_raw_fd(), byte.as_mut_ptr().cast(), 1);
            libc::_exit(0);
        }
        drop(mapping.take());
        let again = open();
        drop(writer);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        again.unwrap();
    }
}

fn pipe(flags: i32) -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, each then owned by one file.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | flags), 0);
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    }
}

/// Notes its end in a pipe.
struct Noted {
    file: Arc<File>,
    pipe: File,
}

// SAFETY: a new memfd, known to this value alone, and never shortened.
unsafe impl pmem_map::Backing for Noted {
    fn extents(&self) -> Vec<Extent> {
        vec![Extent { file: self.file.clone(), offset: 0, len: PAGE }]
    }
    fn granularity(&self) -> Granularity {
        Granularity::CacheLine
    }
    fn durability(&self) -> Durability {
        Durability::Process
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        // SAFETY: one byte from a string, to a descriptor that is ours.
        unsafe { libc::write(self.pipe.as_raw_fd(), c"x".as_ptr().cast(), 1) };
    }
}

#[test]
fn a_child_that_drops_its_parents_mapping_neither_unmaps_nor_ends_the_lease() {
    let (mut reader, pipe) = pipe(libc::O_NONBLOCK);
    // SAFETY: a new descriptor, owned by one file.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"noted".as_ptr(), libc::MFD_CLOEXEC)) };
    file.set_len(PAGE).unwrap();
    let mapping = Mapping::from_backing(Noted { file: Arc::new(file), pipe }).unwrap();
    let base = mapping.base().as_ptr();
    let mut mapping = Some(mapping);
    let status = fork(|| {
        // Something of the child's own at the mapping's place.
        // SAFETY: the child has nothing there.
        unsafe {
            let (access, flags) =
                (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE);
            if libc::mmap(base.cast(), PAGE as usize, access, flags, -1, 0) != base.cast() {
                return 1;
            }
            drop(mapping.take());
            base.read_volatile() // 0, and no signal
        }
    });
    assert_eq!(status, EXITED_WITH_0);
    // One read each: the end of the file may be long in coming, for children of other tests have copies of it.
    let mut note = [0u8; 2];
    let nothing_yet = reader.read(&mut note).unwrap_err();
    assert_eq!(nothing_yet.kind(), std::io::ErrorKind::WouldBlock, "the lease is the parent's");
    drop(mapping);
    assert_eq!((reader.read(&mut note).unwrap(), note[0]), (1, b'x'));
}
