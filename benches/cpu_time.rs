//! Time that this thread was given by the CPU, as criterion's measurement.
//!
//! A shared machine interrupts a thread for milliseconds at a time; the wall clock counts them, this one does not. It
//! does count waiting for memory, and so flushes and drains.

use criterion::{
    Throughput,
    measurement::{Measurement, ValueFormatter},
};
use std::process::Command;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

/// The CPUs that this program might use before [`pin`].
#[cfg(target_os = "linux")]
static ALLOWED: OnceLock<libc::cpu_set_t> = OnceLock::new();

/// Nanoseconds of CPU time of the calling thread.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one `timespec`.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "the thread's CPU clock cannot be read: {}", std::io::Error::last_os_error());
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs `work`; the nanoseconds of CPU time that it took.
pub fn of(work: impl FnOnce()) -> u64 {
    let before = now();
    work();
    now() - before
}

/// Keeps this thread on one CPU: on the last that it may use, since the first has most of the interrupts, or on the
/// one that `BENCH_CPU` names. The number of it; `None` where the system refuses.
pub fn pin() -> Option<usize> {
    #[cfg(target_os = "linux")]
    {
        let wanted = std::env::var("BENCH_CPU").ok().and_then(|cpu| cpu.parse().ok());
        // SAFETY: `cpu_set_t` is plain bits; both calls stay within the set that they are given.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size_of_val(&set), &mut set) != 0 {
                return None;
            }
            ALLOWED.get_or_init(|| set);
            let last = (0..libc::CPU_SETSIZE as usize).rev().find(|&cpu| libc::CPU_ISSET(cpu, &set))?;
            let cpu = wanted.unwrap_or(last);
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(cpu, &mut set);
            (libc::sched_setaffinity(0, size_of_val(&set), &set) == 0).then_some(cpu)
        }
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Lets a program that is about to be started use every CPU that this one might before [`pin`], which children inherit: it may have
/// threads of its own.
pub fn unpinned(command: &mut Command) -> &mut Command {
    #[cfg(target_os = "linux")]
    if let Some(allowed) = ALLOWED.get().copied() {
        use std::os::unix::process::CommandExt;
        let widen = move || {
            // SAFETY: reads the set, which is a copy of this closure's own.
            match unsafe { libc::sched_setaffinity(0, size_of_val(&allowed), &allowed) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: between fork and exec it makes one system call, and allocates nothing.
        unsafe { command.pre_exec(widen) };
    }
    command
}

/// The measurement for criterion. Values are nanoseconds.
pub struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;
    fn start(&self) -> u64 {
        now()
    }
    fn end(&self, start: u64) -> u64 {
        now() - start
    }
    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }
    fn zero(&self) -> u64 {
        0
    }
    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        &CpuTime
    }
}

impl ValueFormatter for CpuTime {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (factor, unit) = match typical {
            ..1e4 => (1.0, "ns"),
            ..1e7 => (1e-3, "us"),
            _ => (1e-6, "ms"),
        };
        values.iter_mut().for_each(|value| *value *= factor);
        unit
    }
    fn scale_throughputs(&self, _typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (count, unit) = match *throughput {
            Throughput::Bytes(n) | Throughput::BytesDecimal(n) => (n, "MB/s"),
            Throughput::Bits(n) => (n, "Mbit/s"),
            Throughput::Elements(n) | Throughput::ElementsAndBytes { elements: n, .. } => (n, "Melem/s"),
        };
        values.iter_mut().for_each(|value| *value = count as f64 * 1e3 / *value);
        unit
    }
    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "ns"
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn children_of_a_pinned_thread_may_use_every_cpu_all_the_same() {
        let allowed = |command: &mut Command| {
            let output = command.args(["Cpus_allowed_list", "/proc/self/status"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let before = allowed(&mut Command::new("grep"));
        assert!(before.starts_with("Cpus_allowed_list"), "{before}");
        let pinned = std::thread::spawn(move || {
            pin().unwrap();
            (allowed(&mut Command::new("grep")), allowed(unpinned(&mut Command::new("grep"))))
        });
        let (inherited, widened) = pinned.join().unwrap();
        assert_eq!(widened, before);
        assert_eq!(inherited == before, std::thread::available_parallelism().unwrap().get() == 1);
    }
}
