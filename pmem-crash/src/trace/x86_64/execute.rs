//! Executes one instruction with another thread of execution's registers: those that a signal interrupted.

use std::arch::naked_asm;

/// Registers as in `ucontext_t`.
pub(super) type Registers = [i64; 23];

/// Flags that an instruction may read and change: carry, parity, adjust, zero, sign, overflow.
pub(super) const FLAGS: i64 = 0x8d5;
/// The direction flag.
pub(super) const DIRECTION: i64 = 0x400;
/// The trap flag: single step.
pub(super) const TRAP: i64 = 0x100;

/// State components that are loaded: x87, SSE, AVX, AVX-512.
pub(super) const VECTOR_STATE: u64 = 0b1110_0111;

/// Loads the general registers (but the stack pointer) and the flags from `registers`, and the vector and floating point
/// state from `state` if it is not null; calls `code`; stores them again.
///
/// # Safety
///
/// `code` is one instruction, which does not use the stack, and `ret`. Whatever it does with these registers is right.
/// `registers` is as in a signal's context, its flags without trap and direction flag; `state` is null, or the state
/// that the kernel saved in a signal's frame, in the format of XSAVE, with the components `mask`.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn execute(registers: *mut Registers, code: usize, state: *mut u8, mask: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi", // [rsp + 16]: registers
        "push rdx", // [rsp + 8]: state
        "push rsi", // [rsp]: code
        "test rdx, rdx",
        "jz 2f",
        "mov r8, rdx",
        "mov eax, ecx",
        "xor edx, edx",
        "xrstor64 [r8]",
        "2:",
        "push qword ptr [rdi + 136]",
        "popfq",
        "mov r8, [rdi]",
        "mov r9, [rdi + 8]",
        "mov r10, [rdi + 16]",
        "mov r11, [rdi + 24]",
        "mov r12, [rdi + 32]",
        "mov r13, [rdi + 40]",
        "mov r14, [rdi + 48]",
        "mov r15, [rdi + 56]",
        "mov rsi, [rdi + 72]",
        "mov rbp, [rdi + 80]",
        "mov rbx, [rdi + 88]",
        "mov rdx, [rdi + 96]",
        "mov rax, [rdi + 104]",
        "mov rcx, [rdi + 112]",
        "mov rdi, [rdi + 64]",
        "call qword ptr [rsp]",
        "push rdi",
        "mov rdi, [rsp + 24]",
        "mov [rdi], r8",
        "mov [rdi + 8], r9",
        "mov [rdi + 16], r10",
        "mov [rdi + 24], r11",
        "mov [rdi + 32], r12",
        "mov [rdi + 40], r13",
        "mov [rdi + 48], r14",
        "mov [rdi + 56], r15",
        "mov [rdi + 72], rsi",
        "mov [rdi + 80], rbp",
        "mov [rdi + 88], rbx",
        "mov [rdi + 96], rdx",
        "mov [rdi + 104], rax",
        "mov [rdi + 112], rcx",
        "pop qword ptr [rdi + 64]",
        "pushfq",
        "pop qword ptr [rdi + 136]",
        "mov r8, [rsp + 8]",
        "test r8, r8",
        "jz 3f",
        // What a store can change of this state: the x87 stack, and flags of exceptions. Then as a handler expects it.
        "mov eax, 3",
        "xor edx, edx",
        "xsave64 [r8]",
        "fninit",
        "push 0x1f80",
        "ldmxcsr [rsp]",
        "pop rax",
        "3:",
        "add rsp, 24",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Calls `function` with `argument` on another stack, which ends at `top`.
///
/// # Safety
///
/// `top` is a multiple of 16; below it is room for whatever the function does, which nobody else uses.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn on_stack(
    top: usize,
    function: unsafe extern "C" fn(*mut libc::c_void),
    argument: *mut libc::c_void,
) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
    )
}

const _: () = {
    assert!(libc::REG_R8 == 0 && libc::REG_R15 == 7 && libc::REG_RDI == 8 && libc::REG_RSI == 9);
    assert!(libc::REG_RBP == 10 && libc::REG_RBX == 11 && libc::REG_RDX == 12 && libc::REG_RAX == 13);
    assert!(libc::REG_RCX == 14 && libc::REG_RSP == 15 && libc::REG_RIP == 16 && libc::REG_EFL == 17);
};
