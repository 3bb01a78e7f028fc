//! An encoder for instructions with a memory operand, written for these tests: it shares nothing with what it tests.

use crate::run::Machine;
use std::{arch::is_x86_feature_detected, ops::Range};

/// A way to address memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    Base {
        base: u8,
        displacement: i32,
    },
    Indexed {
        base: Option<u8>,
        index: u8,
        scale: u8,
        displacement: i32,
    },
    /// To rip.
    Relative {
        target: u64,
    },
}

/// What an instruction stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All bytes of its operand.
    Exact,
    /// Some of them.
    Masked,
    /// To several places after its address.
    Scatter,
}

/// How opcode and registers are encoded.
#[derive(Clone, Copy, Debug)]
enum Style {
    Legacy {
        wide: bool,
    },
    /// Three bytes, or two where they suffice.
    Vex {
        map: u8,
        prefix: u8,
        wide: bool,
        long: bool,
    },
    Evex {
        map: u8,
        prefix: u8,
        wide: bool,
        length: u8,
        mask: u8,
    },
    /// An absolute address after the opcode, no ModRM.
    Absolute {
        wide: bool,
    },
}

/// What the field of ModRM is that is not for memory.
#[derive(Clone, Copy, Debug)]
enum Field {
    Digit(u8),
    General,
    /// A general register of one byte: 4 to 7 are ah to bh without a REX prefix.
    Byte,
    /// A general register that holds a bit offset.
    BitOffset,
    /// A vector register; or an MMX register, of which there are 8.
    Vector,
    Mmx,
}

/// An instruction, but for its registers and its address.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) name: String,
    prefixes: Vec<u8>,
    style: Style,
    opcode: Vec<u8>,
    field: Field,
    immediate: usize,
    pub(crate) size: usize,
    pub(crate) align: u64,
    pub(crate) form: Form,
    pub(crate) nontemporal: bool,
    /// The register of the last encoding.
    chosen: std::cell::Cell<u8>,
}

const RSP: u8 = 4;

impl Template {
    /// How many registers there are to choose from.
    pub(crate) fn registers(&self) -> u8 {
        match self.field {
            Field::Digit(_) => 1,
            Field::Mmx => 8,
            Field::Vector if matches!(self.style, Style::Evex { .. }) => 32,
            _ => 16,
        }
    }

    /// Gives the machine what the instruction needs whatever its operands.
    pub(crate) fn prepare(&self, random: &mut fastrand::Rng, machine: &mut Machine) {
        if self.form == Form::Scatter {
            machine.set_indices(random, 256);
        }
    }

    /// Whether a register can be used together with an address; sets it if it must have a certain value.
    pub(crate) fn suits(
        &self,
        operand: &Operand,
        register: u8,
        machine: &mut Machine,
        mapping: Range<u64>,
        target: u64,
    ) -> bool {
        let addresses = match *operand {
            Operand::Base { base, .. } => [Some(base), None],
            Operand::Indexed { base, index, .. } => [base, Some(index)],
            Operand::Relative { .. } => [None; 2],
        };
        match self.field {
            Field::General if register == RSP => false, // stepped: see the tests by hand
            Field::BitOffset => {
                if register == RSP || addresses.contains(&Some(register)) {
                    return false;
                }
                machine.set(register, (machine.get(register) % 512).wrapping_sub(256));
                let at = target.wrapping_add_signed(8 + self.bit_offset_of(machine.get(register)) as i64);
                mapping.contains(&(at - 16)) && mapping.contains(&(at + 16))
            }
            _ => match (self.form, operand) {
                (Form::Scatter, Operand::Base { .. }) => target + 1024 < mapping.end,
                (Form::Scatter, _) => false,
                _ => true,
            },
        }
    }

    /// How far from its operand it stores.
    pub(crate) fn bit_offset(&self, machine: &Machine) -> isize {
        match self.field {
            Field::BitOffset => self.bit_offset_of(machine.get(self.chosen.get())),
            _ => 0,
        }
    }

