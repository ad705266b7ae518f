//! memmgr attaches to a running Linux process and shows where its memory went and who holds it.
//!
//! The straight line through the crate, also the order in which to read it:
//!
//! ```text
//! kernel event → ring buffer → source → decode → track → aggregate → symbolize → report → sink
//! ```
//!
//! [`pipeline`] is that line in code. `docs/architecture.md` states the invariants.

pub mod aggregate;
pub mod allocator;
pub mod bpf;
pub mod capture;
pub mod collect;
mod debug_types;
pub mod decode;
pub mod diff;
pub mod escape;
pub mod estimate;
pub mod go;
pub mod govern;
pub mod group;
pub mod history;
pub mod judge;
pub mod modules;
pub mod monitor;
pub mod optimize;
pub mod output;
pub mod own_memory;
pub mod pattern;
pub mod pipeline;
pub mod pools;
pub mod progress;
pub mod recording;
pub mod report;
pub mod serve;
pub mod sink;
pub mod source;
pub mod stacks;
pub mod stat;
pub mod symbolize;
pub mod top;
pub mod track;
pub mod units;
pub mod unwind;
pub mod watch;
