//! One traced mapping, and what happens when somebody stores to it.

use super::{
    decode::{Decoded, Execute, Plan, StringStore},
    engine::{Engine, State},
    execute::{DIRECTION, FLAGS, Registers, VECTOR_STATE, execute, on_stack},
    step::Step,
};
use crate::trace::{
    self,
    log::{Entry, Log, Path},
    memory::{Addresses, PAGE},
};
use iced_x86::{OpKind, Register};
use pmem_map::{LINE, StoreHook};
use std::{
    cell::UnsafeCell,
    ffi::c_void,
    fmt::Write,
    sync::atomic::{
        AtomicUsize,
        Ordering::{Acquire, Relaxed},
    },
};

/// Most bytes that one fault of a string instruction copies; the instruction goes on with another one.
const LONGEST_RUN: usize = 1 << 20;
/// Most bytes of one instruction that is copied.
const LARGEST: usize = 512;

/// A mapping whose stores are traced.
pub(super) struct Traced {
    pub(super) base: usize,
    /// Bytes that are mapped, whole pages. Grows.
    pub(super) len: AtomicUsize,
    /// The second view, which can be stored to.
    pub(super) view: Addresses,
    /// Room for a copy of all bytes.
    pub(super) before: Addresses,
    /// Being written to; under the engine's lock.
    pub(super) log: UnsafeCell<Log>,
}

// SAFETY: `log` is reached under the engine's lock; the rest does not change, or is atomic.
unsafe impl Sync for Traced {}
// SAFETY: as above.
unsafe impl Send for Traced {}

impl Traced {
    /// From an address of the mapping to the same byte's in the second view.
    fn distance(&self) -> i64 {
        (self.view.base as i64).wrapping_sub(self.base as i64)
    }

    fn contains(&self, address: usize, len: usize) -> bool {
        let end = self.base + self.len.load(Acquire);
        address >= self.base && address < end && len <= end - address
    }
}

/// What the handler hands to itself on the other stack.
struct Fault<'a> {
    traced: &'a Traced,
    state: &'a mut State,
    context: &'a mut libc::ucontext_t,
    address: usize,
    served: bool,
}

// SAFETY: nothing here allocates or panics (a broken invariant aborts: the functions called on the other stack are
// `extern "C"`). The only lock is the engine's, whose holders are never interrupted by a signal and never store to what is
// traced.
unsafe impl StoreHook for Traced {
    unsafe fn store(&self, address: usize, context: *mut c_void) -> bool {
        let Some(engine) = Engine::found() else { return false };
        if engine.stepping.load(Relaxed) == trace::thread_id() {
            return false; // a stepped instruction that faults: it holds the lock, and is not to be helped
        }
        engine.lock();
        // SAFETY: the lock is held; the kernel's context; the stack is used by the lock's holder only.
        unsafe {
            let state = engine.state();
            let top = state.stack_top();
            let context = &mut *context.cast::<libc::ucontext_t>();
            let mut fault = Fault { traced: self, state, context, address, served: false };
            on_stack(top, on_store, (&raw mut fault).cast());
            let served = fault.served;
            if engine.state().step.is_some() {
                engine.stepping.store(trace::thread_id(), Relaxed);
            } else {
                engine.unlock();
            }
            served
        }
    }

    unsafe fn stepped(&self, context: *mut c_void) -> bool {
        let Some(engine) = Engine::found() else { return false };
        if engine.stepping.load(Relaxed) != trace::thread_id() {
            return false;
        }
        // SAFETY: this thread took the lock in `store`, and holds it.
        unsafe {
            let state = engine.state();
            let is_ours =
                state.step.as_ref().is_some_and(|step| self.contains(step.entry.offset as usize, 1));
            if !is_ours {
                return false; // another mapping's
            }
            let top = state.stack_top();
            let context = &mut *context.cast::<libc::ucontext_t>();
            let mut fault = Fault { traced: self, state, context, address: 0, served: false };
            on_stack(top, on_step, (&raw mut fault).cast());
            engine.stepping.store(0, Relaxed);
            engine.unlock();
        }
        true
    }
}

