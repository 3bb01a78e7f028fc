//! A flight recorder in a mapped file: a journal, and no pool, no allocator. It is killed in flight, again and again, and what
//! it says afterwards is true.
//!
//! The file has a ring of the latest measurements with their count and sum, a table of corrections by which measurements are
//! read, and the time at which the recorder was last alive. A measurement changes the ring, its count and its sum: a small
//! redo transaction. A new calibration replaces all of the table, in place: an undo transaction. A sign of life is one word,
//! which needs no transaction at all.

use bytemuck::{Pod, Zeroable};
use pmem_map::Mapping;
use pmem_tx::{Journal, Result, Transaction};
use std::{
    env,
    error::Error,
    io::{BufRead, BufReader},
    ops::Range,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// The program decides what is where; only the log's bytes are taken. It holds a table's old bytes.
const LOG: Range<u64> = 0..256 << 10;
/// A line of its own.
const LAST_ALIVE: u64 = LOG.end;
const RING: u64 = LAST_ALIVE + 64;
const TABLE: u64 = 512 << 10;
const LEN: u64 = 1 << 20;

/// Measurements that are kept.
const KEPT: u64 = 100;
/// Corrections in the table.
const CORRECTIONS: u64 = 16 << 10;
/// A new calibration comes after so many measurements.
const CALIBRATE_EVERY: u64 = 50;

/// What the ring holds; the measurements are behind it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Ring {
    count: u64,
    sum: u64,
    /// Which calibration is in the table.
    calibration: u64,
}

fn slot(number: u64) -> u64 {
    RING + size_of::<Ring>() as u64 + number % KEPT * 8
}

fn measurement(number: u64) -> u64 {
    number * 7919 % 1000
}

fn correction(calibration: u64, i: u64) -> u64 {
    calibration * 1_000_000 + i
}

struct Recorder {
    journal: Journal,
}

impl Recorder {
    fn open(path: &Path) -> Result<Recorder> {
        // SAFETY: nobody else writes or truncates this file; other mappings are kept out by a lock.
        let mapping = unsafe { Mapping::open(path, LEN) }?;
        // It takes the mapping: from here on all stores go through it. Opening it is recovering it.
        Ok(Recorder { journal: Journal::open_or_create(mapping, LOG)? })
    }

    /// Durable when it returns: one drain.
    fn record(&self) -> Result<u64> {
        self.journal.write(|tx| {
            let ring = tx.get::<Ring>(RING)?;
            tx.write(slot(ring.count), &measurement(ring.count))?;
            tx.update(RING, |ring: &mut Ring| {
                ring.sum += measurement(ring.count);
                ring.count += 1;
                ring.count
            })
        })
    }

    /// All of it, or nothing: 128 KiB, changed where they are.
    fn calibrate(&self) -> Result<()> {
        self.journal.write_undo(|tx| {
            // What they hold now goes to the log, with one drain for both.
            tx.snapshot(&[RING..RING + size_of::<Ring>() as u64, TABLE..TABLE + CORRECTIONS * 8])?;
            let calibration = tx.update(RING, |ring: &mut Ring| {
                ring.calibration += 1;
                ring.calibration
            })?;
            (0..CORRECTIONS).try_for_each(|i| tx.set_word(TABLE + i * 8, correction(calibration, i)))
        })
    }

    /// One word in one line: nothing in the log.
    fn is_alive(&self, time: u64) -> Result<()> {
        self.journal.atomic_line(LAST_ALIVE, &time.to_le_bytes())
    }

    /// Whether what is there is whole: the same for either kind of transaction, for it only reads.
    fn check(tx: &impl Transaction) -> Result<Ring> {
        let ring = tx.get::<Ring>(RING)?;
        let sum: u64 = (0..ring.count).map(measurement).sum();
        assert_eq!(ring.sum, sum, "a measurement without its part in the sum");
        for number in ring.count.saturating_sub(KEPT)..ring.count {
            assert_eq!(tx.word(slot(number))?, measurement(number), "a count without its measurement");
        }
        if ring.calibration > 0 {
            for i in 0..CORRECTIONS {
                let expected = correction(ring.calibration, i);
                assert_eq!(tx.word(TABLE + i * 8)?, expected, "half of a calibration");
            }
        }
        Ok(ring)
    }
}

/// What flies: records, and says how many measurements are durable, until it is killed.
fn fly(path: &Path) -> Result<()> {
    let recorder = Recorder::open(path)?;
    for time in 1.. {
        recorder.is_alive(time)?;
        let count = recorder.record()?;
        if count % CALIBRATE_EVERY == 0 {
            recorder.calibrate()?;
        }
        println!("{count}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = env::args_os().nth(1) {
        return Ok(fly(Path::new(&path))?);
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("flight.dat");
    let (mut durable, mut rolled_back, mut replayed) = (0, 0, 0);
    for flight in 1..=10 {
        let mut plane = Command::new(env::current_exe()?).arg(&path).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(plane.stdout.take().expect("it is piped"));
        let ear = thread::spawn(move || said.lines().map_while(|line| line.ok()?.parse::<u64>().ok()).last());
        thread::sleep(Duration::from_millis(fastrand::u64(20..120)));
        plane.kill()?; // SIGKILL: it cannot say good-bye
        plane.wait()?;
        let heard = ear.join().expect("it only listens").unwrap_or(0);

        let recorder = Recorder::open(&path)?;
        let ring = Recorder::check(&recorder.journal.begin()?)?;
        assert!(ring.count >= heard, "{heard} measurements were durable, {} are there", ring.count);
        assert!(ring.count >= durable, "flight {flight} lost measurements of an earlier one");
        durable = ring.count;
        replayed += recorder.journal.recovery().replayed;
        rolled_back += u64::from(recorder.journal.recovery().rolled_back > 0);

        // And by hand: a calibration that is given up leaves no trace.
        let mut tx = recorder.journal.begin_undo()?;
        tx.fill(TABLE, CORRECTIONS * 8, 0)?;
        tx.abort();
        Recorder::check(&recorder.journal.begin_undo()?)?;
        if flight == 10 {
            let region = recorder.journal.region();
            println!("on {}: {:?}, {:?}", region.medium(), region.granularity(), region.durability());
            println!(
                "10 flights killed: {} measurements and {} calibrations, all of them whole; \
                 {replayed} transactions replayed, {rolled_back} rolled back",
                ring.count, ring.calibration
            );
        }
    }
    Ok(())
}
