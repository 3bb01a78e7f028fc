//! What all tracers of a process share: the order of stores, the instructions seen so far, a stack for the handler.

use super::{
    callers::Callers,
    decode::{self, Decoded, LONGEST, Plan, Refused, decode},
};
use crate::trace::{
    TraceError,
    memory::{Addresses, PAGE},
};
use std::{
    cell::UnsafeCell,
    sync::{
        OnceLock,
        atomic::{
            AtomicI32, AtomicU32,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// Instructions that are remembered.
const CACHED: usize = 4096;
/// Bytes of code for one instruction: itself and `ret`.
const SLOT: usize = 32;
/// Bytes of the handler's stack. (A thread's alternate stack may have hardly any room beside the vector registers that the
/// kernel saves on it.)
const STACK: usize = 256 << 10;

/// One for the process. A store is executed and written down under its lock, so that the order of what is written down is
/// the order of the stores.
///
/// The lock is taken by signal handlers only, and with signals blocked: whoever holds it is not interrupted, does not
/// store to what is traced, and waits for nobody.
pub(super) struct Engine {
    lock: AtomicU32,
    /// Who holds the lock while it executes an instruction in single step; or 0.
    pub(super) stepping: AtomicI32,
    state: UnsafeCell<State>,
}

// SAFETY: `state` is reached by whoever holds the lock.
unsafe impl Sync for Engine {}
// SAFETY: `state` is plain data and addresses.
unsafe impl Send for Engine {}

pub(super) struct State {
    cache: Box<[Cached]>,
    code: Code,
    stack: Addresses,
    pub(super) callers: Callers,
    /// Instructions executed so far.
    pub(super) instructions: u64,
    pub(super) step: Option<super::step::Step>,
}

#[derive(Clone, Copy)]
struct Cached {
    address: u64,
    bytes: [u8; LONGEST],
    decoded: Option<Decoded>,
    /// Where its copy is.
    code: usize,
}

struct Code {
    writable: Addresses,
    executable: Addresses,
    used: usize,
}

static ENGINE: OnceLock<Engine> = OnceLock::new();

impl Engine {
    /// This process's, made if it is the first time.
    pub(super) fn get() -> Result<&'static Engine, TraceError> {
        if let Some(engine) = ENGINE.get() {
            return Ok(engine);
        }
        decode::prepare();
        let refused = TraceError::io("get memory for");
        let (writable, executable) = Addresses::code(CACHED * SLOT).map_err(refused)?;
        let stack = Addresses::stack(STACK).map_err(TraceError::io("get memory for"))?;
        let nothing = Cached { address: 0, bytes: [0; LONGEST], decoded: None, code: 0 };
        let state = State {
            cache: vec![nothing; CACHED].into(),
            code: Code { writable, executable, used: 0 },
            stack,
            callers: Callers::new(),
            instructions: 0,
            step: None,
        };
        // SAFETY: a system call with numbers. Where it is unknown, new code is seen by other processors all the same, in
        // practice: they come here through an interrupt.
        unsafe {
            libc::syscall(
                libc::SYS_membarrier,
                libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
                0,
                0,
            )
        };
        let new =
            Engine { lock: AtomicU32::new(0), stepping: AtomicI32::new(0), state: UnsafeCell::new(state) };
        Ok(ENGINE.get_or_init(|| new))
    }

    /// The one there is. Async-signal-safe.
    pub(super) fn found() -> Option<&'static Engine> {
        ENGINE.get()
    }

    /// Waits for the lock. The caller's signals are blocked until [`unlock`](Self::unlock).
    pub(super) fn lock(&self) {
        let mut tries = 0u32;
        while self.lock.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
            tries += 1;
            if tries % 64 == 0 {
                // SAFETY: a system call without arguments.
                unsafe { libc::sched_yield() };
            }
            std::hint::spin_loop();
        }
    }

    /// # Safety
    ///
    /// The caller holds the lock, and uses nothing of the state after this.
    pub(super) unsafe fn unlock(&self) {
        self.lock.store(0, Release);
    }

    /// # Safety
    ///
    /// The caller holds the lock, and has no other reference to the state.
    #[expect(
        clippy::mut_from_ref,
        reason = "the lock is not a guard: it is held across the return from a handler"
    )]
    pub(super) unsafe fn state(&self) -> &mut State {
        // SAFETY: the caller's.
        unsafe { &mut *self.state.get() }
    }

    /// Runs `locked` with the lock held and signals blocked: outside of handlers.
    pub(super) fn with_lock<R>(&self, locked: impl FnOnce() -> R) -> R {
        // SAFETY: plain calls on local sets; the mask is what it was before in the end.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            self.lock();
            let result = locked();
            self.unlock();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
            result
        }
    }
}

impl State {
    pub(super) fn stack_top(&self) -> usize {
        self.stack.base + self.stack.len
    }

    /// The instruction at an address from which a thread was just interrupted, and where its copy is.
    ///
    /// # Safety
    ///
    /// It can be read, as it was just executed.
    pub(super) unsafe fn instruction(&mut self, address: u64) -> Result<(Decoded, usize), Refused> {
        let place = (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % CACHED;
        let cached = &self.cache[place];
        if cached.address == address
            && let Some(decoded) = cached.decoded
        {
            let len = decoded.instruction.len();
            // SAFETY: an instruction of this length stood there; if another does now, its page is the same or it is longer.
            let now =
                unsafe { std::slice::from_raw_parts(address as *const u8, len.min(to_end_of_page(address))) };
            if now == &cached.bytes[..now.len()] {
                return Ok((decoded, cached.code));
            }
        }
        let mut bytes = [0; LONGEST];
        let near = LONGEST.min(to_end_of_page(address));
        // SAFETY: in the page of the instruction's first byte.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), near) };
        let decoded = match decode(&bytes[..near], address) {
            // Perhaps it goes on in the next page, which is there then.
            Err(_) if near < LONGEST => {
                // SAFETY: what the processor just executed goes beyond its page, so the next one is there.
                unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), LONGEST) };
                decode(&bytes, address)?
            }
            decoded => decoded?,
        };
        let code = match &decoded.plan {
            Plan::Execute(execute) => self.place(&execute.code[..execute.code_len]),
            _ => 0,
        };
        self.cache[place] = Cached { address, bytes, decoded: Some(decoded), code };
        Ok((decoded, code))
    }

    /// Puts an instruction where it can be called.
    fn place(&mut self, instruction: &[u8]) -> usize {
        if self.code.used == CACHED {
            self.code.used = 0;
            self.cache.iter_mut().for_each(|cached| cached.decoded = None);
        }
        let at = self.code.used * SLOT;
        self.code.used += 1;
        const RETURN: u8 = 0xc3;
        // SAFETY: inside the code memory, where an instruction has at most LONGEST bytes and its slot more than one besides.
        // Nobody executes it now, for the lock is held.
        unsafe {
            let to = (self.code.writable.base + at) as *mut u8;
            std::ptr::copy_nonoverlapping(instruction.as_ptr(), to, instruction.len());
            to.add(instruction.len()).write(RETURN);
            // All processors forget what they may have fetched from there.
            libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
        }
        self.code.executable.base + at
    }
}

fn to_end_of_page(address: u64) -> usize {
    PAGE - address as usize % PAGE
}
