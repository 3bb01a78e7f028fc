//! What is done to a pool's bytes: three ways, drawn from a seed.

use crate::{
    anatomy::{self, Anatomy, Field, Structure},
    images::POOL,
};
use fastrand::Rng;

/// How bytes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Any used bytes.
    Random,
    /// Named fields.
    Aimed,
    /// Named fields, and every checksum that covers them is right.
    Forged,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Random, Way::Aimed, Way::Forged];
}

/// What was done.
pub(crate) struct Damage {
    pub(crate) structure: Structure,
    pub(crate) description: String,
}

/// Damages `bytes`.
pub(crate) fn damage(bytes: &mut [u8], anatomy: &Anatomy, way: Way, random: &mut Rng) -> Damage {
    match way {
        Way::Random => anywhere(bytes, anatomy, random),
        Way::Aimed => aimed(bytes, anatomy, &Structure::ALL, false, random),
        Way::Forged => aimed(bytes, anatomy, &Structure::CHECKSUMMED, true, random),
    }
}

fn anywhere(bytes: &mut [u8], anatomy: &Anatomy, random: &mut Rng) -> Damage {
    // Half over all used bytes, which is nearly all leaves; half with each structure as likely as the others.
    let ranges: Vec<_> = if random.bool() {
        anatomy.used.iter().collect()
    } else {
        let structure = *random.choice(&anatomy.structures(&Structure::ALL)).expect("some");
        anatomy.used.iter().filter(|(_, of)| *of == structure).collect()
    };
    let total: u64 = ranges.iter().map(|(range, _)| range.end - range.start).sum();
    let mut left = random.u64(..total);
    let len = |range: &std::ops::Range<u64>| range.end - range.start;
    let mut ranges = ranges.into_iter();
    let (range, structure) = ranges
        .find(|(range, _)| left.checked_sub(len(range)).map(|next| left = next).is_none())
        .expect("inside them all");
    let at = (range.start + left) as usize;
    let longest = (range.end as usize - at).min(random.choice([1, 8, 64, 256]).expect("some"));
    let target = &mut bytes[at..at + random.usize(1..=longest)];
    let what = match random.u8(..4) {
        0 => {
            let bit = random.usize(..8 * target.len());
            target[bit / 8] ^= 1 << (bit % 8);
            format!("bit {bit} flipped")
        }
        1 => {
            target.fill(0);
            "zeroes".into()
        }
        2 => {
            target.fill(0xff);
            "ones".into()
        }
        _ => {
            target.fill_with(|| random.u8(..));
            "random bytes".into()
        }
    };
    let description = format!("{structure}: {} bytes at {at:#x}: {what}", target.len());
    Damage { structure: *structure, description }
}

fn aimed(
    bytes: &mut [u8],
    anatomy: &Anatomy,
    structures: &[Structure],
    forge: bool,
    random: &mut Rng,
) -> Damage {
    let structure = *random.choice(&anatomy.structures(structures)).expect("some");
    let fields: Vec<&Field> = anatomy.fields.iter().filter(|field| field.structure == structure).collect();
    // A field's name first, so that the many entries of a record leave room for its header.
    let mut names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    names.sort_unstable();
    names.dedup();
    let name = random.choice(names).expect("some");
    let mut description = format!("{structure}");
    for i in 0..random.choice([1, 1, 1, 2, 4]).expect("some") {
        let eligible = fields.iter().filter(|field| i > 0 || field.name == name);
        let field = **random.choice(eligible.collect::<Vec<_>>()).expect("some");
        let old = anatomy::number(bytes, field.at, field.width);
        let value = another(old, field.width, anatomy, random);
        // Where there are two copies, half of the time both.
        let twin = match structure {
            Structure::PoolHeader => Some(4096),
            Structure::LogHeader => Some(64),
            _ => None,
        };
        let both = twin.filter(|_| forge || random.bool());
        let first = both.map_or(field, |distance| {
            let is_second = anatomy
                .fields
                .iter()
                .any(|f| f.structure == structure && f.name == field.name && f.at + distance == field.at);
            let back = if is_second { distance } else { 0 };
            Field { at: field.at - back, unit: field.unit - back, ..field }
        });
        let second = both.map(|d| Field { at: first.at + d, unit: first.unit + d, ..first });
        for field in [Some(first), second].into_iter().flatten() {
            anatomy::put(bytes, field.at, field.width, value);
            if forge {
                anatomy.recompute(bytes, field);
            }
            description += &format!("; {} at {:#x}: {old:#x} becomes {value:#x}", field.name, field.at);
        }
    }
    Damage { structure, description }
}

/// Another value for a number of `width` bytes: near the old one, at a limit, or one that refers to something else.
fn another(old: u64, width: usize, anatomy: &Anatomy, random: &mut Rng) -> u64 {
    let mask = u64::MAX >> (64 - 8 * width);
    let place = *random.choice(&anatomy.places).expect("some");
    let value = match random.u8(..14) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => mask >> 1,
        4 => old.wrapping_add(1),
        5 => old.wrapping_sub(1),
        6 => old.wrapping_add(random.choice([8, 64, 512, 4096, 1 << 32]).expect("some")),
        7 | 8 => old ^ 1 << random.usize(..8 * width),
        9 => place,
        10 => place / random.choice([8, 64, 4096]).expect("some"),
        11 => random.u64(..POOL) & !63,
        12 => random.choice([POOL, POOL - 64, POOL - 8, u64::MAX - 63, 1 << 63]).expect("some"),
        _ => random.u64(..),
    } & mask;
    if value == old { old ^ 1 } else { value }
}
