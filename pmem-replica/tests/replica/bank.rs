//! What the tests replicate: a map of accounts, a counter, and what keeps them honest.

use crate::cluster::{Cluster, INSTALL};
use pmem_alloc::{Named, Pool, PoolOptions};
use pmem_collections::{PBTreeMap, PCell};
use pmem_replica::{Config, Follower, Mode, Primary, Result};
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

pub(crate) const ACCOUNTS: u64 = 64;
pub(crate) const START: u64 = 1_000;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

const BALANCES: Named<'static, PBTreeMap<u64, u64>> = Named::new("balances");
const DONE: Named<'static, PCell<u64>> = Named::new("done");

pub(crate) fn folder() -> tempfile::TempDir {
    // In memory: what is to survive here is processes.
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap()
}

pub(crate) fn options() -> PoolOptions {
    PoolOptions::new().size(4 << 20).max_size(64 << 20).auto_grow(true)
}

/// Servers that nobody hurts, for all tests of this process; `None`, and a word about it, where there are none.
pub(crate) fn servers() -> Option<&'static Cluster> {
    static SERVERS: OnceLock<Option<Cluster>> = OnceLock::new();
    let servers = SERVERS.get_or_init(Cluster::start).as_ref();
    if servers.is_none() {
        println!("SKIPPED: {INSTALL}");
    }
    servers
}

/// Servers of a test's own.
pub(crate) fn own_servers() -> Option<Cluster> {
    let servers = Cluster::start();
    if servers.is_none() {
        println!("SKIPPED: {INSTALL}");
    }
    servers
}

/// A stream of this name and of no other test.
pub(crate) fn config(servers: &Cluster, name: &str) -> Config {
    Config::new(&servers.url(), name).lease(Duration::from_secs(2)).patience(MINUTE)
}

pub(crate) fn sync() -> Mode {
    Mode::Sync { timeout: MINUTE }
}

/// Primary and follower, side by side.
pub(crate) struct Pair {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
}

impl Pair {
    pub(crate) fn new(config: Config) -> Pair {
        Pair { folder: folder(), config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn create(&self) -> Primary {
        // SAFETY: files of one test alone.
        let primary = unsafe { Primary::create(self.path("primary"), &options(), &self.config) }.unwrap();
        open_accounts(primary.pool());
        primary
    }

    pub(crate) fn open(&self) -> Result<Primary> {
        // SAFETY: as above.
        unsafe { Primary::open(self.path("primary"), &options(), &self.config) }
    }

    pub(crate) fn seed(&self, primary: &Primary, name: &str) -> Follower {
        // SAFETY: as above.
        unsafe { primary.seed(self.path(name), name) }.unwrap();
        self.follow(name).unwrap()
    }

    pub(crate) fn follow(&self, name: &str) -> Result<Follower> {
        // SAFETY: as above.
        unsafe { Follower::open(self.path(name), &options(), &self.config, name) }
    }
}

pub(crate) fn open_accounts(pool: &Pool) {
    pool.write(|tx| {
        let mut balances = tx.open(BALANCES)?;
        for account in 0..ACCOUNTS {
            balances.insert(account, START)?;
        }
        tx.open(DONE)?.set(0)
    })
    .unwrap();
}

/// Moves some money and counts it; how many were moved so far. The accounts depend on the number alone.
pub(crate) fn transfer(pool: &Pool) -> pmem_alloc::Result<u64> {
    pool.write(|tx| {
        let mut done = tx.open(DONE)?;
        let number = *done.get()? + 1;
        let mut balances = tx.open(BALANCES)?;
        let (from, to) = (number % ACCOUNTS, number.wrapping_mul(7) % ACCOUNTS);
        let amount = (number % 10).min(balances.get(from)?.copied().unwrap_or(0));
        if from != to {
            *balances.entry(from).or_insert(0)? -= amount;
            *balances.entry(to).or_insert(0)? += amount;
        }
        done.set(number)?;
        Ok(number)
    })
}

/// How many transfers a pool has seen, after a look at whether all of its money is there.
pub(crate) fn audit(pool: &Pool) -> u64 {
    let tx = pool.read().unwrap();
    let balances = tx.open(BALANCES).unwrap();
    let total: u64 = (0..ACCOUNTS).map(|account| balances.get(account).unwrap().unwrap()).sum();
    assert_eq!(total, ACCOUNTS * START, "money was made or lost");
    *tx.open(DONE).unwrap().get().unwrap()
}

/// All balances.
pub(crate) fn balances(pool: &Pool) -> Vec<u64> {
    let tx = pool.read().unwrap();
    let balances = tx.open(BALANCES).unwrap();
    (0..ACCOUNTS).map(|account| *balances.get(account).unwrap().unwrap()).collect()
}

/// What the balances are after this many transfers.
pub(crate) fn expected(transfers: u64) -> Vec<u64> {
    let pool = Pool::anonymous(1 << 20).unwrap();
    open_accounts(&pool);
    (0..transfers).for_each(|_| _ = transfer(&pool).unwrap());
    balances(&pool)
}
