//! Redo and undo transactions against hand-written updates of a raw mapping: `cargo bench -p benches --bench tx`.
//!
//! First criterion's view of each row (filters work as usual), then a closing table from interleaved rounds with
//! ratios and goals, then latencies of single operations. `BENCH_LARGE=1` adds a working set of 1 GiB.

use benches::{
    baselines::{
        self, Baseline, NINE_DRAINS, NINE_DRAINS_UPDATE, SLOT_UPDATE, TWO_DRAINS, TWO_DRAINS_LOCKED,
        TWO_DRAINS_UPDATE, WORD_UPDATE,
    },
    cpu_time,
    latency::Latency,
    place,
    raw::Raw,
    rounds::{self, Measured, Row, Work},
    stream::{OBJECT, Object, Stream, Update, WorkingSet},
    undo::{self, Kind},
};
use pmem_map::Counters;
use pmem_tx::{Journal, JournalOptions, Tx};
use std::{collections::HashSet, hint::black_box};

const LOG: u64 = 256 << 10;
const ROUNDS: usize = 9;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let only_once = !has("--bench") || has("--test");
    let measuring = !only_once && !has("--list") && !has("--profile-time");
    let cpu = cpu_time::pin();
    let mut criterion = rounds::criterion();
    let mut lines = table();
    let mut ran = HashSet::new();
    // Criterion has no more cases than are read: what does not read is in the closing table alone, beside what does.
    for line in lines.iter().filter(|line| only_once || updates_instead(&line.row).is_none()) {
        if rounds::bench(&mut criterion, &line.row) {
            ran.insert(line.row.id());
        }
    }
    lines.retain(|line| ran.contains(&updates_instead(&line.row).unwrap_or_else(|| line.row.id())));
    criterion.final_summary();
    if measuring && !lines.is_empty() {
        println!("CPU {cpu:?}, files in {}, log of {} KiB", place::folder().display(), LOG >> 10);
        measure(&lines);
        latencies();
    }
}

/// The row that does the same as a blind one, and reads what it changes.
fn updates_instead(row: &Row) -> Option<String> {
    let what = row.what.strip_suffix(", blind")?;
    Some(format!("{what}, update, {}", row.set.name))
}

/// How PMDK's numbers were measured, and on what.
const PMDK: &str = "\
PMDK: libpmemobj 1.12.1 (Debian 12), PMEM_IS_PMEM_FORCE=1 on tmpfs, 8 MiB of random objects, best CPU time of several
runs on a 2-vCPU AMD EPYC guest of another kind: pmemobj_tx_add_range of 64 B 948 ns (5 lines, 5 drains), eight of them 4186 ns
(33, 19), of 8 B 960 ns (4, 5), an empty transaction 183 ns (0, 2). Other hardware, other day: an anchor, no contest.";

/// What a row is held against.
#[derive(Default)]
struct Held {
    /// Nanoseconds that PMDK takes, see [`PMDK`], and how many times as fast the row is to be, if that is a goal.
    pmdk: Option<(f64, Option<f64>)>,
    /// Baselines of the same working set: the row is to be as many times as fast as the fastest of them.
    raw: Option<(&'static [&'static str], f64)>,
    /// The baselines that do the same work, for the ratios: by flag, under a lock, by slot.
    like: [Option<&'static str>; 3],
    /// Objects, if the row has the bare cost of a redo transaction beside it.
    redo: Option<u64>,
}

struct Line {
    row: Row,
    bare: Option<Row>,
    held: Held,
}

fn table() -> Vec<Line> {
    let large = std::env::var_os("BENCH_LARGE").is_some_and(|value| value != "0");
    let mut lines = Vec::new();
    for set in [WorkingSet::HOT, WorkingSet::COLD, WorkingSet::LARGE] {
        if set.bytes == WorkingSet::LARGE.bytes && !large {
            continue;
        }
        for Baseline { row, bare } in baselines::all(set) {
            lines.push(Line { row, bare: Some(bare), held: Held::default() });
        }
        lines.extend(random_objects(set));
    }
    // A gibibyte for each row: only what the goals name.
    let goals = [TWO_DRAINS_UPDATE, NINE_DRAINS_UPDATE, ONE, EIGHT, EIGHT_PREFETCHED];
    lines.retain(|line| {
        line.row.set.bytes < WorkingSet::LARGE.bytes || goals.contains(&line.row.what.as_str())
    });
    for line in &mut lines {
        line.bare.take_if(|bare| bare.set.bytes == WorkingSet::LARGE.bytes);
    }
    lines.extend(one_place());
    lines.extend(undo_rows());
    lines
}

