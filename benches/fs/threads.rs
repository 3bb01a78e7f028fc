//! One thread, and two in directories of their own. Beside it a control, which only computes: what it loses is the machine's.

use crate::Scale;
use benches::{
    place,
    rounds::median,
    systems::{Name, System, Volume, volume},
};
use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

const DATA: u64 = 4 << 20;
const NAMES: usize = 64;

/// What a thread does over and over; how many operations that are.
type Work = fn(&Place) -> u64;

struct Place {
    system: Volume,
    names: Vec<Name>,
}

const WORKS: [(&str, Work); 4] = [
    ("the control: arithmetic", |_| {
        let mut sum = 1u64;
        for n in 0..NAMES as u64 * 400 {
            sum = black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n));
        }
        NAMES as u64
    }),
    ("create and unlink", |place| {
        place.names.iter().for_each(|name| place.system.create(name));
        place.names.iter().for_each(|name| place.system.unlink(name));
        2 * NAMES as u64
    }),
    ("overwrite 4 KiB", |place| {
        (0..NAMES as u64).for_each(|block| place.system.write(block * 4096, &[7; 4096]));
        NAMES as u64
    }),
    ("read 4 KiB", |place| {
        let mut into = [0; 4096];
        (0..NAMES as u64).for_each(|block| place.system.read(block * 4096, black_box(&mut into)));
        NAMES as u64
    }),
];

/// Operations in a second of so many threads together.
fn rate(places: &[Place], work: Work, time: Duration) -> f64 {
    let barrier = Barrier::new(places.len());
    let rates = thread::scope(|scope| {
        let threads: Vec<_> = places
            .iter()
            .map(|place| {
                let barrier = &barrier;
                scope.spawn(move || {
                    work(place);
                    barrier.wait();
                    let (start, mut operations) = (Instant::now(), 0);
                    while start.elapsed() < time {
                        operations += work(place);
                    }
                    operations as f64 / start.elapsed().as_secs_f64()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<f64>()
    });
    assert!(places.iter().all(|place| place.system.readdir() == 0));
    rates
}

pub(crate) fn run(scale: Scale) {
    let nova = volume(place::mapping(128 << 20).expect("memory"));
    let place = |name: &str| Place {
        system: Volume::new(&nova, name, DATA),
        names: (0..NAMES).map(|n| Name::new(format!("file-{n:06}"))).collect(),
    };
    let places = [place("one"), place("two")];
    let time = if scale.rounds > 1 { Duration::from_millis(150) } else { Duration::from_millis(2) };
    let mut rates = vec![(Vec::new(), Vec::new()); WORKS.len()];
    for _ in 0..scale.rounds {
        for ((_, work), (one, two)) in WORKS.iter().zip(&mut rates) {
            one.push(rate(&places[..1], *work, time));
            two.push(rate(&places, *work, time));
        }
    }
    println!(
        "\nOne thread, and two in directories of their own: thousands of operations per second, wall clock"
    );
    println!("| | one | two | times |\n|---|---|---|---|");
    for ((what, _), (one, two)) in WORKS.iter().zip(rates) {
        let times = median(one.iter().zip(&two).map(|(one, two)| two / one).collect());
        let (one, two) = (median(one) / 1000.0, median(two) / 1000.0);
        println!("| {what} | {one:.0} | {two:.0} | {times:.2} |");
    }
}
