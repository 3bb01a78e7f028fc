//! The queue: order, many threads, full pools, and every state that a power failure could leave.

use crate::{
    crash::{config, image, print},
    maps::reopened,
};
use pmem_collections::{concurrent::Shortcut, *};
use pmem_crash::{Exploration, Image, Report, Tear};
use pmem_map::{Event, MapOptions, Observer, Region};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread::ThreadId,
};

const LEN: u64 = 256 << 10;

fn pool(len: u64) -> Pool {
    Pool::create_on(Mapping::anonymous(len).unwrap()).unwrap()
}

#[test]
fn a_queue_agrees_with_std_also_when_reopened() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut pool = pool(4 << 20);
    let mut queue = MpmcQueue::<[u64; 3]>::open(&pool, "queue").unwrap();
    let mut model = VecDeque::new();
    for step in 0..20_000 {
        if rng.u8(..) < if step % 6_000 < 3_000 { 160 } else { 96 } {
            let value = [step, rng.u64(..), !step];
            queue.push(value).unwrap();
            model.push_back(value);
        } else {
            assert_eq!(queue.pop().unwrap(), model.pop_front());
        }
        assert_eq!(queue.len(), model.len());
        if step % 5_000 == 4_999 {
            queue.check().unwrap();
            pool = reopened(&pool);
            queue = MpmcQueue::open(&pool, "queue").unwrap();
        }
    }
    while let Some(value) = model.pop_front() {
        assert_eq!(queue.pop().unwrap(), Some(value));
    }
    assert!(queue.is_empty() && queue.pop().unwrap().is_none());
    queue.check().unwrap();
}

