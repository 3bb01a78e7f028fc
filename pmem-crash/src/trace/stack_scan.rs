//! Who called the function that stores: looked up on its stack.
//!
//! Unwinding takes locks and memory, which a signal handler may not. So the words on top of the stack are
//! looked at: one that points behind a call in this program's code is a return address. It may be one of a call that is over;
//! what is found is a hint for a person, nothing more.

use super::log::CALLERS;
use std::ops::Range;

/// Words that are looked at.
const WORDS: usize = 96;

/// The return addresses on top of a stack. Async-signal-safe.
///
/// # Safety
///
/// `stack_pointer` is a thread's, and `text` is code.
pub(super) unsafe fn callers(stack_pointer: usize, text: &Range<usize>) -> [u64; CALLERS] {
    let mut words = [0usize; WORDS];
    let wanted = size_of_val(&words);
    let near = wanted.min(super::memory::PAGE - stack_pointer % super::memory::PAGE);
    // SAFETY: the page to which a stack pointer points is there; of the one behind it the kernel is asked.
    unsafe {
        std::ptr::copy_nonoverlapping(stack_pointer as *const u8, words.as_mut_ptr().cast::<u8>(), near);
        if near < wanted {
            let to = libc::iovec {
                iov_base: words.as_mut_ptr().cast::<u8>().add(near).cast(),
                iov_len: wanted - near,
            };
            let from = libc::iovec { iov_base: (stack_pointer + near) as *mut _, iov_len: wanted - near };
            libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0);
        }
    }
    let mut callers = [0; CALLERS];
    let mut found = 0;
    for word in words {
        // SAFETY: inside the text, whose first 8 bytes are left out.
        if text.contains(&word) && word - text.start >= 8 && unsafe { is_behind_a_call(word) } {
            callers[found] = word as u64;
            found += 1;
            if found == CALLERS {
                break;
            }
        }
    }
    callers
}

/// Whether a call ends right before `address`: `e8` and a distance, or `ff /2` with an operand of any length.
///
/// # Safety
///
/// The 7 bytes before it can be read.
unsafe fn is_behind_a_call(address: usize) -> bool {
    // SAFETY: the caller's.
    let before = |distance: usize| unsafe { ((address - distance) as *const u8).read() };
    before(5) == 0xe8
        || [2, 3, 4, 6, 7].into_iter().any(|len| before(len) == 0xff && before(len - 1) >> 3 & 7 == 2)
}
