//! The whole comparison in one command, `nova bench`: what atomicity costs beside code that has none, and beside other stores.
//!
//! Reading order: [`variant`], the ways of making a change durable, and what each promises; [`subject`], what can be measured,
//! by one thread or by several; [`subjects`], all that is; [`plan`], which of them stand beside each other, in panels;
//! [`engine`], which measures a panel, its rows in turn; [`control`] and [`limits`], what the machine did meanwhile, and what it can do at all;
//! [`results`], the JSON; [`table`], [`report`] and [`difference`], what people read; [`command`], the command line.

pub mod command;
pub mod control;
pub mod difference;
pub mod engine;
pub mod limits;
pub mod machine;
pub mod plan;
pub mod report;
pub mod results;
pub mod statistics;
pub mod subject;
pub mod subjects;
pub mod table;
pub mod trace;
pub mod variant;

/// Whatever went wrong, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What may go wrong.
pub type Outcome<T> = Result<T, Failure>;
