//! Inodes that are damaged: what of them can be read is written to a log anew.
//!
//! Every entry between a log's start and its tail was once committed, and is sealed for its place: those before and behind a damaged one count. Where
//! the tail is not known, entries count up to the first that cannot be next: what lies behind a tail means nothing.
//!
//! A log without some of its entries may map blocks that were given up since. Such a file keeps the blocks that nobody else owns.

use super::{
    owners::Owners,
    report::Problems,
    survey::{Survey, extents},
};
use crate::{
    Error, Kind, Result,
    alloc::Run,
    attributes::target_key,
    format::{BLOCK, Identity, LINE, MAX_SIZE, PAGE_MAGIC, PageHeader, ROOT, Status, flag, kind},
    inode::{Body, Index, Inode, State},
    log::{self, Entry, Found},
    media::Media,
    namespace,
    volume::{Freed, Volume, data_blocks},
};
use bytemuck::Zeroable;
use std::collections::BTreeSet;

/// What of a damaged inode goes on.
struct Saved {
    at: u64,
    identity: Identity,
    status: Status,
    index: Index,
    /// Every entry was read: what it maps, it has.
    is_exact: bool,
    why: String,
}

/// Mends every inode that is damaged for itself. `volume` has no inodes in DRAM; its free blocks are those that nobody owns afterwards.
pub(crate) fn mend(
    volume: &Volume,
    survey: &Survey,
    repairs: &mut Vec<String>,
    lost: &mut Problems,
) -> Result<()> {
    let media = &volume.media;
    let mut owners = Owners::new(data_blocks(&volume.superblock));
    for segment in survey.segments.iter().flatten() {
        let _ = owners.take(Run { start: segment.at / BLOCK, blocks: segment.blocks }, false);
    }
    for snapshot in &survey.snapshots {
        for run in snapshot.own(media) {
            let _ = owners.take(run, false);
        }
    }
    let (mut saved, mut ended) = (Vec::new(), Vec::new());
    // What is whole comes first: nobody can take anything from it.
    let whole = |node: &super::survey::Node| {
        !node.is_damaged && node.index.attributes.are_whole() && is_type(&node.identity)
    };
    for node in survey.nodes.values().filter(|node| whole(node)) {
        claim_pages(&mut owners, &node.index);
    }
    for node in survey.nodes.values().filter(|node| whole(node)) {
        claim_data(&mut owners, &node.index);
    }
    for (ino, node) in survey.nodes.iter().filter(|(_, node)| !whole(node)) {
        let mut identity = node.identity;
        if !is_type(&identity) {
            identity.mode = identity.mode & 0o7777 | libc::S_IFREG;
        }
        let (index, gaps) = salvage(media, &identity, Some(node.status.tail));
        let why = format!("{gaps} lines of its log could not be read");
        if gaps > 0 {
            lost.add("log", identity.log, *ino, why.clone());
        }
        saved.push(Saved { at: node.at, identity, status: node.status, index, is_exact: gaps == 0, why });
    }
    for ino in &survey.damaged {
        let at = place(survey, *ino);
        let identity = media.read::<Identity>(at).ok();
        match identity.filter(|identity| identity.ino == *ino && identity.mode != 0) {
            Some(identity) if is_type(&identity) => {
                let (index, _) = salvage(media, &identity, None);
                let now = identity.created;
                let status = Status {
                    links: 1,
                    accessed: now,
                    modified: now,
                    changed: now,
                    size: u64::MAX,
                    ..Status::zeroed()
                };
                let why = "its size and its times are not known".to_string();
                lost.add("inode state", at + LINE, *ino, why.clone());
                saved.push(Saved { at, identity, status, index, is_exact: false, why });
            }
            other => {
                if other.is_some() || media.read::<Identity>(at).is_err() {
                    lost.add("inode", at, *ino, "it is not known what it was");
                }
                ended.push((*ino, at));
            }
        }
    }
    // The pages of damaged logs stay as they are until the end: a repair that is interrupted reads them again.
    for one in &saved {
        claim_pages(&mut owners, &one.index);
    }
    for one in &mut saved {
        let whole =
            one.is_exact && extents(&one.index).iter().all(|(_, mapped)| owners.can_share(mapped.run()));
        if whole {
            claim_data(&mut owners, &one.index);
        } else {
            keep_own_blocks(&mut owners, one, lost);
        }
    }
    // A link without a target is none.
    saved.retain(|one| {
        let target = match &one.index.body {
            Body::File(extents) => {
                extents.at(0).is_some() || one.index.attributes.get(&target_key()).is_some()
            }
            _ => false,
        };
        let is_link = Kind::of_mode(one.identity.mode) == Kind::Symlink;
        if is_link && !target {
            lost.add("inode", one.at, one.identity.ino, "it is not known where the link leads");
            ended.push((one.identity.ino, one.at));
        }
        !is_link || target
    });
    // What else snapshots have.
    for block in survey.held.iter().flat_map(|held| held.run.range()) {
        let _ = owners.take(Run { start: block, blocks: 1 }, false);
    }
    owners.free().into_iter().for_each(|run| volume.allocator.free(run));
    volume.shares.set(owners.shared());
    for one in saved {
        let ino = one.identity.ino;
        repairs.push(format!("inode {ino}: its log is written anew ({})", one.why));
        write(volume, one)?;
    }
    for (ino, at) in ended {
        end(volume, ino, at)?;
        repairs.push(format!("inode {ino}: the number is free"));
    }
    for (ino, node) in survey.nodes.iter().filter(|(_, node)| whole(node)) {
        if lines(volume, node)? {
            repairs.push(format!("inode {ino}: its lines agree with its log"));
        }
    }
    if !survey.nodes.contains_key(&ROOT) && !survey.damaged.contains(&ROOT) {
        let at = place(survey, ROOT);
        if at == 0 {
            return Error::damaged("inode table segment", 0, "the root's is not found");
        }
        end(volume, ROOT, at)?;
        repairs.push("a root directory, which is empty".into());
    }
    Ok(())
}

