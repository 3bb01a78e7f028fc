//! The ordered map's index in DRAM: a B-link tree (Lehman and Yao, 1981) of nodes that are replaced as a whole.
//!
//! A node is a lock and a [`Snapshot`] of its content: sorted keys, cells or children, the next node to the right, and the
//! bound that its keys are below. Readers take no lock: they go down, and to the right where a node has been split since
//! its parent was read, because then the key is not below the node's bound. A writer locks one node, builds its next
//! content and swaps it in; a full node first gives its upper half to a new one at its right, which is reachable from
//! then on by the link; the parent learns of it afterwards.
//!
//! Nodes are never merged or freed before the index is: a leaf may be empty. They are numbered, and kept in a vector that
//! only grows, so that the links are plain numbers and dropping a long chain recurses nowhere.

use super::{
    cells::Cell,
    snapshot::Snapshot,
    sync::{Appended, AtomicU64, Mutex, Ordering},
};
use crossbeam_epoch::Guard;
use std::ops::Bound;

/// Most keys of a node.
const FULL: usize = if cfg!(loom) { 2 } else { 64 };

/// The number of a node.
type NodeId = u32;

enum Below {
    /// A leaf: for each key its cell.
    Cells(Vec<Cell>),
    /// An inner node: one child more than keys; a key is in the child right of it.
    Children(Vec<NodeId>),
}

struct Content<K> {
    /// Leaves have 0.
    level: u32,
    keys: Vec<K>,
    below: Below,
    /// All keys here and below are less. `None` in the last node of a level.
    bound: Option<K>,
    next: Option<NodeId>,
}

struct Node<K: Send + Sync + 'static> {
    /// Held by who replaces the content.
    lock: Mutex<()>,
    content: Snapshot<Content<K>>,
}

/// The index. `K` is copied about: it is small plain data.
pub(crate) struct Ordered<K: Send + Sync + 'static> {
    nodes: Appended<Node<K>>,
    /// The topmost node; changed under the lock.
    root: AtomicU64,
    growing: Mutex<()>,
    len: AtomicU64,
}

