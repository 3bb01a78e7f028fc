//! Handlers that run in the signal handler, and observers that are told when a region comes and goes.

use pmem_map::{Error, Event, MapOptions, Mapping, Observer, PAGE, Region, StoreHook, hook_stores};
use std::{
    ffi::c_void,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

/// Held by those that need a place in the table, while one of them takes all.
static PLACES: Mutex<()> = Mutex::new(());

fn protect(page: usize, protection: i32) {
    // SAFETY: a page of a mapping that is alive, and that nothing but this test uses.
    assert_eq!(unsafe { libc::mprotect(page as *mut c_void, PAGE as usize, protection) }, 0);
}

/// Lets one store after the other through, by single step; counts them.
struct Counts {
    pages: Range<usize>,
    stores: AtomicUsize,
    steps: AtomicUsize,
}

impl Counts {
    fn of(region: &Region) -> Arc<Counts> {
        let base = region.base().as_ptr() as usize;
        let pages = base..base + region.len() as usize;
        Arc::new(Counts { pages, stores: AtomicUsize::new(0), steps: AtomicUsize::new(0) })
    }
}

const TRAP: i64 = 0x100;

// SAFETY: system calls and atomics only.
unsafe impl StoreHook for Counts {
    unsafe fn store(&self, address: usize, context: *mut c_void) -> bool {
        assert!(self.pages.contains(&address));
        self.stores.fetch_add(1, SeqCst);
        protect(address / PAGE as usize * PAGE as usize, libc::PROT_READ | libc::PROT_WRITE);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the signal handler's third argument.
        unsafe {
            (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_EFL as usize] |= TRAP;
        }
        true
    }

    unsafe fn stepped(&self, context: *mut c_void) -> bool {
        self.steps.fetch_add(1, SeqCst);
        self.pages.clone().step_by(PAGE as usize).for_each(|page| protect(page, libc::PROT_READ));
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        unsafe {
            (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_EFL as usize] &= !TRAP;
        }
        true
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_hook_sees_every_store_to_its_pages_and_can_step_over_it() {
    let _places = PLACES.lock().unwrap();
    let mapping = Mapping::memfd(2 * PAGE).unwrap();
    let counts = Counts::of(&mapping);
    let hook = hook_stores(counts.pages.clone(), counts.clone()).unwrap();
    mapping.protect(0..2 * PAGE).unwrap();
    let word = |n: usize| mapping.base().as_ptr().cast::<u64>().wrapping_add(n);
    for n in 0..20 {
        // SAFETY: in the mapping, and nobody else uses it.
        unsafe { word(n * 50).write_volatile(n as u64) };
    }
    assert_eq!((counts.stores.load(SeqCst), counts.steps.load(SeqCst)), (20, 20));
    mapping.unprotect(0..2 * PAGE).unwrap();
    drop(hook);
    // SAFETY: as above.
    unsafe { word(0).write_volatile(7) };
    assert_eq!(counts.stores.load(SeqCst), 20);
    assert_eq!(Arc::strong_count(&counts), 1, "a hook that is gone is let go");
}

#[test]
fn places_for_hooks_run_out_with_an_error_and_are_used_again() {
    let _places = PLACES.lock().unwrap();
    let mapping = Mapping::memfd(PAGE).unwrap();
    let counts = Counts::of(&mapping);
    let fill = || {
        let mut hooks = Vec::new();
        loop {
            match hook_stores(0..1, counts.clone()) {
                Ok(hook) => hooks.push(hook),
                Err(error) => return (hooks.len(), error),
            }
        }
    };
    let (first, error) = fill();
    assert!(
        first > 100 && matches!(error, Error::TooManyFaultHandlers { .. }),
        "{first} hooks, then {error}"
    );
    assert!(fill().0 > 100);
}

#[derive(Default)]
struct Tells(Mutex<Vec<&'static str>>);

impl Observer for Tells {
    fn event(&self, _: &Region, event: Event<'_>) {
        self.0.lock().unwrap().push(if matches!(event, Event::NameCreated) { "created" } else { "event" });
    }
    fn attached(&self, region: &Region) {
        assert!(region.len() > 0);
        self.0.lock().unwrap().push("attached");
    }
    fn detached(&self, region: &Region) {
        // It is mapped still.
        // SAFETY: the first byte of a region that nobody stores to.
        assert_eq!(unsafe { region.base().as_ptr().read() }, 0);
        self.0.lock().unwrap().push("detached");
    }
}

#[test]
fn an_observer_is_told_first_that_a_region_is_there_and_last_that_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let tells = Arc::new(Tells::default());
    let options = MapOptions::new().len(PAGE).create(true).observer(tells.clone());
    // SAFETY: nobody else knows the file.
    let mapping = unsafe { options.open(folder.path().join("file")) }.unwrap();
    drop(mapping);
    let told = tells.0.lock().unwrap().clone();
    assert_eq!((told[0], told[told.len() - 1]), ("attached", "detached"), "{told:?}");
    assert!(told.contains(&"created"));

    let tells = Arc::new(Tells::default());
    let mapping = Mapping::anonymous(PAGE).unwrap();
    assert!(mapping.observe(tells.clone()).is_ok());
    let region = mapping.into_region();
    region.drain().unwrap();
    drop(region);
    assert_eq!(*tells.0.lock().unwrap(), ["attached", "event", "event", "detached"]);
}

#[test]
fn bytes_are_filled_from_a_reader_as_far_as_it_goes() {
    let mut mapping = Mapping::anonymous(4 * PAGE).unwrap();
    let source: Vec<u8> = (0..3 * PAGE).map(|n| n as u8 | 1).collect();
    assert_eq!(mapping.read_from(100, 2 * PAGE + 1, &mut &source[..]).unwrap(), 2 * PAGE + 1);
    assert_eq!(mapping.as_slice()[100..][..2 * PAGE as usize + 1], source[..2 * PAGE as usize + 1]);
    assert_eq!(mapping.as_slice()[100 + 2 * PAGE as usize + 1], 0);
    assert_eq!(mapping.read_from(0, 4 * PAGE, &mut &source[..]).unwrap(), 3 * PAGE);
    assert!(matches!(mapping.read_from(1, 4 * PAGE, &mut &source[..]), Err(Error::OutOfBounds { .. })));
    struct Fails(usize);
    impl std::io::Read for Fails {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(std::io::ErrorKind::Interrupted.into()),
                2 => {
                    into[0] = 0xfe;
                    Ok(1)
                }
                _ => Err(std::io::Error::other("gone")),
            }
        }
    }
    let error = mapping.read_from(0, 10, &mut Fails(0)).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(mapping.as_slice()[0], 0xfe, "what came before stays");
}
