//! Builds the images, opens each, and asks the oracle; then does the same with crashes inside the opening.

use crate::{
    Config, Image, Point, Report,
    choices::{Choices, Extent, Part},
    dump,
    exploration::Visible,
    line::{Content, Contents, Pending},
    recorder::{Cut, Recorder, When},
    replay::{Path, Place},
    report::{Crash, Difference, Failure, LostStore, Repeat},
    shadow::Name,
};
use pmem_map::{LINE, PAGE};
use rustc_hash::FxHashMap;
use std::{
    any::Any,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Opens an image; tells the recorder what the recovery does, if there is one.
pub(crate) type Open<'a, T> = &'a dyn Fn(&Image, Option<Arc<Recorder>>) -> Result<T, String>;
/// Judges what was opened.
pub(crate) type Oracle<'a, T> = &'a dyn Fn(T, &Point<'_>) -> Result<(), String>;

pub(crate) struct Explorer<'a, T> {
    pub(crate) config: &'a Config,
    pub(crate) open: Open<'a, T>,
    pub(crate) oracle: Oracle<'a, T>,
    pub(crate) report: Report,
    /// Images that were judged already, and the least depth at which.
    pub(crate) seen: FxHashMap<Seen, u32>,
    /// Which exploration of its name this is.
    pub(crate) ordinal: u32,
    /// The one image to try, if not all.
    pub(crate) only: Option<Path>,
}

/// An image and what its oracle allows.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    image: u128,
    /// None if there is no file.
    len: Option<u64>,
    acknowledged: usize,
    begun: usize,
}

/// A crash point with all that a failure there could leave.
struct Moment<'a> {
    cut: &'a Cut,
    number: usize,
    lines: Vec<Line<'a>>,
    /// Length and name; the first is the durable one, the last has everything.
    metadata: Vec<(u64, bool)>,
    /// What the lines would be with nothing lost.
    visible: Vec<(u64, Content)>,
}

struct Line<'a> {
    offset: u64,
    pending: &'a Pending,
    contents: Contents,
    /// What each content adds to the image's hash.
    hashes: Vec<u128>,
}

/// A failure at a moment, which the recovery under exploration is to repair.
#[derive(Clone, Copy)]
struct Failed<'a> {
    moment: &'a Moment<'a>,
    state: &'a [usize],
    /// Only the process ended, not the machine: nothing is lost yet.
    killed: bool,
    before: Option<&'a Failed<'a>>,
}

impl Failed<'_> {
    fn depth(&self) -> u32 {
        self.before.map_or(0, |before| before.depth() + 1)
    }
    /// The failure of the workload itself.
    fn first(&self) -> &Failed<'_> {
        self.before.map_or(self, |before| before.first())
    }
    /// Where in the exploration it is.
    fn path(&self) -> Path {
        let mut path = self.before.map_or_else(Path::default, |before| before.path());
        let parts = self.moment.parts();
        path.push(Place::new(self.moment.number, self.killed, self.state, &parts));
        path
    }
}

