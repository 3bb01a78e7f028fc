//! What one inode says of itself: its lines against each other and against its log.

use super::{
    report::Problems,
    survey::{Node, Survey},
};
use crate::{
    Kind,
    acl::Acl,
    attributes::{INTERNAL, SYSTEM, TARGET, target_key},
    format::{LINE, MAX_LINKS, MAX_SIZE, ROOT, flag},
    inode::Body,
    integrity::bad,
    permission::{ACCESS, DEFAULT},
    quota,
    snapshot::stream::memory,
};

/// Checks every inode for itself.
pub(crate) fn check(survey: &mut Survey) {
    let Survey { nodes, problems, .. } = survey;
    nodes.iter().for_each(|(ino, node)| check_one(problems, *ino, node));
}

fn check_one(problems: &mut Problems, ino: u64, node: &Node) {
    let Node { at, identity, status, index, .. } = node;
    let kind = node.kind();
    let mut identity_is = |right: bool, why: &str| {
        if !right {
            problems.add("inode", *at, ino, why);
        }
    };
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    identity_is(kind.mode_bits() == identity.mode & libc::S_IFMT, "there is no such type of file");
    identity_is(identity.mode & !(libc::S_IFMT | 0o7777) == 0, "its mode has bits that no mode has");
    // A mark that its mapping's end takes away, or the next mount.
    let mapped = if kind == Kind::File { flag::MAPPED } else { 0 };
    identity_is(
        identity.flags & !(flag::SETTABLE | flag::HAS_ATTRIBUTES | mapped) == 0,
        "it has flags that there are not",
    );
    identity_is(identity.device == 0 || is_device, "it has a device number, and is none");
    identity_is(
        (identity.parent == 0) != node.is_directory(),
        "a directory has a parent, and nothing else has",
    );
    identity_is(identity.generation != 0, "its generation is 0");
    if node.is_damaged {
        return; // what the log says is not all that it said
    }
    let has_attributes = index.attributes.keys().next().is_some();
    identity_is(
        has_attributes == (identity.flags & flag::HAS_ATTRIBUTES != 0),
        "its flags say that it has attributes, and it has none; or the other way round",
    );
    let mut status_is = |right: bool, why: String| {
        if !right {
            problems.add("inode state", at + LINE, ino, why);
        }
    };
    status_is(status.size <= MAX_SIZE, format!("no file can have {} bytes", status.size));
    status_is(status.links <= MAX_LINKS + 1, format!("nothing can have {} links", status.links));
    match &index.body {
        Body::File(extents) => {
            let mapped = extents.blocks();
            status_is(
                status.blocks == mapped,
                format!("it says {} blocks, and its log maps {mapped}", status.blocks),
            );
            if kind == Kind::Symlink {
                // In its log, or a block.
                let has_target = match index.attributes.get(&target_key()) {
                    Some(target) => target.len() as u64 == status.size && status.blocks == 0,
                    None => extents.at(0).is_some(),
                };
                status_is((1..=4095).contains(&status.size) && has_target, "a link without a target".into());
            }
        }
        Body::Directory(names) => {
            let names = names.len() as u64;
            status_is(
                status.size == names,
                format!("it says {} names, and its log has {names}", status.size),
            );
            status_is(status.blocks == 0, "a directory with data".into());
        }
        _ => status_is(status.size == 0 && status.blocks == 0, "data of what has none".into()),
    }
    if !index.attributes.are_whole() {
        problems.add("attribute entry", identity.log, ino, "parts of an attribute's value are missing");
    }
    for key in index.attributes.keys() {
        let value = index.attributes.get(key).expect("its key is there");
        let why = match (key.0, key.1.as_slice()) {
            (INTERNAL, b"quota") if ino == ROOT => quota::check_limits(value).err(),
            (INTERNAL, bad::NAME) if ino == ROOT => bad::decode(value).err(),
            (INTERNAL, memory::NAME) if ino == ROOT => memory::check(value).err(),
            (INTERNAL, TARGET) if kind == Kind::Symlink => None,
            (INTERNAL, _) => Some("an attribute of the volume that it does not have"),
            (SYSTEM, name) if name == ACCESS.as_bytes() || name == DEFAULT.as_bytes() => {
                Acl::decode(value).is_err().then_some("no access control list can be like this")
            }
            (SYSTEM, _) | (5.., _) => Some("there is no such attribute"),
            (1..=3, _) => None,
        };
        if let Some(why) = why {
            problems.add(
                "attribute entry",
                identity.log,
                ino,
                format!("{}: {why}", String::from_utf8_lossy(&key.1)),
            );
        }
    }
}
