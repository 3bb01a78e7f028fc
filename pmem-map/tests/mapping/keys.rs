//! Protection keys: who may store when. Needs a processor that has them (`pku`), which few virtual machines show; the emulated one of
//! `tests/vm/run` does.

use crate::children::{part, play};
use pmem_map::{Mapping, PAGE, ProtectionKey, Region};
use std::{
    os::unix::process::ExitStatusExt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
};

fn region() -> Arc<Region> {
    Arc::new(Mapping::memfd(16 * PAGE).unwrap().into_region())
}

/// Fifteen at most, and none on most machines.
fn key(region: &Arc<Region>) -> Option<ProtectionKey> {
    let key = ProtectionKey::new(region.clone(), 0..region.len()).unwrap();
    if key.is_none() {
        println!("skipped: the processor has no protection keys");
    }
    key
}

/// Nobody else stores there at that moment.
fn store(region: &Region, byte: u8) {
    // SAFETY: one thread at a time in these tests, and no references.
    unsafe { region.store(5 * PAGE, &[byte]) };
}

fn load(region: &Region) -> u8 {
    let mut byte = [0];
    // SAFETY: as in `store`.
    unsafe { region.load(5 * PAGE, &mut byte) };
    std::hint::black_box(byte)[0] // or a load of which nobody wants the result would be left out
}

/// Runs work on a thread that is there already when it is called: one that does not descend from a thread with rights.
struct Bystander(mpsc::Sender<Box<dyn FnOnce() + Send>>, std::thread::JoinHandle<()>);

impl Bystander {
    fn new() -> Bystander {
        let (sender, work) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        Bystander(sender, std::thread::spawn(move || work.iter().for_each(|work| work())))
    }

    fn run(self, work: impl FnOnce() + Send + 'static) {
        self.0.send(Box::new(work)).unwrap();
        drop(self.0);
        self.1.join().unwrap();
    }
}

static IN_HANDLER: OnceLock<(Arc<Region>, Arc<ProtectionKey>)> = OnceLock::new();
static OPENS_A_WINDOW: AtomicBool = AtomicBool::new(true);

extern "C" fn handler(_: i32) {
    let (region, key) = IN_HANDLER.get().unwrap();
    let window = OPENS_A_WINDOW.load(SeqCst).then(|| key.stores());
    store(region, 3);
    drop(window);
}

/// A signal inside a window.
fn interrupted(region: Arc<Region>, key: ProtectionKey, opens_a_window: bool) {
    let key = Arc::new(key);
    OPENS_A_WINDOW.store(opens_a_window, SeqCst);
    IN_HANDLER.set((region.clone(), key.clone())).unwrap();
    // SAFETY: the handler stores bytes that nobody else does at that moment.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
    let window = key.stores();
    // SAFETY: raises a signal that has a handler.
    unsafe { libc::raise(libc::SIGUSR1) };
    assert_eq!(load(&region), 3);
    store(&region, 4); // what the handler did with its rights ended with it
    drop(window);
}

/// Each is SIGSEGV, or is not.
const PARTS: [(&str, bool); 9] = [
    ("a store outside", true),
    ("a store after a window", true),
    ("windows in a window", false),
    ("a store of another thread in a window", true),
    ("a load of a thread that asked for nothing", true),
    ("loads of a thread that asked", false),
    ("a store without a window in a handler in a window", true),
    ("a window in a handler in a window", false),
    ("a store when the key is gone", false),
];

fn act(part: &str) {
    let (region, bystander) = (region(), Bystander::new());
    let Some(key) = key(&region) else { return };
    let theirs = region.clone();
    match part {
        "a store outside" => store(&region, 1),
        "a store after a window" => {
            drop(key.stores());
            store(&region, 1);
        }
        "windows in a window" => {
            let outer = key.stores();
            let inner = key.stores();
            store(&region, 1);
            drop(inner);
            store(&region, 2);
            drop(outer);
            assert_eq!(load(&region), 2);
        }
        "a store of another thread in a window" => {
            let _window = key.stores();
            store(&region, 1);
            bystander.run(move || store(&theirs, 2));
        }
        "a load of a thread that asked for nothing" => bystander.run(move || _ = load(&theirs)),
        "loads of a thread that asked" => {
            let window = key.stores();
            store(&region, 9);
            drop(window);
            bystander.run(move || {
                key.loads();
                assert_eq!(load(&theirs), 9);
                theirs.persist(5 * PAGE..5 * PAGE + 1).unwrap();
                drop(key.stores());
                assert_eq!(load(&theirs), 9);
            });
        }
        "a store without a window in a handler in a window" => interrupted(region, key, false),
        "a window in a handler in a window" => interrupted(region, key, true),
        "a store when the key is gone" => {
            drop(key);
            store(&region, 1);
            bystander.run(move || store(&theirs, 2));
            assert_eq!(load(&region), 2);
        }
        _ => unreachable!("{part}"),
    }
}

#[test]
fn a_window_is_open_for_the_thread_that_opened_it_and_for_nobody_else() {
    if let Some(part) = part() {
        return act(&part);
    }
    if key(&region()).is_none() {
        return;
    }
    let name = "keys::a_window_is_open_for_the_thread_that_opened_it_and_for_nobody_else";
    for (part, ends) in PARTS {
        let output = play(name, part);
        let expected = ends.then_some(libc::SIGSEGV);
        assert_eq!(output.status.signal(), expected, "{part}: {output:?}");
        assert!(ends || output.status.success(), "{part}: {output:?}");
    }
    println!("{} cases of protection keys", PARTS.len());
}

#[test]
fn keys_are_given_back_and_there_are_fifteen_at_most() {
    let region = region();
    if key(&region).is_none() {
        return;
    }
    for round in 0..40 {
        drop(key(&region).unwrap_or_else(|| panic!("none is left in round {round}")));
    }
    // Other tests of this process may have some.
    let page = |n: u64| ProtectionKey::new(region.clone(), n * PAGE..(n + 1) * PAGE).unwrap();
    let taken: Vec<_> = (0..16).map_while(page).collect();
    assert!((1..=15).contains(&taken.len()), "{}", taken.len());
    assert!(ProtectionKey::new(region.clone(), 0..17 * PAGE).is_err());
}
