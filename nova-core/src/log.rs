//! An inode's log: reading it, adding to it, rewriting it.

use crate::{
    Code, Error, Result,
    alloc::{Purpose, Run},
    commit::Batch,
    format::{
        AttributeHead, BLOCK, BlockBefore, Extent, InodeBefore, LINE, NameHead, PAGE_MAGIC, PageHeader, SLOT,
        kind,
    },
    media::Media,
    rules::Rule,
    volume::{Freed, Volume},
};
use bytemuck::Zeroable;
use std::collections::VecDeque;

/// Pages of a log, oldest first, each with how much of it still counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    pages: VecDeque<Page>,
    /// Number of the first one: they keep their numbers when older ones go.
    first: u32,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    at: u64,
    /// Blocks that it takes, with its copy.
    blocks: u64,
    /// The epoch in which the page was added.
    birth: u64,
    /// Blocks mapped by its extents, names, and parts of attributes.
    live: u64,
    /// It has holes or shifts, which order what is before them.
    orders: bool,
}

impl Pages {
    pub(crate) fn push(&mut self, run: Run, birth: u64) {
        let (at, blocks) = (run.start * BLOCK, run.blocks);
        self.pages.push_back(Page { at, blocks, birth, live: 0, orders: false });
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    fn page(&mut self, number: u32) -> &mut Page {
        &mut self.pages[(number - self.first) as usize]
    }

    pub(crate) fn add(&mut self, page: u32, live: u64) {
        self.page(page).live += live;
    }

    pub(crate) fn remove(&mut self, page: u32, live: u64) {
        self.page(page).live -= live;
    }

    pub(crate) fn orders(&mut self, page: u32) {
        self.page(page).orders = true;
    }

    /// All of them, each as the blocks that it takes.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.born().into_iter().map(|(run, _)| run).collect()
    }

    /// The same, each with the epoch in which it was added.
    pub(crate) fn born(&self) -> Vec<(Run, u64)> {
        self.pages.iter().map(|page| (page.run(), page.birth)).collect()
    }

    /// Where each page is, how much of it counts, and whether it orders others.
    pub(crate) fn all(&self) -> Vec<(u64, u64, bool)> {
        self.pages.iter().map(|page| (page.at, page.live, page.orders)).collect()
    }

    /// Oldest pages of which nothing counts any more; never the last page.
    fn dead(&self) -> usize {
        let all = self.pages.len().saturating_sub(1);
        self.pages.iter().take(all).take_while(|page| page.live == 0).count()
    }
}

impl Page {
    fn run(&self) -> Run {
        Run { start: self.at / BLOCK, blocks: self.blocks }
    }
}

/// What a log entry says.
pub(crate) enum Entry<'a> {
    Extent(Extent),
    Hole {
        file_block: u64,
        blocks: u64,
    },
    Shift {
        file_block: u64,
        by: i64,
    },
    Name {
        head: NameHead,
        name: &'a [u8],
    },
    Attribute {
        head: AttributeHead,
        name: &'a [u8],
        value: &'a [u8],
    },
    /// Of a snapshot's log: an inode's two lines, as they were; none, if the slot was free.
    InodeBefore {
        head: InodeBefore,
        lines: Option<&'a [u8]>,
    },
    BlockBefore(BlockBefore),
}

/// What a scan meets.
pub(crate) enum Found<'a> {
    /// The next page, and the epoch in which it was added.
    Page { run: Run, birth: u64 },
    /// An entry: where, on which page (counted from 0).
    Entry { at: u64, page: u32, entry: Entry<'a> },
}

