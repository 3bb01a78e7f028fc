//! What an object is: a manifest names its chunks. It is written last, so that what has a manifest is whole.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of what is written.
const VERSION: u32 = 1;
/// What a manifest begins with; then its version, the checksum of what follows the line, and a line's end.
const MAGIC: &str = "nova-manifest ";
pub(super) const ENDING: &str = ".manifest";

/// What an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A snapshot of a volume: the stream of it, or of what changed since its parent.
    Snapshot,
    /// A pool: its bytes.
    Pool,
}

impl Kind {
    /// Both.
    pub(super) const ALL: [Kind; 2] = [Kind::Snapshot, Kind::Pool];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Snapshot => "snapshot",
            Kind::Pool => "pool",
        }
    }

    /// Bytes of a chunk. A pool's are overwritten here and there; a stream is different from some place on.
    pub(super) fn chunk(self) -> u64 {
        match self {
            Kind::Snapshot => 4 << 20,
            Kind::Pool => 1 << 20,
        }
    }
}

/// Which one of a volume's snapshots, or of a pool's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Later ones have greater numbers: the snapshot's epoch, or when the pool was pushed.
    pub number: u64,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
}

/// What is pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What it is of.
    pub kind: Kind,
    /// Identity of the volume or pool: hexadecimal digits.
    pub source: String,
    /// The snapshot's name, or one for the pool.
    pub name: String,
    /// Which one.
    pub version: Version,
    /// That from which it goes on.
    pub parent: Option<Version>,
    /// Bytes of the volume or pool, for whoever makes one.
    pub size: u64,
}

impl Label {
    /// The object's final name.
    pub(super) fn path(&self) -> String {
        path_of(self.kind, &self.source, self.version.number)
    }
}

fn path_of(kind: Kind, source: &str, number: u64) -> String {
    format!("{}s/{source}/{number:020}{ENDING}", kind.name())
}

/// A part of the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// SHA-256 of it: 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub length: u64,
}

impl Chunk {
    pub(super) fn of(bytes: &[u8]) -> Chunk {
        Chunk { sha256: hex(&Sha256::digest(bytes)), length: bytes.len() as u64 }
    }

    pub(super) fn path(&self) -> String {
        format!("chunks/{}/{}", &self.sha256[..2], self.sha256)
    }

    fn is_sound(&self) -> bool {
        self.sha256.len() == 64 && self.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// An object: what it is, and the chunks of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it is.
    #[serde(flatten)]
    pub label: Label,
    /// When it was pushed, in seconds since 1970.
    pub pushed: u64,
    /// Bytes of its content.
    pub length: u64,
    /// Bytes of each chunk but the last.
    pub chunk: u64,
    /// The content, in order.
    pub chunks: Vec<Chunk>,
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_string_pretty(self).expect("plain data into memory") + "\n";
        format!("{MAGIC}{VERSION} {}\n{body}", hex(&Sha256::digest(&body))).into_bytes()
    }

    /// Reads what is stored as `path`.
    pub(super) fn decode(path: &str, bytes: &[u8]) -> Result<Manifest> {
        let damaged = |why| Error::DamagedManifest { path: path.into(), why };
        let text = std::str::from_utf8(bytes).map_err(|_| match bytes.starts_with(MAGIC.as_bytes()) {
            true => damaged("it is no text"),
            false => Error::Foreign { path: path.into() },
        })?;
        let Some(rest) = text.strip_prefix(MAGIC) else {
            return Err(match MAGIC.starts_with(text) {
                true => damaged("it is cut off"),
                false => Error::Foreign { path: path.into() },
            });
        };
        let (head, body) = rest.split_once('\n').ok_or(damaged("it is cut off"))?;
        let (version, sum) = head.split_once(' ').ok_or(damaged("its first line is none"))?;
        let version: u32 = version.parse().map_err(|_| damaged("its version is no number"))?;
        if version != VERSION {
            return Err(Error::Newer { path: path.into(), version, known: VERSION });
        }
        if hex(&Sha256::digest(body)) != sum {
            return Err(damaged("its checksum is wrong"));
        }
        let manifest: Manifest = serde_json::from_str(body).map_err(|_| damaged("it cannot be read"))?;
        let sum: u64 = manifest.chunks.iter().map(|chunk| chunk.length).sum();
        if sum != manifest.length || !manifest.chunks.iter().all(Chunk::is_sound) {
            return Err(damaged("its chunks are not what they should be"));
        }
        match manifest.label.path() == path {
            true => Ok(manifest),
            false => Err(damaged("it has another one's name")),
        }
    }
}

