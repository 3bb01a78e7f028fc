//! From an instruction that stores to a plan for executing it elsewhere.
//!
//! The decoder is `iced-x86`'s. It builds its tables when it is used for the first time, which [`prepare`] does, and allocates
//! nothing after that. What is decided here errs on
//! the safe side: an instruction that does not look as expected is refused, and refused by name.

use super::rewrite::rewrite;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// Longest instruction, in bytes.
pub(super) const LONGEST: usize = 15;

/// Number of a general register in a signal's context.
pub(super) type General = usize;

/// How to execute an instruction whose store cannot go where it wants to.
#[derive(Clone, Copy)]
pub(super) enum Plan {
    /// Execute a copy whose memory operand is at the address in `pointer`, a register it does not use.
    Execute(Execute),
    /// Do what `movs` and `stos` do.
    String(StringStore),
    /// Move the address in this register, execute the instruction itself in single step, and move it back.
    Step(General),
}

#[derive(Clone, Copy)]
pub(super) struct Execute {
    pub(super) code: [u8; LONGEST + 1],
    pub(super) code_len: usize,
    pub(super) pointer: General,
    /// Bytes that are stored.
    pub(super) size: usize,
    /// Some of them may not be.
    pub(super) masked: bool,
    /// It uses more than the general registers.
    pub(super) vector: bool,
    /// For `bts` and its like: the register that is a bit offset from the operand's address, and its bytes.
    pub(super) bit_offset: Option<(General, usize)>,
}

#[derive(Clone, Copy)]
pub(super) struct StringStore {
    /// Bytes of one element: 1, 2, 4, 8.
    pub(super) size: usize,
    /// `movs`, rather than `stos`.
    pub(super) is_copy: bool,
    pub(super) is_repeated: bool,
}

/// A decoded instruction.
#[derive(Clone, Copy)]
pub(super) struct Decoded {
    pub(super) instruction: Instruction,
    pub(super) plan: Plan,
    pub(super) nontemporal: bool,
}

/// Why an instruction cannot be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) mnemonic: Mnemonic,
    pub(super) why: &'static str,
}

/// Has the decoder's tables built. Allocates.
pub(super) fn prepare() {
    const NOP: u8 = 0x90;
    let mut instruction = Instruction::default();
    Decoder::with_ip(64, &[NOP], 0, DecoderOptions::NONE).decode_out(&mut instruction);
}

/// Makes a plan for the instruction at `ip`, whose bytes these are.
pub(super) fn decode(bytes: &[u8], ip: u64) -> Result<Decoded, Refused> {
    let mut instruction = Instruction::default();
    Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE).decode_out(&mut instruction);
    let mnemonic = instruction.mnemonic();
    let refuse = |why| Err(Refused { mnemonic, why });
    if instruction.is_invalid() {
        return refuse("it is not known to the decoder");
    }
    if [Register::FS, Register::GS].contains(&instruction.segment_prefix()) {
        return refuse("its address is relative to a segment");
    }
    match plan(&instruction, bytes) {
        Ok(plan) => Ok(Decoded { instruction, plan, nontemporal: is_nontemporal(mnemonic) }),
        Err(why) => refuse(why),
    }
}

fn plan(instruction: &Instruction, bytes: &[u8]) -> Result<Plan, &'static str> {
    if let Some((size, is_copy)) = string_store(instruction.code()) {
        let wide = |op| matches!(instruction.op_kind(op), OpKind::MemoryESRDI | OpKind::MemorySegRSI);
        if !(wide(0) && (!is_copy || wide(1))) {
            return Err("its addresses have 32 bits");
        }
        let is_repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        return Ok(Plan::String(StringStore { size, is_copy, is_repeated }));
    }
    match instruction.mnemonic() {
        Mnemonic::Push | Mnemonic::Call | Mnemonic::Pushfq if !uses(instruction, Register::RSP) => {
            return Ok(Plan::Step(libc::REG_RSP as General));
        }
        Mnemonic::Push | Mnemonic::Call | Mnemonic::Pushf | Mnemonic::Enter => {
            return Err("it stores a stack pointer, or to a stack in an unusual way");
        }
        Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu | Mnemonic::Maskmovq => {
            return Ok(Plan::Step(libc::REG_RDI as General));
        }
        Mnemonic::Movdir64b => {
            let to = instruction.op_register(0);
            let apart = instruction.memory_base() != to && instruction.memory_index() != to;
            return general(to).filter(|_| apart).map(Plan::Step).ok_or("its addresses share a register");
        }
        // Handled by their memory operand, but not in the handler: they use the stack, or save the state of
        // the whole processor.
        Mnemonic::Pop => return moved_base(instruction, &[Register::RSP]),
        Mnemonic::Xsave
        | Mnemonic::Xsave64
        | Mnemonic::Xsavec
        | Mnemonic::Xsavec64
        | Mnemonic::Xsaveopt
        | Mnemonic::Xsaveopt64 => return moved_base(instruction, &[Register::RAX, Register::RDX]),
        _ => {}
    }
    let operands = || 0..instruction.op_count();
    if operands().filter(|op| instruction.op_kind(*op) == OpKind::Memory).count() != 1 {
        return Err("it has not one memory operand");
    }
    if instruction.is_vsib() || uses(instruction, Register::RSP) {
        return moved_base(instruction, &[Register::RSP]);
    }
    let size = match instruction.mnemonic() {
        Mnemonic::Fxsave | Mnemonic::Fxsave64 => 512,
        _ => instruction.memory_size().size(),
    };
    if !(1..=512).contains(&size) {
        return Err("it is not known how much it stores");
    }
    let candidates = [(Register::RSI, 6u8), (Register::RDI, 7), (Register::RBP, 5)];
    let (pointer, number) = candidates
        .into_iter()
        .find(|(register, _)| !uses(instruction, *register))
        .ok_or("no register is free")?;
    let (code, code_len) =
        rewrite(bytes, instruction, pointer, number).ok_or("its memory operand cannot be replaced")?;
    let general_only = operands().all(|op| match instruction.op_kind(op) {
        OpKind::Register => instruction.op_register(op).is_gpr(),
        _ => true,
    });
    let bit_offset = match instruction.mnemonic() {
        Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc if instruction.op_kind(1) == OpKind::Register => {
            Some((general(instruction.op_register(1)).ok_or("it has an unusual bit offset")?, size))
        }
        _ => None,
    };
    Ok(Plan::Execute(Execute {
        code,
        code_len,
        pointer: general(pointer).expect("a general register"),
        size,
        masked: may_leave_bytes(instruction),
        vector: !general_only || !is_plain_integer(instruction),
        bit_offset,
    }))
}

