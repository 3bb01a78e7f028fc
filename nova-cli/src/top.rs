//! `nova top`: what mounts are doing, from the counters that each one's daemon has.

use crate::{Failure, Outcome, attribute, size::Size, umount};
use clap::Args;
use nova_fuse::stats::{ATTRIBUTE, Snapshot};
use serde_json::{Value, json};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};
use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    time::Duration,
};

#[derive(Args)]
pub(crate) struct Top {
    /// Where volumes are mounted; otherwise all that are
    mountpoints: Vec<PathBuf>,
    /// Seconds between two looks
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// Ends after so many looks, of which the first is since the volume was mounted; otherwise when it is interrupted
    #[arg(long)]
    count: Option<u64>,
    /// As JSON: a line for each look
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds are 0.01 to 86400".into()),
    }
}

pub(crate) fn run(args: &Top) -> Outcome {
    let mountpoints = match args.mountpoints.is_empty() {
        true => umount::mounted()?.into_iter().filter(|mountpoint| read(mountpoint).is_ok()).collect(),
        false => args.mountpoints.clone(),
    };
    if mountpoints.is_empty() {
        return Err("no volume is mounted here".into());
    }
    let is_live = !args.json && std::io::stdout().is_terminal() && args.count != Some(1);
    let (sender, asked) = mpsc::channel();
    let mut signals = Signals::new(TERM_SIGNALS)?;
    std::thread::spawn(move || signals.forever().next().map(|signal| sender.send(signal)));
    let mut before: Vec<Option<Snapshot>> = vec![None; mountpoints.len()];
    let mut looks = 0;
    loop {
        let mut said = String::new();
        for (mountpoint, before) in mountpoints.iter().zip(&mut before) {
            let now = match read(mountpoint) {
                Ok(now) => now,
                // Nobody asked for this one by name, and it may have ended.
                Err(_) if args.mountpoints.is_empty() => continue,
                Err(error) => return Err(error),
            };
            // A mount that is another one now begins anew.
            let since = before.take().filter(|before| before.uptime_ns <= now.uptime_ns);
            let shown = since.map_or_else(|| now.clone(), |since| now.since(&since));
            if args.json {
                let _ = writeln!(said, "{}", as_json(mountpoint, &shown));
            } else {
                said += &describe(mountpoint, &shown, now.uptime_ns);
            }
            *before = Some(now);
        }
        let mut out = std::io::stdout().lock();
        if is_live {
            // From the top of a screen that is cleared.
            said.insert_str(0, "\x1b[H\x1b[2J");
        }
        let written = out.write_all(said.as_bytes()).and_then(|()| out.flush());
        looks += 1;
        let is_over = args.count.is_some_and(|count| looks >= count) || written.is_err();
        if is_over || asked.recv_timeout(Duration::from_secs_f64(args.interval)).is_ok() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Asks who serves the mount.
fn read(mountpoint: &Path) -> Result<Snapshot, Failure> {
    let asked = mountpoint.canonicalize().and_then(|mountpoint| attribute::read(&mountpoint, ATTRIBUTE));
    let value = asked
        .map_err(|error| format!("{}: no volume of nova is mounted there ({error})", mountpoint.display()))?;
    Snapshot::parse(&value)
        .map_err(|error| format!("{}: another version serves this: {error}", mountpoint.display()).into())
}

/// Requests in all.
fn requests(shown: &Snapshot) -> u64 {
    shown.latencies().map(|(_, latency)| latency.count).sum()
}

fn describe(mountpoint: &Path, shown: &Snapshot, uptime_ns: u64) -> String {
    let over = (shown.uptime_ns as f64 / 1e9).max(1e-9);
    let rate = |count: u64| count as f64 / over;
    let bytes = |bytes: u64| Size(rate(bytes) as u64).to_string();
    let used = shown.size - shown.free;
    let since = if shown.uptime_ns == uptime_ns { "since it was mounted" } else { "in this interval" };
    let mut out = String::new();
    let up = Duration::from_secs(uptime_ns / 1_000_000_000);
    let _ = writeln!(out, "{}, served for {up:?}; per second, {since}:", mountpoint.display());
    let _ = writeln!(
        out,
        "  requests {:.0}   read {}   written {}   drains {:.0}   lines {:.0}   write-backs {:.0}",
        rate(requests(shown)),
        bytes(shown.bytes_read),
        bytes(shown.bytes_written),
        rate(shown.drains),
        rate(shown.lines),
        rate(shown.syncs),
    );
    let _ = writeln!(
        out,
        "  space {} of {} used ({:.0}%), {} inodes   collected: {} logs anew, {} pages",
        Size(used),
        Size(shown.size),
        used as f64 * 100.0 / shown.size.max(1) as f64,
        shown.inodes,
        shown.rewritten_logs,
        shown.rewritten_pages + shown.dropped_pages,
    );
    let _ = writeln!(out, "  {:<10} {:>10} {:>10} {:>10} {:>10}", "request", "per s", "p50", "p99", "max");
    let mut rows: Vec<_> = shown.latencies().collect();
    rows.sort_by_key(|(_, latency)| std::cmp::Reverse(latency.count));
    for (name, latency) in rows {
        let time = |time: Duration| format!("{time:.1?}");
        let (p50, p99, max) = (time(latency.p50), time(latency.p99), time(latency.max));
        let _ = writeln!(out, "  {name:<10} {:>10.1} {p50:>10} {p99:>10} {max:>10}", rate(latency.count));
    }
    out
}

fn as_json(mountpoint: &Path, shown: &Snapshot) -> Value {
    let operations: serde_json::Map<String, Value> = shown
        .latencies()
        .map(|(name, latency)| {
            let nanoseconds = |time: Duration| time.as_nanos() as u64;
            let said = json!({
                "count": latency.count, "p50_ns": nanoseconds(latency.p50), "p99_ns": nanoseconds(latency.p99),
                "max_ns": nanoseconds(latency.max),
            });
            (name.to_owned(), said)
        })
        .collect();
    json!({
        "mountpoint": mountpoint, "interval_ns": shown.uptime_ns, "requests": requests(shown), "operations": operations,
        "bytes_read": shown.bytes_read, "bytes_written": shown.bytes_written, "drains": shown.drains, "lines": shown.lines,
        "syncs": shown.syncs, "rewritten_logs": shown.rewritten_logs, "rewritten_pages": shown.rewritten_pages,
        "dropped_pages": shown.dropped_pages, "size": shown.size, "free": shown.free, "inodes": shown.inodes,
    })
}
