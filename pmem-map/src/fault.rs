//! The one handler of SIGSEGV and SIGBUS, and the thread that answers for it.
//!
//! A store to a page that its owner protected is a signal on the thread that stores. What the owner wants
//! to do about it (copy the old content away, say) takes locks and memory, and a signal handler may do
//! neither. So the handler only looks the address up in a fixed table of ranges, posts a request, and waits
//! on a futex, until the *service thread* has asked the owner. Then it returns, and the processor restarts
//! the store; or the owner does not want it, and the fault goes on to whoever handled such signals before.
//!
//! ```text
//!  faulting thread              table                     service thread
//!  signal -> on_fault --look up--> ranges
//!            claim a request: FREE -> CLAIMED -> POSTED
//!            ring the bell  ------------------------------> POSTED -> TAKEN; ask the owner
//!            wait on the request  <------------------------ SERVED or REFUSED
//!            request: FREE; return, or chain
//! ```
//!
//! An owner may answer *later*: the request stays posted until somebody [`ring`]s the bell.
//!
//! The service thread takes no lock and allocates nothing, for a thread that stores may hold any lock, that of the allocator
//! too: it reads the same [table](crate::places) as the handler. What the owners do is theirs to say.
//!
//! An owner that leaves makes its pages writable first. A thread that met one of them before that, and finds
//! nobody to ask, tries its store once more: [`try_again`].
//!
//! A range with a [`StoreHook`](crate::StoreHook) is dealt with in the handler itself, before any owner is asked.
//! A lost page that no owner gives back is the business of [`lost`](crate::lost), if the thread asked for it.
//!
//! The handler runs on the alternate stack if the thread has one, keeps `errno`, and is installed when the
//! first owner registers; that of SIGTRAP with the first hook. All other signals wait until it returns, as they do in a page fault
//! that the kernel serves. A program that installs its own later, and does not chain, takes the signals away.

#![allow(unsafe_code)]

use crate::{Error, Result, futex, lost, places::Places, store_hook::Table};
use std::{
    cell::Cell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicI32, AtomicPtr, AtomicU32, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        },
    },
};

/// Most ranges at once.
pub(crate) const MOST_RANGES: usize = 4096;
/// Most faults that wait at once; further ones wait for a place.
const MOST_REQUESTS: usize = 64;

/// What happened at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A store to a protected page (SIGSEGV).
    Write,
    /// An access to a page that has lost its memory (SIGBUS).
    Lost,
}

/// What an owner says to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Dealt with: restart the instruction.
    Served,
    /// Not to be dealt with: the next owner is asked, and at last the fault is nobody's.
    Refused,
    /// Ask again after the next [`ring`].
    Later,
}

/// Answers for the faults of a range. Runs on the service thread.
pub(crate) trait Serve: Send + Sync {
    /// What is to be done. May be asked again about a page that is dealt with already, when several threads met it.
    fn fault(&self, address: usize, fault: Fault) -> Answer;
}

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const POSTED: u32 = 2;
const TAKEN: u32 = 3;
const SERVED: u32 = 4;
const REFUSED: u32 = 5;

#[derive(Default)]
struct Request {
    state: AtomicU32,
    address: AtomicUsize,
    is_lost: AtomicU32,
}

/// Table, requests and service thread of one process. Never freed: a signal can come at any time.
struct Dispatcher {
    owners: Places<Arc<dyn Serve>>,
    /// How often owners have left, or given pages back.
    left: AtomicU32,
    requests: Box<[Request]>,
    /// Rung when a request is posted, and by owners.
    bell: AtomicU32,
    /// Rung when a request is free again and somebody waits for one.
    freed: AtomicU32,
    waiting: AtomicU32,
    service_thread: AtomicI32,
    /// Whose `fault` runs now, or [`NOBODY`].
    asked: AtomicUsize,
    /// [`STARTING`], [`STARTED`] or [`FAILED`].
    start: AtomicU32,
    /// Held while handlers are installed.
    installing: Mutex<()>,
    hooks: Table,
}

const NOBODY: usize = usize::MAX;
const STARTING: u32 = 0;
const STARTED: u32 = 1;
const FAILED: u32 = 2;

/// This process's dispatcher, once somebody registered.
static DISPATCHER: AtomicPtr<Dispatcher> = AtomicPtr::new(ptr::null_mut());