unsafe extern "C" fn on_store(fault: *mut c_void) {
    // SAFETY: what `store` handed over.
    unsafe { (*fault.cast::<Fault<'_>>()).store() };
}

unsafe extern "C" fn on_step(fault: *mut c_void) {
    // SAFETY: what `stepped` handed over.
    unsafe { (*fault.cast::<Fault<'_>>()).stepped() };
}

impl Fault<'_> {
    fn register(&self, number: i32) -> u64 {
        self.context.uc_mcontext.gregs[number as usize] as u64
    }

    fn store(&mut self) {
        let at = self.register(libc::REG_RIP);
        // SAFETY: where a thread was interrupted while executing.
        let found = unsafe { self.state.instruction(at) };
        let result = match found {
            Err(refused) => Err((refused.mnemonic, refused.why)),
            Ok((decoded, code)) => {
                self.state.instructions += 1;
                let done = match &decoded.plan {
                    Plan::Execute(plan) => self.execute(&decoded, plan, code),
                    Plan::String(plan) => self.string(&decoded, plan),
                    Plan::Step(register) => {
                        let mut entry = self.entry(&decoded, Path::Stepped);
                        entry.offset = self.address as u64; // whose step it is
                        let (from, len) = (self.traced.view.base, self.traced.len.load(Acquire));
                        // SAFETY: both are mapped for so many bytes, and apart; nobody stores, for all who do hold the lock.
                        unsafe {
                            std::ptr::copy_nonoverlapping(
                                from as *const u8,
                                self.traced.before.base as *mut u8,
                                len,
                            )
                        };
                        self.state.step =
                            Some(Step::begin(self.context, *register, self.traced.distance(), entry));
                        Ok(())
                    }
                };
                done.map_err(|why| (decoded.instruction.mnemonic(), why))
            }
        };
        self.served = result.is_ok();
        if let Err((mnemonic, why)) = result {
            let mut text = Text { bytes: [0; 512], len: 0 };
            let _ = writeln!(
                text,
                "pmem-crash: the instruction {mnemonic:?} at {at:#x} stores to a mapping that is traced (address {:#x}), \
                 and cannot be traced: {why}. Explore without `Level::EveryStore`, or store in another way.",
                self.address
            );
            text.print();
        }
    }

    fn entry(&mut self, decoded: &Decoded, path: Path) -> Entry {
        let thread = trace::thread_id();
        Entry {
            offset: 0,
            len: 0,
            instruction: self.state.instructions,
            address: self.register(libc::REG_RIP),
            callers: self.state.callers.of(&self.context.uc_mcontext.gregs, thread),
            thread,
            nontemporal: decoded.nontemporal,
            path,
        }
    }

    /// Notes the bytes at an address of the mapping.
    fn note(&self, entry: &Entry, address: usize, len: usize) {
        let entry = Entry { offset: (address - self.traced.base) as u64, len: len as u64, ..*entry };
        let from = (address as i64).wrapping_add(self.traced.distance()) as *const u8;
        // SAFETY: the lock is held; the bytes are mapped, and who stores to them holds the lock.
        unsafe { (*self.traced.log.get()).push(&entry, from) };
    }

    /// Notes those of `len` bytes at an address that are not as they were.
    fn note_changes(&self, entry: &Entry, address: usize, len: usize, before: *const u8) {
        let now = (address as i64).wrapping_add(self.traced.distance()) as *const u8;
        let mut at = 0;
        while at < len {
            let line = (LINE as usize - (address + at) % LINE as usize).min(len - at);
            // SAFETY: both are readable for `len` bytes, and nobody stores meanwhile.
            let (before, now) = unsafe {
                (
                    std::slice::from_raw_parts(before.add(at), line),
                    std::slice::from_raw_parts(now.add(at), line),
                )
            };
            if before != now {
                let mut byte = 0;
                while byte < line {
                    let changed = (byte..line).take_while(|i| before[*i] != now[*i]).count();
                    if changed > 0 {
                        self.note(entry, address + at + byte, changed);
                    }
                    byte += changed.max(1);
                }
            }
            at += line;
        }
    }

    fn execute(&mut self, decoded: &Decoded, plan: &Execute, code: usize) -> Result<(), &'static str> {
        let registers = self.context.uc_mcontext.gregs;
        let operand = (0..decoded.instruction.op_count())
            .find(|op| decoded.instruction.op_kind(*op) == OpKind::Memory)
            .ok_or("it has no memory operand")?;
        let value = |register: Register, _, _| match super::decode::general(register) {
            Some(number) if register.size() == 4 => Some(registers[number] as u32 as u64),
            Some(number) => Some(registers[number] as u64),
            None => Some(0), // the base of a segment
        };
        let to = decoded.instruction.virtual_address(operand, 0, value).ok_or("its address is not known")?
            as usize;
        let first = match plan.bit_offset {
            None => to,
            Some((register, size)) => {
                let bits = match size {
                    2 => i64::from(registers[register] as i16),
                    4 => i64::from(registers[register] as i32),
                    _ => registers[register],
                };
                let unit = size as i64;
                to.wrapping_add_signed((bits.div_euclid(unit * 8) * unit) as isize)
            }
        };
        if self.address < first || self.address - first >= plan.size {
            return Err("it does not store where it was expected to");
        }
        let is_inside = |len| self.traced.contains(first, len);
        let size = if plan.masked {
            (1..=plan.size).rev().find(|len| is_inside(*len)).unwrap_or(0)
        } else {
            plan.size
        };
        if !is_inside(size) || size == 0 || size > LARGEST {
            return Err("a part of what it stores is outside of the mapping");
        }
        let distance = self.traced.distance();
        let entry = self.entry(decoded, Path::Executed);
        let mut before = [0u8; LARGEST];
        if plan.masked {
            let from = (first as i64).wrapping_add(distance) as *const u8;
            // SAFETY: inside, and nobody stores meanwhile.
            unsafe { std::ptr::copy_nonoverlapping(from, before.as_mut_ptr(), size) };
        }
        let (state, mask) = if plan.vector { vector_state(self.context)? } else { (std::ptr::null_mut(), 0) };
        let mut lent: Registers = registers;
        lent[plan.pointer] = (to as i64).wrapping_add(distance);
        lent[libc::REG_EFL as usize] = registers[libc::REG_EFL as usize] & FLAGS;
        // SAFETY: the copy stores through `pointer` only, to the second view of bytes that are inside; what it reads are the
        // registers of the thread that it is executed for.
        unsafe { execute(&raw mut lent, code, state, mask) };
        let now = &mut self.context.uc_mcontext.gregs;
        for number in 0..libc::REG_RSP as usize {
            if number != plan.pointer {
                now[number] = lent[number];
            }
        }
        let flags = &mut now[libc::REG_EFL as usize];
        *flags = *flags & !FLAGS | lent[libc::REG_EFL as usize] & FLAGS;
        now[libc::REG_RIP as usize] += decoded.instruction.len() as i64;
        if plan.masked {
            self.note_changes(&entry, first, size, before.as_ptr());
        } else {
            self.note(&entry, first, size);
        }
        Ok(())
    }

    /// `movs` and `stos`, up to the end of the mapping: there the processor goes on.
    fn string(&mut self, decoded: &Decoded, plan: &StringStore) -> Result<(), &'static str> {
        let size = plan.size;
        let entry = self.entry(decoded, Path::Emulated);
        let distance = self.traced.distance();
        let registers = &mut self.context.uc_mcontext.gregs;
        let down = registers[libc::REG_EFL as usize] & DIRECTION != 0;
        let fill = registers[libc::REG_RAX as usize].to_le_bytes();
        let mut to = registers[libc::REG_RDI as usize] as usize;
        let mut from = registers[libc::REG_RSI as usize] as usize;
        let mut left = if plan.is_repeated { registers[libc::REG_RCX as usize] as u64 as usize } else { 1 };
        if left == 0 || !self.traced.contains(to, size) {
            return Err("a part of what it stores is outside of the mapping");
        }
        let mut done = 0;
        while left > 0 && done < LONGEST_RUN && self.traced.contains(to, size) {
            // The elements that end in the line of the first; at least this one.
            let room = LINE as usize - to % LINE as usize;
            let count = if down { 1 } else { (room / size).clamp(1, left) };
            let len = count * size;
            let target = (to as i64).wrapping_add(distance) as *mut u8;
            // SAFETY: `target` is inside the second view. `from` is what the thread would read itself; if it cannot, it is
            // killed here instead of there.
            unsafe {
                if !plan.is_copy {
                    (0..len).for_each(|at| target.add(at).write(fill[at % size]));
                } else if from.abs_diff(to) >= len {
                    std::ptr::copy_nonoverlapping(from as *const u8, target, len);
                } else {
                    // Forwards, an element may be read after it was stored, through the other view.
                    let mut element = [0u8; 8];
                    for at in (0..len).step_by(size) {
                        std::ptr::copy(
                            std::hint::black_box((from + at) as *const u8),
                            element.as_mut_ptr(),
                            size,
                        );
                        std::ptr::copy(element.as_ptr(), std::hint::black_box(target.add(at)), size);
                        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
                    }
                }
            }
            self.note(&entry, to, len);
            let moved = if down { (len as isize).wrapping_neg() } else { len as isize };
            to = to.wrapping_add_signed(moved);
            from = from.wrapping_add_signed(moved);
            left -= count;
            done += len;
        }
        let registers = &mut self.context.uc_mcontext.gregs;
        registers[libc::REG_RDI as usize] = to as i64;
        if plan.is_copy {
            registers[libc::REG_RSI as usize] = from as i64;
        }
        if plan.is_repeated {
            registers[libc::REG_RCX as usize] = left as i64;
        }
        if left == 0 {
            registers[libc::REG_RIP as usize] += decoded.instruction.len() as i64;
        }
        Ok(())
    }

    fn stepped(&mut self) {
        let Some(step) = self.state.step.take() else { return };
        step.end(self.context, self.traced.distance());
        let len = self.traced.len.load(Acquire);
        for page in (0..len).step_by(PAGE) {
            let before = (self.traced.before.base + page) as *const u8;
            self.note_changes(&step.entry, self.traced.base + page, PAGE, before);
        }
        self.served = true;
    }
}

/// The vector and floating point state in a signal's frame, and which of its components to load.
fn vector_state(context: &libc::ucontext_t) -> Result<(*mut u8, u64), &'static str> {
    const SOFTWARE: usize = 464; // of the frame: what the kernel says about it
    const MAGIC: u32 = 0x4650_5853;
    let state = context.uc_mcontext.fpregs.cast::<u8>();
    if state.is_null() {
        return Err("the kernel saved no vector registers");
    }
    // SAFETY: the frame has at least 512 bytes, of which the last 48 are the kernel's words.
    let (magic, features) = unsafe {
        (state.add(SOFTWARE).cast::<u32>().read(), state.add(SOFTWARE + 8).cast::<u64>().read_unaligned())
    };
    if magic != MAGIC {
        return Err("this processor has no XSAVE");
    }
    Ok((state, features & VECTOR_STATE))
}

/// A line of text that needs no memory.
struct Text {
    bytes: [u8; 512],
    len: usize,
}

impl Text {
    fn print(&self) {
        // SAFETY: writes from our own bytes.
        unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.len) };
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.len() - self.len;
        let taken = text.len().min(room);
        self.bytes[self.len..][..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}
