//! Many encodings of stores, with all registers and ways to address: executed as they are, and again on a traced mapping.
//! Memory, registers, flags, vector and floating point state are the same afterwards, and the trace is what was stored.
#![cfg(target_arch = "x86_64")]

mod encode;
mod run;

use encode::{Form, Operand, Template, templates};
use pmem_crash::trace::{self, Path};
use pmem_map::{MapOptions, Mapping};
use run::{Code, Machine};

const LEN: u64 = 3 * 4096;

struct Bench {
    mapping: Mapping,
    code: Code,
    random: fastrand::Rng,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let mapping = MapOptions::new().len(LEN).memfd().unwrap();
        let code = Code::near(mapping.base().as_ptr() as u64);
        Bench { mapping, code, random: fastrand::Rng::with_seed(seed) }
    }

    fn base(&self) -> u64 {
        self.mapping.base().as_ptr() as u64
    }

    /// Runs the instruction as it is, and traced; the same must come of it.
    fn compare(&mut self, name: &str, instruction: &[u8], machine: &Machine) -> trace::Trace {
        let before: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(LEN as usize).collect();
        self.compare_on(name, instruction, machine, &before)
    }

    fn compare_on(
        &mut self,
        name: &str,
        instruction: &[u8],
        machine: &Machine,
        before: &[u8],
    ) -> trace::Trace {
        let code = self.code.put(instruction);
        self.mapping.as_mut_slice().copy_from_slice(before);
        let mut plain = machine.clone();
        plain.run(code);
        let expected = self.mapping.as_slice().to_vec();

        self.mapping.as_mut_slice().copy_from_slice(before);
        let mut traced = machine.clone();
        let ((), trace) = trace::record(&mut self.mapping, |_| traced.run(code)).unwrap();
        let found = self.mapping.as_slice();
        let shown = || format!("{name}: {instruction:02x?}");
        assert!(
            found == expected,
            "{}: memory differs at {:?}",
            shown(),
            (0..LEN as usize).find(|at| found[*at] != expected[*at])
        );
        traced.assert_same(&plain, &shown());
        let mut replayed = before.to_vec();
        trace.replay(&mut replayed);
        assert!(replayed == expected, "{}: the trace is not what was stored", shown());
        trace
    }
}

/// A memory operand at `target`, and the registers that make it so. None if it cannot be done with these.
fn operand(
    random: &mut fastrand::Rng,
    target: u64,
    next: impl Fn(usize) -> u64,
    machine: &mut Machine,
) -> Option<Operand> {
    const RSP: u8 = 4;
    let registers = |random: &mut fastrand::Rng| random.u8(0..16);
    let small = |random: &mut fastrand::Rng| i32::from(random.i8(..));
    let large = |random: &mut fastrand::Rng| random.i32(-1_000_000..1_000_000);
    let displacement = match random.u8(0..3) {
        0 => 0,
        1 => small(random),
        _ => large(random),
    };
    match random.u8(0..5) {
        0 => {
            let base = registers(random);
            if base == RSP {
                return None;
            }
            machine.set(base, target.wrapping_sub(displacement as u64));
            Some(Operand::Base { base, displacement })
        }
        1 | 2 => {
            let (base, index, scale) = (registers(random), registers(random), random.u8(0..4));
            if index == RSP || base == index {
                return None;
            }
            let base_value = if base == RSP { machine.stack_pointer() } else { random.u64(..) };
            let rest = target.wrapping_sub(base_value).wrapping_sub(displacement as u64);
            // The index has to fit; what is left goes to the base, if that can be chosen.
            let index_value = if base == RSP { rest >> scale } else { random.u64(0..1 << 40) };
            if base == RSP && index_value << scale != rest {
                return None;
            }
            if base != RSP {
                machine
                    .set(base, target.wrapping_sub(displacement as u64).wrapping_sub(index_value << scale));
            }
            machine.set(index, index_value);
            Some(Operand::Indexed { base: Some(base), index, scale, displacement })
        }
        3 => {
            let (index, scale) = (registers(random), random.u8(0..4));
            let rest = target.wrapping_sub(displacement as u64);
            if index == RSP || !rest.is_multiple_of(1 << scale) {
                return None;
            }
            machine.set(index, rest >> scale);
            Some(Operand::Indexed { base: None, index, scale, displacement })
        }
        _ => {
            // Its displacement depends on the instruction's length, which it does not change.
            let distance = |len: usize| i32::try_from(target.wrapping_sub(next(len)) as i64).ok();
            distance(15)?;
            Some(Operand::Relative { target })
        }
    }
}