/// Element size of a string store, and whether it copies.
fn string_store(code: Code) -> Option<(usize, bool)> {
    Some(match code {
        Code::Movsb_m8_m8 => (1, true),
        Code::Movsw_m16_m16 => (2, true),
        Code::Movsd_m32_m32 => (4, true),
        Code::Movsq_m64_m64 => (8, true),
        Code::Stosb_m8_AL => (1, false),
        Code::Stosw_m16_AX => (2, false),
        Code::Stosd_m32_EAX => (4, false),
        Code::Stosq_m64_RAX => (8, false),
        _ => return None,
    })
}

/// By moving the base register of the memory operand, or an index that counts bytes, unless the instruction uses it in
/// another way too.
fn moved_base(instruction: &Instruction, also_used: &[Register]) -> Result<Plan, &'static str> {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let is_free =
        |register: Register| base != index && !uses(instruction, register) && !also_used.contains(&register);
    let index_of_bytes = if instruction.memory_index_scale() == 1 { index } else { Register::None };
    [base, index_of_bytes]
        .into_iter()
        .filter(|register| is_free(*register))
        .find_map(general)
        .map(Plan::Step)
        .ok_or("the register of its address has another use in it")
}

/// Whether a register is an operand (and not only a part of an address).
fn uses(instruction: &Instruction, register: Register) -> bool {
    (0..instruction.op_count()).any(|op| {
        instruction.op_kind(op) == OpKind::Register && instruction.op_register(op).full_register() == register
    })
}

/// Whether some bytes of the memory operand may stay as they are.
fn may_leave_bytes(instruction: &Instruction) -> bool {
    instruction.op_mask() != Register::None
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Vmaskmovps | Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovd | Mnemonic::Vpmaskmovq
        )
        || matches!(instruction.mnemonic(), Mnemonic::Fxsave | Mnemonic::Fxsave64)
}

/// Whether it is one of the first instruction sets, which know integers only: it neither reads nor changes the state of
/// the vector and floating point units. (The list may be short, not long.)
fn is_plain_integer(instruction: &Instruction) -> bool {
    use iced_x86::CpuidFeature::*;
    instruction.cpuid_features().iter().all(|feature| {
        matches!(
            feature,
            INTEL8086
                | INTEL186
                | INTEL286
                | INTEL386
                | INTEL486
                | X64
                | CX8
                | CMPXCHG16B
                | CMOV
                | MOVBE
                | SSE2
                | MOVDIRI
        )
    })
}

fn is_nontemporal(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Movnti
            | Movntq
            | Movntdq
            | Vmovntdq
            | Movntps
            | Vmovntps
            | Movntpd
            | Vmovntpd
            | Movntsd
            | Movntss
            | Maskmovq
            | Maskmovdqu
            | Vmaskmovdqu
            | Movdiri
            | Movdir64b
    )
}

/// A register's number in a signal's context.
pub(super) fn general(register: Register) -> Option<General> {
    let number = match register.full_register() {
        Register::RAX => libc::REG_RAX,
        Register::RCX => libc::REG_RCX,
        Register::RDX => libc::REG_RDX,
        Register::RBX => libc::REG_RBX,
        Register::RSP => libc::REG_RSP,
        Register::RBP => libc::REG_RBP,
        Register::RSI => libc::REG_RSI,
        Register::RDI => libc::REG_RDI,
        Register::R8 => libc::REG_R8,
        Register::R9 => libc::REG_R9,
        Register::R10 => libc::REG_R10,
        Register::R11 => libc::REG_R11,
        Register::R12 => libc::REG_R12,
        Register::R13 => libc::REG_R13,
        Register::R14 => libc::REG_R14,
        Register::R15 => libc::REG_R15,
        _ => return None,
    };
    Some(number as General)
}
