//! Records a run: every moment at which a power failure is to be tried.

use crate::{
    Config, Image, Level,
    fault::{self, Fault, Late, Step},
    lint::Lint,
    shadow::{Call, Domain, Shadow},
    trace::{Code, TraceError, Tracer},
};
use pmem_map::{Decision, Event, Granularity, Observer, Region};
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
    /// An ordinary store is on its way: by a method of the region, or by some code.
    Store(&'static Location<'static>),
    /// A traced store is on its way.
    Traced(Code),
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
    /// The ordinary stores are crash points too.
    cut_at_stores: bool,
    /// The power does not fail now.
    preparing: bool,
    steps: Vec<Step>,
    fault: Option<Fault>,
    late: Option<Late>,
    level: Level,
    /// There while a region is observed at level 2.
    tracer: Option<Tracer>,
    trace_error: Option<TraceError>,
    /// Stores that were traced.
    traced: u64,
}

/// What a run was like.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) cuts: Vec<Cut>,
    pub(crate) operations: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) lints: Vec<Lint>,
    /// Stores that were traced, or why they could not be.
    pub(crate) traced: Result<u64, TraceError>,
}

impl Run {
    /// Takes in the stores that were traced since the last time.
    fn take_traced(&mut self, call: &Call) {
        let Some(mut tracer) = self.tracer.take() else { return };
        match tracer.take() {
            Ok(log) => {
                for (entry, bytes) in log.entries() {
                    self.traced += 1;
                    self.shadow.store_traced(entry, bytes, call);
                    if self.cut_at_stores && !entry.nontemporal {
                        self.cut(When::Traced(Code::of(entry)));
                    }
                }
            }
            Err(error) => self.trace_error = Some(error),
        }
        self.tracer = Some(tracer);
    }

    /// The region grows, has grown: its new pages are traced too.
    fn grow(&mut self, len: u64) {
        if let Some(tracer) = &mut self.tracer
            && let Err(error) = tracer.grow(len)
        {
            self.trace_error = Some(error);
        }
    }

    fn cut(&mut self, when: When) {
        if self.preparing {
            return;
        }
        let domain = self.shadow.domain();
        self.cuts.push(Cut {
            when,
            operation: Arc::clone(&self.operation),
            begun: self.operations,
            acknowledged: self.acknowledged,
            domain,
        });
    }

    /// A step that is about to happen.
    fn step(&mut self, event: &Event<'_>) -> Decision {
        if self.preparing {
            return Decision::Perform;
        }
        let Some(step) = Step::of(event, &self.operation) else { return Decision::Perform };
        self.steps.push(step);
        fault::decide(self.fault, self.steps.len() - 1)
    }

    /// An event that happened, or is made to seem so.
    fn take_in(&mut self, region: &Region, event: &Event<'_>) {
        match event {
            Event::BeforeDrain { caller } => {
                self.shadow.compare_all(region, caller);
                self.cut(When::Drain(caller));
                return;
            }
            // These are told when they are over, but nothing else happens to the file's metadata meanwhile.
            Event::FileSync | Event::DirectorySync => {
                self.shadow.compare_all(region, Location::caller());
                self.cut(When::Sync);
            }
            _ => {}
        }
        self.shadow.event(region, event);
        if let (Event::Store { caller, .. }, true) = (event, self.cut_at_stores && self.tracer.is_none()) {
            self.cut(When::Store(caller));
        }
    }

    /// As [`take_in`](Run::take_in), unless the fault has something to say about it.
    fn take_in_or_hold(&mut self, region: &Region, event: &Event<'_>) {
        // A sync is told when it is done, and no reader sees the difference.
        if matches!(event, Event::FileSync | Event::DirectorySync) && self.step(event) == Decision::Skip {
            return;
        }
        let step = self.steps.len().wrapping_sub(1);
        match (self.fault, *event) {
            _ if self.preparing => {}
            // The drain's own step is counted already, when it is told that it begins.
            (Some(Fault::Swapped(late)), Event::BeforeDrain { .. }) if late == step => return,
            (Some(Fault::Swapped(late)), _) if late == step && self.late.is_none() => {
                self.late = Late::of(event);
                if self.late.is_some() {
                    return;
                }
            }
            (Some(Fault::Shortened(short)), Event::Flush { offset, len, caller }) if short == step => {
                let len = fault::shortened(offset, len);
                return self.take_in(region, &Event::Flush { offset, len, caller });
            }
            _ => {}
        }
        self.take_in(region, event);
        if Step::of(event, &self.operation).is_some() {
            self.release(region);
        }
    }

    /// What was late has come.
    fn release(&mut self, region: &Region) {
        if let Some(late) = self.late.take() {
            self.fault = None;
            if let Late::Drain { caller } = late {
                self.take_in(region, &Event::BeforeDrain { caller });
            }
            self.take_in(region, &late.event());
        }
    }
}

impl Recorder {
    /// Of a run on what `image` holds.
    pub(crate) fn new(image: &Image, config: &Config, fault: Option<Fault>) -> Arc<Recorder> {
        Recorder::of(Shadow::new(image, config.raw_stores, config.granularity), config, fault)
    }

    /// Of a run on what a killed process left at `cut`: `image`.
    pub(crate) fn of_killed(image: &Image, cut: &Cut, config: &Config) -> Arc<Recorder> {
        let shadow = Shadow::of_killed(image, &cut.domain, config.raw_stores, config.granularity);
        Recorder::of(shadow, config, None)
    }