/// Reads a log from its first page to its tail.
pub(crate) fn scan(
    media: &Media,
    ino: u64,
    first: u64,
    tail: u64,
    mut visit: impl FnMut(Found<'_>) -> Result<()>,
) -> Result<()> {
    if first == 0 {
        return if tail == 0 { Ok(()) } else { Error::damaged("inode", tail, "a tail without a log") };
    }
    let most = media.len() / BLOCK;
    let (mut at, mut number) = (first, 0u32);
    let mut page = [0u8; BLOCK as usize];
    loop {
        if at % BLOCK != 0 || !media.has_blocks(at / BLOCK, 1) || u64::from(number) > most {
            return Error::damaged("log page", at, "a reference that cannot be, or pages in a circle");
        }
        // Of the last page, only what is before the tail means anything: of a small file's log, a line or two.
        let used = match tail.wrapping_sub(at) {
            used @ LINE..=BLOCK => used,
            _ => BLOCK,
        };
        media.copy_page_out(at, &mut page[..used as usize], "log page")?;
        media.right_in(at, &mut page, 0, Some(LINE as usize), "log page")?;
        let header: PageHeader = bytemuck::pod_read_unaligned(&page[..LINE as usize]);
        if header.magic != PAGE_MAGIC || header.ino != ino {
            return Error::damaged("log page", at, "it is another inode's, or no log page");
        }
        visit(Found::Page { run: media.run_of(at), birth: header.birth })?;
        let mut here = LINE;
        while at + here != tail && here < BLOCK {
            let end = media.right_in(at, &mut page, here, None, "log entry")?;
            let bytes = &page[here as usize..end as usize];
            if bytes[4] == kind::NEXT_PAGE {
                here = BLOCK;
                if at + here == tail {
                    return Error::damaged("log entry", at, "the tail is behind a page that was left");
                }
                break;
            }
            let entry = decode(media, at + here, bytes)?;
            visit(Found::Entry { at: at + here, page: number, entry })?;
            here = end;
        }
        if at + here == tail {
            return Ok(());
        }
        if header.next == 0 {
            return Error::damaged("log page", at, "the log ends before its tail");
        }
        (at, number) = (header.next, number + 1);
    }
}

pub(crate) fn decode<'a>(media: &Media, at: u64, bytes: &'a [u8]) -> Result<Entry<'a>> {
    let bad = |why| Error::damaged("log entry", at, why);
    match bytes[4] {
        kind::EXTENT | kind::HOLE | kind::SHIFT if bytes.len() as u64 != LINE => bad("its length is wrong"),
        kind::EXTENT => {
            let extent: Extent = bytemuck::pod_read_unaligned(bytes);
            let count = u64::from(extent.count);
            if count == 0 || !media.has_blocks(extent.block, count) {
                return bad("its blocks are not in the volume");
            }
            if extent.file_block >= 1 << 52 {
                return bad("it is beyond the largest file");
            }
            Ok(Entry::Extent(extent))
        }
        kind::HOLE => {
            let hole: Extent = bytemuck::pod_read_unaligned(bytes);
            Ok(Entry::Hole { file_block: hole.file_block, blocks: hole.block })
        }
        kind::SHIFT => {
            let shift: Extent = bytemuck::pod_read_unaligned(bytes);
            if shift.file_block >= 1 << 52 {
                return bad("it is beyond the largest file");
            }
            Ok(Entry::Shift { file_block: shift.file_block, by: shift.block.cast_signed() })
        }
        kind::NAME => {
            let head: NameHead = bytemuck::pod_read_unaligned(&bytes[..size_of::<NameHead>()]);
            let end = size_of::<NameHead>() + usize::from(head.name_len);
            let name = bytes.get(size_of::<NameHead>()..end);
            match name {
                Some(_) if bytes.len() != end.next_multiple_of(LINE as usize) => bad("its length is wrong"),
                Some(_) if head.cookie > LAST_COOKIE => bad("no cookie is that large"),
                Some(name) if is_name(name) => Ok(Entry::Name { head, name }),
                _ => bad("no name can be like this"),
            }
        }
        kind::ATTRIBUTE => {
            const HEAD: usize = size_of::<AttributeHead>();
            let head: AttributeHead = bytemuck::pod_read_unaligned(&bytes[..HEAD]);
            let name_end = HEAD + usize::from(head.name_len);
            let value_end = name_end + head.here as usize;
            match (bytes.get(HEAD..name_end), bytes.get(name_end..value_end)) {
                _ if bytes.len() != value_end.next_multiple_of(LINE as usize) => bad("its length is wrong"),
                (Some(name), Some(value)) => Ok(Entry::Attribute { head, name, value }),
                _ => bad("name and value do not fit"),
            }
        }
        kind::INODE_BEFORE => {
            const HEAD: usize = size_of::<InodeBefore>();
            let head: InodeBefore = bytemuck::pod_read_unaligned(&bytes[..HEAD]);
            match bytes.len() - HEAD {
                0 => Ok(Entry::InodeBefore { head, lines: None }),
                rest if rest as u64 == SLOT => Ok(Entry::InodeBefore { head, lines: Some(&bytes[HEAD..]) }),
                _ => bad("its length is wrong"),
            }
        }
        kind::BLOCK_BEFORE if bytes.len() as u64 == LINE => {
            let before: BlockBefore = bytemuck::pod_read_unaligned(bytes);
            if media.has_blocks(before.block, 1) && media.has_blocks(before.copy, 1) {
                Ok(Entry::BlockBefore(before))
            } else {
                bad("its blocks are not in the volume")
            }
        }
        _ => bad("there is no such kind"),
    }
}