/// Called in a forked child, which has neither its parent's mappings nor its service thread. Async-signal-safe.
pub(crate) fn forget_the_parents_dispatcher() {
    DISPATCHER.store(ptr::null_mut(), Relaxed);
}

/// A range whose faults are served; until it is dropped.
pub(crate) struct Registration {
    dispatcher: &'static Dispatcher,
    place: usize,
}

/// Has `serve` asked about faults in `range`, which is not empty.
pub(crate) fn register(range: Range<usize>, serve: Arc<dyn Serve>) -> Result<Registration> {
    let dispatcher = dispatcher()?;
    let full = Error::TooManyFaultHandlers { limit: dispatcher.owners.limit() };
    let place = dispatcher.owners.fill(range, serve).ok_or(full)?;
    Ok(Registration { dispatcher, place })
}

/// Has the owners who answered [`Answer::Later`] asked again. Async-signal-safe.
pub(crate) fn ring() {
    // SAFETY: null, or a leaked box.
    if let Some(dispatcher) = unsafe { DISPATCHER.load(Acquire).as_ref() } {
        dispatcher.ring();
    }
}

/// Has threads whose faults are refused from now on try their stores once more: pages of theirs may have become writable.
pub(crate) fn pages_became_writable() {
    // SAFETY: null, or a leaked box.
    if let Some(dispatcher) = unsafe { DISPATCHER.load(Acquire).as_ref() } {
        dispatcher.left.fetch_add(1, AcqRel);
    }
}

/// Whether this is the thread that asks the owners.
pub(crate) fn is_service_thread() -> bool {
    // SAFETY: null, or a leaked box.
    let dispatcher = unsafe { DISPATCHER.load(Acquire).as_ref() };
    dispatcher.is_some_and(|dispatcher| dispatcher.service_thread.load(Relaxed) == thread_id())
}

impl Drop for Registration {
    /// Returns when nobody asks this owner any more (unless it is asked right now, on this very thread).
    fn drop(&mut self) {
        if !ptr::eq(DISPATCHER.load(Acquire), self.dispatcher) {
            return; // a forked child: whatever its parent's threads were doing, they are not here
        }
        let asked_here = is_service_thread() && self.dispatcher.asked.load(Relaxed) == self.place;
        // SAFETY: filled by `register`, and emptied here only. The service thread asks by a count of its own of the owner.
        let owner = unsafe { self.dispatcher.owners.empty(self.place, asked_here.into()) };
        self.dispatcher.left.fetch_add(1, AcqRel);
        drop(owner);
    }
}

/// The hooks of this process, with the handler for single steps installed.
pub(crate) fn hooks() -> Result<&'static Table> {
    let dispatcher = dispatcher()?;
    let _one_at_a_time = dispatcher.installing.lock().unwrap_or_else(PoisonError::into_inner);
    install_handlers(&[libc::SIGTRAP]).map_err(Error::io("handle", "single steps"))?;
    Ok(&dispatcher.hooks)
}

/// Whether these are the hooks of this process, not of its parent.
pub(crate) fn is_current(hooks: &'static Table) -> bool {
    // SAFETY: null, or a leaked box.
    unsafe { DISPATCHER.load(Acquire).as_ref() }.is_some_and(|dispatcher| ptr::eq(&dispatcher.hooks, hooks))
}

fn dispatcher() -> Result<&'static Dispatcher> {
    loop {
        // SAFETY: null, or a leaked box.
        let Some(found) = (unsafe { DISPATCHER.load(Acquire).as_ref() }) else {
            start_dispatcher().map_err(Error::io("handle", "faults"))?;
            continue;
        };
        match found.start.load(Acquire) {
            STARTED => return Ok(found),
            STARTING => futex::wait(&found.start, STARTING),
            _ => std::thread::yield_now(), // its starter is about to take it away
        }
    }
}

