//! How much of the crash states to explore.

use crate::trace;
use pmem_map::Granularity;

/// What an exploration sees of the code under test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Level 1: the stores, flushes and drains that go through the mapping's methods. Other stores are found by comparing,
    /// at the next event. Fast, and everywhere.
    #[default]
    Events,
    /// Level 2: besides, every store that any code does to the mapping, in its order, with the line that did it: see
    /// [`trace`](crate::trace) for how, and for what is not seen. Some microseconds for each store, of the workload and of every
    /// recovery that is explored. The threads may store at the same time.
    ///
    /// Where it is not supported (another processor than an x86-64), the exploration is at level 1, and its
    /// report [says so](crate::Report::level).
    EveryStore,
}

impl Level {
    /// This level, or the first one and why it cannot be this.
    pub(crate) fn supported(self) -> (Level, Option<trace::TraceError>) {
        match self {
            Level::Events => (Level::Events, None),
            Level::EveryStore => match trace::is_supported() {
                Ok(()) => (Level::EveryStore, None),
                Err(error) => (Level::Events, Some(error)),
            },
        }
    }
}

/// How one cache line may be torn by a power failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tear {
    /// As x86 promises: a line keeps a prefix of the stores to it.
    #[default]
    Line,
    /// Stricter than any hardware sold: each aligned 8-byte word of a line keeps a prefix of its own stores,
    /// whatever the others keep. Finds reliance on the order of stores within a line, which is sound on
    /// x86 as long as the compiler keeps that order too.
    EightBytes,
}

/// How much to explore. Every number is deterministic: the same configuration gives the same report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where the samples come from. `PMEM_CRASH_SEED`.
    pub seed: u64,
    /// Crash points with at most this many states are explored completely. `PMEM_CRASH_BOUND`, 4096.
    pub bound: u64,
    /// Random states at a crash point with more. `PMEM_CRASH_SAMPLES`, 256.
    pub samples: u64,
    /// How often recovery itself may be interrupted, one crash inside the recovery from another. 0: never.
    /// `PMEM_CRASH_DEPTH`, 2.
    pub depth: u32,
    /// About how many states to explore inside the recoveries from one crash point of the workload;
    /// `u64::MAX` for all. `PMEM_CRASH_NESTED`, 256.
    pub nested: u64,
    /// How a line may be torn.
    pub tear: Tear,
    /// What the medium asks for: cache lines (ADR), nothing (eADR), or pages (a file). The mappings of
    /// [`Exploration::run`](crate::Exploration::run) say so too; those of `run_files` should have it. With `Byte`,
    /// every ordinary store is a crash point.
    pub granularity: Granularity,
    /// Whether a process may also be killed at every crash point, the machine staying up: the next one sees all its
    /// stores, of which not all are durable, recovers, and then the power fails. Counts as a crash for `depth`.
    pub kills: bool,
    /// What is seen of the code under test. `PMEM_CRASH_LEVEL`, 1 or 2.
    pub level: Level,
    /// Whether to look for bytes that changed by other means than the region's methods: through
    /// [`Mapping::as_mut_slice`](pmem_map::Mapping::as_mut_slice), or through an address. Off, such changes
    /// are never seen, the mapping is never read, and recording costs nothing for bytes not stored to. Must
    /// be off for a workload whose threads store at the same time. At level 2 nothing is compared.
    pub raw_stores: bool,
    /// Whether to stop at the first failure (the default), or to count them all.
    pub stop_at_first: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            seed: 0x5eed,
            bound: 4096,
            samples: 256,
            depth: 2,
            nested: 256,
            tear: Tear::Line,
            granularity: Granularity::CacheLine,
            kills: true,
            level: Level::Events,
            raw_stores: true,
            stop_at_first: true,
        }
    }
}

impl Config {
    /// The default, changed by the environment: `PMEM_CRASH_SEED`, `PMEM_CRASH_BOUND`,
    /// `PMEM_CRASH_SAMPLES`, `PMEM_CRASH_DEPTH`, `PMEM_CRASH_NESTED`, `PMEM_CRASH_LEVEL`.
    ///
    /// # Panics
    ///
    /// When one of them is set and is no number, or no level.
    pub fn from_env() -> Config {
        let default = Config::default();
        Config {
            seed: number("PMEM_CRASH_SEED", default.seed),
            bound: number("PMEM_CRASH_BOUND", default.bound),
            samples: number("PMEM_CRASH_SAMPLES", default.samples),
            depth: u32::try_from(number("PMEM_CRASH_DEPTH", default.depth.into())).unwrap_or(u32::MAX),
            nested: number("PMEM_CRASH_NESTED", default.nested),
            level: match number("PMEM_CRASH_LEVEL", 1) {
                1 => Level::Events,
                2 => Level::EveryStore,
                other => panic!("PMEM_CRASH_LEVEL={other} is no level: 1 or 2"),
            },
            ..default
        }
    }

    /// With another seed.
    pub fn seed(self, seed: u64) -> Config {
        Config { seed, ..self }
    }
    /// With another bound for complete enumeration.
    pub fn bound(self, bound: u64) -> Config {
        Config { bound, ..self }
    }
    /// With another number of samples.
    pub fn samples(self, samples: u64) -> Config {
        Config { samples, ..self }
    }
    /// With another depth of crashes inside recovery.
    pub fn depth(self, depth: u32) -> Config {
        Config { depth, ..self }
    }
    /// With another number of states inside the recoveries from one crash point.
    pub fn nested(self, nested: u64) -> Config {
        Config { nested, ..self }
    }
    /// With another way of tearing lines.
    pub fn tear(self, tear: Tear) -> Config {
        Config { tear, ..self }
    }
    /// On another medium.
    pub fn granularity(self, granularity: Granularity) -> Config {
        Config { granularity, ..self }
    }
    /// With processes that are killed, or without.
    pub fn kills(self, kills: bool) -> Config {
        Config { kills, ..self }
    }
    /// Seeing more or less.
    pub fn level(self, level: Level) -> Config {
        Config { level, ..self }
    }
    /// Seeing every store: [`Level::EveryStore`].
    pub fn level2(self) -> Config {
        self.level(Level::EveryStore)
    }
    /// Looking for raw stores, or not.
    pub fn raw_stores(self, raw_stores: bool) -> Config {
        Config { raw_stores, ..self }
    }
    /// Stopping at the first failure, or not.
    pub fn stop_at_first(self, stop_at_first: bool) -> Config {
        Config { stop_at_first, ..self }
    }
}

fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|error| panic!("{name}={text} is no number: {error}"))
}