impl<T> Explorer<'_, T> {
    /// Explores a workload's run on `start`.
    pub(crate) fn explore(&mut self, cuts: &[Cut], start: &Image) {
        // Breaks at the first failure, if so configured: there is nothing left to do either way.
        let _: ControlFlow<()> = self.run(cuts, start, None, 0);
    }

    /// Explores the run that made `cuts` of `start`: the workload, or a recovery after a failure and then
    /// with about `allowance` images at most.
    fn run(
        &mut self,
        cuts: &[Cut],
        start: &Image,
        before: Option<&Failed<'_>>,
        allowance: u64,
    ) -> ControlFlow<()> {
        let mut durable = Durable::new(start);
        let mut nested = allowance / 2;
        let path = before.map_or_else(Path::default, |before| before.path());
        for (index, cut) in cuts.iter().enumerate() {
            durable.advance(cut);
            let only = self.only.as_ref().map(|only| only.place(path.depth()));
            if only.is_some_and(|only| only.is_none_or(|only| only.number() != index + 1)) {
                continue;
            }
            let mut random = self.random(&path, index);
            let moment = self.moment(cut, index + 1, &durable);
            let parts = moment.parts();
            if let Some(Some(place)) = only {
                let (killed, state) = (place.is_killed(), place.state(&parts));
                let deeper = path.depth() + 1 < self.only.as_ref().map_or(0, Path::depth);
                let failed = Failed { moment: &moment, state: &state, killed, before };
                return self.try_one(&mut durable, &failed, deeper, allowance);
            }
            let extent = match before {
                None => Extent { bound: self.config.bound, samples: self.config.samples, alone: true },
                Some(_) => {
                    let limit = (allowance / 2 / cuts.len() as u64).max(2);
                    let bound = limit.min(self.config.bound);
                    let alone = 4 * parts.len() as u64 <= limit;
                    let left = limit.saturating_sub(2 + if alone { 2 * parts.len() as u64 } else { 0 });
                    Extent { bound, samples: left.min(self.config.samples), alone }
                }
            };
            let mut choices = Choices::new(parts, extent);
            let complete = choices.complete && moment.lines.iter().all(|line| line.contents.complete);
            if before.is_none() {
                self.report.points += 1;
                self.report.complete &= complete;
                nested = self.config.nested;
            } else {
                self.report.nested_complete &= complete;
            }
            let chance = 16.0 / choices.len() as f64;
            let share = if nested == u64::MAX { u64::MAX } else { (nested / 8).max(8) };
            let mut tried = 0;
            while let Some(state) = choices.next(&mut random) {
                let failed = Failed { moment: &moment, state, killed: false, before };
                let first = failed.first().moment.cut;
                let (acknowledged, begun) = (first.acknowledged, first.begun);
                let depth = failed.depth();
                let (hash, len) = durable.hash_of(&failed);
                let seen = Seen { image: hash, len, acknowledged, begun };
                if self.seen.get(&seen).is_some_and(|&least| least <= depth) {
                    continue;
                }
                self.seen.insert(seen, depth);
                tried += 1;
                let deeper = depth < self.config.depth;
                let recorded =
                    deeper && (nested == u64::MAX || nested > 0 && (tried <= 2 || random.f64() < chance));
                self.report.nested_complete &= recorded || !deeper;
                let before_nested = self.report.recoveries + 1;
                self.try_one(&mut durable, &failed, recorded, share.min(nested))?;
                if recorded && nested != u64::MAX {
                    nested = nested.saturating_sub((self.report.recoveries - before_nested).max(1));
                }
            }
            // Last: a failure without it is easier to understand.
            if before.is_none() && self.config.kills && self.config.depth > 0 && moment.has_pending() {
                let state: Vec<usize> = moment.parts().iter().map(|part| part.everything).collect();
                let failed = Failed { moment: &moment, state: &state, killed: true, before };
                self.try_one(&mut durable, &failed, true, share)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The same random numbers for the same moment, whatever was explored before it.
    fn random(&self, path: &Path, index: usize) -> fastrand::Rng {
        let text = format!("{path}/{index}");
        fastrand::Rng::with_seed(xxh3_64_with_seed(text.as_bytes(), self.config.seed))
    }

    /// Builds the image that a failure leaves, judges it, and explores the recovery from it.
    fn try_one(
        &mut self,
        durable: &mut Durable,
        failed: &Failed<'_>,
        recorded: bool,
        allowance: u64,
    ) -> ControlFlow<()> {
        if !failed.killed {
            return durable.with(failed, |image| self.image(image, image, failed, recorded, allowance));
        }
        let certain = durable.image.bytes.clone();
        let image = durable.with(failed, Image::clone);
        let image = if image.named { image.with_durable(certain.clone()) } else { image };
        let start = Image::new(certain);
        self.image(&image, &start, failed, recorded, allowance)
    }

    /// Everything that a failure at `cut` could leave.
    fn moment<'c>(&self, cut: &'c Cut, number: usize, durable: &Durable) -> Moment<'c> {
        let mut lines = Vec::with_capacity(cut.domain.pending.len());
        for (offset, pending) in &cut.domain.pending {
            let content = durable.line(*offset);
            let (tear, bound) = (self.config.tear, self.config.bound);
            let seed = self.config.seed ^ offset.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let contents = Contents::of(pending, content, tear, bound, &mut fastrand::Rng::with_seed(seed));
            if contents.contents.len() > 1 {
                let hashes = contents.contents.iter().map(|content| hash(*offset, content)).collect();
                lines.push(Line { offset: *offset, pending, contents, hashes });
            }
        }
        let names: &[bool] = match cut.domain.name {
            Name::Absent => &[false],
            Name::Unsynced => &[false, true],
            Name::Durable => &[true],
        };
        let mut metadata = Vec::new();
        for &named in names {
            for &len in &cut.domain.lengths {
                let now = if named { (len, true) } else { (0, false) };
                if !metadata.contains(&now) {
                    metadata.push(now);
                }
            }
        }
        let visible = lines.iter().map(|line| (line.offset, line.contents.with_everything())).collect();
        Moment { cut, number, lines, metadata, visible }
    }

    /// Judges one image, and explores the recovery from it. `start` is what is durable in it.
    fn image(
        &mut self,
        image: &Image,
        start: &Image,
        failed: &Failed<'_>,
        recorded: bool,
        allowance: u64,
    ) -> ControlFlow<()> {
        let depth = failed.depth();
        let first_time = depth == 0 && !failed.killed;
        self.report.recoveries += 1;
        self.report.images += u64::from(first_time);
        let tally = self.report.tally(&failed.first().moment.cut.operation);
        tally.recoveries += 1;
        tally.images += u64::from(first_time);
        let first = failed.first().moment;
        let point = Point {
            operation: &first.cut.operation,
            number: first.number,
            acknowledged: first.cut.acknowledged,
            begun: first.cut.begun,
            depth,
            recovery: self.report.recoveries,
            image,
            visible: failed.moment.visible(),
        };
        let recorder = recorded.then(|| match failed.killed {
            true => Recorder::of_killed(image, failed.moment.cut, self.config),
            false => Recorder::new(image, self.config, None),
        });
        let opened = caught("the recovery", || {
            (self.open)(image, recorder.clone()).map_err(|error| format!("the recovery fails: {error}"))
        });
        let recording = recorder.map(|recorder| recorder.finish());
        let traced = recording.as_ref().map_or(Ok(()), |recording| match &recording.traced {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the recovery cannot be explored: {error}")),
        });
        let cuts = recording.map(|recording| recording.cuts);
        let judged =
            traced.and(opened).and_then(|opened| caught("the oracle", || (self.oracle)(opened, &point)));
        if let Err(message) = judged {
            return self.fail(failed, &point, message);
        }
        match cuts {
            Some(cuts) => self.run(&cuts, start, Some(failed), allowance),
            None => ControlFlow::Continue(()),
        }
    }

    fn fail(&mut self, failed: &Failed<'_>, point: &Point<'_>, message: String) -> ControlFlow<()> {
        self.report.failures += 1;
        self.report.tally(point.operation).failures += 1;
        if self.report.first_failure.is_none() {
            let mut crashes = Vec::new();
            let mut next = Some(failed);
            while let Some(failed) = next {
                crashes.push(self.crash(failed));
                next = failed.before;
            }
            crashes.reverse();
            let place = format!("{}/{}", self.ordinal, failed.path());
            let visible = point.killed();
            let dumped = dump::write(&self.report.name, &place, point.image, &visible);
            self.report.images_to_first_failure = Some(self.report.recoveries);
            let failure = Failure {
                exploration: self.report.name.clone(),
                place: Repeat(place),
                dumped,
                operation: point.operation.to_owned(),
                begun: point.begun,
                acknowledged: point.acknowledged,
                point: point.number,
                depth: point.depth,
                crashes,
                message,
                image: self.report.recoveries,
                seed: self.config.seed,
            };
            if let Some(left) = &failure.dumped {
                dump::write_account(left, &failure.to_string());
            }
            self.report.first_failure = Some(failure);
        }
        if !self.config.stop_at_first {
            return ControlFlow::Continue(());
        }
        let report = &mut self.report;
        (report.stopped, report.complete, report.nested_complete) = (true, false, false);
        ControlFlow::Break(())
    }

    fn crash(&self, failed: &Failed<'_>) -> Crash {
        let Moment { cut, number, lines, metadata, .. } = failed.moment;
        let run = if failed.before.is_some() { "inside the recovery, point" } else { "point" };
        let moment = match cut.when {
            When::Store(caller) => format!("{run} {number}, at the store at {caller}"),
            When::Traced(code) => format!("{run} {number}, at the store at {code}"),
            When::Drain(caller) => format!("{run} {number}, before the drain at {caller}"),
            When::Sync => format!("{run} {number}, before the file or its folder is synced"),
            When::Acknowledged => format!("{run} {number}, when operations were acknowledged"),
            When::End => format!("{run} {number}, at the end"),
        };
        let lost = lines.iter().zip(failed.state).flat_map(|(line, &state)| {
            let lost = line.contents.lost(state, line.pending, self.config.tear);
            lost.into_iter().map(|lost| LostStore::new(line.offset, &lost)).collect::<Vec<_>>()
        });
        let (len, named) = metadata[failed.state[lines.len()]];
        let everything = metadata[metadata.len() - 1];
        let differences =
            lines.iter().zip(failed.state).filter(|(line, state)| line.contents.everything != **state);
        Crash {
            moment,
            killed: failed.killed,
            lost: lost.collect(),
            differences: differences
                .map(|(line, &state)| Difference {
                    offset: line.offset,
                    left: line.contents.contents[state],
                    stored: line.contents.with_everything(),
                })
                .collect(),
            lost_length: Some(len).filter(|&len| named && len != everything.0),
            lost_name: named != everything.1,
        }
    }
}

