//! Every store of code that knows of nothing: the trace, replayed over the old bytes, gives the new ones.
#![cfg(target_arch = "x86_64")]

use pmem_crash::trace::{self, Path, Store, Trace};
use pmem_map::{MapOptions, Mapping};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

const LEN: u64 = 1 << 20;

fn mapping(seed: u64) -> Mapping {
    let mut mapping = MapOptions::new().len(LEN).memfd().unwrap();
    fastrand::Rng::with_seed(seed).fill(mapping.as_mut_slice());
    mapping
}

/// Traces `body`; checks that the trace, replayed, gives what it did.
fn traced(body: impl FnOnce(&mut [u8])) -> Trace {
    let mut mapping = mapping(1);
    let mut image = mapping.as_slice().to_vec();
    let ((), trace) = trace::record(&mut mapping, body).unwrap();
    trace.replay(&mut image);
    assert!(image == mapping.as_slice(), "the replayed trace is not what was stored");
    mapping.as_mut_slice()[0] = 1; // and it can be stored to again
    trace
}

fn words(bytes: &mut [u8]) -> &mut [u64] {
    // SAFETY: every bit pattern is a word.
    let (head, words, _) = unsafe { bytes.align_to_mut() };
    assert!(head.is_empty());
    words
}

fn bytes_of(store: &Store) -> (u64, &[u8]) {
    (store.offset, &store.bytes)
}

#[test]
fn a_loop_of_stores_is_traced_word_by_word_in_its_order() {
    let trace = traced(|bytes| {
        for (n, word) in words(&mut bytes[..8000]).iter_mut().enumerate() {
            // SAFETY: a reference is a good place to store to.
            unsafe { std::ptr::from_mut(word).write_volatile(n as u64) };
        }
    });
    assert_eq!(trace.stores().len(), 1000);
    for (n, store) in trace.stores().iter().enumerate() {
        assert_eq!(bytes_of(store), (8 * n as u64, &(n as u64).to_le_bytes()[..]));
        assert_eq!((store.nontemporal, store.path), (false, Path::Executed));
    }
    let frame = trace.stores()[0].code.frame().unwrap();
    assert!(frame.file.unwrap().ends_with("tests/trace.rs"));
}

#[test]
fn what_sort_unstable_stores_is_traced() {
    let trace = traced(|bytes| {
        let words = words(&mut bytes[64..64 + 8 * 2000]);
        words.sort_unstable();
        assert!(words.is_sorted());
    });
    assert!(trace.stores().len() > 2000);
    let code = trace.stores()[100].code;
    let frames = code.frames();
    let file = frames[0].file.as_deref().unwrap();
    assert!(file.to_string_lossy().contains("library/core/src/"), "{frames:?}");
    assert!(code.to_string().contains("tests/trace.rs:"), "{code}");
}

#[test]
fn a_copy_of_any_length_is_traced() {
    let source = vec![0x5a; 1 << 19];
    for len in [1, 7, 8, 63, 64, 100, 255, 1000, 4096, 70_001, 1 << 19] {
        let trace = traced(|bytes| bytes[77..77 + len].copy_from_slice(&source[..len]));
        let mut stored = vec![false; len];
        for store in trace.stores() {
            (0..store.bytes.len()).for_each(|at| stored[store.offset as usize + at - 77] = true);
        }
        assert!(stored.iter().all(|byte| *byte), "{len}");
    }
    let copy = traced(|bytes| bytes[..256].copy_from_slice(&source[..256]));
    assert!(copy.stores()[0].code.to_string().contains("tests/trace.rs:"), "{}", copy.stores()[0].code);
    traced(|bytes| bytes.copy_within(..300_000, 1));
    traced(|bytes| bytes.copy_within(100..300_000, 1));
    traced(|bytes| bytes[3..200_000].fill(9));
}

#[test]
fn a_reader_into_a_traced_mapping_goes_through_a_buffer() {
    let mut mapping = mapping(1);
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &[7; 10_000]).unwrap();
    let ((), _) = trace::record(&mut mapping, |bytes| {
        std::io::Seek::rewind(&mut file).unwrap();
        let refused = std::io::Read::read(&mut file, bytes).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EFAULT));
    })
    .unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    assert_eq!(mapping.read_from(100, 20_000, &mut file).unwrap(), 10_000);
    assert!(mapping.as_slice()[100..10_100].iter().all(|byte| *byte == 7));
    assert!(mapping.read_from(LEN - 1, 2, &mut file).is_err());
}

#[test]
fn atomics_are_traced() {
    let trace = traced(|bytes| {
        let word = &mut words(&mut bytes[64..72])[0];
        *word = 5;
        // SAFETY: nobody else uses it.
        let word = unsafe { AtomicU64::from_ptr(word) };
        assert_eq!(word.fetch_add(2, SeqCst), 5);
        assert_eq!(word.compare_exchange(7, 8, SeqCst, SeqCst), Ok(7));
        assert_eq!(word.compare_exchange(7, 9, SeqCst, SeqCst), Err(8));
        assert_eq!(word.swap(10, SeqCst), 8);
        assert_eq!(word.fetch_or(32, SeqCst), 10);
        assert_eq!(word.fetch_max(1000, SeqCst), 42);
        word.store(11, SeqCst);
    });
    let values: Vec<u64> =
        trace.stores().iter().map(|s| u64::from_le_bytes(s.bytes[..].try_into().unwrap())).collect();
    assert_eq!(values, [5, 7, 8, 8, 10, 42, 1000, 11]);
}