/// The first line of the entry at `at`, after `change` of it, with the right checksum: what else the entry has stays as it is.
pub(crate) fn changed(media: &Media, at: u64, change: impl FnOnce(&mut [u8])) -> Result<[u8; LINE as usize]> {
    if media.replicas.is_none() {
        // Most have one line, and nothing has to be decided between it and a copy.
        let mut line = [0; LINE as usize];
        media.copy_out(at, &mut line, "log entry")?;
        if line[5] == 1 {
            media.check(at, &line, "log entry")?;
            change(&mut line);
            media.seal(at, &mut line);
            return Ok(line);
        }
    }
    let mut bytes = media.entry(at, "log entry")?;
    change(&mut bytes);
    media.seal(at, &mut bytes);
    Ok(*bytes.first_chunk().expect("an entry has a line"))
}

/// The same: a name, or a part of an attribute, that is removed in this epoch.
pub(crate) fn removed(media: &Media, at: u64, epoch: u64) -> Result<[u8; LINE as usize]> {
    const REMOVED: std::ops::Range<usize> = 32..40;
    changed(media, at, |bytes| bytes[REMOVED].copy_from_slice(&(1 + epoch).to_le_bytes()))
}

/// As many names as a directory will never have had.
const LAST_COOKIE: u64 = 1 << 62;

/// Whether a directory can have this name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= crate::format::MAX_NAME
        && name != b"."
        && name != b".."
        && name.iter().all(|byte| !matches!(byte, b'/' | 0))
}

/// An entry of one line.
pub(crate) type OneLine = Extent;

/// An extent's entry; `birth` is the epoch in which the blocks were allocated.
pub(crate) fn extent(file_block: u64, run: Run, unwritten: bool, birth: u64) -> impl Iterator<Item = Extent> {
    // The count on media has 32 bits.
    const MOST: u64 = 1 << 31;
    let parts = run.blocks.div_ceil(MOST);
    (0..parts).map(move |part| Extent {
        kind: kind::EXTENT,
        lines: 1,
        flags: u16::from(unwritten),
        file_block: file_block + part * MOST,
        block: run.start + part * MOST,
        count: (run.blocks - part * MOST).min(MOST) as u32,
        epoch: birth,
        ..Extent::zeroed()
    })
}

/// A hole's entry.
pub(crate) fn hole(file_block: u64, blocks: u64, epoch: u64) -> Extent {
    Extent { kind: kind::HOLE, lines: 1, file_block, block: blocks, epoch, ..Extent::zeroed() }
}

/// A shift's entry.
pub(crate) fn shift(file_block: u64, by: i64, epoch: u64) -> Extent {
    Extent { kind: kind::SHIFT, lines: 1, file_block, block: by.cast_unsigned(), epoch, ..Extent::zeroed() }
}

/// Bytes of the longest name's entry.
const LONGEST: usize = (size_of::<NameHead>() + crate::format::MAX_NAME).next_multiple_of(LINE as usize);

/// A name's entry.
pub(crate) struct NameEntry {
    bytes: [u8; LONGEST],
    len: usize,
}