/// Starts one, unless somebody else is doing so.
fn start_dispatcher() -> std::io::Result<()> {
    let new = Box::new(Dispatcher {
        owners: Places::new(MOST_RANGES),
        left: AtomicU32::new(0),
        requests: (0..MOST_REQUESTS).map(|_| Request::default()).collect(),
        bell: AtomicU32::new(0),
        freed: AtomicU32::new(0),
        waiting: AtomicU32::new(0),
        asked: AtomicUsize::new(NOBODY),
        service_thread: AtomicI32::new(0),
        start: AtomicU32::new(STARTING),
        installing: Mutex::default(),
        hooks: Table::new(),
    });
    let new = Box::into_raw(new);
    if DISPATCHER.compare_exchange(ptr::null_mut(), new, AcqRel, Relaxed).is_err() {
        // SAFETY: ours still, and seen by nobody.
        drop(unsafe { Box::from_raw(new) });
        return Ok(());
    }
    // SAFETY: published, and from now on never freed.
    let new: &'static Dispatcher = unsafe { &*new };
    let started = install_handlers(&[libc::SIGSEGV, libc::SIGBUS]).and_then(|()| {
        std::thread::Builder::new().name("pmem-faults".into()).spawn(|| new.serve_forever()).map(drop)
    });
    if started.is_err() {
        DISPATCHER.store(ptr::null_mut(), Release);
        new.start.store(FAILED, Release);
        futex::wake(&new.start);
    }
    // A thread allocates while it starts: it must be past that before anybody's faults are its business.
    while started.is_ok() && new.start.load(Acquire) == STARTING {
        futex::wait(&new.start, STARTING);
    }
    started
}

// ---- the service thread ------------------------------------------------------------------------------

impl Dispatcher {
    fn serve_forever(&self) {
        self.service_thread.store(thread_id(), Relaxed);
        leave_signals_to_other_threads();
        self.start.store(STARTED, Release);
        futex::wake(&self.start);
        loop {
            let heard = self.bell.load(Acquire);
            let mut idle = true;
            for request in &self.requests {
                if request.state.compare_exchange(POSTED, TAKEN, Acquire, Relaxed).is_ok() {
                    let fault = if request.is_lost.load(Relaxed) == 0 { Fault::Write } else { Fault::Lost };
                    match self.ask_owners(request.address.load(Relaxed), fault) {
                        Answer::Later => request.state.store(POSTED, Release),
                        answer => {
                            idle = false;
                            let state = if answer == Answer::Served { SERVED } else { REFUSED };
                            request.state.store(state, Release);
                            futex::wake(&request.state);
                        }
                    }
                }
            }
            if idle {
                futex::wait(&self.bell, heard);
            }
        }
    }

    fn ask_owners(&self, address: usize, fault: Fault) -> Answer {
        let mut answer = Answer::Refused;
        let ask = |place, owner: &Arc<dyn Serve>| {
            // A count of its own: the owner may take itself out of the table meanwhile.
            let owner = owner.clone();
            self.asked.store(place, Relaxed);
            // A panic of the owner is not an answer; the fault goes on to kill the process, as it should.
            let said = catch_unwind(AssertUnwindSafe(|| owner.fault(address, fault)));
            self.asked.store(NOBODY, Relaxed);
            answer = said.unwrap_or(Answer::Refused);
            answer != Answer::Refused
        };
        self.owners.any(|range| range.contains(&address), ask);
        answer
    }

    fn ring(&self) {
        self.bell.fetch_add(1, Release);
        futex::wake(&self.bell);
    }
}

fn leave_signals_to_other_threads() {
    // SAFETY: plain calls on a local set. The signals of faults stay deliverable: blocked, they kill.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut signals);
        leave_faults_deliverable(&mut signals);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const signals, ptr::null_mut());
    }
}

fn leave_faults_deliverable(signals: &mut libc::sigset_t) {
    for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT] {
        // SAFETY: a plain call on a set.
        unsafe { libc::sigdelset(signals, fault) };
    }
}

// ---- the signal handler: no allocation, no lock --------------------------------------------------------

impl Dispatcher {
    /// Asks the owner through the service thread, and waits for the answer.
    fn ask(&self, address: usize, fault: Fault) -> bool {
        let request = self.claim();
        request.address.store(address, Relaxed);
        request.is_lost.store((fault == Fault::Lost).into(), Relaxed);
        request.state.store(POSTED, Release);
        self.ring();
        let served = loop {
            match request.state.load(Acquire) {
                SERVED => break true,
                REFUSED => break false,
                pending => futex::wait(&request.state, pending),
            }
        };
        request.state.store(FREE, SeqCst);
        if self.waiting.load(SeqCst) != 0 {
            self.freed.fetch_add(1, SeqCst);
            futex::wake(&self.freed);
        }
        served
    }

