//! Workloads that are generated, and shrunk when they fail: a hook for `proptest`'s strategies.

use crate::{Config, Report};
use proptest::{
    strategy::Strategy,
    test_runner::{Config as Cases, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use std::{cell::RefCell, fmt};

/// What came of generated workloads: the shortest that fails, if one did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Generated<W> {
    /// Workloads that were explored before one failed, or all.
    pub workloads: u64,
    /// Explorations that it took to shrink the one that failed.
    pub shrinking: u64,
    /// Images opened, those of the shrinking included.
    pub images: u64,
    /// The shortest workload that fails, and the report of its exploration.
    pub failure: Option<(W, Report)>,
}

/// Explores workloads of a strategy (a list of operations, `proptest::collection::vec(...)`), `cases` of them or until one
/// fails; that one is then made shorter and simpler as long as it fails. The seed is `config`'s: the same workloads each time.
///
/// ```
/// use pmem_crash::{Config, Exploration, explore_generated};
/// use pmem_map::{Error, Mapping};
///
/// let sets = proptest::collection::vec((0..8u64, 1..100u8), 1..20);
/// let generated = explore_generated(&Config::from_env(), 16, sets, |sets| {
///     Exploration::new("bytes").len(4096).run(
///         |mut mapping, ops| {
///             sets.iter().try_for_each(|&(at, value)| {
///                 ops.run(format!("{at} = {value}"), || {
///                     mapping.write(at * 64, &[value])?;
///                     mapping.persist(at * 64..at * 64 + 1)
///                 })
///             })
///         },
///         Ok::<Mapping, Error>,
///         |mapping, point| {
///             let expected = |done: usize, at: u64| sets[..done].iter().rfind(|set| set.0 == at).map_or(0, |set| set.1);
///             let right = |done: usize| (0..8).all(|at| mapping.as_slice()[at as usize * 64] == expected(done, at));
///             if point.range().any(right) { Ok(()) } else { Err("a set is lost".to_owned()) }
///         },
///     )
/// });
/// generated.assert_ok();
/// ```
pub fn explore_generated<S: Strategy>(
    config: &Config,
    cases: u32,
    strategy: S,
    explore: impl Fn(&S::Value) -> Report,
) -> Generated<S::Value> {
    let cases = Cases { cases, failure_persistence: None, max_shrink_iters: 2048, ..Cases::default() };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&config.seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(cases, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    // Workloads, explorations after the first failure, images.
    let counts = RefCell::new((0, 0, 0));
    let failed = RefCell::new(false);
    let outcome = runner.run(&strategy, |workload| {
        let report = explore(&workload);
        let (workloads, shrinking, images) = &mut *counts.borrow_mut();
        *if *failed.borrow() { shrinking } else { workloads } += 1;
        *images += report.recoveries;
        if report.failures == 0 {
            return Ok(());
        }
        *failed.borrow_mut() = true;
        Err(TestCaseError::fail("an image is recovered wrongly"))
    });
    let failure = match outcome {
        Ok(()) => None,
        Err(TestError::Fail(_, shortest)) => {
            let report = explore(&shortest);
            Some((shortest, report))
        }
        Err(TestError::Abort(reason)) => panic!("no workload could be generated: {reason}"),
    };
    let (workloads, shrinking, images) = counts.into_inner();
    Generated { workloads, shrinking, images, failure }
}

impl<W: fmt::Debug> Generated<W> {
    /// Passes if no workload failed.
    ///
    /// # Panics
    ///
    /// With the shortest workload that fails, and the account of its failure, otherwise.
    #[track_caller]
    pub fn assert_ok(&self) {
        if let Some((workload, report)) = &self.failure {
            let account = report.clone().into_result().err().unwrap_or_default();
            panic!("{self}\nthe shortest workload that fails: {workload:#?}\n{account}");
        }
    }
}

impl<W> fmt::Display for Generated<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Generated { workloads, shrinking, images, failure } = self;
        let failures = usize::from(failure.is_some());
        write!(
            f,
            "{workloads} workloads, {images} recoveries, {failures} failures, {shrinking} explorations to shrink"
        )
    }
}