impl Moment<'_> {
    /// Whether anything can be lost.
    fn has_pending(&self) -> bool {
        !self.lines.is_empty() || self.metadata.len() > 1
    }

    /// What a reader sees at this moment.
    fn visible(&self) -> Visible<'_> {
        let &(len, _) = self.metadata.last().expect("never empty");
        Visible { lines: &self.visible, len }
    }

    /// The lines, and last the metadata.
    fn parts(&self) -> Vec<Part> {
        let part = |states: usize, everything| Part { states, everything };
        let lines = self.lines.iter().map(|line| &line.contents);
        let mut parts: Vec<Part> = lines.map(|line| part(line.contents.len(), line.everything)).collect();
        parts.push(part(self.metadata.len(), self.metadata.len() - 1));
        parts
    }
}

/// What is durable for certain at a moment; patched to an image, and taken back.
struct Durable {
    /// Whole pages: bytes beyond the file's length are zero.
    image: Image,
    /// Sum of the hashes of all lines.
    hash: u128,
}

impl Durable {
    fn new(start: &Image) -> Durable {
        let mut image = Image::new(start.durable_bytes().to_vec());
        image.bytes.resize(start.bytes.len().next_multiple_of(PAGE as usize), 0);
        let hash = sum(&image.bytes);
        Durable { image, hash }
    }

