//! What inodes say of each other, made right: on a mounted volume, whose inodes are each whole.

use super::{report::Problems, survey::Survey, tree::Links};
use crate::{
    Code, Error, Nova, Result,
    acl::Acl,
    attributes::{INTERNAL, SYSTEM, TARGET},
    format::{MAX_LINKS, ROOT, Status},
    inode::Body,
    integrity::bad,
    log,
    names::Dentry,
    namespace::forget_name,
    permission::{ACCESS, DEFAULT},
    quota,
    snapshot::stream::memory,
    volume::{Freed, Volume},
};
use std::{collections::BTreeSet, sync::atomic::Ordering::Relaxed};

/// Where files come to that no name leads to.
const LOST: &[u8] = b"lost+found";

/// Makes names, links and parents right.
pub(crate) fn mend(
    nova: &Nova,
    survey: &Survey,
    repairs: &mut Vec<String>,
    lost: &mut Problems,
) -> Result<()> {
    let volume = nova.volume();
    remove_bad_attributes(volume, survey, repairs, lost)?;
    remove_bad_names(volume, survey, repairs, lost)?;
    let survey = Survey::take(&volume.media, &volume.superblock);
    adopt(nova, &survey, repairs)?;
    let survey = Survey::take(&volume.media, &volume.superblock);
    count_links(volume, &survey, repairs)
}

/// Removes attributes that cannot be.
fn remove_bad_attributes(
    volume: &Volume,
    survey: &Survey,
    repairs: &mut Vec<String>,
    lost: &mut Problems,
) -> Result<()> {
    for (ino, node) in &survey.nodes {
        for key in node.index.attributes.keys() {
            let value = node.index.attributes.get(key).unwrap_or_default();
            let good = match (key.0, key.1.as_slice()) {
                (INTERNAL, b"quota") => *ino == ROOT && quota::check_limits(value).is_ok(),
                (INTERNAL, bad::NAME) => *ino == ROOT && bad::decode(value).is_ok(),
                (INTERNAL, TARGET) => node.kind() == crate::Kind::Symlink,
                (INTERNAL, memory::NAME) => *ino == ROOT && memory::check(value).is_ok(),
                (SYSTEM, name) if name == ACCESS.as_bytes() || name == DEFAULT.as_bytes() => {
                    Acl::decode(value).is_ok()
                }
                (namespace, _) => (1..=3).contains(&namespace),
            };
            if good {
                continue;
            }
            let inode = volume.inode(*ino)?;
            let mut state = volume.write_state(&inode)?;
            let (identity, status) = (state.identity, state.status);
            volume.put_attribute(&inode, &mut state, key.clone(), None, identity, status)?;
            let name = String::from_utf8_lossy(&key.1).into_owned();
            lost.add("attribute entry", node.identity.log, *ino, format!("{name} could not be"));
            repairs.push(format!("inode {ino}: attribute {name} removed"));
        }
    }
    Ok(())
}

