//! Records a run: every moment at which a power failure is to be tried.

use crate::{
    Image,
    shadow::{Domain, Shadow},
};
use pmem_map::{Event, Observer, Region};
use std::{
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A moment at which the power fails.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) when: When,
    /// The operation begun last; empty before the first.
    pub(crate) operation: Arc<str>,
    pub(crate) begun: usize,
    pub(crate) acknowledged: usize,
    pub(crate) domain: Domain,
}

/// Which moment of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// A drain is about to begin.
    Drain(&'static Location<'static>),
    /// The file or its directory is about to be synced.
    Sync,
    /// The operation was acknowledged.
    Acknowledged,
    /// The run is over.
    End,
}

/// Observes one run.
#[derive(Debug)]
pub(crate) struct Recorder {
    recording: AtomicBool,
    run: Mutex<Run>,
}

#[derive(Debug)]
struct Run {
    shadow: Shadow,
    operation: Arc<str>,
    operations: usize,
    acknowledged: usize,
    cuts: Vec<Cut>,
}

impl Run {
    fn cut(&mut self, when: When) {
        let domain = self.shadow.domain();
        self.cuts.push(Cut {
            when,
            operation: Arc::clone(&self.operation),
            begun: self.operations,
            acknowledged: self.acknowledged,
            domain,
        });
    }
}

impl Recorder {
    pub(crate) fn new(start: &Image, raw_stores: bool) -> Arc<Recorder> {
        let shadow = Shadow::new(start, raw_stores);
        let run = Run { shadow, operation: Arc::from(""), operations: 0, acknowledged: 0, cuts: Vec::new() };
        Arc::new(Recorder { recording: AtomicBool::new(true), run: Mutex::new(run) })
    }

    /// One that sees nothing.
    pub(crate) fn idle() -> Arc<Recorder> {
        let recorder = Recorder::new(&Image::absent(), false);
        recorder.recording.store(false, Ordering::Relaxed);
        recorder
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        // A workload may panic in the middle of an operation; what was recorded until then stands.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the recording: the cuts, and the number of operations.
    pub(crate) fn finish(&self) -> (Vec<Cut>, usize) {
        self.recording.store(false, Ordering::Release);
        let mut run = self.run();
        run.cut(When::End);
        (std::mem::take(&mut run.cuts), run.operations)
    }
}

impl Observer for Recorder {
    fn event(&self, region: &Region, event: Event<'_>) {
        if !self.recording.load(Ordering::Acquire) {
            return;
        }
        let mut run = self.run();
        match event {
            Event::BeforeDrain { caller } => {
                run.shadow.compare_all(region, caller);
                run.cut(When::Drain(caller));
                return;
            }
            // These are told when they are over, but nothing else happens to the file's metadata meanwhile.
            Event::FileSync | Event::DirectorySync => {
                run.shadow.compare_all(region, Location::caller());
                run.cut(When::Sync);
            }
            _ => {}
        }
        run.shadow.event(region, &event);
    }
}

/// Where a workload says which operation it is in, and which ones it was told are durable.
///
/// Operations are numbered from 1 in the order in which they begin. Cheap to clone, to hand to threads.
#[derive(Clone, Debug)]
pub struct Ops(pub(crate) Arc<Recorder>);

impl Ops {
    /// Begins an operation: a crash from now on may leave its effect. Returns its number.
    pub fn begin(&self, label: impl AsRef<str>) -> usize {
        let mut run = self.0.run();
        run.operation = Arc::from(label.as_ref());
        run.operations += 1;
        run.operations
    }

    /// All operations begun so far are durable, says the code under test: a crash from now on must leave
    /// their effects. This is a crash point.
    pub fn acknowledged(&self) {
        let begun = self.0.run().operations;
        self.acknowledged_to(begun);
    }

    /// As [`acknowledged`](Ops::acknowledged), for the operations numbered up to `number` only.
    pub fn acknowledged_to(&self, number: usize) {
        let mut run = self.0.run();
        run.acknowledged = run.acknowledged.max(number.min(run.operations));
        if self.0.recording.load(Ordering::Acquire) {
            run.cut(When::Acknowledged);
        }
    }

    /// An operation that is durable when it returns `Ok`: [`begin`](Ops::begin), `operation`,
    /// [`acknowledged_to`](Ops::acknowledged_to).
    ///
    /// # Errors
    ///
    /// The operation's.
    pub fn run<T, E>(
        &self,
        label: impl AsRef<str>,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let number = self.begin(label);
        let done = operation()?;
        self.acknowledged_to(number);
        Ok(done)
    }

    /// Looks now for bytes that changed by other means than the region's methods, instead of at the next
    /// flush or drain. Call it before [`acknowledged`](Ops::acknowledged) where an operation may end in such
    /// a change.
    #[track_caller]
    pub fn compare(&self, region: &Region) {
        if self.0.recording.load(Ordering::Acquire) {
            self.0.run().shadow.compare_all(region, Location::caller());
        }
    }

    /// The observer to attach to the region that a workload over files maps itself.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.0) as Arc<dyn Observer>
    }
}
