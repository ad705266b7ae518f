//! Rules over looks at the host → alerts → what is done about them.
//!
//! ```text
//! a look ─ growth ─ reading ─┐
//! the kernel ─ wakers ───────┼─ engine ─ standing ─ state ─ alert ─ errands ─ act
//! a capture ─ checks ────────┘                                └ kept ─ history
//! ```
//!
//! Up to the alert nothing knows a clock or does any I/O; `run` is the loop around it. `parse` reads what `rule` means.

mod act;
pub mod alert;
mod checks;
pub mod config;
mod counters;
mod engine;
mod errands;
mod event_files;
mod flight;
mod growth;
pub mod history;
mod kept;
mod kernel_log;
mod parse;
mod pressure;
pub mod reading;
mod records;
pub mod rule;
mod run;
mod stalls;
mod standing;
pub mod state;
mod voice;
mod wakers;

pub use run::{WatchError, run};