    fn of(shadow: Shadow, config: &Config, fault: Option<Fault>) -> Arc<Recorder> {
        let run = Run {
            shadow,
            operation: Arc::from(""),
            operations: 0,
            acknowledged: 0,
            cuts: Vec::new(),
            cut_at_stores: config.granularity == Granularity::Byte,
            preparing: false,
            steps: Vec::new(),
            fault,
            late: None,
            level: config.level,
            tracer: None,
            trace_error: None,
            traced: 0,
        };
        Arc::new(Recorder { recording: AtomicBool::new(true), run: Mutex::new(run) })
    }

    /// One that sees nothing.
    pub(crate) fn idle() -> Arc<Recorder> {
        let recorder = Recorder::new(&Image::absent(), &Config::default(), None);
        recorder.recording.store(false, Ordering::Relaxed);
        recorder
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        // A workload may panic in the middle of an operation; what was recorded until then stands.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_recording(&self) -> bool {
        self.recording.load(Ordering::Acquire)
    }

    /// Ends the recording.
    pub(crate) fn finish(&self) -> Recording {
        self.recording.store(false, Ordering::Release);
        let run = &mut *self.run();
        run.take_traced(&Call::at(Location::caller()));
        run.preparing = false;
        run.cut(When::End);
        // What the region is used for from now on is nobody's business.
        if let Some(tracer) = run.tracer.take() {
            tracer.detach();
        }
        Recording {
            cuts: std::mem::take(&mut run.cuts),
            operations: run.operations,
            steps: std::mem::take(&mut run.steps),
            lints: run.shadow.linter.finish(),
            traced: run.trace_error.take().map_or(Ok(run.traced), Err),
        }
    }
}

impl Observer for Recorder {
    fn event(&self, region: &Region, event: Event<'_>) {
        if self.is_recording() {
            let run = &mut *self.run();
            run.take_traced(&Call::of(&event));
            if let Event::Resize { to, .. } = event {
                run.grow(to);
            }
            run.take_in_or_hold(region, &event);
        }
    }

    fn attached(&self, region: &Region) {
        if !self.is_recording() {
            return;
        }
        let run = &mut *self.run();
        if run.level == Level::EveryStore && run.tracer.is_none() {
            run.shadow.meet(region);
            match Tracer::attach(region) {
                Ok(tracer) => {
                    run.tracer = Some(tracer);
                    run.shadow.trace();
                }
                Err(error) => run.trace_error = Some(error),
            }
        }
    }

    fn detached(&self, _: &Region) {
        let run = &mut *self.run();
        run.take_traced(&Call::at(Location::caller()));
        if let Some(tracer) = run.tracer.take() {
            tracer.detach();
        }
    }

    fn decide(&self, _: &Region, event: &Event<'_>) -> Decision {
        if !self.is_recording() {
            return Decision::Perform;
        }
        let run = &mut *self.run();
        if let (Event::Flush { .. }, true) = (event, run.tracer.is_some()) {
            run.take_traced(&Call::of(event));
            run.shadow.begin_flush();
        }
        run.step(event)
    }
}

/// Where a workload says which operation it is in, and which ones it was told are durable.
///
/// Operations are numbered from 1 in the order in which they begin. Cheap to clone, to hand to threads.
#[derive(Clone, Debug)]
pub struct Ops(pub(crate) Arc<Recorder>);

impl Ops {
    /// Begins an operation: a crash from now on may leave its effect. Returns its number.
    #[track_caller]
    pub fn begin(&self, label: impl AsRef<str>) -> usize {
        let run = &mut *self.0.run();
        run.take_traced(&Call::at(Location::caller()));
        run.operation = Arc::from(label.as_ref());
        run.operations += 1;
        run.shadow.linter.begin(run.operations, &run.operation);
        run.operations
    }

    /// Brings the mapping into the state that the exploration is to begin with: what `work` does is followed, but the
    /// power does not fail in it, and its steps are not counted. An operation that it begins counts as none.
    pub fn prepare<R>(&self, work: impl FnOnce() -> R) -> R {
        let (operation, operations, acknowledged) = {
            let run = &mut *self.0.run();
            run.take_traced(&Call::at(Location::caller()));
            (run.preparing, run.shadow.linter.muted) = (true, true);
            (Arc::clone(&run.operation), run.operations, run.acknowledged)
        };
        let result = work();
        let run = &mut *self.0.run();
        run.take_traced(&Call::at(Location::caller()));
        (run.preparing, run.shadow.linter.muted) = (false, false);
        (run.operation, run.operations, run.acknowledged) = (operation, operations, acknowledged);
        run.shadow.linter.begin(run.operations, &run.operation);
        result
    }

    /// All operations begun so far are durable, says the code under test: a crash from now on must leave
    /// their effects. This is a crash point.
    #[track_caller]
    pub fn acknowledged(&self) {
        let begun = self.0.run().operations;
        self.acknowledged_to(begun);
    }

    /// As [`acknowledged`](Ops::acknowledged), for the operations numbered up to `number` only.
    #[track_caller]
    pub fn acknowledged_to(&self, number: usize) {
        let run = &mut *self.0.run();
        run.take_traced(&Call::at(Location::caller()));
        run.acknowledged = run.acknowledged.max(number.min(run.operations));
        if self.0.is_recording() {
            run.shadow.linter.acknowledged(number);
            run.cut(When::Acknowledged);
        }
    }

    /// An operation that is durable when it returns `Ok`: [`begin`](Ops::begin), `operation`,
    /// [`acknowledged_to`](Ops::acknowledged_to).
    ///
    /// # Errors
    ///
    /// The operation's.
    #[track_caller]
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
        if self.0.is_recording() {
            let run = &mut *self.0.run();
            run.take_traced(&Call::at(Location::caller()));
            run.shadow.compare_all(region, Location::caller());
        }
    }

    /// The observer to attach to the region that a workload over files maps itself.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.0) as Arc<dyn Observer>
    }
}