/// Producers number their elements; every element is popped once, and those of one producer in order by each consumer.
#[test]
fn threads_get_every_element_once_and_in_order() {
    let pool = pool(8 << 20);
    let queue = MpmcQueue::<u64>::open(&pool, "queue").unwrap();
    let (seen, left) = (Mutex::new(BTreeSet::new()), AtomicU64::new(4 * 3_000));
    std::thread::scope(|s| {
        let (queue, seen, left) = (&queue, &seen, &left);
        for producer in 0..4u64 {
            s.spawn(move || (0..3_000).for_each(|n| queue.push(producer << 32 | n).unwrap()));
        }
        for _ in 0..4 {
            s.spawn(move || {
                let mut last = [None; 4];
                while left.load(SeqCst) > 0 {
                    let Some(value) = queue.pop().unwrap() else { continue };
                    let (producer, n) = ((value >> 32) as usize, value as u32);
                    assert!(last[producer] < Some(n));
                    last[producer] = Some(n);
                    assert!(seen.lock().unwrap().insert(value), "{value:#x} twice");
                    left.fetch_sub(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(seen.lock().unwrap().len(), 12_000);
    queue.check().unwrap();
    assert!(MpmcQueue::<u64>::open(&reopened(&pool), "queue").unwrap().is_empty());
}

#[test]
fn a_full_pool_loses_no_element_and_takes_more_when_some_are_gone() {
    let pool = pool(LEN);
    let queue = MpmcQueue::<u64>::open(&pool, "queue").unwrap();
    let mut n = 0u64;
    let full = loop {
        match queue.push(n) {
            Ok(()) => n += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(full.kind(), ErrorKind::NoSpace { .. }), "{full}");
    for round in 0..3 {
        for i in 0..n {
            assert_eq!(queue.pop().unwrap(), Some(round * n + i));
            queue.push((round + 1) * n + i).unwrap();
        }
    }
    assert_eq!(queue.len() as u64, n);
}

#[test]
fn a_push_and_a_pop_drain_once() {
    let pool = pool(LEN);
    let queue = MpmcQueue::<u64>::open(&pool, "queue").unwrap();
    queue.push(0).unwrap(); // the first slab
    let before = pool.region().counters();
    (0..100).for_each(|n| queue.push(n).unwrap());
    let pushed = pool.region().counters() - before;
    (0..100).for_each(|_| _ = queue.pop().unwrap());
    let popped = pool.region().counters() - before - pushed;
    println!("budget | MpmcQueue push, u64 | {} lines, {} drains for 100", pushed.lines(), pushed.drains);
    println!("budget | MpmcQueue pop, u64 | {} lines, {} drains for 100", popped.lines(), popped.drains);
    assert!(pushed.drains == 100 && popped.drains == 100);
    assert!(pushed.lines() <= 150 && popped.lines() == 100);
    queue.pop().unwrap();
    let before = pool.region().counters();
    assert_eq!(queue.pop().unwrap(), None);
    assert_eq!((pool.region().counters() - before).drains, 0);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(u64),
    Pop,
}
use Op::*;

fn apply(op: Op, model: &mut VecDeque<u64>) {
    match op {
        Push(value) => model.push_back(value),
        Pop => _ = model.pop_front(),
    }
}

fn perform(queue: &MpmcQueue<u64>, op: Op) -> Result<()> {
    match op {
        Push(value) => queue.push(value),
        Pop => queue.pop().map(drop),
    }
}

fn all<T: Plain>(queue: &MpmcQueue<T>) -> Result<VecDeque<T>> {
    let mut all = VecDeque::new();
    while let Some(value) = queue.pop()? {
        all.push_back(value);
    }
    Ok(all)
}

const BEFORE: std::ops::Range<u64> = 100..106;

/// A pool with a queue that holds [`BEFORE`].
fn start() -> Image {
    let start = pool(LEN);
    let queue = MpmcQueue::<u64>::open(&start, "queue").unwrap();
    BEFORE.for_each(|value| queue.push(value).unwrap());
    start.checkpoint().unwrap();
    image(&start)
}

fn explore(name: &str, ops: &[Op], shortcut: Option<Shortcut>) -> Report {
    let start = start();
    let mut model: VecDeque<u64> = BEFORE.collect();
    let mut states = vec![model.clone()];
    for &op in ops {
        apply(op, &mut model);
        states.push(model.clone());
    }
    let mut last = None;
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config(tear)).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let pool = Pool::on(mapping)?;
                let queue = MpmcQueue::open_with(&pool, "queue", shortcut)?;
                for &op in ops {
                    marks.run(format!("{op:?}"), || perform(&queue, op))?;
                }
                std::mem::forget(pool);
                Ok(())
            },
            Pool::on,
            |pool, point| {
                let text = |error: Error| error.to_string();
                let queue = MpmcQueue::<u64>::open_with(&pool, "queue", shortcut).map_err(text)?;
                queue.check().map_err(text)?;
                let found = all(&queue).map_err(text)?;
                if !point.range().any(|k| states[k] == found) {
                    return Err(format!("{found:?} is no state of {:?}", point.range()));
                }
                for n in 0..6 {
                    queue.push(n).map_err(text)?;
                }
                queue.pop().map_err(text)?;
                drop(queue);
                let queue = MpmcQueue::<u64>::open_with(&pool, "queue", shortcut).map_err(text)?;
                if all(&queue).map_err(text)? == [1, 2, 3, 4, 5] {
                    Ok(())
                } else {
                    Err("later changes are not found again".into())
                }
            },
        );
        if shortcut.is_none() {
            print(name, tear, &report);
            report.assert_ok();
        } else if report.failures > 0 {
            return report;
        }
        last = Some(report);
    }
    last.expect("two ways to tear")
}

const STORY: [Op; 9] = [Push(1), Pop, Push(2), Pop, Pop, Push(3), Push(4), Pop, Push(5)];

#[test]
fn a_queue_survives_a_crash_at_any_store() {
    explore("MpmcQueue: pushes and pops", &STORY, None);
    explore(
        "MpmcQueue: emptied and filled",
        &[Pop, Pop, Pop, Pop, Pop, Pop, Pop, Push(1), Push(2), Pop],
        None,
    );
}

#[test]
fn shortcuts_through_the_protocol_of_the_queue_are_found_by_a_crash() {
    for shortcut in
        [Shortcut::PutNotDrained, Shortcut::RemoveNotDrained, Shortcut::NoNewLife, Shortcut::NoChecksum]
    {
        let report = explore("MpmcQueue", &STORY, Some(shortcut));
        println!("rule | MpmcQueue: {shortcut:?} | found after {} images", report.images);
        assert!(report.failures > 0, "{shortcut:?}");
    }
}

/// Holds one thread before its next drain, and lets another one overtake it. Tells the recorder all that happens.
struct Overtaken {
    recorder: Arc<dyn Observer>,
    held: Mutex<Option<Held>>,
}

struct Held {
    thread: ThreadId,
    reached: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Observer for Overtaken {
    fn event(&self, region: &Region, event: Event<'_>) {
        if matches!(event, Event::BeforeDrain { .. }) {
            let mut held = self.held.lock().unwrap();
            if held.as_ref().is_some_and(|held| held.thread == std::thread::current().id()) {
                let Held { reached, go_on, .. } = held.take().expect("just seen");
                drop(held);
                reached.send(()).expect("the other thread waits");
                go_on.recv().expect("the other thread goes on");
            }
        }
        self.recorder.event(region, event);
    }
}

/// Two pops: the first has not come to its drain when the second returns. After a crash the first one's element must be
/// gone as well, or the queue would have forgotten its order. (Elements of a line and more: two of them share none.)
type Wide = [u64; 8];

fn explore_overtaking() -> Report {
    let before = pool(LEN);
    let queue = MpmcQueue::<Wide>::open(&before, "queue").unwrap();
    BEFORE.for_each(|n| queue.push([n; 8]).unwrap());
    let report = Exploration::new("MpmcQueue: a pop overtakes another")
        .config(config(Tear::Line).raw_stores(false))
        .start(image(&before))
        .run_files(
            |path, marks| -> Result<()> {
                let observer = Arc::new(Overtaken { recorder: marks.observer(), held: Mutex::default() });
                // SAFETY: nobody else uses the file.
                let mapping =
                    unsafe { MapOptions::new().emulate_pmem(true).observer(observer.clone()).open(path) }?;
                let pool = Pool::on(mapping)?;
                let queue = MpmcQueue::<Wide>::open(&pool, "queue")?;
                let (reached, at_its_drain) = mpsc::channel();
                let (release, go_on) = mpsc::channel();
                std::thread::scope(|s| {
                    let slow = s.spawn(|| {
                        let thread = std::thread::current().id();
                        *observer.held.lock().unwrap() = Some(Held { thread, reached, go_on });
                        marks.begin("the slow pop");
                        queue.pop().map(drop)
                    });
                    at_its_drain.recv().expect("the slow pop comes to its drain");
                    let fast = marks.begin("the fast pop");
                    queue.pop()?;
                    marks.acknowledged_to(fast);
                    release.send(()).expect("the slow pop waits");
                    slow.join().expect("no panic")
                })?;
                marks.acknowledged();
                marks.run("a push", || queue.push([1; 8]))?;
                marks.run("a pop", || queue.pop().map(drop))?;
                std::mem::forget((queue, pool));
                Ok(())
            },
            |path, observer| {
                // SAFETY: as above.
                let mapping = unsafe { MapOptions::new().emulate_pmem(true).observer(observer).open(path) }?;
                Pool::on(mapping)
            },
            |pool, point| {
                let text = |error: Error| error.to_string();
                let queue = MpmcQueue::<Wide>::open(&pool, "queue").map_err(text)?;
                let found: Vec<u64> = all(&queue).map_err(text)?.into_iter().map(|wide| wide[0]).collect();
                let states = [[100, 101, 102, 103, 104, 105].as_slice(), &[101, 102, 103, 104, 105]];
                let later: [&[u64]; 3] =
                    [&[102, 103, 104, 105], &[102, 103, 104, 105, 1], &[103, 104, 105, 1]];
                let states: Vec<_> = states.into_iter().chain(later).collect();
                if point.range().any(|k| found == states[k]) {
                    Ok(())
                } else {
                    Err(format!("{found:?} is no state of {:?}", point.range()))
                }
            },
        );
    print("MpmcQueue: a pop overtakes another", Tear::Line, &report);
    report
}

/// Found by this exploration: pops used to mark each element for itself, and of two that were under way a crash left
/// the effect of the second.
#[test]
fn of_two_pops_under_way_no_crash_leaves_the_second_alone() {
    explore_overtaking().assert_ok();
}

/// (Cells went to a list of the thread that popped, of which the one that pushed never took any: the pool ran full.)
#[test]
fn a_thread_that_only_pushes_gets_the_cells_of_one_that_only_pops() {
    const ELEMENTS: u64 = 40_000; // 24 bytes each: twice the pool
    let pool = pool(512 << 10);
    let queue = MpmcQueue::<u64>::open(&pool, "queue").unwrap();
    let (pushed, elements) = mpsc::sync_channel::<u64>(64);
    std::thread::scope(|s| {
        let queue = &queue;
        s.spawn(move || elements.iter().for_each(|element| assert_eq!(queue.pop().unwrap(), Some(element))));
        for element in 0..ELEMENTS {
            queue.push(element).unwrap();
            pushed.send(element).unwrap();
        }
        drop(pushed);
    });
}