    fn bit_offset_of(&self, value: u64) -> isize {
        let value = match self.size {
            2 => i64::from(value as i16),
            4 => i64::from(value as i32),
            _ => value as i64,
        };
        let size = self.size as i64;
        (value.div_euclid(8 * size) * size) as isize
    }

    /// The instruction. `next` says where it ends, given its length. None if it cannot be encoded so.
    pub(crate) fn encode(
        &self,
        operand: &Operand,
        register: u8,
        random: &mut fastrand::Rng,
        next: impl Fn(usize) -> u64,
    ) -> Option<Vec<u8>> {
        self.chosen.set(register);
        let field = match self.field {
            Field::Digit(digit) => digit,
            _ => register,
        };
        let (base, index) = match *operand {
            Operand::Base { base, .. } => (base, 0),
            Operand::Indexed { base, index, .. } => (base.unwrap_or(0), index),
            Operand::Relative { .. } => (0, 0),
        };
        let mut code = Vec::new();
        // A segment that changes nothing, now and then.
        if matches!(self.style, Style::Legacy { .. }) && random.u8(0..8) == 0 {
            code.push(0x3e);
        }
        code.extend(&self.prefixes);
        let high = |register: u8| register >> 3 & 1;
        match self.style {
            Style::Absolute { wide } => {
                if wide {
                    code.push(0x48);
                }
                code.extend(&self.opcode);
                let Operand::Relative { target } = operand else { return None };
                code.extend(target.to_le_bytes());
                return Some(code);
            }
            Style::Legacy { wide } => {
                let rex = u8::from(wide) << 3 | high(field) << 2 | high(index) << 1 | high(base);
                let wanted = rex != 0 || random.bool();
                if matches!(self.field, Field::Byte) && field == RSP && wanted {
                    return None; // spl: stepped
                }
                if wanted {
                    code.push(0x40 | rex);
                }
                code.extend(&self.opcode);
            }
            Style::Vex { map, prefix, wide, long } => {
                let end = 0x78 | u8::from(long) << 2 | prefix; // vvvv is 1111
                if map == 1 && !wide && high(index) == 0 && high(base) == 0 && random.bool() {
                    code.extend([0xc5, (high(field) ^ 1) << 7 | end]);
                } else {
                    let inverted = (high(field) ^ 1) << 7 | (high(index) ^ 1) << 6 | (high(base) ^ 1) << 5;
                    code.extend([0xc4, inverted | map, u8::from(wide) << 7 | end]);
                }
                code.extend(&self.opcode);
            }
            Style::Evex { map, prefix, wide, length, mask } => {
                let inverted = (high(field) ^ 1) << 7
                    | (high(index) ^ 1) << 6
                    | (high(base) ^ 1) << 5
                    | ((field >> 4) ^ 1) << 4;
                code.extend([
                    0x62,
                    inverted | map,
                    u8::from(wide) << 7 | 0x7c | prefix,
                    length << 5 | 8 | mask,
                ]);
                code.extend(&self.opcode);
            }
        }
        self.address(&mut code, operand, field);
        let relative_at = code.len().saturating_sub(4);
        code.extend((0..self.immediate).map(|_| random.u8(..)));
        if let Operand::Relative { target } = operand {
            let displacement = i32::try_from(target.wrapping_sub(next(code.len())) as i64).ok()?;
            code[relative_at..relative_at + 4].copy_from_slice(&displacement.to_le_bytes());
        }
        Some(code)
    }

