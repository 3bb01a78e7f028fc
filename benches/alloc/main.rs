//! What allocation costs, and opening a pool after a crash: `cargo bench -p benches --bench alloc`.
//!
//! First criterion's view of each row, then a closing table from interleaved rounds with the goals, then pools that are opened as a
//! killed program leaves them.

mod opening;

use benches::{
    cpu_time, place,
    rounds::{self, Measured, Row, Work},
    stream::WorkingSet,
};
use bytemuck::{Pod, Zeroable};
use pmem_collections::{PHeap, Plain, PlainField, Pool, PoolOptions, Ptr, Result, fields};
use pmem_map::Counters;
use std::hint::black_box;

const ROUNDS: usize = 9;
/// Nanoseconds of libpmemobj's allocate and publish, clear and free: on other hardware, another day.
const PMDK: f64 = 2830.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let measuring = has("--bench") && !["--test", "--list", "--profile-time"].iter().any(|other| has(other));
    let cpu = cpu_time::pin();
    let mut criterion = rounds::criterion();
    let mut rows = rows();
    rows.retain(|row| rounds::bench(&mut criterion, row));
    criterion.final_summary();
    if measuring && !rows.is_empty() {
        println!("CPU {cpu:?}, files in {}", place::folder().display());
        print(&rounds::measure(&rows.iter().collect::<Vec<_>>(), ROUNDS));
        println!("\nOpening what a killed program left, wall-clock, medians of 5:\n");
        opening::measure(opening::ENTRIES, 5);
    } else if ["--bench", "--list"].iter().all(|other| !has(other)) {
        opening::measure(2_000, 1);
    }
}

fn print(measured: &[Measured]) {
    println!(
        "\nInterleaved, {ROUNDS} rounds: median CPU time of a pair, which is two transactions: a block of 64 bytes is allocated, filled and published; its\n\
        reference is cleared and it is freed. libpmemobj 1.12: {PMDK} ns on other hardware, 13 lines and 8 drains.\n"
    );
    println!("{:<46} {:>8} {:>6} {:>6} {:>8}", "", "ns", "lines", "drains", "of PMDK");
    for row in measured {
        let of_pmdk = row.nanoseconds() / PMDK;
        println!(
            "{:<46} {:>8.1} {:>6.2} {:>6.2} {of_pmdk:>8.2}",
            row.what,
            row.nanoseconds(),
            row.lines,
            row.drains
        );
    }
}

const PAIRS: WorkingSet = WorkingSet { name: "one object", bytes: 64, milliseconds: 20 };

fn rows() -> Vec<Row> {
    let on_pool = |what: &str, flush_interval, pair: Pair| {
        Row::new(what, PAIRS, move || {
            let mapping = place::mapping(64 << 20).expect("a mapping for the pool");
            let pool = PoolOptions::new().flush_interval(flush_interval).create_on(mapping).expect("a pool");
            pool.write(|tx| tx.open::<Root>("root").map(drop)).expect("a root");
            Box::new(OnPool { pool, number: 0, pair })
        })
    };
    vec![
        on_pool("allocate and publish, clear and free", 1, published),
        on_pool("the same, flushed every 64 commits", 64, published),
        on_pool("the same, filled outside of the transaction", 1, reserved),
        on_pool("both in one transaction", 1, in_one),
        Row::new("Box of 64 bytes, made and dropped, in DRAM", PAIRS, || Box::new(InMemory)),
    ]
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Object {
    words: [u64; 8],
}

impl Plain for Object {
    const NAME: &'static str = "bench.Object";
    const FIELDS: Option<&'static [PlainField]> = fields!(Object { words: [u64; 8] });
}

type Root = PHeap<Ptr<Object>>;
/// Makes and frees one object that has this number in all of its words.
type Pair = fn(&Pool, u64) -> Result<()>;

fn published(pool: &Pool, number: u64) -> Result<()> {
    pool.write(|tx| {
        let mut root = tx.open::<Root>("root")?;
        *root.root_mut()? = root.alloc(Object { words: [number; 8] })?;
        Ok(())
    })?;
    free(pool, number)
}

fn reserved(pool: &Pool, number: u64) -> Result<()> {
    let mut reservation = pool.reserve(size_of::<Object>() as u64, align_of::<Object>() as u64)?;
    reservation.copy_from_slice(bytemuck::bytes_of(&Object { words: [number; 8] }));
    pool.write(|tx| {
        let mut root = tx.open::<Root>("root")?;
        *root.root_mut()? = root.publish(reservation)?.cast();
        Ok(())
    })?;
    free(pool, number)
}

fn free(pool: &Pool, number: u64) -> Result<()> {
    pool.write(|tx| {
        let mut root = tx.open::<Root>("root")?;
        let object = *root.root()?;
        assert!(root.follow(object)?.is_some_and(|object| object.words == [number; 8]));
        *root.root_mut()? = Ptr::NULL;
        root.free(object)
    })
}

fn in_one(pool: &Pool, number: u64) -> Result<()> {
    pool.write(|tx| {
        let mut root = tx.open::<Root>("root")?;
        let object = root.alloc(Object { words: [number; 8] })?;
        *root.root_mut()? = object;
        *root.root_mut()? = Ptr::NULL;
        root.free(object)
    })
}

struct OnPool {
    pool: Pool,
    number: u64,
    pair: Pair,
}

impl Work for OnPool {
    fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            self.number += 1;
            (self.pair)(&self.pool, self.number).expect("made and freed");
        }
    }

    fn counters(&self) -> Counters {
        self.pool.region().counters()
    }

    fn verify(self: Box<Self>) {
        let report = self.pool.check().expect("checked");
        assert!(report.problems.is_empty(), "{report:?}");
        let tx = self.pool.read().expect("a transaction");
        assert!(tx.open::<Root>("root").expect("a root").root().expect("read").is_null());
    }
}

struct InMemory;

impl Work for InMemory {
    fn run(&mut self, operations: u64) {
        (0..operations).for_each(|number| drop(black_box(Box::new(Object { words: [number; 8] }))));
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
    fn verify(self: Box<Self>) {}
}
