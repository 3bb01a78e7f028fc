//! Other stores, under the workloads that this project's structures run. Apart, so that nobody compiles them to run a test.
//!
//!     peers serve                          rounds of workloads, asked for by JSON lines on the standard input
//!     peers NAME FILE THREADS MILLISECONDS   the durability bench's workload, for a while
//!
//! Reading order: [`protocol`], what is asked and answered, and [`serve`], who answers; [`workload`], what the operations are, with
//! [`choice`], which records they meet, [`value`], keys and values, and [`stream`], the operations of a thread and what they leave;
//! [`round`], how they are timed; [`store`], what a store has to do for it, and [`stores`], those that do. [`durability`] is the older
//! command.

mod choice;
mod durability;
mod protocol;
mod round;
mod serve;
mod store;
mod stores;
mod stream;
#[cfg(test)]
mod tests;
mod value;
mod workload;

use std::{env, error::Error, io, process::ExitCode};

/// What went wrong, and what to do.
type Failure = Box<dyn Error + Send + Sync>;
/// Or why not.
type Result<T, E = Failure> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    #[cfg(pmdk)]
    stores::pmdk::prefer_flushes();
    let result = match arguments.as_slice() {
        [mode] if mode == "serve" => serve::serve(io::stdin().lock(), io::stdout().lock()),
        [name, file, threads, milliseconds] => durability::run(name, file, threads, milliseconds),
        _ => Err("usage: peers serve, or peers NAME FILE THREADS MILLISECONDS".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("peers: {failure}");
            ExitCode::FAILURE
        }
    }
}
