//! Answers questions until there are no more.

use crate::{
    Result,
    protocol::{Answer, Listed, Question},
    round::Running,
    stores,
};
use std::{
    io::{BufRead, Write},
    path::Path,
};

/// Reads questions, a line each, and answers each with a line. An error is an answer, too; what was open stays so, except where
/// an operation of its own has failed.
///
/// # Errors
///
/// Nobody reads, or the questions cannot be read.
pub(crate) fn serve(questions: impl BufRead, mut answers: impl Write) -> Result<()> {
    let mut running = None;
    for question in questions.lines() {
        let question = question?;
        if question.trim().is_empty() {
            continue;
        }
        let answer = answer(&mut running, &question)
            .unwrap_or_else(|failure| Answer::Error { error: failure.to_string() });
        serde_json::to_writer(&mut answers, &answer)?;
        answers.write_all(b"\n")?;
        answers.flush()?;
    }
    Ok(())
}

fn answer(running: &mut Option<Running>, question: &str) -> Result<Answer> {
    let question = serde_json::from_str(question).map_err(|error| {
        format!("{error}; a line is one of list, open, round, close, as in {{\"do\":\"list\"}}")
    })?;
    match question {
        Question::List => Ok(Answer::Peers { peers: list() }),
        Question::Open(_) if running.is_some() => Err("close the store that is open first".into()),
        Question::Open(open) => {
            let (peer, syncs) = (stores::named(&open.peer)?, syncs(&open.folder)?);
            *running = Some(Running::new(peer, open)?);
            Ok(Answer::Opened { ok: true, syncs })
        }
        Question::Round { operations } => {
            let open = running.as_mut().ok_or("open a store first")?;
            open.prepare(operations)?;
            let timed = open.round(operations);
            if timed.is_err() {
                // It may have done some of the operations: nobody knows any more what it has to hold.
                *running = None;
            }
            Ok(Answer::Round(timed.map_err(|failure| format!("{failure} (the store is closed)"))?))
        }
        Question::Close => {
            running.take().ok_or("no store is open")?.close()?;
            Ok(Answer::Done { ok: true })
        }
    }
}

fn list() -> Vec<Listed> {
    let present = stores::ALL.iter().map(|peer| Listed::Present {
        peer: peer.name,
        version: (peer.version)(),
        settings: peer.settings,
        workloads: peer.workloads.to_vec(),
    });
    let absent = stores::absent().into_iter().map(|(peer, absent)| Listed::Absent { peer, absent });
    present.chain(absent).collect()
}

/// Whether a sync of a file there does anything: on tmpfs it does not, and every store is as durable as the others without it.
pub(crate) fn syncs(folder: &Path) -> Result<bool> {
    const TMPFS: u64 = 0x0102_1994;
    let status = rustix::fs::statfs(folder)
        .map_err(|error| format!("{}: {error}; name a folder that exists", folder.display()))?;
    Ok(status.f_type as u64 != TMPFS)
}