    /// ModRM, SIB, displacement.
    fn address(&self, code: &mut Vec<u8>, operand: &Operand, field: u8) {
        let middle = (field & 7) << 3;
        let is_evex = matches!(self.style, Style::Evex { .. });
        let mode = |displacement: i32, base: u8| match displacement {
            0 if base & 7 != 5 => 0,
            small if i8::try_from(small).is_ok() && (!is_evex || small == 0) => 1,
            _ => 2,
        };
        let put = |code: &mut Vec<u8>, mode: u8, displacement: i32| match mode {
            0 => {}
            1 => code.push(displacement as u8),
            _ => code.extend(displacement.to_le_bytes()),
        };
        match *operand {
            Operand::Base { base, displacement } if self.form == Form::Scatter => {
                let mode = mode(displacement, base);
                code.extend([mode << 6 | middle | 4, 1 << 3 | base & 7]); // + zmm1
                put(code, mode, displacement);
            }
            Operand::Base { base, displacement } => {
                let mode = mode(displacement, base);
                code.push(mode << 6 | middle | base & 7);
                if base & 7 == RSP {
                    code.push(0x24);
                }
                put(code, mode, displacement);
            }
            Operand::Indexed { base: Some(base), index, scale, displacement } => {
                let mode = mode(displacement, base);
                code.extend([mode << 6 | middle | 4, scale << 6 | (index & 7) << 3 | base & 7]);
                put(code, mode, displacement);
            }
            Operand::Indexed { base: None, index, scale, displacement } => {
                code.extend([middle | 4, scale << 6 | (index & 7) << 3 | 5]);
                code.extend(displacement.to_le_bytes());
            }
            Operand::Relative { .. } => {
                code.push(middle | 5);
                code.extend([0; 4]);
            }
        }
    }
}

/// Collects templates.
struct Templates(Vec<Template>);

impl Templates {
    fn add(
        &mut self,
        name: impl Into<String>,
        prefixes: &[u8],
        style: Style,
        opcode: &[u8],
        field: Field,
        size: usize,
    ) -> &mut Template {
        self.0.push(Template {
            name: name.into(),
            prefixes: prefixes.to_vec(),
            style,
            opcode: opcode.to_vec(),
            field,
            immediate: 0,
            size,
            align: 1,
            form: Form::Exact,
            nontemporal: false,
            chosen: std::cell::Cell::new(0),
        });
        self.0.last_mut().expect("just added")
    }

    /// An instruction of the four integer sizes: one byte at `opcode`, the others at the next one.
    fn integer(
        &mut self,
        name: &str,
        lock: bool,
        map: &[u8],
        opcode: u8,
        field: Field,
        immediate: [usize; 4],
    ) {
        for (size, immediate) in [1, 2, 4, 8].into_iter().zip(immediate) {
            let mut prefixes = if lock { vec![0xf0] } else { vec![] };
            if size == 2 {
                prefixes.push(0x66);
            }
            let field = match field {
                Field::General if size == 1 => Field::Byte,
                field => field,
            };
            let opcode = [map, &[opcode + u8::from(size > 1)]].concat();
            let name = format!("{}{name}, {size} bytes", if lock { "lock " } else { "" });
            let style = Style::Legacy { wide: size == 8 };
            self.add(name, &prefixes, style, &opcode, field, size).immediate = immediate;
        }
    }
}

pub(crate) fn templates() -> Vec<Template> {
    let mut all = Templates(Vec::new());
    integers(&mut all);
    vectors(&mut all);
    floating_point(&mut all);
    if is_x86_feature_detected!("avx2") {
        avx(&mut all);
    }
    if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
        avx512(&mut all);
    }
    all.0
}

