//! The tracer. In reading order: `tracer`, how a mapping is put under it; `hook`, what happens at a store; `decode` and
//! `rewrite`, how its instruction is made to store elsewhere; `execute`, with whose registers; `step`, for those that
//! cannot be copied; `engine`, what all tracers share; `callers`, who called.

mod callers;
mod decode;
mod engine;
mod execute;
mod hook;
mod rewrite;
mod step;
mod tracer;

pub(crate) use tracer::Tracer;
