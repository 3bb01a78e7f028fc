//! What everything else is made of: stores, flushes and drains of a mapping, by `pmem_map::Region` and by hand:
//! `cargo bench -p benches --bench map`.
//!
//! First criterion's view of each row, then a closing table from interleaved rounds. What a row of the region costs above its twin by hand is
//! the price of bounds that are checked and lines that are counted.

use benches::{
    cpu_time, place,
    raw::Raw,
    rounds::{self, Measured, Row, Work},
    stream::{OBJECT, Stream, Update, WorkingSet},
};
use pmem_map::{Counters, PAGE, Region};

const ROUNDS: usize = 9;

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
    }
}

fn print(measured: &[Measured]) {
    println!(
        "\nInterleaved, {ROUNDS} rounds: median CPU time of an operation on a random object of 64 MiB.\n"
    );
    println!("{:<46} {:>8} {:>6} {:>6}", "", "ns", "lines", "drains");
    for row in measured {
        println!("{:<46} {:>8.1} {:>6.2} {:>6.2}", row.what, row.nanoseconds(), row.lines, row.drains);
    }
}

fn rows() -> Vec<Row> {
    vec![
        primitive("8 bytes stored, flushed, drained", 8, stored),
        by_hand("the same by hand", |raw, object, number| raw.word(object, number, Update::Blind)),
        primitive("64 bytes stored, flushed, drained", OBJECT, stored),
        primitive("64 bytes past the caches, drained", OBJECT, past_the_caches),
        primitive("4 KiB stored, flushed, drained", PAGE, stored),
        primitive("4 KiB past the caches, drained", PAGE, past_the_caches),
        primitive("4 KiB read", PAGE, read),
    ]
}

fn stored(region: &Region, at: u64, bytes: &mut [u8]) -> pmem_map::Result<()> {
    // SAFETY: in bounds, and there is no reference to the region's bytes.
    unsafe { region.store(at, bytes) };
    region.persist(at..at + bytes.len() as u64)
}

fn past_the_caches(region: &Region, at: u64, bytes: &mut [u8]) -> pmem_map::Result<()> {
    // SAFETY: as above.
    unsafe { region.store_nontemporal(at, bytes) };
    region.drain()
}

fn read(region: &Region, at: u64, bytes: &mut [u8]) -> pmem_map::Result<()> {
    // SAFETY: as above.
    unsafe { region.load(at, bytes) };
    Ok(())
}

/// What is done at an offset with bytes, of which the first eight are the operation's number.
type Primitive = fn(&Region, u64, &mut [u8]) -> pmem_map::Result<()>;

fn primitive(what: &str, len: u64, primitive: Primitive) -> Row {
    let set = WorkingSet::COLD;
    Row::new(what, set, move || {
        let region = place::mapping(set.bytes).expect("a mapping").into_region();
        let stream = Stream::new(3, set.bytes / len, 1);
        Box::new(OnRegion { region, stream, bytes: vec![0; len as usize], primitive })
    })
}

struct OnRegion {
    region: Region,
    stream: Stream,
    bytes: Vec<u8>,
    primitive: Primitive,
}

impl Work for OnRegion {
    fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            let number = self.stream.begin();
            self.bytes[..8].copy_from_slice(&number.to_le_bytes());
            let at = self.stream.object(0) * self.bytes.len() as u64;
            (self.primitive)(&self.region, at, &mut self.bytes).expect("no page is written back here");
        }
    }

    fn counters(&self) -> Counters {
        self.region.counters()
    }

    fn verify(self: Box<Self>) {
        if self.region.counters().lines() == 0 {
            return; // it reads
        }
        let len = self.bytes.len() as u64;
        self.stream.verify(Update::Blind, |object| {
            let mut number = [0; 8];
            // SAFETY: as in `read`.
            unsafe { self.region.load(object * len, &mut number) };
            [u64::from_le_bytes(number); 8]
        });
    }
}

fn by_hand(what: &str, store: fn(&mut Raw, u64, u64)) -> Row {
    let set = WorkingSet::COLD;
    Row::new(what, set, move || {
        let raw = Raw::new(set.bytes).expect("a mapping for the baseline");
        Box::new(ByHand { raw, stream: Stream::new(3, set.bytes / OBJECT, 1), store })
    })
}

struct ByHand {
    raw: Raw,
    stream: Stream,
    store: fn(&mut Raw, u64, u64),
}

impl Work for ByHand {
    fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            let number = self.stream.begin();
            (self.store)(&mut self.raw, self.stream.object(0), number);
        }
    }

    /// Nobody counts by hand: one line and one drain, each time.
    fn counters(&self) -> Counters {
        Counters {
            lines_flushed: self.stream.operations(),
            drains: self.stream.operations(),
            ..Counters::default()
        }
    }

    fn verify(self: Box<Self>) {
        let ByHand { mut raw, stream, .. } = *self;
        stream.verify(Update::Blind, |object| [raw.read(object)[0]; 8]);
    }
}