fn integers(all: &mut Templates) {
    let none = [0; 4];
    for lock in [false, true] {
        for (digit, name) in ["add", "or", "adc", "sbb", "and", "sub", "xor"].into_iter().enumerate() {
            let digit = digit as u8;
            all.integer(name, lock, &[], digit << 3, Field::General, none);
            all.integer(&format!("{name} imm"), lock, &[], 0x80, Field::Digit(digit), [1, 2, 4, 4]);
            for size in [2, 4, 8] {
                let prefixes = [&[0xf0][..usize::from(lock)], &[0x66][..usize::from(size == 2)]].concat();
                let style = Style::Legacy { wide: size == 8 };
                all.add(
                    format!("{name} imm8, {size} bytes, lock {lock}"),
                    &prefixes,
                    style,
                    &[0x83],
                    Field::Digit(digit),
                    size,
                )
                .immediate = 1;
            }
        }
        all.integer("not", lock, &[], 0xf6, Field::Digit(2), none);
        all.integer("neg", lock, &[], 0xf6, Field::Digit(3), none);
        all.integer("inc", lock, &[], 0xfe, Field::Digit(0), none);
        all.integer("dec", lock, &[], 0xfe, Field::Digit(1), none);
        all.integer("xchg", lock, &[], 0x86, Field::General, none);
        all.integer("xadd", lock, &[0x0f], 0xc0, Field::General, none);
        all.integer("cmpxchg", lock, &[0x0f], 0xb0, Field::General, none);
        let prefixes: &[u8] = if lock { &[0xf0] } else { &[] };
        all.add("cmpxchg8b", prefixes, Style::Legacy { wide: false }, &[0x0f, 0xc7], Field::Digit(1), 8);
        all.add("cmpxchg16b", prefixes, Style::Legacy { wide: true }, &[0x0f, 0xc7], Field::Digit(1), 16)
            .align = 16;
        for (name, opcode, digit) in [("bts", 0xab, 5), ("btr", 0xb3, 6), ("btc", 0xbb, 7)] {
            for size in [2, 4, 8] {
                let prefixes = [prefixes, &[0x66][..usize::from(size == 2)]].concat();
                let style = Style::Legacy { wide: size == 8 };
                all.add(
                    format!("{name}, {size} bytes"),
                    &prefixes,
                    style,
                    &[0x0f, opcode],
                    Field::BitOffset,
                    size,
                );
                all.add(
                    format!("{name} imm, {size} bytes"),
                    &prefixes,
                    style,
                    &[0x0f, 0xba],
                    Field::Digit(digit),
                    size,
                )
                .immediate = 1;
            }
        }
    }
    all.integer("mov", false, &[], 0x88, Field::General, none);
    all.integer("mov imm", false, &[], 0xc6, Field::Digit(0), [1, 2, 4, 4]);
    for digit in [0, 1, 2, 3, 4, 5, 7] {
        all.integer(&format!("shift {digit} by imm"), false, &[], 0xc0, Field::Digit(digit), [1; 4]);
        all.integer(&format!("shift {digit} by 1"), false, &[], 0xd0, Field::Digit(digit), none);
        all.integer(&format!("shift {digit} by cl"), false, &[], 0xd2, Field::Digit(digit), none);
    }
    for condition in 0..16 {
        all.add(
            format!("setcc {condition}"),
            &[],
            Style::Legacy { wide: false },
            &[0x0f, 0x90 + condition],
            Field::Digit(0),
            1,
        );
    }
    for size in [2, 4, 8] {
        let (prefixes, style) = (&[0x66][..usize::from(size == 2)], Style::Legacy { wide: size == 8 });
        for (name, opcode, immediate) in
            [("shld", 0xa4, 1), ("shld cl", 0xa5, 0), ("shrd", 0xac, 1), ("shrd cl", 0xad, 0)]
        {
            if size == 2 {
                continue; // a count above 16 is not defined
            }
            all.add(
                format!("{name}, {size} bytes"),
                prefixes,
                style,
                &[0x0f, opcode],
                Field::General,
                size,
            )
            .immediate = immediate;
        }
        if is_x86_feature_detected!("movbe") {
            all.add(
                format!("movbe, {size} bytes"),
                prefixes,
                style,
                &[0x0f, 0x38, 0xf1],
                Field::General,
                size,
            );
        }
        if size > 2 {
            all.add(format!("movnti, {size} bytes"), &[], style, &[0x0f, 0xc3], Field::General, size)
                .nontemporal = true;
        }
    }
    all.add("mov [absolute], al", &[], Style::Absolute { wide: false }, &[0xa2], Field::Digit(0), 1);
    all.add("mov [absolute], ax", &[0x66], Style::Absolute { wide: false }, &[0xa3], Field::Digit(0), 2);
    all.add("mov [absolute], eax", &[], Style::Absolute { wide: false }, &[0xa3], Field::Digit(0), 4);
    all.add("mov [absolute], rax", &[], Style::Absolute { wide: true }, &[0xa3], Field::Digit(0), 8);
    all.add("mov [m], es", &[], Style::Legacy { wide: false }, &[0x8c], Field::Digit(0), 2);
}

