//! Holds up the stores of a process that a file is lent to, for a snapshot: it is asked by making its open file urgent (`POLLPRI`), and says by an ioctl when no store
//! proceeds. Nobody here waits for it but who makes the snapshot, and that for so long only.

use fuser::PollNotifier;
use nova_core::Holder;
use parking_lot::{Condvar, Mutex};
use pmem_map::lease::{COPY, GO_ON, WAIT};
use std::time::Instant;

/// What is between the daemon and one process.
#[derive(Default)]
pub(crate) struct Hold {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// Who waits until it is urgent.
    waits: Option<PollNotifier>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// Stores proceed.
    #[default]
    Free,
    /// They are to be held up.
    Asked,
    /// None proceeds.
    Held,
    /// There is a snapshot of that moment; the process has not heard of it yet, and holds its stores up until then.
    Taken,
}

impl Hold {
    /// The process says that no store proceeds. What it is to do.
    pub(crate) fn held(&self) -> u64 {
        let mut state = self.state.lock();
        match state.stage {
            Stage::Free => GO_ON,
            Stage::Asked | Stage::Held => {
                state.stage = Stage::Held;
                self.changed.notify_all();
                WAIT
            }
            Stage::Taken => {
                state.stage = Stage::Free;
                COPY
            }
        }
    }

    /// Whether the process is to hold up its stores. If not, `waits` is told when it is.
    pub(crate) fn is_urgent(&self, waits: PollNotifier) -> bool {
        let mut state = self.state.lock();
        state.waits = Some(waits);
        state.stage != Stage::Free
    }
}

impl Holder for Hold {
    fn ask(&self) {
        let mut state = self.state.lock();
        state.stage = match state.stage {
            Stage::Free | Stage::Asked => Stage::Asked,
            // It holds them up still, from the last time.
            Stage::Held | Stage::Taken => Stage::Held,
        };
        let waits = state.waits.clone();
        drop(state);
        // If the file is closed meanwhile, nobody waits.
        if let Some(Err(error)) = waits.map(PollNotifier::notify) {
            tracing::debug!(%error, "nobody is told to hold up stores");
        }
    }

    fn wait(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        while state.stage != Stage::Held {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return state.stage == Stage::Held;
            }
        }
        true
    }

    fn release(&self, taken: bool) {
        let mut state = self.state.lock();
        state.stage = match (state.stage, taken) {
            (Stage::Held, true) => Stage::Taken,
            _ => Stage::Free,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_moment_is_held_up_then_taken_then_over() {
        let hold = Hold::default();
        assert_eq!(hold.held(), GO_ON);
        hold.ask();
        assert!(!hold.wait(now()));
        assert_eq!((hold.held(), hold.held()), (WAIT, WAIT));
        assert!(hold.wait(now() + Duration::from_secs(60)));
        hold.release(true);
        assert_eq!((hold.held(), hold.held()), (COPY, GO_ON));
    }

    #[test]
    fn who_does_not_answer_is_told_to_go_on_later() {
        let hold = Hold::default();
        hold.ask();
        assert!(!hold.wait(now()));
        hold.release(false);
        assert_eq!(hold.held(), GO_ON);
        hold.ask();
        assert_eq!(hold.held(), WAIT);
        hold.release(false);
        assert_eq!(hold.held(), GO_ON);
    }

    /// It is stopped after it has said that no store proceeds: so it is, until it hears more.
    #[test]
    fn two_snapshots_may_have_one_moment() {
        let hold = Hold::default();
        hold.ask();
        assert_eq!(hold.held(), WAIT);
        hold.release(true);
        hold.ask();
        assert!(hold.wait(now()));
        hold.release(true);
        assert_eq!(hold.held(), COPY);
    }
}
