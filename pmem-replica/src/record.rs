//! Records and messages, as bytes. PROTOCOL.md describes both.

use pmem_alloc::Grown;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of records that one message carries. (Servers take a MiB unless told otherwise.)
pub(crate) const MESSAGE: usize = 256 << 10;
/// Version 1 of what follows.
const MAGIC: [u8; 4] = *b"PMR1";
/// Magic, checksum.
const PREFIX: usize = 12;

/// Which record of a pool's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LogPosition {
    pub(crate) generation: u32,
    pub(crate) seq: u64,
}

/// One record, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Counted through the whole stream, from 1.
    pub(crate) number: u64,
    pub(crate) log: LogPosition,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// What a transaction changed: runs of words, by the offset of the first one and their number, both in words. Their bytes follow.
    Changes(Vec<(u64, u64)>),
    /// The pool's segments (start, pages), and its size.
    Grown(Vec<(u64, u64)>, u64),
}

/// Collects what one transaction changed.
#[derive(Default)]
pub(crate) struct Changes {
    runs: Vec<(u64, u64)>,
    bytes: Vec<u8>,
}

impl Changes {
    /// Bytes at an offset, both whole words.
    pub(crate) fn add(&mut self, at: u64, bytes: &[u8]) {
        let (at, words) = (at / 8, bytes.len() as u64 / 8);
        match self.runs.last_mut() {
            Some((start, count)) if *start + *count == at => *count += words,
            _ => self.runs.push((at, words)),
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn encode(self, number: u64, log: LogPosition) -> Vec<u8> {
        encode(&Record { number, log, body: Body::Changes(self.runs) }, &self.bytes)
    }
}

pub(crate) fn encode_growth(number: u64, log: LogPosition, segments: &[Grown], size: u64) -> Vec<u8> {
    let segments = segments.iter().map(|s| (s.start, s.pages)).collect();
    encode(&Record { number, log, body: Body::Grown(segments, size) }, &[])
}

fn encode(record: &Record, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = postcard::to_stdvec(record).expect("plain data into memory");
    encoded.extend_from_slice(bytes);
    encoded
}

/// A record, its changes, and what follows it.
pub(crate) type Decoded<'b> = (Record, Vec<(u64, &'b [u8])>, &'b [u8]);

/// The first record of `bytes`, its changes, and what follows it. `None` if that is none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Decoded<'_>> {
    let (record, mut rest) = postcard::take_from_bytes::<Record>(bytes).ok()?;
    let mut changes = Vec::new();
    if let Body::Changes(runs) = &record.body {
        for &(at, words) in runs {
            let len = usize::try_from(words.checked_mul(8)?).ok()?;
            let (run, later) = rest.split_at_checked(len)?;
            changes.push((at.checked_mul(8)?, run));
            rest = later;
        }
    }
    Some((record, changes, rest))
}

/// One message, without the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// Which stream: random, chosen when it was created.
    pub(crate) stream: u64,
    /// The primary's, and who it is.
    pub(crate) term: u64,
    pub(crate) holder: u64,
    /// The record after which this holder became the primary.
    pub(crate) since: u64,
    /// The last record of which everything is in the stream, with this message.
    pub(crate) complete: u64,
    /// The newest record that the primary had committed when it sent this.
    pub(crate) told: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The first message of a term. No records.
    Begin,
    /// Whole records.
    Records,
    /// Part `part` of `parts` of one record that is too large for a message.
    Part { part: u32, parts: u32 },
}

impl Envelope {
    /// The message with these bytes of records.
    pub(crate) fn seal(&self, records: &[u8]) -> Vec<u8> {
        let mut message = vec![0; PREFIX];
        message.extend(postcard::to_stdvec(self).expect("plain data into memory"));
        message.extend_from_slice(records);
        message[..4].copy_from_slice(&MAGIC);
        let sum = xxh3_64(&message[PREFIX..]);
        message[4..PREFIX].copy_from_slice(&sum.to_le_bytes());
        message
    }

    /// A message's envelope and its bytes of records; or what is wrong with it.
    pub(crate) fn open(message: &[u8]) -> Result<(Envelope, &[u8]), &'static str> {
        let (prefix, rest) = message.split_first_chunk::<PREFIX>().ok_or("it is too short")?;
        if prefix[..4] != MAGIC {
            return Err("it does not begin like a message of this version");
        }
        if xxh3_64(rest).to_le_bytes() != prefix[4..] {
            return Err("its checksum is wrong");
        }
        postcard::take_from_bytes(rest).map_err(|_| "its envelope cannot be read")
    }

    /// What makes sending it twice no more than sending it once.
    pub(crate) fn id(&self) -> String {
        let part = match self.kind {
            Kind::Begin => "begin".into(),
            Kind::Records => "records".into(),
            Kind::Part { part, .. } => format!("part-{part}"),
        };
        format!("{:016x}.{}.{}.{part}", self.stream, self.term, self.complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogPosition = LogPosition { generation: 3, seq: 77 };

    #[test]
    fn records_side_by_side_are_read_back_and_runs_are_merged() {
        let mut changes = Changes::default();
        changes.add(64, &[1; 8]);
        changes.add(72, &[2; 64]);
        changes.add(4096, &[3; 16]);
        let mut bytes = changes.encode(9, LOG);
        bytes.extend(encode_growth(10, LOG, &[Grown { start: 1 << 20, pages: 5 }], 2 << 20));
        let (record, changes, rest) = decode(&bytes).unwrap();
        assert_eq!((record.number, record.log), (9, LOG));
        assert_eq!(changes.iter().map(|(at, b)| (*at, b.len())).collect::<Vec<_>>(), [(64, 72), (4096, 16)]);
        let (record, changes, rest) = decode(rest).unwrap();
        assert_eq!(record.body, Body::Grown(vec![(1 << 20, 5)], 2 << 20));
        assert!(changes.is_empty() && rest.is_empty());
        for cut in 0..bytes.len() {
            _ = decode(&bytes[..cut]); // whatever it is, it is no panic
        }
    }

    #[test]
    fn a_message_with_any_bit_changed_is_found_out() {
        let envelope = Envelope {
            stream: 1,
            term: 2,
            holder: 3,
            since: 1,
            complete: 4,
            told: 5,
            kind: Kind::Part { part: 1, parts: 2 },
        };
        let message = envelope.seal(b"some bytes");
        let (found, records) = Envelope::open(&message).unwrap();
        assert!(found == envelope && records == b"some bytes");
        for bit in 0..message.len() * 8 {
            let mut damaged = message.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Envelope::open(&damaged).is_err(), "bit {bit}");
        }
        for cut in 0..message.len() {
            assert!(Envelope::open(&message[..cut]).is_err());
        }
    }
}
