//! The way for instructions that cannot be copied: their address register is moved to the second view, they are executed
//! where they stand, in single step, and the register is moved back. What they stored is found by comparing.
//!
//! The lock is held from the fault to the trap, and all signals wait.

use super::{decode::General, execute::TRAP};
use crate::trace::log::Entry;

/// An instruction that is being stepped.
pub(super) struct Step {
    /// The register that was moved.
    pub(super) register: General,
    /// Signals that were blocked before.
    pub(super) blocked: libc::sigset_t,
    /// What is to be noted, but for where and how much.
    pub(super) entry: Entry,
}

impl Step {
    /// Changes a context so that its next instruction is stepped, undisturbed, with `register` moved by `distance`.
    pub(super) fn begin(
        context: &mut libc::ucontext_t,
        register: General,
        distance: i64,
        entry: Entry,
    ) -> Step {
        let step = Step { register, blocked: context.uc_sigmask, entry };
        let registers = &mut context.uc_mcontext.gregs;
        registers[register] = registers[register].wrapping_add(distance);
        registers[libc::REG_EFL as usize] |= TRAP;
        // SAFETY: plain calls on a set. Signals of faults are not to be blocked: the trap would kill.
        unsafe {
            libc::sigfillset(&raw mut context.uc_sigmask);
            for fault in
                [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT]
            {
                libc::sigdelset(&raw mut context.uc_sigmask, fault);
            }
        }
        step
    }

    /// Takes it back.
    pub(super) fn end(&self, context: &mut libc::ucontext_t, distance: i64) {
        let registers = &mut context.uc_mcontext.gregs;
        registers[self.register] = registers[self.register].wrapping_sub(distance);
        registers[libc::REG_EFL as usize] &= !TRAP;
        context.uc_sigmask = self.blocked;
    }
}