impl NameEntry {
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

/// A name's entry, not sealed. The name has at most 255 bytes.
pub(crate) fn name(name: &[u8], ino: u64, cookie: u64, file_type: u8, epoch: u64) -> NameEntry {
    let lines = (size_of::<NameHead>() + name.len()).div_ceil(LINE as usize);
    let head = NameHead {
        checksum: 0,
        kind: kind::NAME,
        lines: lines as u8,
        name_len: name.len() as u8,
        file_type,
        ino,
        cookie,
        epoch,
        removed: 0,
    };
    let mut entry = NameEntry { bytes: [0; LONGEST], len: lines * LINE as usize };
    entry.bytes[..size_of::<NameHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    entry.bytes[size_of::<NameHead>()..][..name.len()].copy_from_slice(name);
    entry
}

/// Lines of a page that entries can have.
pub(crate) const LINES: u64 = BLOCK / LINE - 1;

/// Entries on their way to a log's end. Dropped without [`done`](Append::done), it leaves everything as it was.
pub(crate) struct Append<'v> {
    volume: &'v Volume,
    ino: u64,
    near: usize,
    purpose: Purpose,
    /// The log's first page and tail, as they will be.
    pub(crate) log: u64,
    pub(crate) tail: u64,
    last_page: Option<u64>,
    last_number: u32,
    /// Oldest pages that go with this record.
    dropped: usize,
    /// New pages, and the epoch in which they are.
    added: Vec<u64>,
    birth: u64,
    committed: bool,
}

impl<'v> Append<'v> {
    pub(crate) fn new(
        volume: &'v Volume,
        ino: u64,
        log: u64,
        tail: u64,
        pages: &Pages,
        purpose: Purpose,
    ) -> Append<'v> {
        // An old page goes with a new one.
        let full = tail % BLOCK == 0 || tail % BLOCK > BLOCK - 4 * LINE;
        let dropped = if full { pages.dead() } else { 0 };
        Append {
            volume,
            ino,
            near: volume.near(),
            purpose,
            log: if dropped > 0 { pages.pages[dropped].at } else { log },
            tail,
            last_page: pages.pages.back().map(|page| page.at),
            last_number: (pages.first + pages.pages.len() as u32).wrapping_sub(1),
            dropped,
            added: Vec::new(),
            birth: volume.epoch(),
            committed: false,
        }
    }

    /// Adds an entry, which is sealed here. Where it will be, and on which page.
    pub(crate) fn entry(&mut self, batch: &mut Batch, bytes: &mut [u8]) -> Result<(u64, u32)> {
        let len = bytes.len() as u64;
        let room = match self.last_page {
            Some(page) => page + BLOCK - self.tail,
            None => 0,
        };
        if room < len {
            if room > 0 {
                let mut left =
                    Extent { kind: kind::NEXT_PAGE, lines: (room / LINE) as u8, ..Extent::zeroed() };
                // Only its first line is stored: the checksum covers no more.
                left.lines = 1;
                self.volume.media.seal(self.tail, bytemuck::bytes_of_mut(&mut left));
                batch.new_lines(self.tail, bytemuck::bytes_of(&left));
            }
            self.new_page()?;
        }
        let at = self.tail;
        self.volume.media.seal(at, bytes);
        batch.new_lines(at, bytes);
        self.tail += len;
        Ok((at, self.last_number))
    }

    fn new_page(&mut self) -> Result<()> {
        let run = self.volume.allocate_run(self.near, self.volume.media.copies(), 1, self.purpose)?;
        let at = run.start * BLOCK;
        if self.last_page.is_none() {
            self.log = at;
        }
        self.added.push(at);
        self.last_page = Some(at);
        self.last_number = self.last_number.wrapping_add(1);
        self.tail = at + LINE;
        Ok(())
    }

    /// Adds the headers of new pages to the batch. `before` are the pages that there were.
    pub(crate) fn finish(&self, batch: &mut Batch, before: &Pages) {
        let Some(first) = self.added.first() else { return };
        if let Some(page) = before.pages.back() {
            let linked = header(&self.volume.media, page.at, self.ino, *first, page.birth);
            batch.line(page.at, bytemuck::bytes_of(&linked));
        }
        for (index, at) in self.added.iter().enumerate() {
            let next = self.added.get(index + 1).copied().unwrap_or(0);
            let new = header(&self.volume.media, *at, self.ino, next, self.birth);
            batch.new_lines(*at, bytemuck::bytes_of(&new));
        }
    }

    /// Blocks that the record frees: pages of which nothing counts.
    pub(crate) fn freed(&self, before: &Pages) -> Freed {
        let pages = before.pages.iter().take(self.dropped);
        let pages = pages.map(|page| (page.run(), page.birth)).collect();
        Freed { pages, ..Freed::default() }
    }