/// Undo transactions: the small updates of redo's rows, and large ones beside redo's.
fn undo_rows() -> Vec<Line> {
    /// Larger than the caches, in blocks.
    const BLOCKS: WorkingSet = WorkingSet { name: "32 MiB", bytes: 32 << 20, milliseconds: 40 };
    let line = |row| Line { row, bare: None, held: Held::default() };
    let mut lines = Vec::new();
    for set in [WorkingSet::HOT, WorkingSet::COLD] {
        lines.push(line(undo::small("undo: one object", set, 1)));
        lines.push(line(undo::small("undo: eight objects", set, 8)));
    }
    for kib in [4, 16, 256] {
        for kind in [Kind::Redo, Kind::Undo] {
            lines.push(line(undo::large(kind, kib << 10, BLOCKS)));
        }
    }
    lines
}

const ONE: &str = "redo: one object";
const EIGHT: &str = "redo: eight objects";
const EIGHT_PREFETCHED: &str = "redo: eight objects, prefetched";

/// Transactions that change random objects of a working set.
fn random_objects(set: WorkingSet) -> [Line; 5] {
    let one = || Held {
        pmdk: Some((948.0, Some(4.0))),
        raw: Some((&[TWO_DRAINS, TWO_DRAINS_UPDATE], 1.0)),
        like: [Some(TWO_DRAINS_UPDATE), Some(TWO_DRAINS_LOCKED), Some(SLOT_UPDATE)],
        redo: Some(1),
    };
    let eight = || Held {
        pmdk: Some((4186.0, Some(6.0))),
        raw: Some((&[NINE_DRAINS, NINE_DRAINS_UPDATE], 2.0)),
        like: [Some(NINE_DRAINS_UPDATE), None, None],
        redo: Some(8),
    };
    let word =
        Held { pmdk: Some((960.0, None)), raw: None, like: [Some(WORD_UPDATE), None, None], redo: None };
    [
        journal_line(ONE, set, (1, 1, true), one(), |tx, stream, value| add(tx, stream.object(0), value)),
        journal_line(
            "redo: one object, flushed every 64 commits",
            set,
            (1, 64, true),
            Held { redo: None, ..one() },
            |tx, stream, value| add(tx, stream.object(0), value),
        ),
        journal_line(EIGHT, set, (8, 1, true), eight(), |tx, stream, value| {
            (0..8).try_for_each(|i| add(tx, stream.object(i), value))
        }),
        journal_line(
            EIGHT_PREFETCHED,
            set,
            (8, 1, true),
            Held { redo: None, ..eight() },
            |tx, stream, value| {
                let objects: [u64; 8] = std::array::from_fn(|i| stream.object(i as u64));
                objects.iter().for_each(|object| tx.prefetch(LOG + object * OBJECT, OBJECT));
                objects.iter().try_for_each(|&object| add(tx, object, value))
            },
        ),
        journal_line("redo: one word", set, (1, 1, false), word, |tx, stream, value| {
            tx.update(LOG + stream.object(0) * OBJECT, |word: &mut u64| *word += value)
        }),
    ]
}

/// Transactions that change one place, or none.
fn one_place() -> [Line; 4] {
    const LINE: WorkingSet = WorkingSet { name: "one line", bytes: OBJECT, milliseconds: 10 };
    let empty = || Held { pmdk: Some((183.0, None)), ..Held::default() };
    let count = |tx: &mut Tx<'_>, stream: &mut Stream, value| {
        tx.update(LOG + stream.object(0) * OBJECT, |word: &mut u64| *word += value)
    };
    [
        journal_line("redo: a counter", LINE, (1, 1, false), Held::default(), count),
        journal_line(
            "redo: a counter, flushed every 64 commits",
            LINE,
            (1, 64, false),
            Held::default(),
            count,
        ),
        journal_line("redo: nothing", LINE, (0, 1, false), empty(), |_, _, _| Ok(())),
        journal_line("redo: one read", LINE, (0, 1, false), empty(), |tx, _, _| {
            tx.read::<u64>(LOG).map(|word| _ = black_box(*word))
        }),
    ]
}

