//! A bank whose clerk is killed in the middle of the day, every day. What it has acknowledged is in the books, and the
//! money adds up.
//!
//! An order is a list of transfers from one account. Each transfer is a savepoint: one that cannot be made is undone, and the order goes
//! on; an order of which none can be made ends early, and leaves nothing. The books have a row for every order that was
//! carried out: the audit reads them beside the clerk, and adds them up from the beginning.

use pmem_collections::*;
use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

#[derive(Debug, thiserror::Error)]
enum BankError {
    #[error("there is no account {0}")]
    NoAccount(u32),
    #[error("account {0} has only {1}")]
    TooPoor(u32, i64),
    #[error("none of the transfers can be made")]
    NothingToDo,
    #[error(transparent)]
    Pool(#[from] Error),
}

type Result<T, E = BankError> = std::result::Result<T, E>;

type Accounts = PBTreeMap<u32, i64>;
/// For each order that was carried out: its number, and what went from its account.
type Books = PBTreeMap<u64, [i64; 2]>;

const ACCOUNTS: u32 = 100;
const OPENING: i64 = 1000;

struct Order {
    number: u64,
    from: u32,
    transfers: Vec<(u32, i64)>,
}

impl Order {
    /// The same number, the same order. Some are for accounts that do not exist, or for more than there is.
    fn new(number: u64) -> Order {
        let mut rng = fastrand::Rng::with_seed(number);
        let transfers = (0..rng.usize(1..4)).map(|_| (rng.u32(0..ACCOUNTS + 10), rng.i64(1..400))).collect();
        Order { number, from: rng.u32(0..ACCOUNTS), transfers }
    }
}

struct Bank {
    pool: Pool,
}

impl Bank {
    fn open(path: &Path) -> Result<Bank> {
        // SAFETY: nobody else writes or truncates this file; other mappings are kept out by a lock.
        let pool = unsafe { PoolOptions::new().size(8 << 20).layout("bank").open_or_create(path) }?;
        pool.write(|tx| {
            let mut accounts = tx.open::<Accounts>("accounts")?;
            if accounts.is_empty() {
                accounts.extend((0..ACCOUNTS).map(|account| (account, OPENING)))?;
            }
            tx.open::<Books>("books").map(drop)
        })?;
        Ok(Bank { pool })
    }

    /// Durable when it returns: one drain, however many transfers.
    fn carry_out(&self, order: &Order) -> Result<i64> {
        self.pool.transact(|tx| {
            let mut sent = 0;
            for &(to, cents) in &order.transfers {
                let savepoint = tx.savepoint();
                match transfer(tx, order.from, to, cents) {
                    Ok(()) => sent += cents,
                    Err(BankError::Pool(error)) => return Err(error.into()),
                    Err(_) => tx.rollback_to(&savepoint)?, // the next one may be possible
                }
            }
            if sent == 0 {
                return Err(BankError::NothingToDo);
            }
            tx.open::<Books>("books")?.insert(order.number, [order.from.into(), sent])?;
            Ok(sent)
        })
    }

    /// How many orders are in the books; the last one's number. While it reads, the clerk may go on.
    fn audit(&self) -> Result<(u64, u64)> {
        let tx = self.pool.read()?;
        let (accounts, books) = (tx.open::<Accounts>("accounts")?, tx.open::<Books>("books")?);
        let mut expected = vec![OPENING; ACCOUNTS as usize];
        let (mut orders, mut last) = (0, 0);
        for row in books.iter() {
            let (&number, &[from, sent]) = row?;
            let order = Order::new(number);
            let mut again = 0;
            for (to, cents) in order.transfers {
                if to < ACCOUNTS && expected[order.from as usize] >= cents {
                    expected[order.from as usize] -= cents;
                    expected[to as usize] += cents;
                    again += cents;
                }
            }
            assert_eq!((from, sent), (order.from.into(), again), "order {number} was carried out in part");
            (orders, last) = (orders + 1, number);
        }
        let mut sum = 0;
        for row in accounts.iter() {
            let (&account, &cents) = row?;
            assert_eq!(cents, expected[account as usize], "account {account} is not what the books say");
            sum += cents;
        }
        assert_eq!(sum, i64::from(ACCOUNTS) * OPENING, "money came or went");
        Ok((orders, last))
    }
}

fn transfer(tx: &WriteTx<'_>, from: u32, to: u32, cents: i64) -> Result<()> {
    let mut accounts = tx.open::<Accounts>("accounts")?;
    let balance = accounts.get_mut(from)?.ok_or(BankError::NoAccount(from))?;
    *balance -= cents;
    if *balance < 0 {
        return Err(BankError::TooPoor(from, *balance + cents));
    }
    *accounts.get_mut(to)?.ok_or(BankError::NoAccount(to))? += cents;
    Ok(())
}

/// Carries out one order after the other, and says which it has done with, until it is killed.
fn work(path: &Path) -> Result<()> {
    let bank = Bank::open(path)?;
    let first = bank.audit()?.1 + 1;
    for number in first.. {
        match bank.carry_out(&Order::new(number)) {
            Ok(_) => println!("{number}"),
            Err(BankError::Pool(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = env::args_os().nth(1) {
        return Ok(work(Path::new(&path))?);
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bank.pool");
    let mut orders = 0;
    for day in 1..=8 {
        let mut clerk = Command::new(env::current_exe()?).arg(&path).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(clerk.stdout.take().expect("it is piped"));
        let ear = thread::spawn(move || said.lines().map_while(|line| line.ok()?.parse::<u64>().ok()).last());
        thread::sleep(Duration::from_millis(fastrand::u64(20..150)));
        clerk.kill()?; // SIGKILL
        clerk.wait()?;
        let acknowledged = ear.join().expect("it only listens").unwrap_or(0);

        let bank = Bank::open(&path)?; // recovers
        let (in_the_books, last) = bank.audit()?;
        assert!(last >= acknowledged, "order {acknowledged} was acknowledged, the books end with {last}");
        assert!(in_the_books >= orders, "day {day} lost orders of an earlier one");
        orders = in_the_books;
        // The audit beside a clerk: it sees whole orders only.
        thread::scope(|scope| {
            scope.spawn(|| (last + 1..last + 50).for_each(|number| _ = bank.carry_out(&Order::new(number))));
            (0..5).try_for_each(|_| bank.audit().map(drop))
        })?;
        orders = orders.max(bank.audit()?.0);
    }
    println!("8 days, 8 kills: {orders} orders in the books, and all of the money is there");
    Ok(())
}