    /// The record is committed.
    pub(crate) fn done(mut self, pages: &mut Pages) {
        self.committed = true;
        self.volume.collected.dropped(self.dropped as u64);
        pages.pages.drain(..self.dropped);
        pages.first += self.dropped as u32;
        self.added.iter().for_each(|at| pages.push(self.volume.media.run_of(*at), self.birth));
    }
}

impl Drop for Append<'_> {
    fn drop(&mut self) {
        if !self.committed {
            let volume = self.volume;
            self.added.iter().for_each(|at| volume.allocator.free(volume.media.run_of(*at)));
        }
    }
}

fn header(media: &Media, at: u64, ino: u64, next: u64, birth: u64) -> PageHeader {
    media.sealed(at, PageHeader { magic: PAGE_MAGIC, ino, next, birth, ..PageHeader::zeroed() })
}

/// A log that is written anew, beside the old one: pages that nothing refers to yet.
pub(crate) struct Rewrite<'v> {
    volume: &'v Volume,
    ino: u64,
    pages: Vec<u64>,
    buffers: Vec<Vec<u8>>,
    birth: u64,
    committed: bool,
}

impl<'v> Rewrite<'v> {
    pub(crate) fn new(volume: &'v Volume, ino: u64) -> Rewrite<'v> {
        Rewrite {
            volume,
            ino,
            pages: Vec::new(),
            buffers: Vec::new(),
            birth: volume.epoch(),
            committed: false,
        }
    }

    /// The epoch in which it is written.
    pub(crate) fn birth(&self) -> u64 {
        self.birth
    }

    /// Adds an entry. Where it will be, and on which page.
    pub(crate) fn entry(&mut self, bytes: &mut [u8]) -> Result<(u64, u32)> {
        let room = self.buffers.last().map_or(0, |page| BLOCK as usize - page.len());
        if room < bytes.len() {
            if room > 0 {
                let mut left = Extent { kind: kind::NEXT_PAGE, lines: 1, ..Extent::zeroed() };
                let at = self.end();
                self.volume.media.seal(at, bytemuck::bytes_of_mut(&mut left));
                self.buffers
                    .last_mut()
                    .expect("there is room in it")
                    .extend_from_slice(bytemuck::bytes_of(&left));
            }
            let (near, blocks) = (self.volume.near(), self.volume.media.copies());
            let run = self.volume.allocate_run(near, blocks, 1, Purpose::Freeing)?;
            self.pages.push(run.start * BLOCK);
            self.buffers.push(vec![0; LINE as usize]);
        }
        let at = self.end();
        self.volume.media.seal(at, bytes);
        self.buffers.last_mut().expect("just added").extend_from_slice(bytes);
        Ok((at, self.pages.len() as u32 - 1))
    }

    fn end(&self) -> u64 {
        self.pages.last().expect("a page") + self.buffers.last().expect("a page").len() as u64
    }

    /// Stores the pages past the caches, and drains. First page and tail. One drain.
    pub(crate) fn store(&mut self) -> Result<(u64, u64)> {
        let Some(first) = self.pages.first().copied() else { return Ok((0, 0)) };
        for index in 0..self.pages.len() {
            let at = self.pages[index];
            let next = self.pages.get(index + 1).copied().unwrap_or(0);
            let head = header(&self.volume.media, at, self.ino, next, self.birth);
            self.buffers[index][..LINE as usize].copy_from_slice(bytemuck::bytes_of(&head));
            self.volume.media.store_twice(at, &self.buffers[index]);
        }
        if self.volume.keeps(Rule::RewriteBeforeRecord) {
            self.volume.media.drain()?;
        }
        Ok((first, self.end()))
    }

    /// The record that switches is committed.
    pub(crate) fn done(mut self) -> Pages {
        self.committed = true;
        let mut pages = Pages::default();
        self.pages.iter().for_each(|at| pages.push(self.volume.media.run_of(*at), self.birth));
        pages
    }
}

impl Drop for Rewrite<'_> {
    fn drop(&mut self) {
        if !self.committed {
            let volume = self.volume;
            self.pages.iter().for_each(|at| volume.allocator.free(volume.media.run_of(*at)));
        }
    }
}

/// [`Code::NameTooLong`] or [`Code::Invalid`] unless it is a name that a file can be given.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > crate::format::MAX_NAME {
        Err(Code::NameTooLong.into())
    } else if is_name(name) {
        Ok(())
    } else {
        Err(Code::Invalid.into())
    }
}
