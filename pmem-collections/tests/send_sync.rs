//! `Send` and `Sync` of the guards, as decided; a negative fact is a test too.
#![allow(missing_docs)]

use pmem_collections::{art, list, map, *};

/// `is!(Type: Trait)` is a constant bool. An inherent constant wins over the trait's when its bound holds.
macro_rules! is {
    ($T:ty: $Trait:path) => {{
        #[allow(dead_code)]
        trait No {
            const YES: bool = false;
        }
        impl<T: ?Sized> No for T {}
        struct Wrap<T: ?Sized>(#[allow(dead_code)] std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $Trait> Wrap<T> {
            const YES: bool = true;
        }
        <Wrap<$T>>::YES
    }};
}
macro_rules! facts { ($($T:ty => $send:literal $sync:literal,)*) => { $(
    assert_eq!((is!($T: Send), is!($T: Sync)), ($send, $sync), stringify!($T));
)* } }

#[derive(serde::Serialize, serde::Deserialize)]
struct Stamp(String);
impl Schema for Stamp {
    const NAME: &'static str = "test.Stamp";
}

#[test]
fn guards_of_readers_cross_threads_and_guards_of_writers_do_not() {
    type Map = PBTreeMap<u64, u64>;
    facts! {
        Mut<'static, Map> => false false,
        Ref<'static, Map> => true true,  // parallel scans
        Mut<'static, PDeque<u64>> => false false,
        Ref<'static, PDeque<u64>> => true true,
        Ref<'static, PLog> => true true,
        Ref<'static, PString> => true true,
        Ref<'static, PBox<u64>> => true true,
        map::Iter<'static, u64, u64, Read> => true true,
        map::Iter<'static, u64, u64, Write> => false false,
        map::Entry<'static, 'static, u64, u64, &'static u64> => false false,
        map::Old<u64> => true true,
        Mut<'static, PBTreeMap<String, Vec<u8>>> => false false,
        Ref<'static, PBTreeMap<String, Vec<u8>>> => true true,
        map::Iter<'static, String, Serde<Stamp>, Read> => true true,
        Ref<'static, PBTreeSet<(String, u32)>> => true true,
        Mut<'static, PLinkedList<u64>> => false false,
        Ref<'static, PLinkedList<u64>> => true true,
        list::Position => true true,
        Mut<'static, PPriorityQueue<u64>> => false false,
        Ref<'static, PPriorityQueue<u64>> => true true,
        Mut<'static, PArt<u64>> => false false,
        Ref<'static, PArt<u64>> => true true,
        art::Iter<'static, u64, Read> => true true,
        Mut<'static, PCell<u64>> => false false,
        Ref<'static, PCell<u64>> => true true,
    }
}

#[test]
fn a_result_of_a_read_fits_two_registers() {
    assert_eq!(size_of::<Result<Option<&u64>>>(), 16);
}

/// Guards are covariant in the transaction's lifetime, so one lifetime is enough everywhere.
#[allow(dead_code)]
fn covariant<'short, 'long: 'short>(
    guard: Mut<'long, PBTreeMap<u64, u8>>,
) -> Mut<'short, PBTreeMap<u64, u8>> {
    guard
}

/// Functions over guards of either kind, and fields that are guards, need no more than this.
#[allow(dead_code)]
fn total<M: Mode>(accounts: &Guard<'_, PBTreeMap<u64, i64>, M>) -> Result<i64> {
    accounts.iter().map(|entry| entry.map(|(_, value)| *value)).sum()
}
#[allow(dead_code)]
struct Ledger<'t> {
    accounts: Mut<'t, PBTreeMap<u64, i64>>,
    entries: Mut<'t, PCell<u64>>,
}

#[test]
fn calls_need_no_annotations() -> Result<()> {
    let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
    pool.write(|tx| {
        let mut ledger = Ledger {
            accounts: tx.open::<PBTreeMap<u64, i64>>("accounts")?,
            entries: tx.open::<PCell<u64>>("entries")?,
        };
        ledger.accounts.insert(1, 10)?;
        let (key, value) = (&2, &20);
        ledger.accounts.insert(key, value)?;
        *ledger.entries.get_mut()? += 2;
        assert_eq!(ledger.accounts.get(key)?, Some(value));
        assert_eq!(ledger.accounts.range(..)?.count(), 2);
        assert_eq!(ledger.accounts.range(key..)?.count(), 1);
        for entry in &ledger.accounts {
            let (key, value) = entry?;
            assert_eq!(10 * *key as i64, *value);
        }
        assert_eq!(total(&ledger.accounts)?, 30);
        Ok(())
    })?;
    let tx = pool.read()?;
    let accounts = tx.open::<PBTreeMap<u64, i64>>("accounts")?;
    let both = std::thread::scope(|threads| {
        let handles =
            [0..=1u64, 2..=9].map(|keys| threads.spawn(|| accounts.range(keys).map(Iterator::count)));
        handles.map(|handle| handle.join().unwrap())
    });
    assert_eq!(both.map(Result::unwrap), [1, 1]);
    Ok(())
}
