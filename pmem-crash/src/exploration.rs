//! The face of the explorer.

use crate::{
    Config, Fault, Image, Level, Ops, Report,
    explore::{Explorer, caught},
    line::Content,
    recorder::Recorder,
    replay,
};
use pmem_map::{Mapping, Observer};
use rustc_hash::FxHashMap;
use std::{
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An image's place in the exploration: what the oracle needs to judge it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Point<'a> {
    /// The operation begun last; empty before the first.
    pub operation: &'a str,
    /// Number of the workload's crash point, from 1.
    pub number: usize,
    /// Operations acknowledged: their effects must be there.
    pub acknowledged: usize,
    /// Operations begun: the effects of later ones must not be there.
    pub begun: usize,
    /// How many crashes inside recovery there were.
    pub depth: u32,
    /// Number of this recovery among all, from 1.
    pub recovery: u64,
    pub(crate) image: &'a Image,
    pub(crate) visible: Visible<'a>,
}

/// What a reader saw at the moment of the failure, as changes to the image that it left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visible<'a> {
    pub(crate) lines: &'a [(u64, Content)],
    pub(crate) len: u64,
}

impl Point<'_> {
    /// How many operations, in their order, may have taken effect.
    pub fn range(&self) -> RangeInclusive<usize> {
        self.acknowledged..=self.begun
    }

    /// The image as the power failure left it, before it was opened. To explore a second life, clone it
    /// into [`Exploration::start`] and let the workload open it first.
    pub fn image(&self) -> &Image {
        self.image
    }

    /// What the next process would find had only this one been killed at this moment, and the machine stayed up: all
    /// stores are visible, and what is durable is [`image`](Point::image).
    pub fn killed(&self) -> Image {
        let mut visible = self.image.bytes.clone();
        visible.resize(self.visible.len as usize, 0);
        for (offset, content) in self.visible.lines {
            if let Some(line) = visible.get_mut(*offset as usize..) {
                let len = line.len().min(content.len());
                line[..len].copy_from_slice(&content[..len]);
            }
        }
        Image::new(visible).with_durable(self.image.bytes.clone())
    }
}

/// An exploration: of what, and how far. See the [crate](crate).
#[derive(Clone, Debug)]
#[must_use = "nothing is explored before `run`"]
pub struct Exploration {
    name: String,
    config: Config,
    start: Option<Image>,
    fault: Option<Fault>,
}

impl Exploration {
    /// An exploration with this name in the report, configured by the environment
    /// ([`Config::from_env`]).
    pub fn new(name: impl Into<String>) -> Exploration {
        Exploration { name: name.into(), config: Config::from_env(), start: None, fault: None }
    }

    /// With this configuration instead.
    pub fn config(self, config: Config) -> Exploration {
        Exploration { config, ..self }
    }

    /// With the configuration changed.
    pub fn configure(self, change: impl FnOnce(Config) -> Config) -> Exploration {
        Exploration { config: change(self.config), ..self }
    }

    /// The workload begins with `len` durable zero bytes, rounded up to whole pages. 64 KiB unless set.
    pub fn len(self, len: u64) -> Exploration {
        self.start(Image::zeroed(len))
    }

    /// The workload runs with a fault. That it then fails itself, or panics, is no more than a failure in the
    /// report; unless the fault is a drain that fails, of which a program may say so: then what it left is explored.
    pub fn fault(self, fault: Fault) -> Exploration {
        Exploration { fault: Some(fault), ..self }
    }

    /// The workload begins with this image. All of it is durable, unless it [says otherwise](Image::with_durable).
    pub fn start(self, image: Image) -> Exploration {
        Exploration { start: Some(image), ..self }
    }

