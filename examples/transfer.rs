//! Money moves between accounts; a transfer that cannot be made is rolled back by returning early.
//!
//! `Pool::transact` takes the program's own error type, as long as the pool's errors convert into it.

use pmem_collections::*;

#[derive(Debug, thiserror::Error)]
enum BankError {
    #[error("there is no account {0}")]
    NoAccount(u32),
    #[error("account {0} has only {1}")]
    TooPoor(u32, i64),
    #[error(transparent)]
    Pool(#[from] Error),
}

type Accounts = PBTreeMap<u32, i64>;

fn transfer(pool: &Pool, from: u32, to: u32, cents: i64) -> Result<i64, BankError> {
    pool.transact(|tx| {
        let mut accounts = tx.open::<Accounts>("accounts")?;
        *accounts.get_mut(to)?.ok_or(BankError::NoAccount(to))? += cents;
        let balance = accounts.get_mut(from)?.ok_or(BankError::NoAccount(from))?;
        *balance -= cents;
        if *balance < 0 {
            return Err(BankError::TooPoor(from, *balance + cents)); // the credit above is undone
        }
        Ok(*balance)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (ada, bob) = (1, 2);
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| tx.open::<Accounts>("accounts")?.extend([(ada, 100), (bob, 0)]))?;

    println!("Ada gives Bob 30, and has {} left", transfer(&pool, ada, bob, 30)?);
    for refused in [transfer(&pool, bob, ada, 500), transfer(&pool, ada, 3, 10)] {
        println!("refused: {}", refused.expect_err("it cannot be made"));
    }

    let tx = pool.read()?;
    let accounts = tx.open::<Accounts>("accounts")?;
    assert_eq!((accounts.get(ada)?, accounts.get(bob)?), (Some(&70), Some(&30)));
    Ok(())
}