    /// A free request; waits for one.
    fn claim(&self) -> &Request {
        let free = |request: &&Request| request.state.compare_exchange(FREE, CLAIMED, SeqCst, SeqCst).is_ok();
        if let Some(request) = self.requests.iter().find(free) {
            return request;
        }
        self.waiting.fetch_add(1, SeqCst);
        let request = loop {
            let freed = self.freed.load(SeqCst);
            match self.requests.iter().find(free) {
                Some(request) => break request,
                None => futex::wait(&self.freed, freed),
            }
        };
        self.waiting.fetch_sub(1, SeqCst);
        request
    }

    /// Whether this thread's fault may be of a page whose owner has left since, after it made the page writable: once for all
    /// that left until now. A fault for another reason comes again, and is then known for one.
    fn try_again(&self) -> bool {
        thread_local! {
            static SEEN: Cell<u32> = const { Cell::new(0) };
        }
        let left = self.left.load(Acquire);
        SEEN.with(|seen| seen.replace(left)) != left
    }
}

unsafe extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO valid pointers; `errno` is this thread's.
    unsafe {
        let errno = *libc::__errno_location();
        if !is_served(signal, info, context) {
            chain(signal, info, context);
        }
        *libc::__errno_location() = errno;
    }
}

/// # Safety
///
/// As the kernel calls a signal handler.
unsafe fn is_served(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) -> bool {
    const SEGV_ACCERR: i32 = 2;
    const BUS_ADRERR: i32 = 2;
    const BUS_MCEERR_AR: i32 = 4;
    const TRAP_TRACE: i32 = 2;
    // SAFETY: the caller's; what is stored in DISPATCHER is null or never freed.
    let (code, address, is_write, dispatcher) = unsafe {
        ((*info).si_code, (*info).si_addr() as usize, is_write(context), DISPATCHER.load(Acquire).as_ref())
    };
    let hooks = dispatcher.map(|dispatcher| &dispatcher.hooks);
    let fault = match (signal, code) {
        (libc::SIGSEGV, SEGV_ACCERR) if is_write => Fault::Write,
        (libc::SIGBUS, BUS_ADRERR | BUS_MCEERR_AR) => Fault::Lost,
        // SAFETY: the caller's.
        (libc::SIGTRAP, TRAP_TRACE) => return hooks.is_some_and(|hooks| unsafe { hooks.stepped(context) }),
        _ => return false,
    };
    // SAFETY: the caller's.
    if fault == Fault::Write && hooks.is_some_and(|hooks| unsafe { hooks.store(address, context) }) {
        return true;
    }
    // The service thread cannot wait for itself: its own fault is a mistake of the owner.
    let by_owner = dispatcher.is_some_and(|dispatcher| {
        dispatcher.service_thread.load(Relaxed) != thread_id()
            && (dispatcher.owners.contain(address) && dispatcher.ask(address, fault)
                || fault == Fault::Write && dispatcher.try_again())
    });
    by_owner || fault == Fault::Lost && lost::give_zeros(address)
}

/// # Safety
///
/// `context` is the third argument of a signal handler.
#[cfg(target_arch = "x86_64")]
unsafe fn is_write(context: *mut libc::c_void) -> bool {
    const WRITE: i64 = 1 << 1; // of the page fault's error code
    // SAFETY: the caller's.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_ERR as usize] & WRITE != 0 }
}

/// Protected pages stay readable, so what faults on them is a store.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn is_write(_: *mut libc::c_void) -> bool {
    true
}

// ---- who handled such signals before -------------------------------------------------------------------

struct Previous {
    handler: AtomicUsize,
    flags: AtomicI32,
}

static BEFORE_SEGV: Previous =
    Previous { handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicI32::new(0) };
static BEFORE_BUS: Previous = Previous { handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicI32::new(0) };
static BEFORE_TRAP: Previous =
    Previous { handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicI32::new(0) };

fn previous(signal: i32) -> &'static Previous {
    match signal {
        libc::SIGBUS => &BEFORE_BUS,
        libc::SIGTRAP => &BEFORE_TRAP,
        _ => &BEFORE_SEGV,
    }
}

