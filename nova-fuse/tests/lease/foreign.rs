//! Daemons that answer what cannot be, and filesystems that are not ours.

use crate::{Mounted, mounted};
use fuser::*;
use nova_fuse::Options;
use pmem_map::{
    Error, Filesystem as Kind, MapOptions, Medium,
    lease::{EXTENTS, LEASE, Page, Place},
};
use std::{
    ffi::OsStr,
    fs::File,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    time::{Duration, SystemTime},
};

const FILE: INodeNo = INodeNo(2);
const LEN: u64 = 16_384;
const TTL: Duration = Duration::from_secs(1);

/// A filesystem with one file, that answers the ioctl with what somebody has made up.
struct Foreign<F>(F);

fn attributes(ino: INodeNo) -> FileAttr {
    let now = SystemTime::now();
    let (kind, perm) =
        if ino == FILE { (FileType::RegularFile, 0o644) } else { (FileType::Directory, 0o755) };
    FileAttr {
        ino,
        size: LEN,
        blocks: LEN / 512,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl<F: Fn(&mut Page) -> Result<(), Errno> + Send + Sync + 'static> Filesystem for Foreign<F> {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("file") => reply.entry(&TTL, &attributes(FILE), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(1), FopenFlags::empty());
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        command: u32,
        input: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        let Some(mut page) = Page::asked(input).filter(|_| command == LEASE) else {
            return reply.error(Errno::ENOTTY);
        };
        match self.0(&mut page) {
            Ok(()) => reply.ioctl(0, bytemuck::bytes_of(&*page)),
            Err(error) => reply.error(error),
        }
    }
}

/// What comes of mapping a file whose daemon answers so.
fn mapped(answer: impl Fn(&mut Page) -> Result<(), Errno> + Send + Sync + 'static) -> Result<Medium, Error> {
    let folder = tempfile::tempdir().unwrap();
    let session = fuser::spawn_mount(Foreign(answer), folder.path(), &Config::default()).unwrap();
    // SAFETY: nobody else has the file.
    let mapping = unsafe { MapOptions::new().open(folder.path().join("file")) };
    let result = mapping.map(|mapping| mapping.medium());
    session.umount_and_join().unwrap();
    result
}

/// A right answer: the first pages of an image.
fn right(page: &mut Page, image: &File) {
    let metadata = image.metadata().unwrap();
    (page.device, page.inode) = (metadata.dev(), metadata.ino());
    (page.pid, page.descriptor) = (std::process::id(), image.as_raw_fd() as u32);
    page.answer(LEN, &[Place { offset: 0, len: 8192 }, Place { offset: 16_384, len: 8192 }]);
}

/// An image of 64 KiB; `None` where nothing can be mounted.
fn image() -> Option<(Mounted, File)> {
    let mount = mounted(&Options::new())?;
    let image = tempfile::tempfile().unwrap();
    image.set_len(1 << 16).unwrap();
    Some((mount, image))
}

#[test]
fn what_a_daemon_answers_is_not_believed() {
    let Some((_mount, image)) = image() else { return };
    let copy = image.try_clone().unwrap();
    assert!(matches!(
        mapped(move |page| {
            right(page, &copy);
            Ok(())
        }),
        Ok(Medium::Leased(_))
    ));
    type Forge = fn(&mut Page);
    let forged: [(&str, Forge); 13] = [
        ("another inode", |page| page.inode += 1),
        ("another device", |page| page.device += 1),
        ("another descriptor", |page| page.descriptor = 0),
        ("no such descriptor", |page| page.descriptor = 1 << 20),
        ("another process", |page| page.pid = 1),
        ("no such process", |page| page.pid = u32::MAX),
        ("an extent behind the image", |page| page.places[1].offset = 1 << 16),
        ("an extent at the end of all numbers", |page| page.places[1].offset = u64::MAX - 4095),
        ("half a page", |page| page.places[1].offset = 100),
        ("bytes twice", |page| page.places[1].offset = 4096),
        ("an empty extent", |page| page.places[1].len = 0),
        ("more extents than there are", |page| page.extents = 5),
        ("more extents than there is room for", |page| page.count = EXTENTS as u32 + 1),
    ];
    for (what, forge) in forged {
        let copy = image.try_clone().unwrap();
        let result = mapped(move |page| {
            let first = page.first;
            right(page, &copy);
            if first > 0 {
                page.count = 0;
            }
            forge(page);
            Ok(())
        });
        assert!(result.is_err(), "{what}: {result:?}");
    }
    // Fewer bytes than the file is said to have.
    let copy = image.try_clone().unwrap();
    let result = mapped(move |page| {
        right(page, &copy);
        page.len = 1 << 40;
        Ok(())
    });
    assert!(matches!(result, Err(Error::BadLength { .. })), "{result:?}");
}

#[test]
fn the_image_of_the_first_answer_is_that_of_all() {
    let Some((_mount, image)) = image() else { return };
    let other = tempfile::tempfile().unwrap();
    other.set_len(1 << 16).unwrap();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let result = mapped(move |page| {
        let is_first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        right(page, if is_first { &image } else { &other });
        Ok(())
    });
    assert!(matches!(result, Err(Error::BadLease { .. })), "{result:?}");
}

#[test]
fn filesystems_without_leases_are_mapped_through_the_kernels_pages() {
    let Some((_mount, _image)) = image() else { return };
    for refusal in
        [Errno::ENOTTY, Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::EINVAL, Errno::EPERM, Errno::EBUSY]
    {
        assert_eq!(mapped(move |_| Err(refusal)).unwrap(), Medium::File(Kind::Fuse));
    }
    // Another filesystem may have an ioctl of this number.
    assert_eq!(mapped(|_| Ok(())).unwrap(), Medium::File(Kind::Fuse));
    assert_eq!(
        mapped(|page| {
            page.magic = 5;
            Ok(())
        })
        .unwrap(),
        Medium::File(Kind::Fuse)
    );
    for failure in [Errno::EIO, Errno::ENOSPC, Errno::ETXTBSY] {
        assert!(matches!(mapped(move |_| Err(failure)), Err(Error::Io { .. })));
    }
}
