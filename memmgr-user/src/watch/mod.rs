//! Rules over looks at the host → alerts → what is done about them.
//!
//! `reading` and `engine` decide and know no clock; `act` does; `run` is the loop between them.

mod act;
pub mod alert;
mod checks;
pub mod config;
mod counters;
mod engine;
mod errands;
mod event_files;
mod flight;
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
