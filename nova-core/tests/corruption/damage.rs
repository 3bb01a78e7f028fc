//! What is done to a volume's bytes: three ways, drawn from a seed.

use crate::{
    anatomy::{self, Anatomy, Field, Structure},
    images::LEN,
};
use fastrand::Rng;

/// How bytes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Any used bytes.
    Random,
    /// Named fields.
    Aimed,
    /// Named fields, and the checksums that cover them are right.
    Forged,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Random, Way::Aimed, Way::Forged];
}

/// Damages `bytes`: which structure, and how.
pub(crate) fn damage(bytes: &mut [u8], anatomy: &Anatomy, way: Way, random: &mut Rng) -> (Structure, String) {
    match way {
        Way::Random => anywhere(bytes, anatomy, random),
        Way::Aimed => aimed(bytes, anatomy, &Structure::ALL, false, random),
        Way::Forged => aimed(bytes, anatomy, &Structure::FORGEABLE, true, random),
    }
}

fn anywhere(bytes: &mut [u8], anatomy: &Anatomy, random: &mut Rng) -> (Structure, String) {
    // Half over all used bytes, half with each structure as likely as the others.
    let only = if random.bool() { random.choice(anatomy.structures(&Structure::ALL)) } else { None };
    let ranges = || anatomy.used.iter().filter(|(_, of)| only.is_none_or(|only| *of == only));
    let mut left = random.u64(..ranges().map(|(range, _)| range.end - range.start).sum::<u64>());
    let (range, structure) = ranges()
        .find(|(range, _)| left.checked_sub(range.end - range.start).map(|next| left = next).is_none())
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
    (*structure, format!("{structure}: {} bytes at {at:#x}: {what}", target.len()))
}

fn aimed(
    bytes: &mut [u8],
    anatomy: &Anatomy,
    structures: &[Structure],
    forge: bool,
    random: &mut Rng,
) -> (Structure, String) {
    let structure = random.choice(anatomy.structures(structures)).expect("some");
    let fields: Vec<&Field> = anatomy.fields.iter().filter(|field| field.structure == structure).collect();
    // A field's name first, so that each is as likely as the others.
    let mut names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    names.sort_unstable();
    names.dedup();
    let name = random.choice(names).expect("some");
    let mut description = structure.to_string();
    for i in 0..random.choice([1, 1, 1, 2, 4]).expect("some") {
        let eligible: Vec<&Field> =
            fields.iter().filter(|field| i > 0 || field.name == name).copied().collect();
        let field = random.choice(eligible).expect("some");
        let old = anatomy::number(bytes, field.at, field.width);
        let value = another(old, field.width, anatomy, random);
        // Half of the time both copies of a superblock.
        let twin = LEN - anatomy::BLOCK;
        let places = if structure == Structure::Superblock && (forge || random.bool()) {
            let first = field.at % twin;
            vec![first, first + twin]
        } else {
            vec![field.at]
        };
        for at in places {
            anatomy::put(bytes, at, field.width, value);
            if forge {
                let start = at - (field.at - field.unit.start);
                let unit = start..start + (field.unit.end - field.unit.start);
                anatomy.recompute(bytes, &Field { at, unit, ..field.clone() });
            }
        }
        description += &format!("; {} at {:#x}: {old:#x} becomes {value:#x}", field.name, field.at);
    }
    (structure, description)
}

/// Another value for a number of `width` bytes: near the old one, at a limit, or one that refers to something else.
fn another(old: u64, width: usize, anatomy: &Anatomy, random: &mut Rng) -> u64 {
    let mask = u64::MAX >> (64 - 8 * width);
    let place = random.choice(&anatomy.places).copied().expect("some");
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
        11 => random.u64(..LEN) & !63,
        12 => random.choice([LEN, LEN - 64, LEN - 4096, u64::MAX - 63, 1 << 63, 1 << 52]).expect("some"),
        _ => random.u64(..),
    } & mask;
    if value == old { old ^ 1 } else { value }
}