impl<K: Copy + Ord + Send + Sync + 'static> Ordered<K> {
    pub(crate) fn new() -> Ordered<K> {
        let tree = Ordered {
            nodes: Appended::new(),
            root: AtomicU64::new(0),
            growing: Mutex::new(()),
            len: AtomicU64::new(0),
        };
        let below = Below::Cells(Vec::new());
        tree.add(Content { level: 0, keys: Vec::new(), below, bound: None, next: None });
        tree
    }

    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn add(&self, content: Content<K>) -> NodeId {
        let node = Node { lock: Mutex::new(()), content: Snapshot::new(content) };
        NodeId::try_from(self.nodes.push(node)).expect("fewer nodes than fit in memory")
    }

    fn node(&self, id: NodeId) -> &Node<K> {
        &self.nodes[id as usize]
    }

    fn root(&self) -> NodeId {
        self.root.load(Ordering::Acquire) as NodeId
    }

    /// The node of `level` that `key` belongs to, from what readers see now. `None` if the tree is not that high.
    fn descend<'g>(&'g self, key: &K, level: u32, guard: &'g Guard) -> Option<(NodeId, &'g Content<K>)> {
        let mut id = self.root();
        let mut content = self.node(id).content.load(guard);
        if content.level < level {
            return None;
        }
        loop {
            id = match (&content.bound, content.next) {
                (Some(bound), Some(next)) if key >= bound => next,
                _ => match &content.below {
                    Below::Children(children) if content.level > level => {
                        children[content.keys.partition_point(|separator| separator <= key)]
                    }
                    _ => return Some((id, content)),
                },
            };
            content = self.node(id).content.load(guard);
        }
    }

    /// The cell of a key.
    #[inline]
    pub(crate) fn find(&self, key: &K, guard: &Guard) -> Option<Cell> {
        let (_, leaf) = self.descend(key, 0, guard)?;
        let Below::Cells(cells) = &leaf.below else { return None };
        leaf.keys.binary_search(key).ok().map(|at| cells[at])
    }

    /// Runs `change` on the node of `level` that `key` belongs to, which no other writer changes meanwhile.
    fn change(
        &self,
        key: &K,
        level: u32,
        guard: &Guard,
        change: impl FnOnce(&Content<K>) -> Content<K>,
    ) -> Option<()> {
        let (mut id, _) = self.descend(key, level, guard)?;
        loop {
            let node = self.node(id);
            let held = node.lock.lock();
            let content = node.content.load(guard);
            match (&content.bound, content.next) {
                // Split since it was found; a node's bound only falls.
                (Some(bound), Some(next)) if key >= bound => id = next,
                _ => {
                    let mut changed = change(content);
                    let split = changed.split().map(|(separator, right)| (separator, self.add(right)));
                    if let Some((separator, right)) = split {
                        (changed.bound, changed.next) = (Some(separator), Some(right));
                    }
                    node.content.replace(changed, guard);
                    drop(held);
                    if let Some((separator, right)) = split {
                        self.link(separator, right, level + 1, guard);
                    }
                    return Some(());
                }
            }
        }
    }

    /// Enters a node, whose keys begin at `separator`, in its parent, which is of `level`. Readers do without.
    fn link(&self, separator: K, right: NodeId, level: u32, guard: &Guard) {
        let enter = |parent: &Content<K>| {
            let mut parent = parent.copy();
            let at = parent.keys.partition_point(|key| *key <= separator);
            parent.keys.insert(at, separator);
            if let Below::Children(children) = &mut parent.below {
                children.insert(at + 1, right);
            }
            parent
        };
        if self.change(&separator, level, guard, enter).is_some() {
            return;
        }
        {
            let _growing = self.growing.lock();
            // The root is the first node of its level, so it is what a new root has at its left.
            let root = self.root();
            if self.node(root).content.load(guard).level < level {
                let below = Below::Children(vec![root, right]);
                let top = self.add(Content { level, keys: vec![separator], below, bound: None, next: None });
                self.root.store(u64::from(top), Ordering::Release);
                return;
            }
        }
        self.change(&separator, level, guard, enter).expect("the tree has grown to that level");
    }

    /// The cell of `key` is `to` from now on; `None`: it has none. Changes of one key exclude each other.
    pub(crate) fn set(&self, key: &K, to: Option<Cell>, guard: &Guard) {
        let mut grown = 0;
        self.change(key, 0, guard, |leaf| {
            let mut leaf = leaf.copy();
            let Below::Cells(cells) = &mut leaf.below else { return leaf };
            match (leaf.keys.binary_search(key), to) {
                (Ok(at), Some(cell)) => cells[at] = cell,
                (Ok(at), None) => {
                    leaf.keys.remove(at);
                    cells.remove(at);
                    grown = -1;
                }
                (Err(at), Some(cell)) => {
                    leaf.keys.insert(at, *key);
                    cells.insert(at, cell);
                    grown = 1;
                }
                (Err(_), None) => {}
            }
            leaf
        });
        self.len.fetch_add(grown as u64, Ordering::Relaxed); // wraps for -1
    }

    /// The entries of one leaf that `low` does not exclude, as they are now: the first leaf that has any. Where to go on, if
    /// there is more: with the keys from that one.
    pub(crate) fn entries_from(
        &self,
        low: Bound<K>,
        guard: &Guard,
        mut each: impl FnMut(&K, Cell),
    ) -> Option<Bound<K>> {
        let leaf = match &low {
            Bound::Included(key) | Bound::Excluded(key) => self.descend(key, 0, guard),
            Bound::Unbounded => Some(self.first_leaf(guard)),
        };
        let mut content = leaf?.1;
        loop {
            let Below::Cells(cells) = &content.below else { return None };
            let from = content.keys.partition_point(|key| match &low {
                Bound::Included(low) => key < low,
                Bound::Excluded(low) => key <= low,
                Bound::Unbounded => false,
            });
            content.keys[from..].iter().zip(&cells[from..]).for_each(|(key, cell)| each(key, *cell));
            let (bound, next) = (content.bound, content.next);
            match (bound, next) {
                (Some(bound), Some(_)) if from < content.keys.len() => return Some(Bound::Included(bound)),
                (Some(_), Some(next)) => content = self.node(next).content.load(guard),
                _ => return None,
            }
        }
    }

    fn first_leaf<'g>(&'g self, guard: &'g Guard) -> (NodeId, &'g Content<K>) {
        let mut id = self.root();
        loop {
            let content = self.node(id).content.load(guard);
            match &content.below {
                Below::Children(children) => id = children[0],
                Below::Cells(_) => return (id, content),
            }
        }
    }

    /// The greatest key there is now, and its cell.
    pub(crate) fn last(&self, guard: &Guard) -> Option<(K, Cell)> {
        self.last_between(self.root(), None, guard)
    }

    /// The greatest key in node `first` and those right of it whose keys are below `bound`: one node, and what was split off
    /// it and its parent does not know yet.
    fn last_between(&self, first: NodeId, bound: Option<K>, guard: &Guard) -> Option<(K, Cell)> {
        let mut contents = vec![self.node(first).content.load(guard)];
        while let Some(next) = contents[contents.len() - 1].next
            && contents[contents.len() - 1].bound != bound
        {
            contents.push(self.node(next).content.load(guard));
        }
        contents.iter().rev().find_map(|content| match &content.below {
            Below::Cells(cells) => Some((*content.keys.last()?, *cells.last()?)),
            Below::Children(children) => {
                let bounds = content.keys.iter().copied().map(Some).chain([content.bound]);
                let children: Vec<_> = children.iter().zip(bounds).collect();
                children.into_iter().rev().find_map(|(&child, bound)| self.last_between(child, bound, guard))
            }
        })
    }
}

