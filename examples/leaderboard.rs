//! A leaderboard: who has how many points, and who is where. Two containers, an ordered map by points and a hash map by name,
//! which are changed in one transaction, and so never disagree.
//!
//! The board is a file, given as the argument or in the temporary folder; run it again, and the game goes on. It plays some rounds
//! of a game, half of which are called off, and checks at the end that both containers say the same.

use pmem_collections::*;
use std::path::PathBuf;

/// Points by name.
const POINTS: Named<PHashMap<String, u64>> = Named::new("points");
/// Names by points: the key has the name too, for several may have the same.
const RANKING: Named<PBTreeMap<(u64, String), ()>> = Named::new("ranking");

/// `name` gets `more` points.
fn score(tx: &mut WriteTx<'_>, name: &str, more: u64) -> Result<u64> {
    let (mut points, mut ranking) = (tx.open(POINTS)?, tx.open(RANKING)?);
    let before = points.get(name)?.copied();
    if let Some(before) = before {
        ranking.remove((before, name))?;
    }
    let now = before.unwrap_or(0) + more;
    points.insert(name, now)?;
    ranking.insert((now, name), ())?;
    Ok(now)
}

/// A round: everybody gets some points, all of them or none.
fn round(pool: &Pool, names: &[&str], random: &mut fastrand::Rng) -> Result<()> {
    pool.write(|tx| {
        for name in names {
            score(tx, name, random.u64(..100))?;
        }
        if random.bool() { Err(Error::abort("somebody looked at the cards")) } else { Ok(()) }
    })
}

/// The best, and whether both containers say the same.
fn print_best(pool: &Pool, count: usize) -> Result<()> {
    let tx = pool.read()?;
    let (points, ranking) = (tx.open(POINTS)?, tx.open(RANKING)?);
    for (place, entry) in (1..).zip(ranking.iter().rev().take(count)) {
        let ((score, name), _) = entry?;
        println!("{place:>2}. {name:<8} {score:>6}");
    }
    assert_eq!(points.len(), ranking.len());
    for entry in points.iter() {
        let (name, score) = entry?;
        assert!(ranking.contains_key((*score, name))?, "{name} has {score} in one only");
    }
    points.check()?;
    ranking.check()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let scratch = tempfile::tempdir()?;
    let path = path.unwrap_or_else(|| scratch.path().join("leaderboard.pool"));
    let options = PoolOptions::new().layout("leaderboard");
    // SAFETY: no other program changes the file; a second pool on it is refused by the lock.
    let pool =
        unsafe { if path.exists() { options.open(&path)? } else { options.size(16 << 20).create(&path)? } };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut played, mut called_off) = (0, 0);
    for _ in 0..200 {
        match round(&pool, &["Ada", "Barbara", "Edsger", "Grace", "Niklaus"], &mut random) {
            Ok(()) => played += 1,
            Err(error) if matches!(error.kind(), ErrorKind::Aborted(_)) => called_off += 1,
            Err(error) => return Err(error.into()),
        }
    }
    println!("{played} rounds played, {called_off} called off and rolled back");
    print_best(&pool, 3)?;
    pool.close()?;
    Ok(())
}
