//! What committing threads and the publisher share: what waits for the stream, and how it stands.

use crate::{
    Error,
    config::{Beyond, Bound, Config, Mode},
    lease::Waiting,
    outbox::{Outbox, Sealed},
    record::{Changes, LogPosition},
};
use parking_lot::{Condvar, Mutex};
use pmem_alloc::{Grown, Position, Replicator};
use pmem_tx::{Committed, Recovered, Refusal, Subscriber};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Why nothing is sent any more.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    Fenced { term: u64, stream: u64 },
    Outbox(String),
    Stream(String),
    Gap { stream: u64, first: u64 },
    Closed,
}

/// How a primary stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The newest record that is committed here.
    pub committed: u64,
    /// The last record that the stream has acknowledged.
    pub acknowledged: u64,
    /// Records that wait for the stream.
    pub lag_records: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// How long the oldest of them has waited.
    pub lag: Duration,
    /// More waits than the [`Bound`](crate::Bound) allows.
    pub beyond_bound: bool,
    /// The primary's term.
    pub term: u64,
    /// Messages that this value has sent.
    pub messages: u64,
    /// Why it sends no more: fenced, for instance.
    pub stopped: Option<String>,
    /// Whether that is because another primary has taken over.
    pub fenced: bool,
}

#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) sealed: Sealed,
    since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// In order; the stream has none of them, as far as is known.
    pub(crate) queue: VecDeque<Queued>,
    bytes: u64,
    pub(crate) told: u64,
    pub(crate) acked: u64,
    /// The stream's last message, as far as is known.
    pub(crate) message: u64,
    pub(crate) term: u64,
    pub(crate) sent: u64,
    pub(crate) stop: Option<Stop>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) stream: u64,
    outbox: Mutex<Outbox>,
    state: Mutex<State>,
    changed: Condvar,
    /// There is something for the publisher.
    pub(crate) wake: tokio::sync::Notify,
}

impl State {
    fn push(&mut self, sealed: Sealed) {
        self.told = sealed.number;
        self.bytes += sealed.bytes.len() as u64;
        self.queue.push_back(Queued { sealed, since: Instant::now() });
    }

    fn age(&self) -> Duration {
        self.queue.front().map_or(Duration::ZERO, |waiting| waiting.since.elapsed())
    }

    fn is_beyond(&self, config: &Config) -> bool {
        let bound = &config.bound;
        self.queue.len() as u64 > bound.records || self.bytes > bound.bytes || self.age() > bound.age
    }

    pub(crate) fn error(&self, config: &Config) -> Option<Error> {
        let name = || config.name.clone();
        Some(match self.stop.clone()? {
            Stop::Fenced { term, stream } => {
                let unpublished = self.told.saturating_sub(stream);
                Error::Fenced { name: name(), term, stream, unpublished }
            }
            Stop::Outbox(why) => Error::OutboxFailed(why),
            Stop::Stream(why) => Error::StreamLost(why),
            Stop::Gap { stream, first } => {
                Error::StreamGap { name: name(), stream, first, newest: self.told }
            }
            Stop::Closed => Error::Closed,
        })
    }

    fn lagging(&self) -> Error {
        Error::Lagging { records: self.queue.len() as u64, bytes: self.bytes, age: self.age() }
    }
}

impl Shared {
    pub(crate) fn new(config: Config, outbox: Outbox, records: Vec<Sealed>) -> Shared {
        let base = outbox.last();
        let mut state = State { told: base.number, ..State::default() };
        records.into_iter().for_each(|sealed| state.push(sealed));
        Shared {
            config,
            stream: base.stream,
            outbox: Mutex::new(outbox),
            state: Mutex::new(state),
            changed: Condvar::new(),
            wake: tokio::sync::Notify::new(),
        }
    }