/// What is to become of a name.
enum Fate {
    Stays,
    Goes(&'static str),
    /// It says the wrong type.
    Type(u8),
}

/// Removes names that lead nowhere, and further names of directories; mends types.
fn remove_bad_names(
    volume: &Volume,
    survey: &Survey,
    repairs: &mut Vec<String>,
    lost: &mut Problems,
) -> Result<()> {
    let links = Links::of(survey);
    let mut named = BTreeSet::new();
    for (ino, node) in &survey.nodes {
        let Body::Directory(names) = &node.index.body else { continue };
        for (name, dentry) in names.iter() {
            let fate = match survey.nodes.get(&dentry.ino) {
                None => Fate::Goes("what it stands for is gone"),
                Some(target) if target.is_directory() => {
                    let others = links.names(dentry.ino) > 1;
                    // Of several names the one that the directory itself knows; or the first.
                    let right = !others
                        || target.identity.parent == *ino
                        || !is_parent(survey, dentry.ino, target.identity.parent);
                    if dentry.ino == ROOT || !right || !named.insert(dentry.ino) {
                        Fate::Goes("a directory has one name, and the root none")
                    } else {
                        type_fate(dentry, target.identity.mode)
                    }
                }
                Some(target) => type_fate(dentry, target.identity.mode),
            };
            let shown = String::from_utf8_lossy(name);
            match fate {
                Fate::Stays => {}
                Fate::Goes(why) => {
                    drop_name(volume, *ino, name)?;
                    lost.add("directory entry", dentry.at, *ino, format!("{shown:?}: {why}"));
                    repairs.push(format!("directory {ino}: name {shown:?} removed"));
                }
                Fate::Type(file_type) => {
                    retype(volume, *ino, name, file_type)?;
                    repairs.push(format!("directory {ino}: {shown:?} says the type of what it stands for"));
                }
            }
        }
    }
    Ok(())
}

fn type_fate(dentry: Dentry, mode: u32) -> Fate {
    let right = ((mode & libc::S_IFMT) >> 12) as u8;
    if dentry.file_type == right { Fate::Stays } else { Fate::Type(right) }
}

/// Whether `dir` has a name of `child`.
fn is_parent(survey: &Survey, child: u64, dir: u64) -> bool {
    survey.nodes.get(&dir).is_some_and(|node| match &node.index.body {
        Body::Directory(names) => names.iter().any(|(_, dentry)| dentry.ino == child),
        _ => false,
    })
}

/// Takes a name away, and nothing else.
fn drop_name(volume: &Volume, dir: u64, name: &[u8]) -> Result<()> {
    let inode = volume.inode(dir)?;
    let mut state = volume.write_state(&inode)?;
    let Some(dentry) = state.names()?.get(name) else { return Ok(()) };
    let mut batch = volume.batch();
    volume.put_removal(&mut batch, dentry)?;
    let mut status = Status { size: state.status.size.saturating_sub(1), ..state.status };
    volume.put(&mut batch, inode.at, None, &mut status);
    volume.commit(&batch, Freed::default())?;
    state.status = status;
    forget_name(&mut state, name);
    Ok(())
}

/// Gives a name another type.
fn retype(volume: &Volume, dir: u64, name: &[u8], file_type: u8) -> Result<()> {
    let inode = volume.inode(dir)?;
    let mut state = volume.write_state(&inode)?;
    let Some(dentry) = state.names()?.get(name) else { return Ok(()) };
    let mut batch = volume.batch();
    let line = log::changed(&volume.media, dentry.at, |bytes| bytes[7] = file_type)?;
    batch.line(dentry.at, &line);
    volume.commit(&batch, Freed::default())?;
    let Dentry { ino, cookie, at, page, .. } = dentry;
    let names = state.names_mut();
    names.remove(name);
    names.insert(name, ino, cookie, file_type, at, page);
    Ok(())
}

/// Gives a name in `/lost+found` to what no path leads to: the topmost of what hangs together.
fn adopt(nova: &Nova, survey: &Survey, repairs: &mut Vec<String>) -> Result<()> {
    let volume = nova.volume();
    let links = Links::of(survey);
    let mut reached = links.reached.clone();
    let is_lost = |ino: &u64| {
        let node = &survey.nodes[ino];
        node.status.links > 0 || links.names(*ino) > 0 || node.names() > 0
    };
    let unnamed = |ino: &u64| links.names(*ino) == 0;
    let all: Vec<u64> = survey.nodes.keys().copied().filter(is_lost).collect();
    // First those without any name; then one of each circle.
    for ino in all.iter().filter(|ino| unnamed(ino)).chain(&all) {
        if reached.contains(ino) {
            continue;
        }
        if let Some(parent) = links.parents.get(ino).and_then(|parents| parents.first())
            && let Body::Directory(names) = &survey.nodes[parent].index.body
            && let Some((name, _)) = names.iter().find(|(_, dentry)| dentry.ino == *ino)
        {
            drop_name(volume, *parent, name)?;
        }
        let lost_and_found = match nova.find(ROOT, LOST, &crate::Credentials::ROOT) {
            Ok(ino) => ino,
            Err(Error::Posix(Code::NotFound)) => {
                nova.mkdir(ROOT, LOST, 0o700, &crate::Credentials::ROOT)?.ino
            }
            Err(error) => return Err(error),
        };
        let dir = volume.inode(lost_and_found)?;
        let mut state = volume.write_state(&dir)?;
        let child = volume.inode(*ino)?;
        let mut child_state = volume.write_state(&child)?;
        let mut name = format!("#{ino}").into_bytes();
        while state.names()?.get(&name).is_some() {
            name.push(b'~');
        }
        let mut batch = volume.batch();
        let linked =
            volume.put_name(&dir, &state, &mut batch, &name, *ino, child_state.kind(), volume.now())?;
        let (mut identity, mut status) = (child_state.identity, child_state.status);
        if child_state.is_directory() {
            identity.parent = lost_and_found;
        }
        status.links = status.links.max(1);
        volume.put(&mut batch, child.at, Some(&mut identity), &mut status);
        volume.commit(&batch, linked.freed.clone())?;
        linked.done(&mut state, &name);
        child.parent.store(identity.parent, Relaxed);
        (child_state.identity, child_state.status) = (identity, status);
        repairs.push(format!("inode {ino}: /lost+found/{}", String::from_utf8_lossy(&name)));
        // What is below it is found with it.
        let mut next = vec![*ino];
        while let Some(ino) = next.pop() {
            if reached.insert(ino)
                && let Some(Body::Directory(names)) = survey.nodes.get(&ino).map(|node| &node.index.body)
            {
                next.extend(names.iter().map(|(_, dentry)| dentry.ino));
            }
        }
    }
    Ok(())
}

/// Makes link counts and parents right.
fn count_links(volume: &Volume, survey: &Survey, repairs: &mut Vec<String>) -> Result<()> {
    let links = Links::of(survey);
    for (ino, node) in &survey.nodes {
        let is_directory = node.is_directory();
        let unnamed = links.names(*ino) == 0 && *ino != ROOT;
        if unnamed && node.status.links == 0 {
            continue; // it ends when nobody has it open
        }
        let right =
            if unnamed { 0 } else { links.expected(*ino, is_directory).min(u64::from(MAX_LINKS)) as u32 };
        let parent = match links.parents.get(ino).and_then(|parents| parents.first()) {
            _ if *ino == ROOT => ROOT,
            Some(parent) if is_directory => *parent,
            _ => node.identity.parent,
        };
        if node.status.links == right && node.identity.parent == parent {
            continue;
        }
        let inode = volume.inode(*ino)?;
        let mut state = volume.write_state(&inode)?;
        let (mut identity, mut status) = (state.identity, state.status);
        (identity.parent, status.links) = (parent, right);
        let mut batch = volume.batch();
        volume.put(&mut batch, inode.at, Some(&mut identity), &mut status);
        volume.commit(&batch, Freed::default())?;
        inode.parent.store(parent, Relaxed);
        (state.identity, state.status) = (identity, status);
        repairs.push(format!("inode {ino}: {right} links, where it said {}", node.status.links));
    }
    Ok(())
}