fn vectors(all: &mut Templates) {
    let legacy = Style::Legacy { wide: false };
    let wide = Style::Legacy { wide: true };
    for (name, prefixes, opcode, size, align) in [
        ("movups", &[][..], 0x11, 16, 1),
        ("movupd", &[0x66], 0x11, 16, 1),
        ("movss", &[0xf3], 0x11, 4, 1),
        ("movsd", &[0xf2], 0x11, 8, 1),
        ("movlps", &[], 0x13, 8, 1),
        ("movlpd", &[0x66], 0x13, 8, 1),
        ("movhps", &[], 0x17, 8, 1),
        ("movhpd", &[0x66], 0x17, 8, 1),
        ("movaps", &[], 0x29, 16, 16),
        ("movapd", &[0x66], 0x29, 16, 16),
        ("movntps", &[], 0x2b, 16, 16),
        ("movntpd", &[0x66], 0x2b, 16, 16),
        ("movd xmm", &[0x66], 0x7e, 4, 1),
        ("movdqu", &[0xf3], 0x7f, 16, 1),
        ("movdqa", &[0x66], 0x7f, 16, 16),
        ("movq xmm", &[0x66], 0xd6, 8, 1),
        ("movntdq", &[0x66], 0xe7, 16, 16),
    ] {
        let template = all.add(name, prefixes, legacy, &[0x0f, opcode], Field::Vector, size);
        (template.align, template.nontemporal) = (align, name.starts_with("movnt"));
    }
    all.add("movq xmm, rex.w", &[0x66], wide, &[0x0f, 0x7e], Field::Vector, 8);
    for (name, opcode, style, size) in [
        ("pextrb", 0x14, legacy, 1),
        ("pextrw", 0x15, legacy, 2),
        ("pextrd", 0x16, legacy, 4),
        ("pextrq", 0x16, wide, 8),
        ("extractps", 0x17, legacy, 4),
    ] {
        all.add(name, &[0x66], style, &[0x0f, 0x3a, opcode], Field::Vector, size).immediate = 1;
    }
    all.add("movd mm", &[], legacy, &[0x0f, 0x7e], Field::Mmx, 4);
    all.add("movq mm", &[], legacy, &[0x0f, 0x7f], Field::Mmx, 8);
    all.add("movntq", &[], legacy, &[0x0f, 0xe7], Field::Mmx, 8).nontemporal = true;
    all.add("stmxcsr", &[], legacy, &[0x0f, 0xae], Field::Digit(3), 4);
}