#[test]
fn every_encoding_does_the_same_when_it_is_traced() {
    let mut bench = Bench::new(1);
    let (mut cases, mut relative, mut stepped) = (0, 0, 0);
    let templates = templates();
    assert!(templates.len() > 300, "{}", templates.len());
    for template in &templates {
        let mut done = 0;
        for _ in 0..2000 {
            if done == 24 {
                break;
            }
            let Some((instruction, machine, target, is_relative)) = case(&mut bench, template) else {
                continue;
            };
            let trace = bench.compare(&template.name, &instruction, &machine);
            done += 1;
            relative += usize::from(is_relative);
            let stores = trace.stores();
            assert_eq!(trace.instructions(), usize::from(!stores.is_empty()), "{}", template.name);
            let at = (target - bench.base()) as usize;
            match template.form {
                Form::Exact => {
                    let at = at.wrapping_add_signed(template.bit_offset(&machine));
                    assert_eq!(stores.len(), 1, "{}", template.name);
                    assert_eq!(
                        (stores[0].offset as usize, stores[0].bytes.len()),
                        (at, template.size),
                        "{}",
                        template.name
                    );
                }
                Form::Masked | Form::Scatter => {}
            }
            for store in stores {
                assert_eq!(store.nontemporal, template.nontemporal, "{}", template.name);
                let expected =
                    if matches!(template.form, Form::Scatter) { Path::Stepped } else { Path::Executed };
                assert_eq!(store.path, expected, "{}", template.name);
                stepped += usize::from(store.path == Path::Stepped);
            }
        }
        assert_eq!(done, 24, "{} has too few ways to be addressed", template.name);
        cases += done;
    }
    println!(
        "{} encodings, {cases} cases, {relative} relative to rip, {stepped} in single step",
        templates.len()
    );
    assert!(relative > 0);
}

/// One random use of a template, on a random machine.
fn case(bench: &mut Bench, template: &Template) -> Option<(Vec<u8>, Machine, u64, bool)> {
    let random = &mut bench.random;
    let mut machine = Machine::random(random);
    // Across lines and pages as well, if it may.
    let room = LEN - template.size.next_multiple_of(64) as u64 - 64;
    let offset = match random.u8(0..3) {
        0 => random.u64(64..room),
        1 => 4096 - random.u64(0..template.size as u64 + 1),
        _ => 8192 - random.u64(0..template.size as u64 + 1),
    };
    let base = bench.mapping.base().as_ptr() as u64;
    let target = base + offset / template.align * template.align;
    let register = random.u8(0..template.registers());
    template.prepare(random, &mut machine);
    let next = bench.code.next();
    let operand = operand(random, target, next, &mut machine)?;
    if !template.suits(&operand, register, &mut machine, base..base + LEN, target) {
        return None;
    }
    let is_relative = matches!(operand, Operand::Relative { .. });
    let instruction = template.encode(&operand, register, random, bench.code.next())?;
    Some((instruction, machine, target, is_relative))
}

#[test]
fn string_stores_do_the_same_when_they_are_traced() {
    const RAX: u8 = 0;
    const RCX: u8 = 1;
    const RSI: u8 = 6;
    const RDI: u8 = 7;
    let mut bench = Bench::new(2);
    for (size, opcode) in [(1u64, &[0xa4][..]), (2, &[0x66, 0xa5]), (4, &[0xa5]), (8, &[0x48, 0xa5])] {
        for is_copy in [true, false] {
            for repeat in [None, Some(0xf3), Some(0xf2)] {
                for down in [false, true] {
                    for count in [0, 1, 2, 7, 63, 64, 65, 300] {
                        if !is_copy && repeat == Some(0xf2) {
                            continue; // not defined for stos
                        }
                        let mut machine = Machine::random(&mut bench.random);
                        machine.set_direction(down);
                        let len = count * size;
                        let to = bench.base() + bench.random.u64(len + 8..LEN - len - 8);
                        // From the mapping itself, overlapping or not, near or far.
                        let from = match bench.random.u8(0..3) {
                            0 => to + bench.random.u64(0..16) - 8,
                            _ => bench.base() + bench.random.u64(len + 8..LEN - len - 8),
                        };
                        machine.set(RDI, to);
                        machine.set(RSI, from);
                        machine.set(RCX, count);
                        machine.set(RAX, bench.random.u64(..));
                        let mut instruction = opcode.to_vec();
                        if !is_copy {
                            *instruction.last_mut().unwrap() += 6;
                        }
                        if let Some(prefix) = repeat {
                            instruction.insert(0, prefix);
                        }
                        let name = format!("string, {count} of {size}, down {down}");
                        let trace = bench.compare(&name, &instruction, &machine);
                        assert!(trace.stores().iter().all(|store| store.path == Path::Emulated));
                        assert_eq!(trace.stores().is_empty(), count == 0 && repeat.is_some());
                    }
                }
            }
        }
    }
}

