//! A shop's orders, written by version 1 of a program, and version 2 of it that wants more of them.
//!
//! Version 2 migrates in steps, each a transaction. Here it is started as a process of its own, and killed in the middle, again
//! and again; each time the orders are looked at: all of version 1, or all of version 2, never a mixture. Each start
//! goes on where the one before was killed. And version 1, started by mistake afterwards, is told to stay away.

use bytemuck::{Pod, Zeroable};
use pmem_alloc::Step;
use pmem_collections::*;
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

const ORDERS: u64 = 20_000;
/// Orders that are migrated in one transaction.
const STEP: usize = 100;

/// As version 1 had it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct OrderV1 {
    customer: u32,
    cents: u32,
}
impl Plain for OrderV1 {
    const NAME: &'static str = "shop.Order";
    const FIELDS: Option<&'static [PlainField]> = fields!(OrderV1 { customer: u32, cents: u32 });
}

/// Amounts have become larger, and there are currencies.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Order {
    cents: u64,
    customer: u32,
    currency: [u8; 4],
}
impl Plain for Order {
    const NAME: &'static str = "shop.Order";
    const FIELDS: Option<&'static [PlainField]> =
        fields!(Order { cents: u64, customer: u32, currency: [u8; 4] });
}

const ORDERS_V1: Named<PBTreeMap<u64, OrderV1>> = Named::new("orders");
const ORDERS_V2: Named<PBTreeMap<u64, Order>> = Named::new("orders").schema(2);

type AnyError = Box<dyn std::error::Error>;

fn cents(order: u64) -> u32 {
    (order * 7919 % 100_000) as u32
}

/// Version 1 of the program.
fn version_1(path: &Path) -> Result<(), AnyError> {
    // SAFETY: the file is in a folder of this program alone.
    let pool = unsafe { PoolOptions::new().size(8 << 20).layout("shop").open_or_create(path) }?;
    for first in (0..ORDERS).step_by(500) {
        pool.write(|tx| {
            let mut orders = tx.open(ORDERS_V1)?;
            (first..first + 500).try_for_each(|id| {
                let order = OrderV1 { customer: (id % 977) as u32, cents: cents(id) };
                orders.insert(id, order).map(drop)
            })
        })?;
    }
    Ok(())
}

/// Version 2: what it does first, whenever it starts. Says when it has done a step.
fn version_2(path: &Path) -> Result<(), AnyError> {
    // SAFETY: as above.
    let pool = unsafe { PoolOptions::new().layout("shop").open(path) }?;
    pool.migrate_in_steps(ORDERS_V1, ORDERS_V2, |old, new, next: &mut u64| {
        for entry in old.range(*next..)?.take(STEP) {
            let (&id, &OrderV1 { customer, cents }) = entry?;
            new.insert(id, Order { cents: cents.into(), customer, currency: *b"EUR\0" })?;
            *next = id + 1;
        }
        println!("{next}");
        _ = std::io::stdout().flush();
        Ok(if *next == ORDERS { Step::Done } else { Step::More })
    })?;
    pool.close()?;
    Ok(())
}

/// Looks at the orders, of whichever version; returns that.
fn audit(path: &Path) -> Result<u32, AnyError> {
    // SAFETY: as above.
    let pool = unsafe { PoolOptions::new().layout("shop").open(path) }?;
    pool.register::<PBTreeMap<u64, OrderV1>>();
    pool.register::<PBTreeMap<u64, Order>>();
    let report = pool.check()?;
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
    let tx = pool.read()?;
    let (version, all): (u32, Vec<(u64, u64)>) = match tx.open(ORDERS_V2) {
        Ok(orders) => {
            let all = orders.iter().map(|entry| entry.map(|(&id, order)| (id, order.cents)));
            (2, all.collect::<Result<_>>()?)
        }
        Err(e) if matches!(e.kind(), ErrorKind::OlderSchema { .. }) => {
            let orders = tx.open(ORDERS_V1)?;
            let all = orders.iter().map(|entry| entry.map(|(&id, order)| (id, u64::from(order.cents))));
            (1, all.collect::<Result<_>>()?)
        }
        Err(e) => return Err(e.into()),
    };
    assert!(all.iter().copied().eq((0..ORDERS).map(|id| (id, u64::from(cents(id))))));
    Ok(version)
}

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(_version_2), Some(path)) = (arguments.next(), arguments.next()) {
        return version_2(Path::new(&path));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop");
    version_1(&path)?;
    println!("version 1 has {ORDERS} orders");
    let mut random = fastrand::Rng::new();
    let mut kills = 0;
    loop {
        let mut program = Command::new(std::env::current_exe()?)
            .arg("version-2")
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut steps = BufReader::new(program.stdout.take().expect("piped")).lines();
        let until = random.usize(1..80);
        let done = steps.by_ref().take(until).map_while(std::io::Result::ok).last().unwrap_or_default();
        let is_over = done.parse() == Ok(ORDERS);
        if !is_over {
            program.kill()?;
            kills += 1;
        }
        program.wait()?;
        let version = audit(&path)?;
        match version {
            1 => println!("killed after {done} orders: the orders are those of version 1, all of them"),
            _ => break,
        }
    }
    println!("version 2 has {ORDERS} orders, after {kills} kills");
    // SAFETY: as above.
    let pool = unsafe { PoolOptions::new().open(&path) }?;
    let too_old = pool.read()?.open(ORDERS_V1).map(drop).unwrap_err();
    println!("version 1 is told: {too_old}");
    Ok(())
}
