//! The order of a directory's names: by their cookies, which is the order of `readdir`.

use std::{
    collections::{BTreeMap, btree_map},
    iter,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

/// Fewer places are kept, however many of them are empty.
const FEW: usize = 32;

/// Names by cookie.
///
/// Cookies are given in order: a name that is made goes to the end of a vector. One that goes leaves its place empty, until more places are empty than not.
/// Names that come out of order (a log may have them so; no operation does) are in a tree beside it.
#[derive(Default)]
pub(super) struct Order {
    /// In order of cookies. The last one is not empty.
    places: Vec<(u64, Option<Arc<[u8]>>)>,
    /// Places that are not empty.
    present: usize,
    /// None of these cookies is in `places`.
    late: BTreeMap<u64, Arc<[u8]>>,
}

impl Order {
    fn find(&self, cookie: u64) -> Result<usize, usize> {
        self.places.binary_search_by_key(&cookie, |(at, _)| *at)
    }

    /// Whether a name has this cookie.
    pub(super) fn has(&self, cookie: u64) -> bool {
        self.find(cookie).is_ok_and(|place| self.places[place].1.is_some()) || self.late.contains_key(&cookie)
    }

    /// Adds a name; `false`, and nothing is changed, if one has this cookie.
    pub(super) fn insert(&mut self, cookie: u64, name: Arc<[u8]>) -> bool {
        let is_last = self.places.last().is_none_or(|(last, _)| *last < cookie);
        if is_last && (self.late.is_empty() || !self.late.contains_key(&cookie)) {
            self.places.push((cookie, Some(name)));
            self.present += 1;
            return true;
        }
        if let Ok(place) = self.find(cookie) {
            let place = &mut self.places[place].1;
            let is_empty = place.is_none();
            if is_empty {
                *place = Some(name);
                self.present += 1;
            }
            return is_empty;
        }
        match self.late.entry(cookie) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(name);
                true
            }
            btree_map::Entry::Occupied(_) => false,
        }
    }

    /// Takes the name with this cookie out.
    pub(super) fn remove(&mut self, cookie: u64) {
        let Ok(place) = self.find(cookie) else {
            self.late.remove(&cookie);
            return;
        };
        if self.places[place].1.take().is_some() {
            self.present -= 1;
        }
        while self.places.pop_if(|(_, name)| name.is_none()).is_some() {}
        if self.places.len() > FEW && self.present * 2 < self.places.len() {
            self.places.retain(|(_, name)| name.is_some());
        }
    }

    /// Names whose cookies are larger than `cookie`.
    pub(super) fn after(&self, cookie: u64) -> impl Iterator<Item = &Arc<[u8]>> {
        let first = self.places.partition_point(|(at, _)| *at <= cookie);
        let places = self.places[first..].iter().filter_map(|(at, name)| Some((at, name.as_ref()?)));
        let late = self.late.range((Excluded(cookie), Unbounded));
        let (mut places, mut late) = (places.peekable(), late.peekable());
        iter::from_fn(move || {
            let next = match (places.peek(), late.peek()) {
                (Some((place, _)), Some((late_one, _))) if late_one < place => late.next(),
                (None, _) => late.next(),
                _ => places.next(),
            };
            next.map(|(_, name)| name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(order: &Order, model: &BTreeMap<u64, Arc<[u8]>>) {
        for from in [0, 3, 17, 40, 99] {
            let expected: Vec<_> = model.range((Excluded(from), Unbounded)).map(|(_, name)| name).collect();
            assert_eq!(order.after(from).collect::<Vec<_>>(), expected);
        }
        (0..100).for_each(|cookie| assert_eq!(order.has(cookie), model.contains_key(&cookie)));
    }

    #[test]
    fn places_of_names_that_went_are_given_up() {
        let mut order = Order::default();
        let name: Arc<[u8]> = b"name"[..].into();
        for cookie in 0..10_000 {
            assert!(order.insert(cookie, name.clone()));
            if cookie >= 10 {
                order.remove(cookie - 10);
            }
            assert!(order.places.len() <= FEW + 1);
        }
        (0..10_000).for_each(|cookie| order.remove(cookie));
        assert!(order.places.is_empty() && order.late.is_empty());
    }

    proptest! {
        #[test]
        fn it_is_what_a_tree_is(steps in prop::collection::vec((any::<bool>(), 0u64..100), 1..300)) {
            let (mut order, mut model) = (Order::default(), BTreeMap::new());
            for (inserts, cookie) in steps {
                let name: Arc<[u8]> = cookie.to_le_bytes()[..].into();
                if inserts {
                    let is_new = !model.contains_key(&cookie);
                    prop_assert_eq!(order.insert(cookie, name.clone()), is_new);
                    model.entry(cookie).or_insert(name);
                } else {
                    order.remove(cookie);
                    model.remove(&cookie);
                }
                prop_assert_eq!(order.present + order.late.len(), model.len());
            }
            check(&order, &model);
        }
    }
}