#[test]
fn nontemporal_stores_are_traced_as_such() {
    use std::arch::x86_64::*;
    let trace = traced(|bytes| {
        let at = bytes[128..].as_mut_ptr();
        // SAFETY: in bounds and aligned; SSE2 is part of x86-64.
        unsafe {
            _mm_stream_si64(at.cast(), 77);
            _mm_stream_si128(at.add(64).cast(), _mm_set1_epi8(3));
            _mm_stream_pd(at.add(80).cast(), _mm_set1_pd(2.5));
            at.add(8).cast::<u64>().write_volatile(78);
        }
    });
    let kinds: Vec<_> = trace.stores().iter().map(|s| (s.offset, s.bytes.len(), s.nontemporal)).collect();
    assert_eq!(kinds, [(128, 8, true), (192, 16, true), (208, 16, true), (136, 8, false)]);
    assert_eq!(trace.stores()[1].bytes, [3; 16]);
}

#[test]
fn threads_that_store_at_once_are_traced_in_the_order_of_their_stores() {
    const THREADS: usize = 4;
    let trace = traced(|bytes| {
        let (shared, own) = bytes.split_at_mut(4096);
        // SAFETY: only used as an atomic.
        let counter = unsafe { AtomicU64::from_ptr(shared.as_mut_ptr().cast()) };
        std::thread::scope(|scope| {
            for chunk in own.chunks_mut(8192).take(THREADS) {
                scope.spawn(move || {
                    for (n, word) in words(chunk).iter_mut().enumerate().take(500) {
                        *word = n as u64;
                        counter.fetch_add(1, SeqCst);
                    }
                    words(chunk).sort_unstable_by_key(|word| std::cmp::Reverse(*word));
                });
            }
        });
        assert_eq!(counter.load(SeqCst), counter_start() + 500 * THREADS as u64);
    });
    let counted: Vec<u64> = trace
        .stores()
        .iter()
        .filter(|store| store.offset == 0)
        .map(|store| u64::from_le_bytes(store.bytes[..].try_into().unwrap()))
        .collect();
    let expected: Vec<u64> = (1..=500 * THREADS as u64).map(|n| counter_start() + n).collect();
    assert_eq!(counted, expected, "each sees the one before it");
    let threads: std::collections::BTreeSet<i32> = trace.stores().iter().map(|store| store.thread).collect();
    assert_eq!(threads.len(), THREADS);
}

fn counter_start() -> u64 {
    u64::from_le_bytes(mapping(1).as_slice()[..8].try_into().unwrap())
}

#[test]
fn a_thread_without_an_alternate_stack_is_traced() {
    traced(|bytes| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let off =
                    libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
                let mut before = off;
                // SAFETY: takes the alternate stack away, and puts it back before the thread ends.
                unsafe { assert_eq!(libc::sigaltstack(&raw const off, &raw mut before), 0) };
                words(&mut bytes[..4096]).sort_unstable();
                // SAFETY: as above.
                unsafe { assert_eq!(libc::sigaltstack(&raw const before, std::ptr::null_mut()), 0) };
            });
        });
    });
}

#[test]
fn a_thread_with_a_small_alternate_stack_is_traced() {
    traced(|bytes| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut small = vec![0u8; 8192];
                let stack =
                    libc::stack_t { ss_sp: small.as_mut_ptr().cast(), ss_flags: 0, ss_size: small.len() };
                let mut before = stack;
                // SAFETY: a stack that lives until it is taken away again.
                unsafe { assert_eq!(libc::sigaltstack(&raw const stack, &raw mut before), 0) };
                words(&mut bytes[..4096]).sort_unstable();
                // SAFETY: as above.
                unsafe { assert_eq!(libc::sigaltstack(&raw const before, std::ptr::null_mut()), 0) };
            });
        });
    });
}

#[test]
fn memory_that_has_no_second_view_is_refused() {
    let mut mapping = Mapping::anonymous(4096).unwrap();
    let refused = trace::record(&mut mapping, |_| ()).unwrap_err();
    assert!(refused.to_string().contains("anonymous memory"), "{refused}");
}

#[test]
fn a_panic_leaves_the_mapping_untraced() {
    let mut mapping = mapping(1);
    let panics = std::panic::AssertUnwindSafe(|| {
        trace::record(&mut mapping, |bytes| {
            bytes[0] = 1;
            panic!("in the middle");
        })
    });
    let result: Result<Result<((), Trace), _>, _> = std::panic::catch_unwind(panics);
    assert!(result.is_err());
    mapping.as_mut_slice()[1] = 2;
    assert_eq!(mapping.as_slice()[..2], [1, 2]);
}
