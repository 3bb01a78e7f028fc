//! A machine: registers, flags, vector and floating point state, with which code is run on a stack of its own.

use std::arch::naked_asm;

/// Bytes of the state that XSAVE saves, with room to spare.
const STATE: usize = 4096;
const STACK: usize = 64 << 10;
/// What functions may use below the stack pointer.
const RED_ZONE: usize = 128;
/// x87, SSE, AVX, AVX-512.
const COMPONENTS: u64 = 0xe7;
const ARITHMETIC_FLAGS: u64 = 0x8d5;
const DIRECTION: u64 = 0x400;

#[repr(C, align(64))]
#[derive(Clone)]
pub(crate) struct Machine {
    state: [u8; STATE],
    /// In the order of their numbers. That of rsp is where it points in the code.
    registers: [u64; 16],
    flags: u64,
    components: u64,
    /// The caller's.
    saved_stack_pointer: u64,
    code: u64,
}

/// The stack, the same for all machines of a thread.
fn stack() -> u64 {
    thread_local! {
        static STACK_TOP: u64 = {
            let stack: &'static mut [u64] = Vec::leak(vec![0; STACK / 8]);
            (stack.as_ptr_range().end as u64) & !63
        };
    }
    STACK_TOP.with(|top| *top)
}

/// The words of the red zone while code runs.
fn red_zone(stack_pointer: u64) -> &'static mut [u64] {
    // SAFETY: inside the leaked stack, used by this thread only, now that no code runs on it.
    unsafe { std::slice::from_raw_parts_mut((stack_pointer as usize - RED_ZONE) as *mut u64, RED_ZONE / 8) }
}

fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: XSAVE is there, or nothing of this works.
    unsafe { std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

impl Machine {
    pub(crate) fn random(random: &mut fastrand::Rng) -> Machine {
        let components = COMPONENTS & xcr0();
        let mut machine = Machine {
            state: [0; STATE],
            registers: std::array::from_fn(|_| random.u64(..)),
            flags: random.u64(..) & ARITHMETIC_FLAGS,
            components,
            saved_stack_pointer: 0,
            code: 0,
        };
        machine.registers[4] = machine.stack_pointer();
        random.fill(&mut machine.state[32..]);
        machine.state[416..576].fill(0);
        let put =
            |state: &mut [u8], at: usize, bytes: &[u8]| state[at..at + bytes.len()].copy_from_slice(bytes);
        put(&mut machine.state, 0, &0x037fu16.to_le_bytes()); // x87 control word
        machine.state[4] = 0xff; // all x87 registers are used
        put(&mut machine.state, 24, &0x1f80u32.to_le_bytes()); // MXCSR
        put(&mut machine.state, 28, &0xffffu32.to_le_bytes());
        put(&mut machine.state, 512, &components.to_le_bytes());
        for register in 0..8 {
            // A number of a moderate size.
            let at = 32 + 16 * register;
            machine.state[at + 7] |= 0x80;
            put(&mut machine.state, at + 8, &(0x3fffu16 + random.u16(0..40) - 10).to_le_bytes());
            machine.state[at + 10..at + 16].fill(0);
        }
        machine
    }

    /// Where the stack pointer is while code runs.
    pub(crate) fn stack_pointer(&self) -> u64 {
        stack() - 4096 - 8
    }

    pub(crate) fn set(&mut self, register: u8, value: u64) {
        self.registers[usize::from(register)] = value;
    }

    pub(crate) fn get(&self, register: u8) -> u64 {
        self.registers[usize::from(register)]
    }

    pub(crate) fn set_direction(&mut self, down: bool) {
        self.flags |= if down { DIRECTION } else { 0 };
    }

    /// Makes all 4-byte numbers in the first 16 vector registers those of a scatter that stays within some bytes.
    pub(crate) fn set_indices(&mut self, random: &mut fastrand::Rng, below: u32) {
        // Where the upper parts of the registers are: of bytes 16 to 31, and of 32 to 63.
        let at = |component: u32| std::arch::x86_64::__cpuid_count(0xd, component).ebx as usize;
        for part in [160..416, at(2)..at(2) + 256, at(6)..at(6) + 512] {
            self.state[part]
                .chunks_mut(4)
                .for_each(|index| index.copy_from_slice(&random.u32(0..below).to_le_bytes()));
        }
    }

    /// Runs code that ends with `ret`.
    pub(crate) fn run(&mut self, code: u64) {
        self.code = code;
        let below = red_zone(self.stack_pointer());
        below.iter_mut().zip(1..).for_each(|(word, n)| *word = n * 0x0101);
        // SAFETY: the code leaves the stack as it was, and stores where the test wants it to.
        unsafe { enter(self) };
        assert!(below.iter().zip(1..).all(|(word, n)| *word == n * 0x0101), "the red zone was stored to");
    }

    /// After a run: everything is the same, but where x87 thinks that its last instruction was.
    pub(crate) fn assert_same(&self, other: &Machine, what: &str) {
        assert_eq!(self.registers, other.registers, "{what}: registers");
        let flags = |machine: &Machine| machine.flags & (ARITHMETIC_FLAGS | DIRECTION);
        assert_eq!(flags(self), flags(other), "{what}: flags");
        let seen = |machine: &Machine| {
            let mut state = machine.state.to_vec();
            state[6..24].fill(0);
            state
        };
        let (left, right) = (seen(self), seen(other));
        let difference = (0..STATE).find(|at| left[*at] != right[*at]);
        assert_eq!(difference, None, "{what}: vector or floating point state");
    }
}

/// Loads the machine, calls the code, and saves the machine.
#[unsafe(naked)]
unsafe extern "C" fn enter(machine: &mut Machine) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi + {saved}], rsp",
        "mov rsp, [rdi + {registers} + 32]",
        "add rsp, 8",
        // The machine is found again above the code's stack.
        "mov [rsp + 512], rdi",
        "mov eax, [rdi + {components}]",
        "xor edx, edx",
        "xrstor64 [rdi]",
        "push qword ptr [rdi + {flags}]",
        "popfq",
        "mov rax, [rdi + {registers}]",
        "mov rcx, [rdi + {registers} + 8]",
        "mov rdx, [rdi + {registers} + 16]",
        "mov rbx, [rdi + {registers} + 24]",
        "mov rbp, [rdi + {registers} + 40]",
        "mov rsi, [rdi + {registers} + 48]",
        "mov r8, [rdi + {registers} + 64]",
        "mov r9, [rdi + {registers} + 72]",
        "mov r10, [rdi + {registers} + 80]",
        "mov r11, [rdi + {registers} + 88]",
        "mov r12, [rdi + {registers} + 96]",
        "mov r13, [rdi + {registers} + 104]",
        "mov r14, [rdi + {registers} + 112]",
        "mov r15, [rdi + {registers} + 120]",
        "push qword ptr [rdi + {code}]",
        "pop qword ptr [rsp + 504]",
        "mov rdi, [rdi + {registers} + 56]",
        "call qword ptr [rsp + 504]",
        "mov [rsp + 496], rdi",
        "mov rdi, [rsp + 512]",
        "mov [rdi + {registers}], rax",
        "mov [rdi + {registers} + 8], rcx",
        "mov [rdi + {registers} + 16], rdx",
        "mov [rdi + {registers} + 24], rbx",
        "mov [rdi + {registers} + 40], rbp",
        "mov [rdi + {registers} + 48], rsi",
        "mov [rdi + {registers} + 64], r8",
        "mov [rdi + {registers} + 72], r9",
        "mov [rdi + {registers} + 80], r10",
        "mov [rdi + {registers} + 88], r11",
        "mov [rdi + {registers} + 96], r12",
        "mov [rdi + {registers} + 104], r13",
        "mov [rdi + {registers} + 112], r14",
        "mov [rdi + {registers} + 120], r15",
        "mov rax, [rsp + 496]",
        "mov [rdi + {registers} + 56], rax",
        "pushfq",
        "pop qword ptr [rdi + {flags}]",
        "cld",
        "mov eax, [rdi + {components}]",
        "xor edx, edx",
        "xsave64 [rdi]",
        "fninit",
        "push 0x1f80",
        "ldmxcsr [rsp]",
        "mov rsp, [rdi + {saved}]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        registers = const std::mem::offset_of!(Machine, registers),
        flags = const std::mem::offset_of!(Machine, flags),
        components = const std::mem::offset_of!(Machine, components),
        saved = const std::mem::offset_of!(Machine, saved_stack_pointer),
        code = const std::mem::offset_of!(Machine, code),
    )
}

/// Where instructions are put to be run.
pub(crate) struct Code {
    at: u64,
    used: u64,
}

const ROOM: u64 = 1 << 24;

impl Code {
    /// Near enough for an address relative to rip.
    pub(crate) fn near(address: u64) -> Code {
        let (all, flags) =
            (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let hint = (address - (1 << 28)) as *mut libc::c_void;
        // SAFETY: maps at an address of the kernel's choice.
        let at = unsafe { libc::mmap(hint, ROOM as usize, all, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Code { at: at as u64, used: 0 }
    }

    /// From the length of an instruction to the address behind it, for the one that is put next.
    pub(crate) fn next(&self) -> impl Fn(usize) -> u64 + use<> {
        let at = self.at + self.used;
        move |len| at + len as u64
    }

    pub(crate) fn put(&mut self, instruction: &[u8]) -> u64 {
        let at = self.at + self.used;
        self.used += 64;
        assert!(self.used <= ROOM && instruction.len() < 64);
        const RETURN: u8 = 0xc3;
        // SAFETY: inside the code's memory, which is ours.
        unsafe {
            std::ptr::copy_nonoverlapping(instruction.as_ptr(), at as *mut u8, instruction.len());
            (at as *mut u8).add(instruction.len()).write(RETURN);
        }
        at
    }
}
