//! What a worker tells its parent over a pipe, a line each.
//!
//! A line is one `write`, and short: it arrives as a whole or not at all, also when the worker is killed. What
//! the worker said before it was killed stays in the pipe.

use std::{fmt, str::FromStr};

/// What a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// It works on a file: its transaction is open.
    Working { file: u32, round: u32 },
    /// The next thing it does is to commit that transaction.
    Committing { file: u32, round: u32 },
    /// The commit has returned: from here on, the file's new entries must never be lost.
    Committed { file: u32, round: u32, lines: u64, drains: u64, nanoseconds: u64 },
    /// All is done; the pool will be closed.
    Closing,
}

impl Message {
    /// The file it is about.
    pub(crate) fn file(&self) -> Option<usize> {
        match *self {
            Message::Working { file, .. }
            | Message::Committing { file, .. }
            | Message::Committed { file, .. } => Some(file as usize),
            Message::Closing => None,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Working { file, round } => write!(f, "working {file} {round}"),
            Message::Committing { file, round } => write!(f, "committing {file} {round}"),
            Message::Committed { file, round, lines, drains, nanoseconds } => {
                write!(f, "committed {file} {round} {lines} {drains} {nanoseconds}")
            }
            Message::Closing => f.write_str("closing"),
        }
    }
}

impl FromStr for Message {
    type Err = String;
    fn from_str(line: &str) -> Result<Message, String> {
        let unknown = || format!("a worker said {line:?}, which means nothing");
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers = rest.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
        match (verb, numbers.map_err(|_| unknown())?.as_slice()) {
            ("working", &[file, round]) => Ok(Message::Working { file: file as u32, round: round as u32 }),
            ("committing", &[file, round]) => {
                Ok(Message::Committing { file: file as u32, round: round as u32 })
            }
            ("committed", &[file, round, lines, drains, nanoseconds]) => {
                Ok(Message::Committed { file: file as u32, round: round as u32, lines, drains, nanoseconds })
            }
            ("closing", []) => Ok(Message::Closing),
            _ => Err(unknown()),
        }
    }
}