fn floating_point(all: &mut Templates) {
    for (name, opcode, digit, size) in [
        ("fst m32", 0xd9, 2, 4),
        ("fstp m32", 0xd9, 3, 4),
        ("fnstcw", 0xd9, 7, 2),
        ("fist m32", 0xdb, 2, 4),
        ("fistp m32", 0xdb, 3, 4),
        ("fisttp m32", 0xdb, 1, 4),
        ("fstp m80", 0xdb, 7, 10),
        ("fst m64", 0xdd, 2, 8),
        ("fstp m64", 0xdd, 3, 8),
        ("fisttp m64", 0xdd, 1, 8),
        ("fnstsw", 0xdd, 7, 2),
        ("fist m16", 0xdf, 2, 2),
        ("fistp m16", 0xdf, 3, 2),
        ("fisttp m16", 0xdf, 1, 2),
        ("fbstp", 0xdf, 6, 10),
        ("fistp m64", 0xdf, 7, 8),
        ("fnstenv", 0xd9, 6, 28),
        ("fnsave", 0xdd, 6, 108),
    ] {
        all.add(name, &[], Style::Legacy { wide: false }, &[opcode], Field::Digit(digit), size);
    }
    for wide in [false, true] {
        let style = Style::Legacy { wide };
        let template =
            all.add(format!("fxsave, wide {wide}"), &[], style, &[0x0f, 0xae], Field::Digit(0), 512);
        (template.align, template.form) = (16, Form::Masked);
    }
}

fn avx(all: &mut Templates) {
    let vex = |map, prefix, wide, long| Style::Vex { map, prefix, wide, long };
    for long in [false, true] {
        let size = if long { 32 } else { 16 };
        for (name, prefix, opcode, aligned) in [
            ("vmovups", 0, 0x11, false),
            ("vmovupd", 1, 0x11, false),
            ("vmovaps", 0, 0x29, true),
            ("vmovapd", 1, 0x29, true),
            ("vmovntps", 0, 0x2b, true),
            ("vmovntpd", 1, 0x2b, true),
            ("vmovdqu", 2, 0x7f, false),
            ("vmovdqa", 1, 0x7f, true),
            ("vmovntdq", 1, 0xe7, true),
        ] {
            let template = all.add(
                format!("{name}, {size} bytes"),
                &[],
                vex(1, prefix, false, long),
                &[opcode],
                Field::Vector,
                size,
            );
            (template.align, template.nontemporal) =
                (if aligned { size as u64 } else { 1 }, name.starts_with("vmovnt"));
        }
        for (name, opcode, wide) in [
            ("vmaskmovps", 0x2e, false),
            ("vmaskmovpd", 0x2f, false),
            ("vpmaskmovd", 0x8e, false),
            ("vpmaskmovq", 0x8e, true),
        ] {
            all.add(
                format!("{name}, {size} bytes"),
                &[],
                vex(2, 1, wide, long),
                &[opcode],
                Field::Vector,
                size,
            )
            .form = Form::Masked;
        }
        all.add(
            format!("vcvtps2ph, {} bytes", size / 2),
            &[],
            vex(3, 1, false, long),
            &[0x1d],
            Field::Vector,
            size / 2,
        )
        .immediate = 1;
    }
    for (name, map, prefix, wide, opcode, immediate, size) in [
        ("vmovss", 1, 2, false, 0x11, 0, 4),
        ("vmovsd", 1, 3, false, 0x11, 0, 8),
        ("vmovlps", 1, 0, false, 0x13, 0, 8),
        ("vmovhpd", 1, 1, false, 0x17, 0, 8),
        ("vmovd", 1, 1, false, 0x7e, 0, 4),
        ("vmovq", 1, 1, true, 0x7e, 0, 8),
        ("vmovq d6", 1, 1, false, 0xd6, 0, 8),
        ("vpextrb", 3, 1, false, 0x14, 1, 1),
        ("vpextrw", 3, 1, false, 0x15, 1, 2),
        ("vpextrd", 3, 1, false, 0x16, 1, 4),
        ("vpextrq", 3, 1, true, 0x16, 1, 8),
        ("vextractps", 3, 1, false, 0x17, 1, 4),
    ] {
        all.add(name, &[], vex(map, prefix, wide, false), &[opcode], Field::Vector, size).immediate =
            immediate;
    }
    all.add("vextractf128", &[], vex(3, 1, false, true), &[0x19], Field::Vector, 16).immediate = 1;
    all.add("vextracti128", &[], vex(3, 1, false, true), &[0x39], Field::Vector, 16).immediate = 1;
    all.add("vstmxcsr", &[], vex(1, 0, false, false), &[0xae], Field::Digit(3), 4);
}

