//! Who called the function that stores: the stack is unwound, inside the handler.
//!
//! `framehop` unwinds by the tables that the program and the C library carry (`.eh_frame`), and allocates nothing while it
//! does. It is given words of the stack that are known to be there.

use super::execute::Registers;
use crate::trace::{
    log::CALLERS,
    memory::PAGE,
    program::{self, Object},
};
use framehop::{
    ExplicitModuleSectionInfo, Module, MustNotAllocateDuringUnwind, Unwinder,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use std::ops::Range;

/// Unwinds stacks.
pub(super) struct Callers {
    unwinder: UnwinderX86_64<&'static [u8], MustNotAllocateDuringUnwind>,
    cache: CacheX86_64<MustNotAllocateDuringUnwind>,
    stack: Stack,
}

/// Pages of a thread's stack that are there: as long as the thread is, they stay.
struct Stack {
    thread: i32,
    pages: Range<usize>,
}

impl Callers {
    /// For the program and the C library as they are loaded now. Allocates; [`of`](Self::of) does not.
    pub(super) fn new() -> Callers {
        let mut unwinder = UnwinderX86_64::new();
        for object in program::objects().iter().filter(|object| object.stays) {
            unwinder.add_module(module(object));
        }
        Callers { unwinder, cache: CacheX86_64::new_in(), stack: Stack { thread: 0, pages: 0..0 } }
    }

    /// Where the innermost functions of an interrupted thread return to. Async-signal-safe.
    pub(super) fn of(&mut self, registers: &Registers, thread: i32) -> [u64; CALLERS] {
        let register = |number: i32| registers[number as usize] as u64;
        if self.stack.thread != thread {
            self.stack = Stack { thread, pages: 0..0 };
        }
        let stack = &mut self.stack;
        let mut read = |address: u64| stack.read(address as usize).ok_or(());
        let start =
            UnwindRegsX86_64::new(register(libc::REG_RIP), register(libc::REG_RSP), register(libc::REG_RBP));
        let mut frames =
            self.unwinder.iter_frames(register(libc::REG_RIP), start, &mut self.cache, &mut read);
        let mut callers = [0; CALLERS];
        let _this_function = frames.next();
        for caller in &mut callers {
            match frames.next() {
                Ok(Some(frame)) => *caller = frame.address(),
                _ => break,
            }
        }
        callers
    }
}

impl Stack {
    /// The word at an address of the stack, if it is there.
    fn read(&mut self, address: usize) -> Option<u64> {
        let last = address.checked_add(7)?;
        if !(self.pages.contains(&address) && self.pages.contains(&last)) {
            for page in [address / PAGE * PAGE, last / PAGE * PAGE] {
                if !is_readable(page) {
                    return None;
                }
                let page = page..page + PAGE;
                let meets = self.pages.start == page.end || self.pages.end == page.start;
                if self.pages.contains(&page.start) {
                    continue;
                }
                self.pages = match meets {
                    true => self.pages.start.min(page.start)..self.pages.end.max(page.end),
                    false => page,
                };
            }
        }
        // SAFETY: in pages that can be read: the kernel was asked, and the thread whose stack it is stands still.
        Some(unsafe { (address as *const u64).read_unaligned() })
    }
}

/// Asks the kernel to read a byte there, which says no instead of sending a signal.
fn is_readable(address: usize) -> bool {
    let mut byte = 0u8;
    let to = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let from = libc::iovec { iov_base: address as *mut _, iov_len: 1 };
    // SAFETY: writes one byte of ours, if it can read one of this process.
    unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) == 1 }
}

fn module(object: &Object) -> Module<&'static [u8]> {
    let in_file = |range: &Range<usize>| (range.start - object.base) as u64..(range.end - object.base) as u64;
    // SAFETY: segments of a loaded object that is never unloaded, which can be read and do not change.
    let bytes =
        |range: &Range<usize>| unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) };
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: Some(in_file(&object.text)),
        text: Some(bytes(&object.text)),
        eh_frame_svma: object.unwind_table.as_ref().map(in_file),
        eh_frame: object.unwind_table.as_ref().map(bytes),
        eh_frame_hdr_svma: object.unwind_index.as_ref().map(in_file),
        eh_frame_hdr: object.unwind_index.as_ref().map(bytes),
        ..ExplicitModuleSectionInfo::default()
    };
    let all = object.all.start as u64..object.all.end as u64;
    Module::new(String::new(), all, object.base as u64, sections)
}
