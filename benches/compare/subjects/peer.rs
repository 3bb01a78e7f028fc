//! Other stores, in a program of their own (`benches/peers`), so that nobody compiles them to run a test.
//!
//! `peers serve` reads a JSON object a line and answers each with one:
//!
//! | request | answer |
//! |---|---|
//! | `{"do":"list"}` | `{"peers":[{"peer":"redb","version":"4.6","settings":"...","workloads":["insert",...]},...]}` |
//! | `{"do":"open","peer":"redb","workload":"insert","entries":100000,"threads":1,"seed":1,"folder":"/dev/shm/x","durable":true,"distribution":"zipfian"}` | `{"ok":true}` |
//! | `{"do":"round","operations":10000}` | `{"operations":10000,"ns":123456,"latencies_ns":[...]}`, of a thousand at most |
//! | `{"do":"close"}` | `{"ok":true}` |
//!
//! or `{"error":"why"}`. A peer keeps its state from round to round as the other rows do, and checks it when it is closed.

use super::{keys::Distribution, store::Workload};
use crate::compare::{
    Outcome,
    subject::{Subject, Timing},
};
use pmem_map::Counters;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A peer that hangs is given up after this time.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Peer {
    /// Its name.
    pub peer: String,
    /// Its version.
    pub version: String,
    /// How it is used.
    pub settings: String,
    /// What it can do, by the names of [`Workload`].
    pub workloads: Vec<String>,
}

#[derive(Deserialize)]
struct List {
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Done {
    operations: u64,
    ns: u64,
    latencies_ns: Vec<u64>,
}

/// The program, running.
struct Conversation {
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<std::io::Result<String>>,
}

impl Conversation {
    fn start(program: &Path) -> Outcome<Conversation> {
        let mut child =
            Command::new(program).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(
                |error| format!("{} cannot be run: {error}; --build-peers builds it", program.display()),
            )?;
        let (requests, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Conversation { child, requests, answers })
    }

    fn ask<A: DeserializeOwned>(&mut self, request: &Value) -> Outcome<A> {
        let requests = self.requests.as_mut().ok_or("the peer has ended")?;
        let sent = writeln!(requests, "{request}").and_then(|()| requests.flush());
        sent.map_err(|error| format!("the peer has ended before it could read {request}: {error}"))?;
        let line = match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout) => {
                return Err(
                    format!("the peer has not answered {request} for {} s", PATIENCE.as_secs()).into()
                );
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("the peer has ended without an answer to {request}").into());
            }
        };
        let no_answer = |error| format!("the peer's answer to {request} is none: {error}: {line}");
        let answer: Value = serde_json::from_str(&line).map_err(no_answer)?;
        match answer.get("error") {
            Some(error) => Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned).into()),
            None => Ok(serde_json::from_value(answer).map_err(no_answer)?),
        }
    }

    fn close(&mut self) -> Outcome<()> {
        self.ask::<Value>(&json!({ "do": "close" })).map(drop)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The end of its input ends it; and if it hangs, this does.
        drop(self.requests.take());
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Builds the program of `benches/peers`, with its own lock file; where it is.
pub fn build() -> Outcome<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let manifest = package.join("Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = cargo
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .env_remove("CARGO_TARGET_DIR")
        .status()?;
    if !status.success() {
        return Err("the peers do not compile".into());
    }
    Ok(package.join("target/release/peers"))
}

/// What peers there are in that program.
pub fn list(program: &Path) -> Outcome<Vec<Peer>> {
    Ok(Conversation::start(program)?.ask::<List>(&json!({ "do": "list" }))?.peers)
}

/// What is to be done by a peer.
pub struct Task {
    /// The program.
    pub program: PathBuf,
    /// The peer's name.
    pub peer: String,
    /// What is done.
    pub workload: Workload,
    /// How keys are chosen.
    pub distribution: Distribution,
    /// Entries that are loaded before.
    pub entries: u64,
    /// Threads that share the operations.
    pub threads: u64,
    /// Of the random choices.
    pub seed: u64,
    /// Where its files are.
    pub folder: PathBuf,
}

/// A peer under a workload.
pub struct Open {
    conversation: Conversation,
    latencies: Vec<u64>,
    _folder: TempDir,
}

impl Open {
    /// Opens it in a new folder.
    pub fn new(task: &Task) -> Outcome<Open> {
        let folder = tempfile::Builder::new().prefix("pmem-bench-peer-").tempdir_in(&task.folder)?;
        let mut conversation = Conversation::start(&task.program)?;
        conversation.ask::<Value>(&json!({
            "do": "open",
            "peer": task.peer,
            "workload": task.workload.name(),
            "distribution": task.distribution.name(),
            "entries": task.entries,
            "threads": task.threads,
            "seed": task.seed,
            "folder": folder.path(),
            "durable": true,
        }))?;
        Ok(Open { conversation, latencies: Vec::new(), _folder: folder })
    }
}

impl Subject for Open {
    fn batch(&mut self, operations: u64) -> Outcome<Timing> {
        let done: Done = self.conversation.ask(&json!({ "do": "round", "operations": operations }))?;
        if done.operations != operations || done.ns == 0 {
            return Err(format!(
                "{} operations in {} ns, where {operations} were asked for",
                done.operations, done.ns
            )
            .into());
        }
        self.latencies = done.latencies_ns;
        Ok(Timing { wall: done.ns, cpu: None })
    }

    /// Those of the last batch: peers sample them while they run.
    fn latencies(&mut self, operations: u64) -> Outcome<Vec<u64>> {
        self.latencies.truncate(operations as usize);
        Ok(std::mem::take(&mut self.latencies))
    }

    fn counters(&self) -> Option<Counters> {
        None
    }

    fn finish(mut self: Box<Self>) -> Outcome<()> {
        self.conversation.close()
    }
}