#[test]
fn stores_to_a_stack_in_the_mapping_are_stepped() {
    let mut bench = Bench::new(3);
    let at = bench.base() + 2048;
    // mov r15, rsp; mov rsp, r14; <it>; mov rsp, r15
    let on_stack = |instruction: &[u8]| {
        [&[0x49, 0x89, 0xe7, 0x4c, 0x89, 0xf4], instruction, &[0x4c, 0x89, 0xfc]].concat()
    };
    let cases: [(&str, &[u8], u64); 5] = [
        ("push rax", &[0x50], 1),
        ("push imm", &[0x68, 1, 2, 3, 4], 1),
        ("push [r14]", &[0x41, 0xff, 0x36], 1),
        ("call; the callee jumps back", &[0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3], 1),
        ("push r13 and rbp", &[0x41, 0x55, 0x55], 2),
    ];
    for (name, instruction, stores) in cases {
        let mut machine = Machine::random(&mut bench.random);
        machine.set(14, at);
        let trace = bench.compare(name, &on_stack(instruction), &machine);
        assert_eq!(trace.instructions() as u64, stores, "{name}");
        assert!(
            trace.stores().iter().all(|store| store.path == Path::Stepped && store.offset < 2048),
            "{name}"
        );
    }
}

#[test]
fn instructions_whose_address_is_elsewhere_are_stepped() {
    let mut bench = Bench::new(6);
    let cases: [(&str, &[u8]); 7] = [
        ("maskmovdqu [rdi], xmm0, xmm1", &[0x66, 0x0f, 0xf7, 0xc1]),
        ("vmaskmovdqu [rdi], xmm0, xmm1", &[0xc5, 0xf9, 0xf7, 0xc1]),
        ("maskmovq [rdi], mm0, mm1", &[0x0f, 0xf7, 0xc1]),
        ("movdir64b rdi, [rsi]", &[0x66, 0x0f, 0x38, 0xf8, 0x3e]),
        ("mov [rdi], rsp", &[0x48, 0x89, 0x27]),
        ("mov [rsi + rdi], rsp", &[0x48, 0x89, 0x24, 0x3e]),
        ("mov r15, rsp; pop [rdi]; mov rsp, r15", &[0x49, 0x89, 0xe7, 0x8f, 0x07, 0x4c, 0x89, 0xfc]),
    ];
    for (name, instruction) in cases {
        if name.starts_with("movdir64b") && std::arch::x86_64::__cpuid_count(7, 0).ecx >> 28 & 1 == 0 {
            continue;
        }
        let mut machine = Machine::random(&mut bench.random);
        let at = bench.base() + 4096;
        machine.set(7, at);
        machine.set(6, bench.base());
        if name.starts_with("mov [rsi") {
            machine.set(7, 4096);
        }
        let trace = bench.compare(name, instruction, &machine);
        assert_eq!(trace.instructions(), 1, "{name}");
        assert!(trace.stores().iter().all(|store| store.path == Path::Stepped), "{name}");
        assert_eq!(
            trace.stores()[0].nontemporal,
            name.contains("maskmov") || name.contains("movdir"),
            "{name}"
        );
    }
}

#[test]
fn the_whole_state_of_the_processor_may_be_saved_there() {
    let mut bench = Bench::new(4);
    for (name, instruction) in
        [("xsave [rdi]", &[0x0f, 0xae, 0x27][..]), ("xsave64 [rdi]", &[0x48, 0x0f, 0xae, 0x27])]
    {
        let mut machine = Machine::random(&mut bench.random);
        machine.set(7, bench.base() + 64);
        machine.set(0, 0xe7);
        machine.set(2, 0);
        // Its header must not hold what is not allowed.
        let trace = bench.compare_on(name, instruction, &machine, &vec![0; LEN as usize]);
        assert!(trace.stores().iter().all(|store| store.path == Path::Stepped), "{name}");
    }
}

#[test]
fn an_instruction_that_cannot_be_traced_ends_the_process_with_its_name() {
    const CHILD: &str = "PMEM_CRASH_TEST_REFUSED";
    if std::env::var_os(CHILD).is_some() {
        let mut bench = Bench::new(5);
        let mut machine = Machine::random(&mut bench.random);
        machine.set(14, bench.base() + 2048);
        // mov r15, rsp; mov rsp, r14; enter 8, 0
        bench.compare(
            "enter",
            &[0x49, 0x89, 0xe7, 0x4c, 0x89, 0xf4, 0xc8, 8, 0, 0, 0xc9, 0x4c, 0x89, 0xfc],
            &machine,
        );
        unreachable!("it was traced");
    }
    let name = "an_instruction_that_cannot_be_traced_ends_the_process_with_its_name";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV), "{child:?}");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("the instruction Enter at 0x"), "{said}");
}