fn avx512(all: &mut Templates) {
    for (length, size) in [(0, 16), (1, 32), (2, 64)] {
        for mask in [0, 1, 5] {
            let form = if mask == 0 { Form::Exact } else { Form::Masked };
            let evex = |map, prefix, wide| Style::Evex { map, prefix, wide, length, mask };
            for (name, prefix, wide, opcode, aligned) in [
                ("vmovups", 0, false, 0x11, false),
                ("vmovupd", 1, true, 0x11, false),
                ("vmovaps", 0, false, 0x29, true),
                ("vmovdqu8", 3, false, 0x7f, false),
                ("vmovdqu16", 3, true, 0x7f, false),
                ("vmovdqu32", 2, false, 0x7f, false),
                ("vmovdqu64", 2, true, 0x7f, false),
                ("vmovdqa32", 1, false, 0x7f, true),
                ("vmovdqa64", 1, true, 0x7f, true),
            ] {
                let template = all.add(
                    format!("{name} k{mask}, {size} bytes"),
                    &[],
                    evex(1, prefix, wide),
                    &[opcode],
                    Field::Vector,
                    size,
                );
                (template.align, template.form) = (if aligned { size as u64 } else { 1 }, form);
            }
            for (name, opcode, part) in [
                ("vpmovqb", 0x32, 8),
                ("vpmovdb", 0x31, 4),
                ("vpmovwb", 0x30, 2),
                ("vpmovqd", 0x35, 2),
                ("vpmovsqw", 0x24, 4),
            ] {
                all.add(
                    format!("{name} k{mask}, of {size} bytes"),
                    &[],
                    evex(2, 2, false),
                    &[opcode],
                    Field::Vector,
                    size / part,
                )
                .form = form;
            }
            if mask != 0 {
                for (name, opcode, wide) in [
                    ("vcompressps", 0x8a, false),
                    ("vcompresspd", 0x8a, true),
                    ("vpcompressd", 0x8b, false),
                    ("vpcompressq", 0x8b, true),
                ] {
                    all.add(
                        format!("{name} k{mask}, {size} bytes"),
                        &[],
                        evex(2, 1, wide),
                        &[opcode],
                        Field::Vector,
                        size,
                    )
                    .form = Form::Masked;
                }
            }
        }
        let evex = |map, prefix, wide, mask| Style::Evex { map, prefix, wide, length, mask };
        for (name, prefix, wide, opcode) in
            [("vmovntps", 0, false, 0x2b), ("vmovntpd", 1, true, 0x2b), ("vmovntdq", 1, false, 0xe7)]
        {
            let template = all.add(
                format!("{name} evex, {size} bytes"),
                &[],
                evex(1, prefix, wide, 0),
                &[opcode],
                Field::Vector,
                size,
            );
            (template.align, template.nontemporal) = (size as u64, true);
        }
        for (name, opcode, wide) in
            [("vpscatterdd", 0xa0, false), ("vpscatterdq", 0xa0, true), ("vscatterdps", 0xa2, false)]
        {
            all.add(
                format!("{name}, of {size} bytes"),
                &[],
                evex(2, 1, wide, 2),
                &[opcode],
                Field::Vector,
                size,
            )
            .form = Form::Scatter;
        }
    }
    for (name, length, wide, opcode, size) in [
        ("vextractf32x4", 2, false, 0x19, 16),
        ("vextracti64x2", 1, true, 0x39, 16),
        ("vextracti64x4", 2, true, 0x3b, 32),
    ] {
        let style = Style::Evex { map: 3, prefix: 1, wide, length, mask: 0 };
        all.add(name, &[], style, &[opcode], Field::Vector, size).immediate = 1;
    }
}
