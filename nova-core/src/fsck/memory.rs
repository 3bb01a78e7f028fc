//! What a mounted volume has in DRAM, against what is on media.

use super::{anatomy::merged, survey::Survey};
use crate::{
    alloc::Run,
    format::{LINE, STATE, VolumeState},
    inode::{Body, Inode, State},
    quota::{Quota, Usage},
    table,
    volume::Volume,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::SeqCst},
};

/// How often what is free, and what is charged, is looked at again if it is not right.
const TRIES: u32 = 8;

/// Compares everything; how many inodes were held by operations, and are not compared.
/// `set_aside` are blocks that are in use in DRAM, and perhaps not yet on media.
pub(crate) fn check(volume: &Volume, survey: &mut Survey, set_aside: &[Run]) -> u64 {
    let mut busy = BTreeSet::new();
    let mut open = BTreeSet::new();
    let mut cached = volume.cached();
    cached.sort_by_key(|inode| inode.ino);
    for inode in &cached {
        match inode.state.try_read() {
            Some(state) => check_inode(survey, inode, &state),
            None => drop(busy.insert(inode.ino)),
        }
        if inode.handles.load(SeqCst) > 0 {
            open.insert(inode.ino);
        }
    }
    if !volume.read_only {
        check_orphans(survey, &cached, &open, &busy);
        let state = volume.media.reporting().read::<VolumeState>(STATE);
        if state.is_ok_and(|state| state != *volume.state.lock()) {
            survey.problems.add("state line", STATE, 0, "DRAM has another one");
        }
    }
    check_segments(volume, survey);
    let before = survey.problems.0.len();
    for _ in 0..TRIES {
        if !busy.is_empty() {
            break;
        }
        survey.problems.0.truncate(before);
        check_space(volume, survey, set_aside);
        check_quotas(volume, survey);
        if survey.problems.0.len() == before {
            break;
        }
        // Who came meanwhile has taken blocks, perhaps, and cannot commit; or could not have what they wanted, and gives back what they took.
        let came = volume.cached().into_iter().filter(|inode| inode.state.try_read().is_none());
        busy.extend(came.map(|inode| inode.ino));
        if !busy.is_empty() {
            survey.problems.0.truncate(before);
        }
        std::thread::yield_now();
    }
    busy.len() as u64
}

/// Files without links are there only while somebody has them open.
fn check_orphans(survey: &mut Survey, cached: &[Arc<Inode>], open: &BTreeSet<u64>, busy: &BTreeSet<u64>) {
    let Survey { nodes, problems, .. } = survey;
    for (ino, node) in nodes.iter().filter(|(_, node)| node.status.links == 0) {
        if !open.contains(ino) && !busy.contains(ino) {
            problems.add("inode state", node.at + LINE, *ino, "it has no links, and nobody has it open");
        }
    }
    for ino in open {
        let gone = cached
            .iter()
            .any(|inode| inode.ino == *ino && inode.state.try_read().is_some_and(|state| state.gone));
        if !nodes.contains_key(ino) && !gone {
            problems.add("inode", 0, *ino, "somebody has it open, and it is free");
        }
    }
}

fn check_inode(survey: &mut Survey, inode: &Inode, state: &State) {
    let Survey { nodes, problems, .. } = survey;
    if state.gone {
        return;
    }
    let mut differs = |at: u64, what: &str| {
        problems.add("inode", at, inode.ino, format!("DRAM and media differ: {what}"));
    };
    let Some(node) = nodes.get(&inode.ino) else {
        return differs(inode.at, "it is in DRAM alone");
    };
    if node.at != inode.at {
        differs(node.at, "where its lines are");
    }
    if node.identity != state.identity {
        differs(node.at, "its identity");
    }
    if node.status != state.status {
        differs(node.at + LINE, "its state");
    }
    if inode.parent.load(SeqCst) != node.identity.parent {
        differs(node.at, "its parent");
    }
    if !state.is_read() || node.is_damaged {
        return;
    }
    let log = node.identity.log;
    if state.pages.all() != node.index.pages.all() {
        differs(log, "the pages of its log, or how much of each counts");
    }
    if !same_body(&state.body, &node.index.body) {
        differs(log, "its blocks or its names");
    }
    if !state.attributes.same(&node.index.attributes) {
        differs(log, "its attributes");
    }
}

fn same_body(one: &Body, other: &Body) -> bool {
    match (one, other) {
        (Body::File(one), Body::File(other)) => merged(one) == merged(other),
        (Body::Directory(one), Body::Directory(other)) => {
            // Pages have other numbers after the oldest ones went.
            let key = |(name, dentry): (&[u8], crate::names::Dentry)| {
                (name.to_vec(), dentry.ino, dentry.cookie, dentry.file_type, dentry.at)
            };
            one.len() == other.len()
                && one.next_cookie() >= other.next_cookie()
                && one.iter().map(key).eq(other.iter().map(key))
        }
        (Body::Other, Body::Other) => true,
        _ => false,
    }
}

