//! The process that kills: starts workers, ends each at a random moment, and looks at what is left.

use crate::{
    Arguments, Result,
    corpus::Corpus,
    hold::Hold,
    messages::Message,
    progress::Progress,
    verify::{Acknowledged, Found, verify},
};
use std::{
    io::{self, BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Where a kill found the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In a transaction, before its commit.
    Before,
    /// In a commit: begun, not acknowledged.
    Inside,
    /// After an acknowledgement.
    After,
}

/// Kills that have landed, and what the workers did.
#[derive(Default)]
pub(crate) struct Score {
    pub(crate) before: u32,
    pub(crate) inside: u32,
    pub(crate) after: u32,
    /// Commits in doubt that turned out to have happened.
    pub(crate) in_doubt_committed: u32,
    /// Acknowledged transactions, their lines and drains.
    pub(crate) transactions: u64,
    pub(crate) lines: u64,
    pub(crate) drains: u64,
    /// How long a commit takes for each word of its file, by the last one.
    nanoseconds_a_word: f64,
}

impl Score {
    pub(crate) fn kills(&self) -> u32 {
        self.before + self.inside + self.after
    }

    /// About as many stores, flushes and drains as a commit has: at least its lines.
    fn events(&self) -> u32 {
        (self.lines / self.transactions.max(1)).clamp(8, 100_000) as u32
    }

    fn hear(&mut self, message: &Message, corpus: &Corpus) {
        if let Message::Committed { file, lines, drains, nanoseconds, .. } = *message {
            self.transactions += 1;
            self.lines += lines;
            self.drains += drains;
            self.nanoseconds_a_word = nanoseconds as f64 / corpus.seen[file as usize].words as f64;
        }
    }
}

/// When to kill: a while after some message, counted from the life's first acknowledged transaction.
struct Moment {
    /// The worker stands still after so many events of the commit that the message begins.
    events: Option<u32>,
    /// Only a message that a commit begins will do.
    commit: bool,
    /// How many such messages to let pass.
    skip: u32,
    /// How long after it, as a part of a commit's time.
    delay: f64,
}

impl Moment {
    /// `commit`: in a commit, at one of its first `events` stores, flushes and drains; else anywhere.
    fn random(rng: &mut fastrand::Rng, files: usize, commit: bool, events: u32) -> Moment {
        let skip = rng.u32(0..files.clamp(4, 50) as u32);
        if commit {
            Moment { events: Some(rng.u32(1..=events)), commit, skip, delay: rng.f64() * 3.0 }
        } else if rng.bool() {
            Moment { events: None, commit: true, skip, delay: rng.f64() * 1.3 }
        } else {
            // Three messages a transaction.
            Moment { events: None, commit, skip: skip * 3, delay: rng.f64() * 5.0 }
        }
    }
}

/// Runs workers until enough of them were killed, a quarter inside a commit, then one to the end. Returns the last look
/// at the pool.
pub(crate) fn run(
    arguments: &Arguments,
    corpus: &Corpus,
    path: &Path,
    mut acknowledged: Acknowledged,
) -> Result<(Score, Found)> {
    let mut rng = fastrand::Rng::with_seed(arguments.seed);
    let mut score = Score::default();
    let progress = Progress::new(arguments.kills);
    let mut lives = 0;
    while score.kills() < arguments.kills || score.inside * 4 < score.kills() {
        lives += 1;
        if lives > 20 + 10 * arguments.kills {
            return Err(format!("{lives} workers, and only {} kills inside a commit", score.inside).into());
        }
        // A quarter must land inside a commit: whoever is behind aims there.
        let aim = score.inside * 4 <= score.kills();
        let moment = Moment::random(&mut rng, corpus.files.len(), aim, score.events());
        let before = score.transactions;
        let phase = life(path, corpus, Some(moment), &mut acknowledged, &mut score)?
            .ok_or("a worker ended by itself, although it was told to go on for ever")?;
        match phase {
            Phase::Before => score.before += 1,
            Phase::Inside => score.inside += 1,
            Phase::After => score.after += 1,
        }
        let found = verify(path, corpus, &mut acknowledged)?;
        score.in_doubt_committed += u32::from(found.in_doubt_committed == Some(true));
        progress.kill(score.kills(), phase, score.transactions - before, &found);
        if !found.differences.is_empty() {
            return Ok((score, found));
        }
    }
    progress.finish();
    life(path, corpus, None, &mut acknowledged, &mut score)?;
    let found = verify(path, corpus, &mut acknowledged)?;
    Ok((score, found))
}

/// One worker, from its start to its death. `None` as moment: it may finish, and `None` is where it was killed.
fn life(
    path: &Path,
    corpus: &Corpus,
    moment: Option<Moment>,
    acknowledged: &mut Acknowledged,
    score: &mut Score,
) -> Result<Option<Phase>> {
    let hold = moment.as_ref().and_then(|m| Some(Hold { commits: m.skip + 1, events: m.events? }));
    let mut worker = Worker::start(path, corpus, moment.is_none(), hold)?;
    let mut to_skip = moment.as_ref().map(|moment| moment.skip);
    let (mut committed, mut last) = (false, None);
    let mut line = String::new();
    loop {
        line.clear();
        worker.messages.read_line(&mut line)?;
        let Some(whole) = line.strip_suffix('\n') else { break }; // the pipe is at its end
        let message: Message = whole.parse()?;
        if committed && let Some(moment) = &moment {
            let counts = !moment.commit || matches!(message, Message::Committing { .. });
            match &mut to_skip {
                Some(0) if counts => {
                    let commit = score.nanoseconds_a_word
                        * message.file().map_or(0, |id| corpus.seen[id].words) as f64;
                    wait(moment.delay * commit);
                    worker.process.kill()?;
                    to_skip = None; // what it said before is still to be read
                }
                Some(n) if counts => *n -= 1,
                _ => {}
            }
        }
        acknowledged.hear(&message);
        score.hear(&message, corpus);
        committed |= matches!(message, Message::Committed { .. });
        last = Some(message);
    }
    let status = worker.process.wait()?;
    let killed = status.signal() == Some(9) && moment.is_some();
    match last {
        Some(Message::Working { .. }) if killed => Ok(Some(Phase::Before)),
        Some(Message::Committing { .. }) if killed => Ok(Some(Phase::Inside)),
        Some(Message::Committed { .. }) if killed => Ok(Some(Phase::After)),
        _ if status.success() => Ok(None),
        _ => Err(format!(
            "a worker failed ({status}), what it said is above; nothing was lost. If there was no room, give a \
             larger pool with --size"
        )
        .into()),
    }
}

/// Far less than a scheduler's tick, so without sleeping.
fn wait(nanoseconds: f64) {
    let (start, time) = (Instant::now(), Duration::from_nanos(nanoseconds as u64));
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// This program again, as a worker.
struct Worker {
    process: Child,
    messages: BufReader<std::process::ChildStdout>,
}

impl Worker {
    fn start(path: &Path, corpus: &Corpus, finish: bool, hold: Option<Hold>) -> Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--worker").arg("--pool").arg(path);
        if finish {
            command.arg("--finish");
        }
        if let Some(hold) = hold {
            command.arg("--hold").arg(hold.to_string());
        }
        let mut process = command
            .arg("--")
            .arg(&corpus.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a worker: {error}"))?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let worker = Worker { process, messages: BufReader::new(stdout.ok_or("a worker without a pipe")?) };
        corpus.write_names(io::BufWriter::new(stdin.ok_or("a worker without a pipe")?))?;
        Ok(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Only after an error: otherwise it has ended, and both do nothing.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
