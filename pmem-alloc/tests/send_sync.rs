//! Send and Sync of everything, as decided; a negative fact is a test too.
#![allow(missing_docs)]
use pmem_alloc::*;

mod cell;
use cell::Cell;

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

#[test]
fn send_and_sync_are_as_decided() {
    facts! {
        Mapping => true true,
        pmem_map::Region => true true,
        Pool => true true,
        Reservation => true true,
        WriteTx<'static> => true false,  // may move; guards may not
        ReadTx<'static> => false true,   // may be shared; a thread's own reads are counted
        Mut<'static, Cell<u64>> => false false,
        Ref<'static, Cell<u64>> => true true,  // parallel scans
        Mut<'static, PHeap<u64>> => false false,
        Ref<'static, PHeap<u64>> => true true,
        Body<'static, Read> => true true,
        Body<'static, Write> => false false,
        Body<'static, Peek> => false false,
        Ptr<*const u8> => true true,     // an offset
        Error => true true,
    }
}

#[test]
fn a_result_of_a_read_fits_two_registers() {
    assert_eq!(size_of::<Error>(), 8);
    assert_eq!(size_of::<Result<Option<&u64>>>(), 16);
}

/// Guards are covariant in the transaction's lifetime, so one lifetime is enough everywhere.
#[allow(dead_code)]
fn covariant<'short, 'long: 'short>(guard: Mut<'long, Cell<u64>>) -> Mut<'short, Cell<u64>> {
    guard
}