fn check_segments(volume: &Volume, survey: &mut Survey) {
    for stripe in 0..volume.table.stripes() {
        // Who holds it adds a segment, and waits for this check to end.
        let Some((mine, _)) = volume.table.try_stripe(stripe) else { continue };
        let same = mine
            .iter()
            .map(|segment| segment.at)
            .eq(survey.segments[stripe as usize].iter().map(|segment| segment.at));
        if !same {
            let at = table::stripe_line(stripe);
            survey.problems.add("stripe line", at, 0, "DRAM has other segments of its inode table");
        }
    }
}

fn check_space(volume: &Volume, survey: &mut Survey, set_aside: &[Run]) {
    let Survey { free_slots, problems, owners, segments, .. } = survey;
    for (stripe, slots) in free_slots.iter().enumerate() {
        let Some((_, mut free)) = volume.table.try_stripe(stripe as u64) else { continue };
        free.sort_unstable();
        if free != *slots {
            let (found, right) =
                (BTreeSet::from_iter(free.iter().copied()), BTreeSet::from_iter(slots.iter().copied()));
            let slot = found.symmetric_difference(&right).next().copied();
            let why = match slot {
                Some(slot) if right.contains(&slot) => format!("slot {slot} is free on media alone"),
                Some(slot) => format!("slot {slot} is free in DRAM alone"),
                None => "a slot is free twice".into(),
            };
            let at = segments[stripe].first().map_or(table::stripe_line(stripe as u64), |segment| segment.at);
            problems.add("inode table segment", at, 0, why);
        }
    }
    let mut free = owners.free();
    if !set_aside.is_empty() {
        for run in set_aside {
            owners.release(&run.range().collect());
            let _ = owners.take(*run, false);
        }
        free = owners.free();
    }
    for (what, run) in differences(&volume.allocator.runs(), &free) {
        problems.add(
            "free blocks",
            run.start * crate::format::BLOCK,
            0,
            format!("{} blocks {what}", run.blocks),
        );
    }
    let (found, right) = (BTreeMap::from_iter(volume.shares.all()), BTreeMap::from_iter(owners.shared()));
    let blocks: BTreeSet<u64> = found.keys().chain(right.keys()).copied().collect();
    for block in blocks {
        let (found, right) = (found.get(&block), right.get(&block));
        if found != right {
            let count = |owners: Option<&u32>| owners.map_or(1, |more| u64::from(*more) + 1);
            let why = format!("it is counted as shared by {}, and {} own it", count(found), count(right));
            problems.add("share count", block * crate::format::BLOCK, 0, why);
        }
    }
}

/// Where two lists of runs differ.
fn differences(dram: &[Run], media: &[Run]) -> Vec<(&'static str, Run)> {
    let blocks = |runs: &[Run]| -> BTreeSet<u64> { runs.iter().flat_map(|run| run.range()).collect() };
    if dram == media {
        return Vec::new();
    }
    let (dram, media) = (blocks(dram), blocks(media));
    let mut found: Vec<(&'static str, Run)> = Vec::new();
    let lost = media.difference(&dram).map(|block| ("are nobody's, and not free", *block));
    let owned = dram.difference(&media).map(|block| ("are free, and somebody's", *block));
    for (what, block) in lost.chain(owned) {
        match found.last_mut() {
            Some((last, run)) if *last == what && run.start + run.blocks == block => run.blocks += 1,
            _ => found.push((what, Run { start: block, blocks: 1 })),
        }
    }
    found
}

fn check_quotas(volume: &Volume, survey: &mut Survey) {
    let mut right: BTreeMap<Quota, (u64, u64)> = BTreeMap::new();
    for node in survey.nodes.values() {
        for who in [Quota::User(node.identity.uid), Quota::Group(node.identity.gid)] {
            let (blocks, inodes) = right.entry(who).or_default();
            *blocks = blocks.saturating_add(node.status.blocks);
            *inodes += 1;
        }
    }
    let found: BTreeMap<Quota, Usage> = volume.quotas.all().into_iter().collect();
    let all: BTreeSet<Quota> = right.keys().chain(found.keys()).copied().collect();
    for who in all {
        let (blocks, inodes) = right.get(&who).copied().unwrap_or_default();
        let usage = found.get(&who).copied().unwrap_or_default();
        if (usage.blocks, usage.inodes) != (blocks, inodes) {
            let why = format!(
                "{who:?} is charged {} blocks and {} inodes, and has {blocks} and {inodes}",
                usage.blocks, usage.inodes
            );
            survey.problems.add("quota", 0, 0, why);
        }
    }
}
