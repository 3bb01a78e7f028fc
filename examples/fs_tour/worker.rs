//! The process that is killed: works on the volume and in the map, and says what is done.

use crate::{Result, SQUARES, mount, open_pool, tree};
use std::{
    io::{self, Read, Write},
    path::Path,
};

/// More than anybody waits for.
const MOST: u64 = 4000;

/// Goes on with step number `step`, until it is killed.
pub(crate) fn run(image: &Path, step: &str) -> Result<()> {
    let nova = mount(image)?;
    let pool = open_pool(&nova)?;
    let first: u64 = step.parse()?;
    for step in first..first + MOST {
        tree::perform(&nova, step)?;
        say(&format!("tree {}", step + 1))?; // durable: from here on it must never be lost
        let count = pool.write(|tx| {
            let mut squares = tx.open(SQUARES)?;
            let root = squares.len() as u64;
            squares.insert(root, root * root)?;
            Ok(root + 1)
        })?;
        say(&format!("map {count}"))?;
    }
    io::stdin().read_to_end(&mut Vec::new())?; // nothing left to do: waits
    Ok(())
}

/// One line, by one `write`: it arrives as a whole or not at all.
fn say(what: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{what}\n").as_bytes())?;
    out.flush()
}
