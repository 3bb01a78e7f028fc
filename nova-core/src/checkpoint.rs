//! What a clean unmount saves, so that the next mount need not scan: FORMAT.md, "Checkpoint".

use crate::{
    Error, Result,
    alloc::{Purpose, Run},
    format::{BLOCK, CHECKPOINT_MAGIC, CheckpointHead, LINE},
    quota,
    rules::Rule,
    snapshot::Held,
    volume::Volume,
};
use bytemuck::Zeroable;

const ROOM: usize = (BLOCK - LINE) as usize;

/// Writes a checkpoint to free blocks. Its first block, and the blocks; `None` if there is no space for it. One drain.
pub(crate) fn store(volume: &Volume) -> Result<Option<(u64, Vec<Run>)>> {
    let mut stream = Vec::new();
    let mut put = |words: &[u64]| words.iter().for_each(|word| stream.extend_from_slice(&word.to_le_bytes()));
    let runs = volume.allocator.runs();
    put(&[runs.len() as u64]);
    runs.iter().for_each(|run| put(&[run.start, run.blocks]));
    for stripe in 0..volume.table.stripes() {
        let free = volume.table.free_slots(stripe);
        put(&[free.len() as u64]);
        put(&free);
    }
    let shares = volume.shares.all();
    put(&[shares.len() as u64]);
    shares.iter().for_each(|(block, more)| put(&[*block, 1, u64::from(*more)]));
    let quotas = volume.quotas.all();
    put(&[quotas.len() as u64]);
    for (who, usage) in quotas {
        let (kind, id) = quota::number(who);
        put(&[u64::from(kind), u64::from(id), usage.blocks, usage.inodes]);
    }
    let held = volume.snapshots.history().held.clone();
    put(&[held.len() as u64]);
    held.iter().for_each(|held| put(&[held.run.start, held.run.blocks, held.birth, held.last]));
    let blocks = stream.len().div_ceil(ROOM) as u64;
    let Some(used) = volume.allocator.allocate(0, blocks, Purpose::Freeing) else { return Ok(None) };
    let places: Vec<u64> = used.iter().flat_map(|run| run.range()).map(|block| block * BLOCK).collect();
    for (index, part) in stream.chunks(ROOM).enumerate() {
        let at = places[index];
        let head = CheckpointHead {
            magic: CHECKPOINT_MAGIC,
            next: places.get(index + 1).copied().unwrap_or(0),
            len: part.len() as u32,
            ..CheckpointHead::zeroed()
        };
        let mut block = vec![0; LINE as usize + part.len()];
        block[..LINE as usize].copy_from_slice(bytemuck::bytes_of(&head));
        block[LINE as usize..].copy_from_slice(part);
        volume.media.seal(at, &mut block);
        volume.media.store(at, &block);
    }
    if volume.keeps(Rule::CheckpointBeforeRecord) {
        volume.media.drain()?;
    }
    Ok(Some((places[0], used)))
}

/// Reads the checkpoint whose first block is at `first`, and takes it over; or changes nothing, and says what is wrong with it.
pub(crate) fn load(volume: &Volume, first: u64) -> Result<()> {
    let bad = |why| Error::damaged("checkpoint", first, why);
    let media = &volume.media;
    let (mut at, mut stream, mut count) = (first, Vec::new(), 0);
    while at != 0 {
        if at % BLOCK != 0 || count > media.len() / BLOCK {
            return bad("a reference that cannot be, or a circle");
        }
        let head = media.load::<CheckpointHead>(at)?;
        if head.magic != CHECKPOINT_MAGIC || head.len as usize > ROOM {
            return bad("it is none");
        }
        let mut block = vec![0; LINE as usize + head.len as usize];
        media.copy_out(at, &mut block, "checkpoint")?;
        media.check(at, &block, "checkpoint")?;
        stream.extend_from_slice(&block[LINE as usize..]);
        (at, count) = (head.next, count + 1);
    }
    let mut words =
        stream.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    let mut next =
        || words.next().ok_or(Error::Damaged { what: "checkpoint", offset: first, why: "it ends early" });
    let blocks = volume.blocks();
    let mut runs = Vec::new();
    let mut behind = blocks.start;
    for _ in 0..next()? {
        let (start, len) = (next()?, next()?);
        if start < behind || len == 0 || start >= blocks.end || len > blocks.end - start {
            return bad("free blocks that cannot be");
        }
        behind = start + len;
        runs.push(Run { start, blocks: len });
    }
    let mut slots = Vec::new();
    for stripe in 0..volume.table.stripes() {
        let most: u64 = volume.table.segments(stripe).iter().map(|segment| segment.slots).sum();
        let mut free = Vec::new();
        for _ in 0..next()? {
            let slot = next()?;
            if slot >= most {
                return bad("a free slot that is not there");
            }
            free.push(slot);
        }
        slots.push(free);
    }
    let mut shares = Vec::new();
    for _ in 0..next()? {
        let (start, len, more) = (next()?, next()?, next()?);
        if start < blocks.start
            || start >= blocks.end
            || len > blocks.end - start
            || more > u64::from(u32::MAX)
        {
            return bad("shared blocks that cannot be");
        }
        shares.extend((start..start + len).map(|block| (block, more as u32)));
    }
    let mut quotas = Vec::new();
    for _ in 0..next()? {
        quotas.push((next()?, next()?, next()?, next()?));
    }
    let mut held = Vec::new();
    for _ in 0..next()? {
        let (start, len, birth, last) = (next()?, next()?, next()?, next()?);
        if start < blocks.start || start >= blocks.end || len > blocks.end - start {
            return bad("held blocks that cannot be");
        }
        held.push(Held { run: Run { start, blocks: len }, birth, last });
    }
    volume.snapshots.history().held = held;
    runs.into_iter().for_each(|run| volume.allocator.free(run));
    slots.into_iter().enumerate().for_each(|(stripe, free)| volume.table.set_free(stripe as u64, free));
    volume.shares.set(shares);
    for (kind, id, blocks, inodes) in quotas {
        if let Some(who) = quota::quota(kind as u32, id as u32) {
            volume.quotas.set_usage(who, blocks, inodes);
        }
    }
    Ok(())
}