fn is_type(identity: &Identity) -> bool {
    Kind::of_mode(identity.mode).mode_bits() == identity.mode & libc::S_IFMT
}

/// Where an inode of the survey has its lines.
fn place(survey: &Survey, ino: u64) -> u64 {
    let stripes = survey.segments.len() as u64;
    let (stripe, slot) = ((ino - 1) % stripes, (ino - 1) / stripes);
    let segments = &survey.segments[stripe as usize];
    let of = segments
        .iter()
        .find(|segment| (segment.first_slot..segment.first_slot + segment.slots).contains(&slot));
    of.map_or(0, |segment| segment.place(slot - segment.first_slot))
}

/// Reads what there is of a log, and how many of its lines could not be read.
fn salvage(media: &Media, identity: &Identity, tail: Option<u64>) -> (Index, u64) {
    let mut index = Index::empty(identity);
    let (mut at, mut gaps, mut seen) = (identity.log, 0, BTreeSet::new());
    let mut page = [0u8; BLOCK as usize];
    'pages: while at != 0 && at % BLOCK == 0 && seen.insert(at) {
        let good = media
            .copy_page_out(at, &mut page, "log page")
            .and_then(|()| media.right_in(at, &mut page, 0, Some(LINE as usize), "log page"));
        let header: PageHeader = bytemuck::pod_read_unaligned(&page[..LINE as usize]);
        if good.is_err() || header.magic != PAGE_MAGIC || header.ino != identity.ino {
            gaps += log::LINES;
            break;
        }
        let _ = index.take(Found::Page { run: media.run_of(at), birth: header.birth });
        let number = index.pages.len() as u32 - 1;
        let mut here = LINE;
        while here < BLOCK {
            if Some(at + here) == tail {
                break 'pages;
            }
            let found = media.right_in(at, &mut page, here, None, "log entry");
            let (sealed, end) = (found.is_ok(), found.unwrap_or(here));
            let bytes = &page[here as usize..end as usize];
            if sealed && bytes[4] == kind::NEXT_PAGE {
                break;
            }
            let entry = if sealed { log::decode(media, at + here, bytes).ok() } else { None };
            let taken = entry.is_some_and(|entry| take(&mut index, at + here, number, entry, tail.is_none()));
            if !taken && tail.is_none() {
                break 'pages;
            }
            gaps += u64::from(!taken);
            here = if sealed { end } else { here + LINE };
        }
        at = header.next;
    }
    index.attributes.keep_whole();
    (index, gaps)
}

/// Takes an entry in. Whether it can be: `in_order`, as the next one of a log whose tail is not known.
fn take(index: &mut Index, at: u64, page: u32, entry: Entry<'_>, in_order: bool) -> bool {
    if let (Entry::Name { head, name }, Body::Directory(names)) = (&entry, &mut index.body) {
        if in_order && head.cookie < names.next_cookie() {
            return false;
        }
        // A cookie that another name has is given anew.
        if head.removed == 0 && names.get(name).is_none() && names.has_cookie(head.cookie) {
            let cookie = names.next_cookie();
            let entered = names.insert(name, head.ino, cookie, head.file_type, at, page);
            index.pages.add(page, u64::from(entered));
            return entered;
        }
    }
    index.take(Found::Entry { at, page, entry }).is_ok()
}

