//! Prints what a traced store costs, by the way it takes: in a program of its own, so that nothing else runs.
#![cfg(target_arch = "x86_64")]

use pmem_crash::trace::{self, Path};
use pmem_map::MapOptions;
use std::{
    arch::asm,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

const LEN: usize = 1 << 20;

/// CPU time of this process, in nanoseconds: other programs run too.
fn cpu_time() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for one time.
    unsafe { assert_eq!(libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time), 0) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// A thread's part of the mapping.
type Part = [u8; LEN / 4];

/// What it does to it.
type Body = fn(&mut Part);

fn words(bytes: &mut [u8]) -> &mut [u64] {
    // SAFETY: every bit pattern is a word.
    unsafe { bytes.align_to_mut().1 }
}

fn sort(part: &mut Part) {
    words(&mut part[..16_000]).sort_unstable();
}

fn copy(part: &mut Part) {
    part.copy_from_slice(&[0x5a; LEN / 4]);
}

fn small_copies(part: &mut Part) {
    part.as_chunks_mut::<512>()
        .0
        .iter_mut()
        .take(100)
        .for_each(|chunk| chunk[..200].copy_from_slice(&[3; 200]));
}

fn fetch_add(part: &mut Part) {
    // SAFETY: only used as an atomic.
    let word = unsafe { AtomicU64::from_ptr(part.as_mut_ptr().cast()) };
    (0..2000).for_each(|n| _ = word.fetch_add(n, SeqCst));
}

fn stream(part: &mut Part) {
    for word in words(&mut part[..16_000]) {
        // SAFETY: a word of the mapping; SSE2 is part of x86-64.
        unsafe { std::arch::x86_64::_mm_stream_si64(std::ptr::from_mut(word).cast(), 5) };
    }
}

fn rep_stosb(part: &mut Part) {
    // SAFETY: fills the whole part.
    unsafe {
        asm!("rep stosb", inout("rcx") part.len() => _, inout("rdi") part.as_mut_ptr() => _, in("al") 1u8)
    };
}

fn maskmovdqu(part: &mut Part) {
    for chunk in part.as_chunks_mut::<64>().0.iter_mut().take(100) {
        // SAFETY: stores 16 bytes of the chunk.
        unsafe {
            asm!("pcmpeqb xmm0, xmm0", "maskmovdqu xmm0, xmm0", in("rdi") chunk.as_mut_ptr(), out("xmm0") _);
        }
    }
}

#[test]
fn the_cost_of_a_store_is_printed() {
    let bodies: [(&str, Body); 7] = [
        ("sort_unstable of 2,000 words", sort),
        ("copy_from_slice of 256 KiB", copy),
        ("copy_from_slice of 200 B, 100 times", small_copies),
        ("fetch_add, 2,000 times", fetch_add),
        ("movnti, 2,000 times", stream),
        ("rep stosb of 256 KiB", rep_stosb),
        ("maskmovdqu, 100 times", maskmovdqu),
    ];
    for threads in [1, 4] {
        for (name, body) in bodies {
            let mut mapping = MapOptions::new().len(LEN as u64).memfd().unwrap();
            fastrand::Rng::with_seed(7).fill(mapping.as_mut_slice());
            let mut image = mapping.as_slice().to_vec();
            let (nanoseconds, trace) = trace::record(&mut mapping, |bytes| {
                let parts = bytes.as_chunks_mut().0;
                let begin = cpu_time();
                std::thread::scope(|scope| {
                    parts.iter_mut().take(threads).for_each(|part| _ = scope.spawn(|| body(part)));
                });
                cpu_time() - begin
            })
            .unwrap();
            trace.replay(&mut image);
            assert!(image == mapping.as_slice(), "{name}: the replayed trace is not what was stored");
            let mut paths = BTreeMap::<Path, usize>::new();
            trace.stores().iter().for_each(|store| *paths.entry(store.path).or_default() += 1);
            let paths: Vec<String> = paths.iter().map(|(path, n)| format!("{n} {path}")).collect();
            let stores = trace.stores().len() as i64;
            println!(
                "trace | {name:<36} | {threads} threads | {stores:>6} stores | {:>6} ns of CPU each | {}",
                nanoseconds / stores,
                paths.join(", ")
            );
        }
    }
}
