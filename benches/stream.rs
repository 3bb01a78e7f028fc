//! Which objects are updated, in which order, and what must be there afterwards.

use fastrand::Rng;

/// Bytes of an object.
pub const OBJECT: u64 = 64;

/// Words of an object.
pub type Object = [u64; 8];

/// Updates of random objects, `group` distinct ones to an operation. The same arguments give the same updates, so
/// what they leave behind can be computed again.
///
/// The objects of a group come from as many equal parts of the working set: far from each other, never the same.
pub struct Stream {
    rng: Rng,
    seed: u64,
    part: u64,
    group: u64,
    operations: u64,
}

impl Stream {
    /// Over `objects` objects.
    pub fn new(seed: u64, objects: u64, group: u64) -> Stream {
        assert!(objects >= group, "{objects} objects for groups of {group}");
        Stream { rng: Rng::with_seed(seed), seed, part: objects / group, group, operations: 0 }
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Begins the next operation; its number, from 1.
    #[inline(always)]
    pub fn begin(&mut self) -> u64 {
        self.operations += 1;
        self.operations
    }

    /// The `i`-th object of this operation. Ask in order, for all of the group.
    #[inline(always)]
    pub fn object(&mut self, i: u64) -> u64 {
        i * self.part + ((u128::from(self.rng.u64(..)) * u128::from(self.part)) >> 64) as u64
    }

    /// What all updates so far must have left: for each object, the sum and the last of the numbers of the
    /// operations that updated it.
    fn expected(&self) -> Vec<(u64, u64)> {
        let mut replay = Stream::new(self.seed, self.part * self.group, self.group);
        let mut objects = vec![(0u64, 0u64); (self.part * self.group) as usize];
        for _ in 0..self.operations {
            let number = replay.begin();
            for i in 0..self.group {
                let object = &mut objects[replay.object(i) as usize];
                *object = (object.0.wrapping_add(number), number);
            }
        }
        objects
    }

    /// Checks that each object holds its operation's number in all words, the last one's or the sum of all.
    ///
    /// # Panics
    ///
    /// An object holds something else.
    pub fn verify(&self, update: Update, mut read: impl FnMut(u64) -> Object) {
        for (index, (sum, last)) in self.expected().into_iter().enumerate() {
            let expected = match update {
                Update::Blind => last,
                Update::ReadModifyWrite => sum,
            };
            let found = read(index as u64);
            assert_eq!(found, [expected; 8], "object {index} after {} operations", self.operations);
        }
    }
}

/// How an object gets its new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Overwritten with the operation's number, and not looked at.
    Blind,
    /// Read; the operation's number is added to each word.
    ReadModifyWrite,
}

/// A set of objects that operations choose from.
#[derive(Clone, Copy)]
pub struct WorkingSet {
    /// As tables call it.
    pub name: &'static str,
    /// All objects together.
    pub bytes: u64,
    /// Milliseconds of CPU time to spend on a row in one round: more for larger sets, for each row finds the caches
    /// full of another row's bytes.
    pub milliseconds: u64,
}

impl WorkingSet {
    /// Fits the first-level cache.
    pub const HOT: WorkingSet = WorkingSet { name: "4 KiB", bytes: 4 << 10, milliseconds: 10 };
    /// Larger than the caches of most machines.
    pub const COLD: WorkingSet = WorkingSet { name: "64 MiB", bytes: 64 << 20, milliseconds: 40 };
    /// Larger than the reach of the address translation caches.
    pub const LARGE: WorkingSet = WorkingSet { name: "1 GiB", bytes: 1 << 30, milliseconds: 80 };
}
