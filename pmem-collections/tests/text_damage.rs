//! A damaged string: its structure, and bytes that are no UTF-8. Every operation ends, with a result or with `Corrupt`; nothing
//! panics but for places that are no boundaries.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::{Tally, blocks, bytes, forge};

const POOL: u64 = 1 << 20;

/// Pieces of which characters begin in one and end in the next.
fn text() -> String {
    "x".to_owned() + &"ж語".repeat(16_000)
}

fn pool(text: &str) -> Pool {
    let pool = Pool::anonymous(POOL).unwrap();
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("vandal")?;
        tx.open::<PString>("text")?.push_str(text)
    })
    .unwrap();
    pool
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool, random: &mut Rng) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(text) = tally.see(tx.open::<PString>("text")) else { return (true, true) };
        let is_text = tally.see(text.as_str().map(drop)).is_some();
        let shown = (text.to_string(), format!("{text:?}"));
        assert!(!(shown.0.is_empty() && shown.1.is_empty()));
        let same = text == *self::text();
        let found = tally.see(text.check()).is_none();
        assert!(is_text || !same, "damaged text is equal to none");
        found
    };
    pool.check().unwrap();
    for operation in 0..6 {
        let tx = pool.begin().unwrap();
        let mut text = tx.open::<PString>("text").expect("the header was right");
        let at = 1 + 5 * random.usize(..=text.len().min(80_000) / 5);
        let changed = |text: &mut StringGuard<'_, Write>| match operation {
            0 => (0..20).try_for_each(|_| text.push_str(&"ж".repeat(300))),
            1 => (0..20).try_for_each(|_| text.pop().map(drop)),
            2 => text.insert_str(at.min(text.len()), "語"),
            3 => text.truncate(at.min(text.len())),
            4 => text.set("another"),
            _ => text.clear(),
        };
        // A place that was a boundary may be none any more: the only panic there is.
        if let Ok(result) = catch_unwind(AssertUnwindSafe(|| changed(&mut text))) {
            tally.see(result);
        } else {
            assert!(operation == 2 || operation == 3);
        }
    }
    (found_by_check, tally.corrupt > 0)
}

#[test]
fn bytes_that_are_no_utf_8_are_errors_that_name_them() -> Result<()> {
    let pool = pool(&text());
    let leaves = blocks(&pool, b"PVe\0")?;
    assert!(leaves.len() > 63);
    for (leaf, place) in
        (0..leaves.len()).step_by(9).flat_map(|leaf| [0, 1, 500, 1013, 1014, 1015].map(|i| (leaf, i)))
    {
        let at = leaves[leaf] + 8 + place;
        if u64::from_le_bytes(bytes(&pool, leaves[leaf])?) >> 32 == 78 && place > 900 {
            continue; // behind the end
        }
        let before = forge(&pool, at, &[0xff])?;
        let tx = pool.read()?;
        let found = tx.open::<PString>("text")?;
        let error = found.check().expect_err("it is no UTF-8");
        let ErrorKind::Corrupt { offset, expected, .. } = error.kind() else { panic!("{error}") };
        // The character that it belongs to may begin before it, and in the piece before.
        assert!(expected == "UTF-8", "{error}");
        assert!((at - 2..=at).contains(offset) || place < 2, "{error}, not {at}");
        let error = found.as_str().expect_err("it is no UTF-8");
        assert!(error.to_string().contains("UTF-8"), "{error}");
        assert!(found != *text());
        assert!(found.to_string().contains("UTF-8"), "what is before is shown, and the error");
        drop(tx);
        forge(&pool, at, &before)?;
    }
    Ok(())
}

#[test]
fn no_changed_byte_anywhere_makes_an_operation_panic_or_loop() -> Result<()> {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = pool(&text());
    assert_eq!(try_everything(&pool, &mut random), (false, false));
    let header = blocks(&pool, b"PVector ")?.into_iter().flat_map(|at| [(at, 64); 10]);
    let inner = [b"PVe\x01", b"PVe\x02"].iter().flat_map(|m| blocks(&pool, *m).unwrap()).map(|at| (at, 512));
    let leaves = blocks(&pool, b"PVe\0")?.into_iter().map(|at| (at, 1024));
    let places: Vec<_> = header.chain(inner).chain(leaves).collect();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let what = info.to_string();
        if !what.contains("begins no character") {
            eprintln!("{what}");
        }
    }));
    for _ in 0..150 {
        let (at, len) = places[random.usize(..places.len())];
        let at = at + random.u64(..len - 8);
        let bytes: Vec<u8> = (0..random.usize(1..9)).map(|_| random.u8(..)).collect();
        let before = forge(&pool, at, &bytes)?;
        try_everything(&pool, &mut random);
        forge(&pool, at, &before)?;
    }
    std::panic::set_hook(hook);
    assert_eq!(try_everything(&pool, &mut random), (false, false));
    Ok(())
}

#[test]
fn a_text_that_ends_inside_of_a_character_is_an_error_and_a_length_that_is_too_great_is_one_too() -> Result<()>
{
    let pool = pool(&text());
    let [at] = blocks(&pool, b"PVector ")?[..] else { panic!("one header") };
    for (len, what) in [(80_000, "UTF-8"), (1 << 40, "belong together"), (u64::MAX, "belong together")] {
        let before = forge(&pool, at + 24, &u64::to_le_bytes(len))?;
        let read = |pool: &Pool| pool.read()?.open::<PString>("text")?.check().map(drop);
        let error = read(&pool).expect_err("it is damaged");
        assert!(error.to_string().contains(what), "{error}");
        forge(&pool, at + 24, &before)?;
    }
    let tx = pool.read()?;
    tx.open::<PString>("text")?.check()?;
    let error = tx.open::<PBytes>("text").expect_err("it is a string");
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    Ok(())
}
