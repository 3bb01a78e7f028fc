//! A bank whose machine is lost: three servers, a primary in a process of its own, a follower here. The primary is killed in the middle of
//! its transfers; the follower is promoted, has every transfer that was acknowledged, and goes on.
//!
//! `cargo run --release --example replicated_bank` (needs `nats-server`; says so where it is missing)

#[path = "../tests/cluster/mod.rs"]
mod cluster;

use cluster::{Cluster, INSTALL};
use pmem_alloc::{Named, Pool, PoolOptions};
use pmem_collections::{PBTreeMap, PCell};
use pmem_replica::{Config, Error, Follower, Mode, Primary};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const ACCOUNTS: u64 = 100;
const START: u64 = 1_000;
const BALANCES: Named<'static, PBTreeMap<u64, u64>> = Named::new("balances");
const DONE: Named<'static, PCell<u64>> = Named::new("transfers");

fn config(servers: &str) -> Config {
    let mode = Mode::Sync { timeout: Duration::from_secs(20) };
    Config::new(servers, "bank").mode(mode).lease(Duration::from_secs(3))
}

fn open_bank(pool: &Pool) -> Outcome {
    Ok(pool.write(|tx| {
        let mut balances = tx.open(BALANCES)?;
        (0..ACCOUNTS).try_for_each(|account| balances.insert(account, START).map(drop))?;
        tx.open(DONE)?.set(0)
    })?)
}

/// One transfer, counted. Acknowledged when the stream has it.
fn transfer(pool: &Pool) -> Outcome<u64> {
    Ok(pool.write(|tx| {
        let mut done = tx.open(DONE)?;
        let number = *done.get()? + 1;
        done.set(number)?;
        let mut balances = tx.open(BALANCES)?;
        let (from, to) = (number % ACCOUNTS, number * 7 % ACCOUNTS);
        let amount = (number % 50).min(balances.get(from)?.copied().unwrap_or(0));
        *balances.entry(from).or_insert(0)? -= amount;
        *balances.entry(to).or_insert(0)? += amount;
        Ok(number)
    })?)
}

/// Transfers that a pool has seen, and all of its money.
fn audit(pool: &Pool) -> Outcome<(u64, u64)> {
    let tx = pool.read()?;
    let balances = tx.open(BALANCES)?;
    let mut total = 0;
    for account in 0..ACCOUNTS {
        total += balances.get(account)?.copied().unwrap_or(0);
    }
    Ok((*tx.open(DONE)?.get()?, total))
}

/// The primary's process: transfers until it is killed.
fn work(path: &str, servers: &str) -> Outcome {
    // SAFETY: one process after the other has this file.
    let primary = unsafe { Primary::open(path, &PoolOptions::new(), &config(servers)) }?;
    let mut out = std::io::stdout();
    loop {
        let number = transfer(primary.pool())?;
        writeln!(out, "{number}")?;
    }
}

/// Starts it, lets it work, kills it. The last transfer that it said was acknowledged.
fn work_and_be_killed(path: &Path, servers: &str, during: Duration) -> Outcome<u64> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("work")
        .arg(path)
        .arg(servers)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let first = lines.next();
    let reader = std::thread::spawn(move || lines.last());
    std::thread::sleep(during);
    child.kill()?;
    child.wait()?;
    let last = reader.join().expect("a reader of lines").or(first);
    Ok(last.and_then(|line| line.parse().ok()).ok_or("the primary did not begin")?)
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path, servers] = &arguments[..]
        && role == "work"
    {
        return work(path, servers);
    }
    let started = Instant::now();
    let Some(cluster) = Cluster::start() else {
        println!("{INSTALL}");
        return Ok(());
    };
    println!("three servers: {}", cluster.url());
    let folder = tempfile::tempdir()?;
    let (path, copy) = (folder.path().join("bank.pool"), folder.path().join("copy.pool"));
    let config = config(&cluster.url());
    // SAFETY: (all) files of this program alone.
    let primary = unsafe { Primary::create(&path, &PoolOptions::new(), &config) }?;
    open_bank(primary.pool())?;
    // SAFETY: as above.
    unsafe { primary.seed(&copy, "copy") }?;
    drop(primary);
    // SAFETY: as above.
    let follower = unsafe { Follower::open(&copy, &PoolOptions::new(), &config, "copy") }?;
    println!(
        "{ACCOUNTS} accounts with {START} each; a follower was seeded at record {}",
        follower.status().record
    );

    let acknowledged = work_and_be_killed(&path, &cluster.url(), Duration::from_secs(2))?;
    println!("the primary acknowledged {acknowledged} transfers, and was killed");

    // SAFETY: as above.
    let (primary, promotion) = unsafe { follower.promote(&PoolOptions::new()) }?;
    let (transfers, total) = audit(primary.pool())?;
    println!(
        "promoted in {:.1?}: term {}, {transfers} transfers, {total} in all accounts",
        promotion.took, promotion.term
    );
    if transfers < acknowledged || total != ACCOUNTS * START {
        return Err(format!("{transfers} of {acknowledged} transfers, {total} in all accounts").into());
    }
    let more = transfer(primary.pool())?;
    println!("transfer {more} is the new primary's");
    // SAFETY: as above.
    match unsafe { Primary::open(&path, &PoolOptions::new(), &config) } {
        Err(fenced @ Error::Fenced { .. }) => println!("the old primary, when it comes back: {fenced}"),
        opened => return Err(format!("the old primary came back: {opened:?}").into()),
    }
    println!("balances are right; {:.1?}", started.elapsed());
    Ok(())
}