/// What `of` needs, oldest first, and itself.
///
/// # Errors
///
/// [`Error::MissingParent`].
pub fn chain<'m>(all: &'m [Manifest], of: &'m Manifest) -> Result<Vec<&'m Manifest>> {
    let mut chain = vec![of];
    while let Some(parent) = chain.last().and_then(|newest| newest.label.parent) {
        let child = chain[chain.len() - 1];
        let same = |one: &&Manifest| {
            (one.label.kind, &one.label.source, one.label.version)
                == (child.label.kind, &child.label.source, parent)
        };
        // (Numbers fall along a chain, so that there is an end.)
        let found = all.iter().find(same).filter(|_| parent.number < child.label.version.number);
        let missing = || Error::MissingParent { name: child.label.name.clone(), parent: parent.number };
        chain.push(found.ok_or_else(missing)?);
    }
    chain.reverse();
    Ok(chain)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(number: u64, parent: Option<u64>) -> Manifest {
        let version = |number| Version { number, created: 7 };
        Manifest {
            label: Label {
                kind: Kind::Snapshot,
                source: "ab".into(),
                name: format!("s{number}"),
                version: version(number),
                parent: parent.map(version),
                size: 1,
            },
            pushed: 5,
            length: 3,
            chunk: 4,
            chunks: vec![Chunk::of(b"abc")],
        }
    }

    #[test]
    fn a_manifest_is_read_back_and_with_any_byte_changed_or_cut_off_it_is_none() {
        let manifest = manifest(3, Some(2));
        let path = manifest.label.path();
        assert_eq!(path, "snapshots/ab/00000000000000000003.manifest");
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&path, &bytes).unwrap(), manifest);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Manifest::decode(&path, &changed).is_err(), "byte {at}");
            let cut = Manifest::decode(&path, &bytes[..at]);
            assert!(matches!(cut, Err(Error::DamagedManifest { .. })), "cut at {at}: {cut:?}");
        }
        let elsewhere = Manifest::decode("snapshots/ab/00000000000000000004.manifest", &bytes);
        assert!(matches!(elsewhere, Err(Error::DamagedManifest { .. })), "{elsewhere:?}");
    }

    #[test]
    fn what_something_else_wrote_and_what_a_newer_program_wrote_is_said_to_be_so() {
        let path = manifest(3, None).label.path();
        for foreign in [&b"<html>"[..], b"{}", &[0xff; 40]] {
            assert!(matches!(Manifest::decode(&path, foreign), Err(Error::Foreign { .. })));
        }
        let text = String::from_utf8(manifest(3, None).encode()).unwrap();
        let newer = text.replacen("nova-manifest 1", "nova-manifest 2", 1);
        assert!(matches!(
            Manifest::decode(&path, newer.as_bytes()),
            Err(Error::Newer { version: 2, known: 1, .. })
        ));
    }

    #[test]
    fn a_chain_is_whole_or_says_what_is_missing() {
        let all = [manifest(1, None), manifest(2, Some(1)), manifest(5, Some(2)), manifest(9, Some(7))];
        let numbers: Vec<u64> =
            chain(&all, &all[2]).unwrap().iter().map(|one| one.label.version.number).collect();
        assert_eq!(numbers, [1, 2, 5]);
        assert!(matches!(chain(&all, &all[3]), Err(Error::MissingParent { parent: 7, .. })));
        // One that would be its own ancestor.
        let circle = [manifest(3, Some(4)), manifest(4, Some(3))];
        assert!(chain(&circle, &circle[1]).is_err());
    }
}
