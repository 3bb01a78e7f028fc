//! Medians, spreads, and whether two sets of samples differ.

/// The value below which this share of the samples lies, between neighbours in proportion. NaN of none.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Nanoseconds, or a count, to a thousandth and at least that: short in JSON, and read back as the same number.
pub fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round().max(1.0) / 1000.0
}

/// The middle one. NaN of none.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// A quarter of the samples is below.
    pub low: f64,
    /// A quarter of the samples is above.
    pub high: f64,
}

impl Summary {
    /// Of samples, of which there is at least one.
    pub fn of(samples: &[f64]) -> Summary {
        Summary { median: median(samples), low: quantile(samples, 0.25), high: quantile(samples, 0.75) }
    }

    /// Half the distance of the quartiles, in percent of the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.median * 100.0
    }
}

/// Mann and Whitney's test: how probable a difference in rank as large as this one is, in either direction, if both sets of
/// samples come from one distribution. Exact but for ties, each of which counts half.
pub fn rank_test(a: &[f64], b: &[f64]) -> f64 {
    let (m, n) = (a.len(), b.len());
    if m == 0 || n == 0 {
        return 1.0;
    }
    let wins: f64 =
        a.iter().flat_map(|x| b.iter().map(move |y| f64::from(x > y) + f64::from(x == y) / 2.0)).sum();
    let fewer = wins.min((m * n) as f64 - wins).floor() as usize;
    let ways = ways(m, n);
    let all: f64 = ways.iter().sum();
    (2.0 * ways[..=fewer].iter().sum::<f64>() / all).min(1.0)
}

/// For each number of pairs (x, y) with x > y, how many orders of `m` x's and `n` y's have it.
fn ways(m: usize, n: usize) -> Vec<f64> {
    // The counts of partitions into at most `m` parts of at most `n`: product of (1 - q^(n + i)) / (1 - q^i).
    let len = m * n + 1;
    let mut ways = vec![0.0; len];
    ways[0] = 1.0;
    for i in 1..=m {
        for at in (n + i..len).rev() {
            ways[at] -= ways[at - n - i];
        }
        for at in i..len {
            ways[at] += ways[at - i];
        }
    }
    ways
}

/// Benjamini and Hochberg's procedure: the largest of these probabilities that may be believed, if a share of `rate` of
/// what is believed may be chance. Zero if none may.
pub fn believable(mut probabilities: Vec<f64>, rate: f64) -> f64 {
    probabilities.sort_by(f64::total_cmp);
    let count = probabilities.len() as f64;
    let ranked = probabilities.iter().enumerate();
    ranked.filter(|(rank, p)| **p <= rate * (rank + 1) as f64 / count).map(|(_, p)| *p).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert_eq!(Summary::of(&[1.0, 2.0, 3.0, 4.0, 5.0]), Summary { median: 3.0, low: 2.0, high: 4.0 });
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_sample_is_the_same_number_after_it_was_written_and_read() {
        for number in (1..10_000).map(|n| thousandths(f64::from(n * n) / 7.0)) {
            let text = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap(), number, "{text}");
        }
        assert_eq!(thousandths(0.0), 0.001);
    }

    #[test]
    fn ranks_that_do_not_mix_are_as_improbable_as_one_order_of_all_and_its_mirror() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        assert!((rank_test(&a, &b) - 2.0 / 70.0).abs() < 1e-12); // 8 over 4
        assert_eq!(rank_test(&a, &b), rank_test(&b, &a));
        assert_eq!(rank_test(&a, &a), 1.0);
        assert_eq!(rank_test(&[], &a), 1.0);
    }

    #[test]
    fn all_orders_are_counted() {
        assert_eq!(ways(2, 2), [1.0, 1.0, 2.0, 1.0, 1.0]);
        assert_eq!(ways(9, 9).iter().sum::<f64>(), 48620.0);
    }

    #[test]
    fn what_is_believed_depends_on_how_many_were_asked() {
        assert_eq!(believable(vec![0.04], 0.05), 0.04);
        assert_eq!(believable(vec![0.04, 0.9, 0.8], 0.05), 0.0);
        assert_eq!(believable(vec![0.001, 0.02, 0.9], 0.05), 0.02);
    }
}