#[inline(always)]
fn add(tx: &mut Tx<'_>, object: u64, value: u64) -> pmem_tx::Result<()> {
    tx.update(LOG + object * OBJECT, |words: &mut Object| {
        words.iter_mut().for_each(|word| *word = word.wrapping_add(value))
    })
}

fn journal(set: WorkingSet, flush_interval: u32) -> Journal {
    let mapping = place::mapping(LOG + set.bytes.next_multiple_of(4096)).expect("a mapping for the journal");
    JournalOptions::new().flush_interval(flush_interval).create(mapping, 0..LOG).expect("a journal")
}

/// A row of transactions on `group` objects each, of which `whole` objects change, or only the first words.
fn journal_line(
    what: &str,
    set: WorkingSet,
    (group, flush_interval, whole): (u64, u32, bool),
    held: Held,
    body: impl Fn(&mut Tx<'_>, &mut Stream, u64) -> pmem_tx::Result<()> + Copy + 'static,
) -> Line {
    let row = Row::new(what, set, move || {
        let stream = Stream::new(set.bytes, set.bytes / OBJECT, group.max(1));
        Box::new(JournalWork {
            journal: journal(set, flush_interval),
            stream,
            changes: group > 0,
            whole,
            body,
        })
    });
    let bare = held.redo.map(|objects| baselines::bare_redo(set, objects));
    Line { row, bare, held }
}

struct JournalWork<F> {
    journal: Journal,
    stream: Stream,
    changes: bool,
    whole: bool,
    body: F,
}

impl<F: Fn(&mut Tx<'_>, &mut Stream, u64) -> pmem_tx::Result<()>> Work for JournalWork<F> {
    fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            let number = self.stream.begin();
            self.journal.write(|tx| (self.body)(tx, &mut self.stream, number)).expect("a transaction");
        }
    }

    fn counters(&self) -> Counters {
        self.journal.region().counters()
    }

    fn verify(self: Box<Self>) {
        let JournalWork { journal, stream, changes, whole, .. } = *self;
        let mapping = journal.close().expect("a clean close");
        let object = |index: u64| -> Object {
            let at = (LOG + index * OBJECT) as usize;
            let words: [[u8; 8]; 8] =
                bytemuck::cast::<[u8; 64], _>(mapping.as_slice()[at..at + 64].try_into().unwrap());
            words.map(u64::from_le_bytes)
        };
        if changes {
            stream.verify(Update::ReadModifyWrite, |i| if whole { object(i) } else { [object(i)[0]; 8] });
        } else {
            assert_eq!(object(0), [0; 8]);
        }
    }
}