    /// Looks at the state, or changes it; tells whoever waits.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let result = work(&mut self.state.lock());
        self.changed.notify_all();
        result
    }

    pub(crate) fn stop(&self, why: Stop) {
        self.with(|state| _ = state.stop.get_or_insert(why));
        self.wake.notify_one();
    }

    /// The stream has all records up to `record`; its last message is `message`.
    pub(crate) fn acknowledge_up_to(&self, record: u64, message: u64) {
        self.with(|state| {
            while state.queue.front().is_some_and(|waiting| waiting.sealed.number <= record) {
                let waiting = state.queue.pop_front().expect("there is one");
                state.bytes -= waiting.sealed.bytes.len() as u64;
            }
            (state.acked, state.message) = (record, message);
        });
        // Appending takes the outbox before the state, too: what is copied is what is in the file.
        let mut outbox = self.outbox.lock();
        let bytes = self.state.lock().bytes;
        let waiting =
            || self.state.lock().queue.iter().map(|waiting| waiting.sealed.clone()).collect::<Vec<_>>();
        let shortened = outbox.shorten(bytes, waiting);
        drop(outbox);
        if let Err(e) = shortened {
            self.stop(Stop::Outbox(e.to_string()));
        }
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.state.lock();
        Status {
            committed: state.told,
            acknowledged: state.acked,
            lag_records: state.queue.len() as u64,
            lag_bytes: state.bytes,
            lag: state.age(),
            beyond_bound: state.is_beyond(&self.config),
            term: state.term,
            messages: state.sent,
            stopped: state.error(&self.config).map(|error| error.to_string()),
            fenced: matches!(state.stop, Some(Stop::Fenced { .. })),
        }
    }

    /// What is committed here, and what of that waits for the stream.
    pub(crate) fn waiting(&self) -> (u64, Waiting) {
        let state = self.state.lock();
        let Bound { records, beyond, .. } = self.config.bound;
        let waiting = Waiting {
            records: state.queue.len() as u64,
            bytes: state.bytes,
            millis: state.age().as_millis() as u64,
            most: (beyond != Beyond::Warn).then_some(records + 1),
        };
        (state.told, waiting)
    }

    /// Waits until the stream has everything that is committed now.
    pub(crate) fn wait_for_all(&self, timeout: Duration) -> Result<(), Error> {
        let started = Instant::now();
        let mut state = self.state.lock();
        let target = state.told;
        while state.acked < target {
            if let Some(error) = state.error(&self.config) {
                return Err(error);
            }
            if self.changed.wait_until(&mut state, started + timeout).timed_out() {
                return Err(Error::NotReplicated { waited: started.elapsed() });
            }
        }
        Ok(())
    }

    /// Appends to the outbox, and to what waits; in one order.
    fn append(&self, push: impl FnOnce(&mut Outbox) -> Result<Sealed, Error>) {
        let mut outbox = self.outbox.lock();
        if matches!(self.state.lock().stop, Some(Stop::Outbox(_))) {
            return; // a record is missing in it, so none may follow
        }
        match push(&mut outbox) {
            Ok(sealed) => self.with(|state| state.push(sealed)),
            Err(e) => self.stop(Stop::Outbox(e.to_string())),
        }
        drop(outbox);
        self.wake.notify_one();
    }
}

impl Subscriber for Shared {
    fn committed(&self, record: &Committed<'_>) {
        let mut changes = Changes::default();
        record.for_each(|at, bytes| changes.add(at, bytes));
        let log = LogPosition { generation: record.generation(), seq: record.seq() };
        self.append(|outbox| outbox.push(changes, log));
    }

    fn recovered(&self, recovered: &Recovered<'_>) -> Result<(), Refusal> {
        let missed = self.outbox.lock().catch_up(recovered)?;
        missed.into_iter().for_each(|sealed| self.with(|state| state.push(sealed)));
        Ok(())
    }
}

impl Replicator for Shared {
    fn admit(&self) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        let started = Instant::now();
        loop {
            if let Some(error) = state.error(&self.config) {
                return Err(error.into());
            }
            if !state.is_beyond(&self.config) {
                return Ok(());
            }
            match self.config.bound.beyond {
                Beyond::Warn => return Ok(()),
                Beyond::Refuse => return Err(state.lagging().into()),
                Beyond::Wait(patience) => {
                    if self.changed.wait_until(&mut state, started + patience).timed_out() {
                        return Err(state.lagging().into());
                    }
                }
            }
        }
    }

    fn acknowledge(&self) -> Result<(), Refusal> {
        match self.config.mode {
            Mode::Async => Ok(()),
            Mode::Sync { timeout } => Ok(self.wait_for_all(timeout)?),
        }
    }

    fn grown(&self, segments: &[Grown], size: u64) {
        self.append(|outbox| outbox.push_growth(segments, size));
    }

    fn position(&self) -> Position {
        let state = self.state.lock();
        Position { stream: self.stream, record: state.told, message: state.message, term: state.term }
    }
}
