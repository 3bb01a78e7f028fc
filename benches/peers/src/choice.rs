//! Which record an operation meets.

use crate::{protocol::Distribution, value::mix};
use fastrand::Rng;

/// YCSB's constant.
const THETA: f64 = 0.99;

/// Chooses among a number of records.
#[derive(Clone)]
pub(crate) struct Choice {
    records: u64,
    zipf: Option<Zipf>,
}

impl Choice {
    pub(crate) fn new(distribution: Distribution, records: u64) -> Choice {
        let zipf = (distribution == Distribution::Zipfian).then(|| Zipf::new(records.max(1)));
        Choice { records, zipf }
    }

    /// One of the first `count` records, which are not fewer than there were at first.
    pub(crate) fn any(&self, rng: &mut Rng, count: u64) -> u64 {
        match &self.zipf {
            // The frequent ones are not neighbours.
            Some(zipf) => mix(zipf.rank(rng)) % self.records.max(1),
            None => rng.u64(..count.max(1)),
        }
    }

    /// One of the last of `count` records: the newest is the most frequent, whatever the distribution.
    pub(crate) fn latest(&self, rng: &mut Rng, count: u64) -> u64 {
        let back = match &self.zipf {
            Some(zipf) => zipf.rank(rng),
            None => rng.u64(..self.records.max(1)).min(rng.u64(..self.records.max(1))),
        };
        count.saturating_sub(1 + back % count.max(1))
    }
}

/// Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), as YCSB has it.
#[derive(Clone)]
struct Zipf {
    records: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(records: u64) -> Zipf {
        let sum = |count: u64| (1..=count).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
        let zeta = sum(records);
        let eta = (1.0 - (2.0 / records as f64).powf(1.0 - THETA)) / (1.0 - sum(2) / zeta);
        Zipf { records, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    /// 0 is the most frequent.
    fn rank(&self, rng: &mut Rng) -> u64 {
        let (u, most) = (rng.f64(), self.records - 1);
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1.min(most);
        }
        let rank = self.records as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_ranks_come_as_often_as_their_law_says() {
        let (zipf, mut rng) = (Zipf::new(1000), Rng::with_seed(1));
        let mut counts = vec![0u32; 1000];
        (0..1_000_000).for_each(|_| counts[zipf.rank(&mut rng) as usize] += 1);
        for (rank, tolerance) in [(0usize, 0.02), (1, 0.02), (9, 0.15), (99, 0.15)] {
            let expected = 1e6 / zipf.zeta * ((rank + 1) as f64).powf(-THETA);
            let off = (f64::from(counts[rank]) - expected).abs() / expected;
            assert!(off < tolerance, "rank {rank}: {} of {expected:.0}", counts[rank]);
        }
    }

    #[test]
    fn choices_are_within_what_there_is() {
        for (distribution, records) in
            [(Distribution::Uniform, 1), (Distribution::Zipfian, 1), (Distribution::Zipfian, 77)]
        {
            let (choice, mut rng) = (Choice::new(distribution, records), Rng::with_seed(1));
            for more in 0..100 {
                assert!(choice.any(&mut rng, records + more) < records + more);
                assert!(choice.latest(&mut rng, records + more) < records + more);
            }
        }
    }
}