    fn line(&self, offset: u64) -> &Content {
        self.image.bytes[offset as usize..].first_chunk().expect("a whole line")
    }

    /// On to the next cut.
    fn advance(&mut self, cut: &Cut) {
        let longest = cut.domain.lengths.iter().max().expect("the durable length").next_multiple_of(PAGE);
        if longest as usize > self.image.bytes.len() {
            self.image.bytes.resize(longest as usize, 0);
        }
        for (offset, content) in &cut.domain.durable {
            let (old, new) = (hash(*offset, self.line(*offset)), hash(*offset, content));
            self.hash = self.hash.wrapping_sub(old).wrapping_add(new);
            self.image.bytes[*offset as usize..][..content.len()].copy_from_slice(content);
        }
    }

    /// The hash of an image and its length, without building it if it is of full length.
    fn hash_of(&mut self, failed: &Failed<'_>) -> (u128, Option<u64>) {
        let (lines, metadata) = (&failed.moment.lines, &failed.moment.metadata);
        let (len, named) = metadata[failed.state[lines.len()]];
        let hash = if !named {
            0
        } else if len == self.image.bytes.len() as u64 {
            lines.iter().zip(failed.state).fold(self.hash, |sum, (line, &state)| {
                sum.wrapping_sub(line.hashes[0]).wrapping_add(line.hashes[state])
            })
        } else {
            self.with(failed, |image| sum(image.bytes()))
        };
        (hash, named.then_some(len))
    }

    /// Lends the image that a failure leaves.
    fn with<R>(&mut self, failed: &Failed<'_>, use_image: impl FnOnce(&Image) -> R) -> R {
        let (lines, metadata) = (&failed.moment.lines, &failed.moment.metadata);
        self.patch(lines.iter().zip(failed.state).map(|(line, &state)| (line, state)));
        let result = match metadata[failed.state[lines.len()]] {
            (_, false) => use_image(&Image::absent()),
            (len, true) if len == self.image.bytes.len() as u64 => use_image(&self.image),
            (len, true) => use_image(&Image::new(self.image.bytes[..len as usize].to_vec())),
        };
        self.patch(lines.iter().map(|line| (line, 0)));
        result
    }

    fn patch<'l>(&mut self, states: impl Iterator<Item = (&'l Line<'l>, usize)>) {
        for (line, state) in states {
            let content = &line.contents.contents[state];
            self.image.bytes[line.offset as usize..][..content.len()].copy_from_slice(content);
        }
    }
}

/// The hash of an image: the sum of its lines'.
fn sum(bytes: &[u8]) -> u128 {
    let (lines, rest) = bytes.as_chunks();
    let mut last = [0; LINE as usize];
    last[..rest.len()].copy_from_slice(rest);
    let lines = lines.iter().chain([&last]).zip((0..).step_by(LINE as usize));
    lines.fold(0, |sum, (content, offset)| sum.wrapping_add(hash(offset, content)))
}

/// What a line adds to the hash of an image. Zeros add nothing, so the sum does not depend on the length.
fn hash(offset: u64, content: &Content) -> u128 {
    if content == &[0; LINE as usize] { 0 } else { xxh3_128_with_seed(content, offset) }
}

/// A panic is an error.
pub(crate) fn caught<R>(whose: &str, run: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    // The values a panic leaves behind are dropped, or are the closures that the caller lent to be judged.
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(format!("{whose} panics: {}", message(&panic))))
}

fn message(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}