impl<K: Copy + Ord> Content<K> {
    /// What a writer changes: with room for one key more.
    fn copy(&self) -> Content<K> {
        fn longer<T: Copy>(of: &[T]) -> Vec<T> {
            let mut copy = Vec::with_capacity(of.len() + 1);
            copy.extend_from_slice(of);
            copy
        }
        let below = match &self.below {
            Below::Cells(cells) => Below::Cells(longer(cells)),
            Below::Children(children) => Below::Children(longer(children)),
        };
        Content { level: self.level, keys: longer(&self.keys), below, bound: self.bound, next: self.next }
    }

    /// Takes the upper half away if there are too many keys; with the separator.
    fn split(&mut self) -> Option<(K, Content<K>)> {
        if self.keys.len() <= FULL {
            return None;
        }
        // Keys that arrive in order fill their nodes.
        let at = if self.next.is_none() { self.keys.len() - 1 } else { self.keys.len() / 2 };
        let at = at.max(1);
        let mut keys = self.keys.split_off(at);
        let (below, separator) = match &mut self.below {
            Below::Cells(cells) => (Below::Cells(cells.split_off(at)), keys[0]),
            // The separator goes up; the child right of it is the first of the new node.
            Below::Children(children) => {
                let children = children.split_off(at + 1);
                (Below::Children(children), keys.remove(0))
            }
        };
        let right = Content { level: self.level, keys, below, bound: self.bound, next: self.next };
        Some((separator, right))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn all(tree: &Ordered<u64>, low: Bound<u64>) -> Vec<(u64, Cell)> {
        let (mut found, mut low) = (Vec::new(), Some(low));
        while let Some(from) = low {
            low = tree.entries_from(from, &crossbeam_epoch::pin(), |key, cell| found.push((*key, cell)));
        }
        found
    }

    #[test]
    fn the_index_agrees_with_a_map_of_std() {
        let mut rng = fastrand::Rng::with_seed(7);
        for range in [50u64, 5_000, u64::MAX] {
            let (tree, mut model) = (Ordered::new(), BTreeMap::new());
            for step in 0..20_000u64 {
                let (key, cell) = (rng.u64(..range), Cell::new(0, step));
                let guard = crossbeam_epoch::pin();
                if rng.u8(..3) == 0 {
                    tree.set(&key, None, &guard);
                    model.remove(&key);
                } else {
                    tree.set(&key, Some(cell), &guard);
                    model.insert(key, cell);
                }
                let asked = rng.u64(..range);
                assert_eq!(tree.find(&asked, &guard), model.get(&asked).copied());
            }
            assert_eq!(tree.len(), model.len() as u64);
            let expected: Vec<_> = model.iter().map(|(key, cell)| (*key, *cell)).collect();
            assert_eq!(all(&tree, Bound::Unbounded), expected);
            assert_eq!(tree.last(&crossbeam_epoch::pin()), expected.last().copied());
            for bound in [Bound::Included(range / 2), Bound::Excluded(range / 2), Bound::Included(range - 1)]
            {
                let expected: Vec<_> =
                    model.range((bound, Bound::Unbounded)).map(|(key, cell)| (*key, *cell)).collect();
                assert_eq!(all(&tree, bound), expected);
            }
        }
    }

    #[test]
    fn keys_in_ascending_order_fill_their_leaves() {
        let tree = Ordered::new();
        for key in 0..10_000u64 {
            tree.set(&key, Some(Cell::new(0, key)), &crossbeam_epoch::pin());
        }
        assert!(tree.nodes.count() < 10_000 / 60, "{} nodes", tree.nodes.count());
        for key in 0..10_000u64 {
            tree.set(&key, None, &crossbeam_epoch::pin());
        }
        assert_eq!((tree.len(), tree.last(&crossbeam_epoch::pin())), (0, None));
    }

    #[test]
    fn writers_beside_each_other_lose_no_key() {
        let tree = Ordered::new();
        std::thread::scope(|s| {
            for thread in 0..4u64 {
                let tree = &tree;
                s.spawn(move || {
                    for n in 0..5_000u64 {
                        let key = n * 4 + thread;
                        tree.set(&key, Some(Cell::new(0, key)), &crossbeam_epoch::pin());
                        assert!(tree.find(&key, &crossbeam_epoch::pin()).is_some());
                    }
                });
            }
        });
        let found = all(&tree, Bound::Unbounded);
        assert_eq!(found.len(), 20_000);
        assert!(found.iter().enumerate().all(|(i, (key, _))| *key == i as u64));
    }
}
