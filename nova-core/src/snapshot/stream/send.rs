//! Writing a stream.

use super::{
    SendReport,
    frame::{Frame, FrameWriter, Header, Lines, Moment},
};
use crate::{
    Access, Changed, ChangedRange, Credentials, Kind, Nova, Result, Seek, SnapshotInfo, format::ROOT,
};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io::Write,
};

const WHO: &Credentials = &Credentials::ROOT;
/// Bytes of content in one frame.
const PART: u64 = 1 << 20;

impl Nova {
    /// Writes a snapshot to a stream: all of it, or what changed since the snapshot `from`. [`receive`](Nova::receive) makes the same snapshot of it on another
    /// volume, of whatever size. The live volume goes on meanwhile, and neither snapshot can be deleted. No drain.
    ///
    /// Names, content, holes, owners, modes, flags, times, extended attributes and access control lists are sent; quotas' limits are not. The same two snapshots
    /// yield the same bytes. An increment costs what was changed, and how many directories there are.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`](crate::Code::NotFound) for a name that no snapshot has; [`Error::StreamIo`](crate::Error::StreamIo) of the writer;
    /// [`Error::Damaged`](crate::Error::Damaged): the stream has no end then, and is not received.
    pub fn send(&self, from: Option<&str>, snapshot: &str, to: &mut impl Write) -> Result<SendReport> {
        let moment = |SnapshotInfo { name, epoch, created, .. }| Moment { epoch, created, name };
        let newer = self.mount_snapshot(snapshot)?;
        // Held, so that it is the same for the header and for the differences.
        let older = from.map(|name| self.mount_snapshot(name)).transpose()?;
        let header = Header {
            volume: self.identity(),
            base: from.map(|name| self.snapshot(name)).transpose()?.map(moment),
            snapshot: moment(self.snapshot(snapshot)?),
        };
        let plan = match from {
            Some(from) => Plan::increment(self, from, snapshot, &newer)?,
            None => Plan::whole(&newer)?,
        };
        let mut sender = Sender { newer: &newer, to: FrameWriter::new(to, &header)? };
        sender.run(&plan)?;
        let (frames, content, bytes) = sender.to.end()?;
        drop(older);
        Ok(SendReport { frames, content, bytes })
    }
}

/// How a name comes.
enum Come {
    /// With a new file.
    Make,
    /// Of a new file that has this one.
    Link { existing: Vec<u8> },
    /// Of a file that the base has.
    Place,
}

/// What is to be sent.
#[derive(Default)]
struct Plan {
    /// What gets other names, by number: one that it has in the base.
    held: BTreeMap<u64, Vec<u8>>,
    gone: Vec<Vec<u8>>,
    come: Vec<(Vec<u8>, u64, Come)>,
    /// Files with other content. `None`: all of it.
    content: Vec<(Vec<u8>, u64, Option<Vec<ChangedRange>>)>,
    /// Files of which anything is different, names apart.
    files: Vec<(Vec<u8>, u64)>,
}

impl Plan {
    /// Everything that there is.
    fn whole(newer: &Nova) -> Result<Plan> {
        let mut plan = Plan { files: vec![(b"/".to_vec(), ROOT)], ..Plan::default() };
        let (mut names, mut todo) = (BTreeMap::new(), vec![(Vec::new(), ROOT)]);
        while let Some((path, dir)) = todo.pop() {
            for entry in newer.readdir(dir, 2, usize::MAX, WHO)? {
                let path = [&path[..], b"/", &entry.name].concat();
                if entry.kind == Kind::Directory {
                    todo.push((path.clone(), entry.ino));
                }
                names.insert(path, entry.ino);
            }
        }
        let mut new = BTreeMap::new();
        for (path, ino) in names {
            plan.add(newer, &mut new, path, ino)?;
        }
        plan.files.extend(new.into_iter().map(|(ino, path)| (path, ino)));
        Ok(plan)
    }

    fn increment(nova: &Nova, from: &str, to: &str, newer: &Nova) -> Result<Plan> {
        let (mut plan, mut new) = (Plan::default(), BTreeMap::new());
        let mut removed = Vec::new();
        for change in nova.diff(from, Some(to))? {
            let (path, ino) = (change.path, change.ino);
            let held = match change.what {
                Changed::Removed => {
                    removed.push(path);
                    continue;
                }
                Changed::Added => {
                    plan.add(newer, &mut new, path, ino)?;
                    continue;
                }
                Changed::Content { ranges, .. } => {
                    plan.content.push((path, ino, Some(ranges)));
                    continue;
                }
                // Sent for all files that anything is different of.
                Changed::Attributes(_) => continue,
                Changed::Moved { from } => {
                    if newer.getattr(ino)?.kind() != Kind::Directory {
                        plan.gone.push(from.clone());
                    }
                    from
                }
                Changed::Linked { existing } => existing,
            };
            plan.held.entry(ino).or_insert(held);
            plan.come.push((path, ino, Come::Place));
        }
        plan.gone.extend(removed);
        // What is held changes more than its own names: the root, in which it is held.
        let renamed = plan.come.iter().map(|(_, ino, _)| *ino);
        let renamed: BTreeSet<u64> = renamed.chain((!plan.held.is_empty()).then_some(ROOT)).collect();
        plan.files = nova.touched_files(from, to, renamed)?;
        Ok(plan)
    }