    /// Explores a workload on a mapping.
    ///
    /// `workload` runs once, in full, observed. Then every image is opened by `open`, the recovery under
    /// test, and what it returns is judged by `oracle`: the effects of some number of operations in
    /// [`Point::range`], no more, no less, and whole. The oracle should go on to use what it was given:
    /// a state that reads well but breaks the next write is a known class of bugs. While `open` runs it is
    /// observed too, and crashes inside it are explored with the same oracle.
    ///
    /// An error from `open`, and a panic of either, is a failure.
    ///
    /// # Panics
    ///
    /// When the workload itself fails or panics: then there is nothing to explore.
    pub fn run<T, E: Display, F: Display>(
        self,
        workload: impl FnOnce(Mapping, &Ops) -> Result<(), E>,
        open: impl Fn(Mapping) -> Result<T, F>,
        oracle: impl Fn(T, &Point<'_>) -> Result<(), String>,
    ) -> Report {
        let mut start = self.start.clone().unwrap_or_else(|| Image::zeroed(64 << 10));
        let whole = start.bytes.len().max(1).next_multiple_of(pmem_map::PAGE as usize);
        start.bytes.resize(whole, 0);
        start.durable.iter_mut().for_each(|durable| durable.resize(whole, 0));
        let granularity = self.config.granularity;
        let (level, _) = self.config.level.supported();
        let mapping = |image: &Image, recorder: Option<Arc<Recorder>>, again: bool| {
            let mapping = match (level, &recorder) {
                (Level::EveryStore, Some(_)) => image.to_traceable_mapping(granularity),
                // A filesystem in it can lend its bytes.
                _ if again => image.to_traceable_mapping(granularity),
                _ => image.to_mapping_of(granularity),
            };
            let mapping = mapping.map_err(|error| error.to_string())?;
            if let Some(recorder) = recorder {
                // A mapping just made has no observer yet.
                mapping.observe(recorder).map_err(|_| "the mapping is observed already".to_owned())?;
            }
            Ok::<Mapping, String>(mapping)
        };
        self.explore(
            &start,
            |ops| {
                let mapping = mapping(&start, Some(Arc::clone(&ops.0)), true)?;
                workload(mapping, ops).map_err(|error| error.to_string())
            },
            &|image, recorder| open(mapping(image, recorder, false)?).map_err(|error| error.to_string()),
            &oracle,
        )
    }

    /// Explores a workload on a file: the creation of a pool, say. As [`run`](Exploration::run), but
    /// `workload` and `open` are given a path and map it themselves, and attach the observer (`workload`
    /// finds its own in [`Ops::observer`]) before the first store. Unless
    /// [`start`](Exploration::start) or [`len`](Exploration::len) says otherwise there is no file in the
    /// beginning, and neither its name nor its length is durable before the corresponding events.
    ///
    /// Files are made in the folder `PMEM_TEST_DIR`, or in the folder for temporary files.
    ///
    /// # Panics
    ///
    /// When the workload itself fails, or the files cannot be made.
    pub fn run_files<T, E: Display, F: Display>(
        self,
        workload: impl FnOnce(&Path, &Ops) -> Result<(), E>,
        open: impl Fn(&Path, Arc<dyn Observer>) -> Result<T, F>,
        oracle: impl Fn(T, &Point<'_>) -> Result<(), String>,
    ) -> Report {
        let start = self.start.clone().unwrap_or_else(Image::absent);
        let folder = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new()
            .prefix("pmem-crash-")
            .tempdir_in(&folder)
            .unwrap_or_else(|error| panic!("cannot make a folder in {}: {error}", folder.display()));
        let write = |image: &Image, path: &Path| {
            image.write_to(path).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        };
        let (original, crashed) = (folder.path().join("original"), folder.path().join("crashed"));
        self.explore(
            &start,
            |ops| {
                write(&start, &original);
                workload(&original, ops).map_err(|error| error.to_string())
            },
            &|image, recorder| {
                write(image, &crashed);
                let recorder = recorder.unwrap_or_else(Recorder::idle);
                open(&crashed, recorder).map_err(|error| error.to_string())
            },
            &oracle,
        )
    }

    fn explore<T>(
        &self,
        start: &Image,
        workload: impl FnOnce(&Ops) -> Result<(), String>,
        open: crate::explore::Open<'_, T>,
        oracle: crate::explore::Oracle<'_, T>,
    ) -> Report {
        let only = replay::asked_for(&self.name);
        let (level, level_error) = self.config.level.supported();
        let config = &self.config.clone().level(level);
        let ops = Ops(Recorder::new(start, config, self.fault));
        let ran = match self.fault {
            None => workload(&ops),
            Some(_) => caught("the workload", || workload(&ops)),
        };
        let recording = ops.0.finish();
        let mut report = Report::new(&self.name, config, level_error);
        report.operations = recording.operations;
        report.stores = recording
            .traced
            .unwrap_or_else(|error| panic!("{}: the workload cannot be explored: {error}", self.name));
        report.count(recording.steps);
        report.lints = recording.lints;
        let fault = self.fault.and_then(|fault| Some((fault, report.steps.get(fault.step())?.clone())));
        match (ran, fault) {
            (Ok(()), _) | (Err(_), Some((Fault::Failed(_), _))) => {}
            (Err(error), None) => panic!("{}: the workload itself fails: {error}", self.name),
            (Err(error), Some((fault, step))) => {
                report.fail_at_once(format!("with {step} {fault}, the workload fails: {error}"));
                return report;
            }
        }
        let mut explorer = Explorer {
            config,
            open,
            oracle,
            report,
            seen: FxHashMap::default(),
            ordinal: only.ordinal,
            only: only.path,
        };
        explorer.explore(&recording.cuts, start);
        explorer.report
    }
}
