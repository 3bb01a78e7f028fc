//! Ranges of keys.

use pmem_alloc::{EncodeAs, Value};
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The ranges of std, over anything that can stand for a key: `3..9`, `&3..=&9`, `..`.
///
/// A trait of its own, and not `RangeBounds<Q>`, so that `range(..)` needs no annotation.
pub trait KeyRange<K: Value> {
    /// Lower and upper bound.
    fn bounds(&self) -> (Bound<K::Arg<'_>>, Bound<K::Arg<'_>>);
}

macro_rules! ranges { ($($Range:ty, $range:ident => $from:expr, $to:expr;)*) => { $(
    impl<K: Value, Q: EncodeAs<K>> KeyRange<K> for $Range {
        fn bounds(&self) -> (Bound<K::Arg<'_>>, Bound<K::Arg<'_>>) {
            let $range = self;
            ($from, $to)
        }
    }
)* } }

ranges! {
    Range<Q>, range => Bound::Included(range.start.arg()), Bound::Excluded(range.end.arg());
    RangeInclusive<Q>, range => Bound::Included(range.start().arg()), Bound::Included(range.end().arg());
    RangeFrom<Q>, range => Bound::Included(range.start.arg()), Bound::Unbounded;
    RangeTo<Q>, range => Bound::Unbounded, Bound::Excluded(range.end.arg());
    RangeToInclusive<Q>, range => Bound::Unbounded, Bound::Included(range.end.arg());
    (Bound<Q>, Bound<Q>), range => range.0.as_ref().map(|q| q.arg()), range.1.as_ref().map(|q| q.arg());
}

impl<K: Value> KeyRange<K> for RangeFull {
    fn bounds(&self) -> (Bound<K::Arg<'_>>, Bound<K::Arg<'_>>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}
