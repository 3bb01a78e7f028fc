//! Descents: to the leaf of a key, and from a leaf to its neighbours.

use super::{Leaf, Place, SlotAt, Tree, layout::MAX_HEIGHT};
use pmem_alloc::{Mode, OrdKey, Ptr, Result, Stored};

/// An inner node that a descent went through, and the child it took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Step {
    pub(crate) node: u64,
    pub(crate) child: usize,
}

/// The way from the root to a leaf. Valid until nodes are split, merged or freed.
#[derive(Clone)]
pub(crate) struct Path {
    steps: [Step; MAX_HEIGHT as usize],
    depth: usize,
    /// Where it ends.
    pub(crate) leaf: u64,
    /// Whether every step took the last child.
    pub(crate) rightmost: bool,
}

impl Path {
    /// The steps, from the root down.
    #[inline]
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps[..self.depth]
    }

    fn push(&mut self, step: Step) {
        self.steps[self.depth] = step;
        self.depth += 1;
    }
}

/// Where a descent goes.
#[derive(Clone, Copy)]
pub(crate) enum Aim<'k> {
    /// To the first leaf.
    First,
    /// To the last leaf.
    Last,
    /// To the leaf that a key, in its stored form, belongs to.
    Key(&'k [u8]),
}

/// Which way a neighbour is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Towards greater keys.
    Forward,
    /// Towards smaller keys.
    Backward,
}

impl<K: OrdKey, V: Stored, M: Mode> Tree<'_, K, V, M> {
    /// The leaf that `key` belongs to; `None` if there is no leaf at all.
    #[inline]
    pub(crate) fn leaf_for(&self, key: &[u8]) -> Result<Option<Leaf<'_, K, V, M>>> {
        if self.height == 0 {
            return Ok(None);
        }
        let mut at = self.root;
        for level in (1..self.height).rev() {
            let inner = self.inner(at, level)?;
            at = inner.children[inner.child_for(key)?];
        }
        // All its lines at once: its head says which slot is needed, and should not be waited for.
        self.body.prefetch(Ptr::from_offset(at), Leaf::<K, V, M>::LAYOUT.size as u64);
        self.leaf(at).map(Some)
    }

    /// Where `key` is, or could be.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Place> {
        let Some(leaf) = self.leaf_for(key)? else { return Ok(Place::Full) };
        if let Some(slot) = leaf.find(key)? {
            return Ok(Place::Taken(SlotAt { leaf: leaf.at, slot }));
        }
        Ok(leaf.free_slot().map_or(Place::Full, |slot| Place::Free(SlotAt { leaf: leaf.at, slot })))
    }

    /// The way to a leaf; `None` if there is no leaf at all.
    #[inline]
    pub(crate) fn path(&self, aim: Aim<'_>) -> Result<Option<Path>> {
        if self.height == 0 {
            return Ok(None);
        }
        let mut path = Path { steps: Default::default(), depth: 0, leaf: self.root, rightmost: true };
        self.extend(&mut path, aim)?;
        Ok(Some(path))
    }

    /// Goes on from `path.leaf`, which is a node below `path.depth` others, to a leaf.
    fn extend(&self, path: &mut Path, aim: Aim<'_>) -> Result<()> {
        for level in (1..self.height - path.depth as u32).rev() {
            let inner = self.inner(path.leaf, level)?;
            let child = match aim {
                Aim::First => 0,
                Aim::Last => inner.count(),
                Aim::Key(key) => inner.child_for(key)?,
            };
            path.push(Step { node: path.leaf, child });
            path.rightmost &= child == inner.count();
            path.leaf = inner.children[child];
        }
        Ok(())
    }

    /// Moves `path` to the leaf beside its own; `false`, and nothing moved, if there is none.
    pub(crate) fn step(&self, path: &mut Path, direction: Direction) -> Result<bool> {
        for depth in (0..path.depth).rev() {
            let Step { node, child } = path.steps[depth];
            let inner = self.inner(node, self.level(depth))?;
            let next = match direction {
                Direction::Forward if child < inner.count() => child + 1,
                Direction::Backward if child > 0 => child - 1,
                _ => continue,
            };
            // Whether it is the rightmost matters to inserts only, and these do not come this way.
            path.rightmost = false;
            path.depth = depth;
            path.push(Step { node, child: next });
            path.leaf =
                *inner.children.get(next).ok_or_else(|| self.wrong("a path of this tree", "another"))?;
            let aim = if direction == Direction::Forward { Aim::First } else { Aim::Last };
            self.extend(path, aim)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The level of the inner node that is `depth` steps below the root.
    pub(super) fn level(&self, depth: usize) -> u32 {
        self.height - 1 - depth as u32
    }

    /// The entry with the smallest or greatest key, and the way to it.
    pub(crate) fn edge(&self, aim: Aim<'_>) -> Result<Option<(Path, usize)>> {
        let Some(path) = self.path(aim)? else { return Ok(None) };
        let leaf = self.leaf(path.leaf)?;
        let mut best: Option<(K::Ordered<'_>, usize)> = None;
        for slot in leaf.slots() {
            let key = leaf.ordered(slot)?;
            let better = match (aim, best) {
                (_, None) => true,
                (Aim::Last, Some((other, _))) => key > other,
                (_, Some((other, _))) => key < other,
            };
            if better {
                best = Some((key, slot));
            }
        }
        match best {
            Some((_, slot)) => Ok(Some((path, slot))),
            None => self.check_empty(&leaf).map(|()| None),
        }
    }

    /// A leaf without entries is the root of an empty tree, or damage.
    pub(crate) fn check_empty(&self, leaf: &Leaf<'_, K, V, M>) -> Result<()> {
        if self.height == 1 && self.len == 0 {
            return Ok(());
        }
        Err(crate::damage::corrupt(leaf.at, "a leaf with entries", "an empty one"))
    }
}