/// The closing table.
fn measure(lines: &[Line]) {
    // One working set after the other, so that not all of them are in memory at once.
    let measured: Vec<Measured> = lines
        .chunk_by(|line, next| line.row.set.name == next.row.set.name)
        .flat_map(|lines| {
            let rows: Vec<&Row> =
                lines.iter().flat_map(|line| [Some(&line.row), line.bare.as_ref()]).flatten().collect();
            rounds::measure(&rows, ROUNDS)
        })
        .collect();
    let find = |what: &str, set: &str| measured.iter().find(|row| row.what == what && row.set == set);
    println!(
        "\nInterleaved, {ROUNDS} rounds: median CPU time per operation; ratios are medians of the rounds' ratios.\n\
        bare: the row's own loads, stores, flushes and drains in a tight loop; a raw row above 1.10 is at fault.\n\
        of flag, of lock, of slot: over the raw row that does the same work by a flag, so under a lock, by a slot.\n\
        {PMDK}\n"
    );
    println!(
        "{:<43} {:<8} {:>8} {:>6} {:>6} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7}  goals",
        "what",
        "set",
        "ns",
        "lines",
        "drains",
        "bare ns",
        "of bare",
        "of flag",
        "of lock",
        "of slot",
        "of PMDK"
    );
    for line in lines {
        let Some(own) = find(&line.row.what, line.row.set.name) else { continue };
        let bare = line.bare.as_ref().and_then(|bare| find(&bare.what, own.set));
        let ratio = |other: Option<&Measured>| show(other.map(|other| own.over(other)), 2);
        let [flag, lock, slot] = line.held.like.map(|what| ratio(what.and_then(|what| find(what, own.set))));
        println!(
            "{:<43} {:<8} {:>8.1} {:>6.2} {:>6.2} {:>8} {:>7} {flag:>7} {lock:>7} {slot:>7} {:>7}  {}",
            own.what,
            own.set,
            own.nanoseconds(),
            own.lines,
            own.drains,
            show(bare.map(Measured::nanoseconds), 1),
            ratio(bare),
            show(line.held.pmdk.map(|(pmdk, _)| own.nanoseconds() / pmdk), 2),
            goals(own, &line.held, bare, |what| find(what, own.set)).join("; ")
        );
    }
}

fn show(number: Option<f64>, digits: usize) -> String {
    number.map_or(String::new(), |number| format!("{number:.digits$}"))
}

/// Each goal of a row, and whether it is met.
fn goals<'m>(
    own: &Measured,
    held: &Held,
    bare: Option<&Measured>,
    find: impl Fn(&str) -> Option<&'m Measured>,
) -> Vec<String> {
    let verdict = |met| if met { "met" } else { "NOT MET" };
    let mut goals = Vec::new();
    if own.what.starts_with("raw") && bare.is_some_and(|bare| own.over(bare) > 1.1) {
        goals.push("a baseline at fault".to_owned());
    }
    if let Some((names, times)) = held.raw {
        let ratios = names.iter().filter_map(|what| find(what)).map(|raw| raw.over(own));
        if let Some(least) = ratios.min_by(f64::total_cmp) {
            let met = verdict(least >= times);
            goals.push(format!("{times}x the speed of raw: {least:.2}x, {met}"));
        }
    }
    if let Some((pmdk, Some(times))) = held.pmdk {
        let (reached, most) = (pmdk / own.nanoseconds(), pmdk / times);
        goals.push(format!("{times}x PMDK ({most:.0} ns): {reached:.1}x, {}", verdict(reached >= times)));
    }
    goals
}

/// Latencies of single operations beside the machine's own.
fn latencies() {
    const OPERATIONS: u64 = 200_000;
    println!("\nSingle operations, wall-clock ns, {OPERATIONS} each, from one look at the clock to the next");
    println!("{:<43} {:<8} {}", "what", "set", Latency::heads());
    let mut typical = 0;
    for set in [WorkingSet::HOT, WorkingSet::COLD] {
        let mut raw = Raw::new(set.bytes).expect("a mapping for the baseline");
        let mut stream = Stream::new(1, set.bytes / OBJECT, 1);
        let update = Update::ReadModifyWrite;
        let latency = Latency::of(OPERATIONS, |_| {
            let value = stream.begin();
            raw.two_drains(stream.object(0), value, update);
        });
        stream.verify(update, |object| raw.read(object));
        println!("{TWO_DRAINS_UPDATE:<43} {:<8} {}", set.name, latency.line());

        let journal = journal(set, 1);
        let mut stream = Stream::new(1, set.bytes / OBJECT, 1);
        let latency = Latency::of(OPERATIONS, |_| {
            let value = stream.begin();
            journal.write(|tx| add(tx, stream.object(0), value)).expect("a transaction");
        });
        let tx = journal.begin().expect("a transaction");
        stream.verify(update, |object| *tx.read(LOG + object * OBJECT).expect("an object"));
        println!("{:<43} {:<8} {}", ONE, set.name, latency.line());
        typical = latency.quantile(0.5);
    }
    let control = Latency::control(OPERATIONS, typical);
    println!("{:<43} {:<8} {}", "control: the machine alone", "", control.line());
}