/// Handles SIGBUS from now on. For [`lost`], which needs neither an owner nor the service thread.
pub(crate) fn handle_lost_pages() -> std::io::Result<()> {
    install_handlers(&[libc::SIGBUS])
}

/// Installs `on_fault` for signals for which it is not.
fn install_handlers(signals: &[i32]) -> std::io::Result<()> {
    for &signal in signals {
        // SAFETY: `on_fault` is async-signal-safe and has the signature that SA_SIGINFO asks for. The old
        // handler is noted before ours can run.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = on_fault as unsafe extern "C" fn(_, _, _) as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigfillset(&raw mut ours.sa_mask);
            leave_faults_deliverable(&mut ours.sa_mask);
            if libc::sigaction(signal, ptr::null(), &raw mut old) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            if old.sa_sigaction == ours.sa_sigaction {
                continue; // installed before, or inherited by fork
            }
            previous(signal).handler.store(old.sa_sigaction, Relaxed);
            previous(signal).flags.store(old.sa_flags, Release);
            if libc::sigaction(signal, &raw const ours, ptr::null_mut()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Hands a fault on. With the default action it takes effect when the instruction is restarted, so that a
/// debugger or a core dump sees the culprit, not this function; a trap comes after its instruction, and is raised again.
///
/// # Safety
///
/// As the kernel calls a signal handler.
unsafe fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let flags = previous(signal).flags.load(Acquire);
    let handler = previous(signal).handler.load(Relaxed);
    // SAFETY: the caller's.
    let sent_by_a_process = unsafe { (*info).si_code } <= 0;
    // SAFETY: what was installed as a handler with these flags is called as one; the rest are system calls.
    unsafe {
        match handler {
            libc::SIG_IGN if sent_by_a_process => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const default, ptr::null_mut());
                if sent_by_a_process || signal == libc::SIGTRAP {
                    libc::raise(signal); // pending until this handler returns
                }
            }
            handler if flags & libc::SA_SIGINFO != 0 => {
                let handler: unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: unsafe extern "C" fn(i32) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

// ---- what the C library has no function for ------------------------------------------------------------

fn thread_id() -> i32 {
    // SAFETY: a system call without arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::sync::{atomic::AtomicBool, mpsc};

    /// Runs until somebody is about to unregister it, and then looks whether that is over.
    struct Slow {
        began: mpsc::Sender<()>,
        leaving: Mutex<mpsc::Receiver<()>>,
        left: Arc<AtomicBool>,
    }

    impl Serve for Slow {
        fn fault(&self, _: usize, _: Fault) -> Answer {
            self.began.send(()).unwrap();
            self.leaving.lock().unwrap().recv().unwrap();
            for _ in 0..10_000 {
                std::thread::yield_now();
            }
            if self.left.load(Relaxed) { Answer::Refused } else { Answer::Served }
        }
    }

    #[test]
    fn an_owner_that_leaves_waits_until_it_is_not_asked_any_more() {
        const ADDRESS: usize = 4096; // nothing is there; nothing touches it
        let (began, has_begun) = mpsc::channel();
        let (leave, leaving) = mpsc::channel();
        let left = Arc::new(AtomicBool::new(false));
        let slow = Slow { began, leaving: Mutex::new(leaving), left: left.clone() };
        let registration = register(ADDRESS..2 * ADDRESS, Arc::new(slow)).unwrap();
        let dispatcher = registration.dispatcher;
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| dispatcher.ask(ADDRESS, Fault::Write));
            has_begun.recv().unwrap();
            leave.send(()).unwrap();
            drop(registration);
            left.store(true, Relaxed);
            assert!(asked.join().unwrap(), "it left while it was asked");
        });
        assert!(!dispatcher.owners.contain(ADDRESS));
        assert!(!dispatcher.ask(ADDRESS, Fault::Write), "nobody's");
    }

    struct Panics;

    impl Serve for Panics {
        fn fault(&self, _: usize, _: Fault) -> Answer {
            panic!("an owner's mistake")
        }
    }

    #[test]
    fn an_owner_that_panics_has_refused_and_the_others_are_served_on() {
        const ADDRESS: usize = 3 * 4096;
        let registration = register(ADDRESS..ADDRESS + 1, Arc::new(Panics)).unwrap();
        for _ in 0..3 {
            assert!(!registration.dispatcher.ask(ADDRESS, Fault::Write));
        }
    }
}
