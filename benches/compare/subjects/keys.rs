//! Which entries are asked for: uniformly, or some much more often than others, as YCSB does.

use fastrand::Rng;

/// How entries are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Each as often as the others.
    Uniform,
    /// A few very often: Zipf's law with YCSB's exponent of 0.99, scattered over all entries.
    Zipfian,
}

impl Distribution {
    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipfian => "zipfian",
        }
    }
}

/// Ranks by Zipf's law, by the method of Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), which
/// YCSB uses too.
#[derive(Clone, Debug)]
pub struct Zipf {
    count: u64,
    zeta: f64,
    eta: f64,
    second: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// Of ranks below `count`, of which there are at least two.
    pub fn new(count: u64) -> Zipf {
        assert!(count >= 2, "a choice needs two");
        let zeta: f64 = (1..=count).map(|rank| (rank as f64).powf(-THETA)).sum();
        let second = 1.0 + 0.5f64.powf(THETA);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - second / zeta);
        Zipf { count, zeta, eta, second }
    }

    /// The next rank: 0 is the most frequent.
    #[inline]
    pub fn rank(&self, rng: &mut Rng) -> u64 {
        let u = rng.f64();
        match u * self.zeta {
            ..1.0 => 0,
            uz if uz < self.second => 1,
            _ => {
                let share = (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
                ((self.count as f64 * share) as u64).min(self.count - 1)
            }
        }
    }
}

/// Chooses among entries below a number.
#[derive(Clone, Debug)]
pub struct Choice {
    entries: u64,
    zipf: Option<Zipf>,
}

impl Choice {
    /// Among `entries`, of which there are at least two.
    pub fn new(distribution: Distribution, entries: u64) -> Choice {
        Choice { entries, zipf: (distribution == Distribution::Zipfian).then(|| Zipf::new(entries)) }
    }

    /// The next one.
    #[inline]
    pub fn next(&self, rng: &mut Rng) -> u64 {
        match &self.zipf {
            None => rng.u64(..self.entries),
            // The keys of entries are hashes of their numbers already: neighbours in rank are none in the map.
            Some(zipf) => zipf.rank(rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_as_frequent_as_the_law_says() {
        let (count, draws) = (1000, 200_000);
        let zipf = Zipf::new(count);
        let mut rng = Rng::with_seed(3);
        let mut found = vec![0u64; count as usize];
        (0..draws).for_each(|_| found[zipf.rank(&mut rng) as usize] += 1);
        for rank in [0, 1] {
            let expected = draws as f64 * ((rank + 1) as f64).powf(-THETA) / zipf.zeta;
            let off = found[rank as usize] as f64 / expected;
            assert!((0.95..1.05).contains(&off), "rank {rank}: {off}");
        }
        // The method approximates the ranks behind: all of a tenth of them together.
        let head: u64 = found[..100].iter().sum();
        let law: f64 = (1..=100).map(|rank| f64::from(rank).powf(-THETA)).sum::<f64>() / zipf.zeta;
        let off = head as f64 / draws as f64 / law;
        assert!((0.95..1.05).contains(&off), "the first hundred: {off}");
        assert!(found[999] > 0);
    }

    #[test]
    fn a_seed_gives_the_same_choices_again() {
        for distribution in [Distribution::Uniform, Distribution::Zipfian] {
            let choice = Choice::new(distribution, 50);
            let some = |seed| {
                let mut rng = Rng::with_seed(seed);
                (0..100).map(|_| choice.next(&mut rng)).collect::<Vec<u64>>()
            };
            assert_eq!(some(1), some(1));
            assert_ne!(some(1), some(2));
            assert!(some(1).iter().all(|i| *i < 50));
        }
    }
}