/// Lets a damaged file have those of its blocks that nobody else owns.
fn keep_own_blocks(owners: &mut Owners, saved: &mut Saved, lost: &mut Problems) {
    let ino = saved.identity.ino;
    let mut mine = BTreeSet::new();
    let others: Vec<(u64, u64)> = extents(&saved.index)
        .into_iter()
        .flat_map(|(file_block, mapped)| (0..mapped.count).map(move |i| (file_block + i, mapped.block + i)))
        .filter(|(_, block)| {
            let run = Run { start: *block, blocks: 1 };
            let is_mine = mine.contains(block) || owners.take(run, false).is_ok();
            mine.extend(is_mine.then_some(*block));
            !is_mine
        })
        .collect();
    // They were taken as nobody else's; what the file has several times is shared with itself.
    owners.release(&mine);
    if let Body::File(extents) = &mut saved.index.body {
        for (file_block, block) in others {
            extents.remove(file_block..file_block + 1);
            lost.add(
                "extent",
                block.saturating_mul(BLOCK),
                ino,
                format!("file block {file_block}: another file has the block"),
            );
        }
    }
    claim_data(owners, &saved.index);
}

/// Takes a log's pages, as far as they can be taken.
fn claim_pages(owners: &mut Owners, index: &Index) {
    for run in index.pages.runs() {
        let _ = owners.take(run, false);
    }
}

/// Takes a file's blocks, as far as they can be taken.
fn claim_data(owners: &mut Owners, index: &Index) {
    for (_, mapped) in extents(index) {
        let _ = owners.take(mapped.run(), true);
    }
}

/// Writes what was saved of an inode: a new log, and the lines that go with it.
fn write(volume: &Volume, saved: Saved) -> Result<()> {
    let Saved { at, identity, status, mut index, .. } = saved;
    index.pages = log::Pages::default();
    let (identity, status) = right_lines(volume, identity, status, &index);
    let inode = Inode::new(identity.ino, at, State::new(identity, status));
    let mut state = State::new(identity, status);
    (state.body, state.attributes) = (index.body, index.attributes);
    volume.rewrite_log(&inode, &mut state)
}

/// Lines as they have to be with this log.
fn right_lines(
    volume: &Volume,
    mut identity: Identity,
    mut status: Status,
    index: &Index,
) -> (Identity, Status) {
    let kind = Kind::of_mode(identity.mode);
    let has_attributes = index.attributes.keys().next().is_some();
    identity.mode &= libc::S_IFMT | 0o7777;
    let mapped = if identity.is_file() && volume.protection.is_some() { flag::MAPPED } else { 0 };
    identity.flags &= flag::SETTABLE | mapped;
    identity.flags |= if has_attributes { flag::HAS_ATTRIBUTES } else { 0 };
    identity.generation = identity.generation.max(1);
    identity.parent = match kind {
        Kind::Directory if identity.parent == 0 => ROOT,
        Kind::Directory => identity.parent,
        _ => 0,
    };
    if !matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        identity.device = 0;
    }
    match &index.body {
        Body::File(extents) => {
            status.blocks = extents.blocks();
            if let Some(target) = index.attributes.get(&target_key()).filter(|_| kind == Kind::Symlink) {
                status.size = target.len() as u64;
            } else if kind == Kind::Symlink {
                let mut target = [0; 4095];
                if let Some(mapped) = extents.at(0) {
                    let _ = volume.media.copy_out(mapped.block * BLOCK, &mut target, "extent");
                }
                let len = target.iter().position(|byte| *byte == 0).unwrap_or(target.len()) as u64;
                if !(1..=4095).contains(&status.size) {
                    status.size = len;
                }
            } else if status.size > MAX_SIZE {
                status.size = extents.end().saturating_mul(BLOCK).min(MAX_SIZE);
            }
        }
        Body::Directory(names) => (status.size, status.blocks) = (names.len() as u64, 0),
        _ => (status.size, status.blocks) = (0, 0),
    }
    (identity, status)
}

/// Makes the lines of an inode agree with its log. Whether they did not.
fn lines(volume: &Volume, node: &super::survey::Node) -> Result<bool> {
    let (mut identity, mut status) = right_lines(volume, node.identity, node.status, &node.index);
    if (identity, status) == (node.identity, node.status) {
        return Ok(false);
    }
    let mut batch = volume.batch();
    volume.put(&mut batch, node.at, Some(&mut identity), &mut status);
    volume.commit(&batch, Freed::default())?;
    Ok(true)
}

/// Frees an inode number of which nothing can be kept. The root is a new one.
fn end(volume: &Volume, ino: u64, at: u64) -> Result<()> {
    let media = &volume.media;
    let old: Identity = bytemuck::pod_read_unaligned(&media.slot(at)?[..LINE as usize]);
    let (mut identity, mut status) = (
        Identity { generation: old.generation.wrapping_add(1).max(1), ino, ..Identity::zeroed() },
        Status::zeroed(),
    );
    if ino == ROOT {
        (identity, status) = namespace::root(volume.now());
    }
    let mut batch = volume.batch();
    volume.put(&mut batch, at, Some(&mut identity), &mut status);
    volume.commit(&batch, Freed::default()).map(drop)
}