    /// A name that the base does not have, of a file that it does not have.
    fn add(&mut self, newer: &Nova, new: &mut BTreeMap<u64, Vec<u8>>, path: Vec<u8>, ino: u64) -> Result<()> {
        let come = match new.entry(ino) {
            Entry::Occupied(first) => Come::Link { existing: first.get().clone() },
            Entry::Vacant(first) => {
                first.insert(path.clone());
                if newer.getattr(ino)?.kind() == Kind::File {
                    self.content.push((path.clone(), ino, None));
                }
                Come::Make
            }
        };
        self.come.push((path, ino, come));
        Ok(())
    }
}

struct Sender<'n, 'w, W> {
    newer: &'n Nova,
    to: FrameWriter<'w, W>,
}

impl<W: Write> Sender<'_, '_, W> {
    fn run(&mut self, plan: &Plan) -> Result<()> {
        for (ino, path) in &plan.held {
            self.to.put(&Frame::Hold { ino: *ino, path: path.clone() })?;
        }
        for path in &plan.gone {
            self.to.put(&Frame::Gone { path: path.clone() })?;
        }
        for (path, ino, come) in &plan.come {
            self.come(path.clone(), *ino, come)?;
        }
        if !plan.held.is_empty() {
            self.to.put(&Frame::Clean)?;
        }
        for (path, ino, ranges) in &plan.content {
            self.content(path, *ino, ranges.as_deref())?;
        }
        plan.files.iter().try_for_each(|(path, ino)| self.file(path, *ino))
    }

    fn come(&mut self, path: Vec<u8>, ino: u64, come: &Come) -> Result<()> {
        let frame = match come {
            Come::Place => Frame::Place { path, ino },
            Come::Link { existing } => Frame::Link { path, existing: existing.clone() },
            Come::Make => {
                let stat = self.newer.getattr(ino)?;
                let is_link = stat.kind() == Kind::Symlink;
                let target = if is_link { self.newer.readlink(ino)? } else { Vec::new() };
                Frame::Make { path, mode: stat.mode, device: stat.device, target }
            }
        };
        self.to.put(&frame)
    }

    fn content(&mut self, path: &[u8], ino: u64, ranges: Option<&[ChangedRange]>) -> Result<()> {
        let file = self.newer.open_inode(ino, Access::READ, WHO)?;
        let size = file.len()?;
        self.to.put(&Frame::Size { path: path.to_vec(), size })?;
        if let Some(ranges) = ranges {
            for ChangedRange { bytes, is_data } in ranges {
                match is_data {
                    true => self.data(&file, path, bytes.start, bytes.end)?,
                    false => self.to.put(&Frame::Hole {
                        path: path.to_vec(),
                        start: bytes.start,
                        end: bytes.end,
                    })?,
                }
            }
            return Ok(());
        }
        let mut at = 0;
        while let Ok(start) = file.seek(at, Seek::Data) {
            at = file.seek(start, Seek::Hole)?;
            self.data(&file, path, start, at)?;
        }
        Ok(())
    }

    fn data(&mut self, file: &crate::File, path: &[u8], start: u64, end: u64) -> Result<()> {
        let mut offset = start;
        while offset < end {
            let mut bytes = vec![0; PART.min(end - offset) as usize];
            let len = file.read_at(offset, &mut bytes)?;
            debug_assert_eq!(len, bytes.len(), "it is inside the file");
            let next = offset + bytes.len() as u64;
            self.to.put(&Frame::Data { path: path.to_vec(), offset, bytes })?;
            offset = next;
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], ino: u64) -> Result<()> {
        let names = self.newer.attributes(ino, WHO)?;
        self.to.put(&Frame::Keep { path: path.to_vec(), names: names.clone() })?;
        for name in names {
            let value = self.newer.attribute(ino, &name, WHO)?;
            self.to.put(&Frame::Attribute { path: path.to_vec(), name, value })?;
        }
        let stat = self.newer.getattr(ino)?;
        let lines = Lines {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            flags: stat.flags,
            accessed: stat.accessed,
            modified: stat.modified,
            changed: stat.changed,
            created: stat.created,
        };
        self.to.put(&Frame::Lines { path: path.to_vec(), lines })
    }
}
