//! Replaces an instruction's memory operand by the address in one register.
//!
//! ```text
//!  [prefixes] [REX | VEX | EVEX] opcode  ModRM [SIB] [displacement] [immediate]
//!      |             |                     |     \________________/
//!  those of      X and B off         base := pointer      gone
//!  addresses
//!  gone
//! ```
//!
//! What comes out is decoded again, and believed only if it is the same instruction in everything else.

use super::decode::LONGEST;
use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

/// The instruction in `bytes` with `[pointer]` as its memory operand. `number` is the pointer's, of the first eight.
pub(super) fn rewrite(
    bytes: &[u8],
    instruction: &Instruction,
    pointer: Register,
    number: u8,
) -> Option<([u8; LONGEST + 1], usize)> {
    let mut reader = Reader { bytes: bytes.get(..instruction.len())?, at: 0 };
    let mut writer = Writer { code: [0; LONGEST + 1], len: 0 };
    // F2 and F3 before an opcode of one byte, or a locked one, are hints to elide a lock.
    let first_opcode = reader.bytes.iter().find(|byte| !is_prefix(**byte) && !is_rex(**byte))?;
    let elides = *first_opcode != 0x0f || instruction.has_lock_prefix();
    while is_prefix(reader.peek()?) {
        match reader.next()? {
            prefix @ (0xf0 | 0x66) => writer.put(prefix),
            prefix @ (0xf2 | 0xf3) if !elides => writer.put(prefix),
            _ => {}
        }
    }
    match reader.peek()? {
        0xc5 => {
            writer.copy(&mut reader, 3)?;
        }
        0xc4 => {
            writer.copy(&mut reader, 1)?;
            writer.put(reader.next()? | 0x60);
            writer.copy(&mut reader, 2)?;
        }
        0x62 => {
            writer.copy(&mut reader, 1)?;
            writer.put(reader.next()? | 0x60);
            writer.copy(&mut reader, 3)?;
        }
        byte => {
            if is_rex(byte) {
                writer.put(reader.next()? & !0x03);
            }
            match reader.next()? {
                0x0f => {
                    writer.put(0x0f);
                    if matches!(reader.peek()?, 0x38 | 0x3a) {
                        writer.copy(&mut reader, 1)?;
                    }
                    writer.copy(&mut reader, 1)?;
                }
                // An absolute address instead of ModRM: the same with one.
                opcode @ (0xa2 | 0xa3) => {
                    writer.put(opcode - 0xa2 + 0x88);
                    writer.operand(0, number);
                    return writer.checked(instruction, pointer);
                }
                opcode => writer.put(opcode),
            }
        }
    }
    let modrm = reader.next()?;
    let (mode, register, memory) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    let sib = if memory == 4 { Some(reader.next()?) } else { None };
    let displacement = match mode {
        0 if memory == 5 || sib.is_some_and(|sib| sib & 7 == 5) => 4,
        0 => 0,
        1 => 1,
        2 => 4,
        _ => return None,
    };
    reader.at += displacement;
    writer.operand(register, number);
    let rest = reader.bytes.get(reader.at..)?.len();
    writer.copy(&mut reader, rest)?;
    writer.checked(instruction, pointer)
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0xf0 | 0xf2 | 0xf3 | 0x66 | 0x67 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65)
}

fn is_rex(byte: u8) -> bool {
    byte & 0xf0 == 0x40
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
}

struct Writer {
    code: [u8; LONGEST + 1],
    len: usize,
}

impl Writer {
    /// What does not fit fails the check at the end.
    fn put(&mut self, byte: u8) {
        if let Some(place) = self.code.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    fn copy(&mut self, from: &mut Reader<'_>, count: usize) -> Option<()> {
        for _ in 0..count {
            self.put(from.next()?);
        }
        Some(())
    }

    /// ModRM for `[pointer]`. That of rbp needs a displacement, as its place without one means "relative to rip".
    fn operand(&mut self, register: u8, pointer: u8) {
        if pointer == 5 {
            self.put(0x40 | register << 3 | pointer);
            self.put(0);
        } else {
            self.put(register << 3 | pointer);
        }
    }

    /// The code, if it decodes to the same instruction.
    fn checked(self, original: &Instruction, pointer: Register) -> Option<([u8; LONGEST + 1], usize)> {
        let code = self.code.get(..self.len)?;
        let mut copy = Instruction::default();
        Decoder::with_ip(64, code, 0, DecoderOptions::NONE).decode_out(&mut copy);
        let same_operand = |op: u32| match original.op_kind(op) {
            OpKind::Memory => {
                copy.op_kind(op) == OpKind::Memory
                    && copy.memory_base() == pointer
                    && copy.memory_index() == Register::None
                    && copy.memory_displacement64() == 0
                    && copy.segment_prefix() == Register::None
            }
            OpKind::Register => {
                copy.op_kind(op) == OpKind::Register && copy.op_register(op) == original.op_register(op)
            }
            kind => {
                copy.op_kind(op) == kind && copy.try_immediate(op).ok() == original.try_immediate(op).ok()
            }
        };
        let is_same = copy.len() == self.len
            && copy.mnemonic() == original.mnemonic()
            && copy.memory_size() == original.memory_size()
            && copy.op_count() == original.op_count()
            && copy.has_lock_prefix() == original.has_lock_prefix()
            && copy.op_mask() == original.op_mask()
            && (0..original.op_count()).all(same_operand);
        is_same.then_some((self.code, self.len))
    }
}
