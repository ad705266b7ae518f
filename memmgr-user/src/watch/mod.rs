//! Rules over looks at the host → alerts → what is done about them.
//!
//! `reading` and `engine` decide and know no clock; `act` does; `run` is the loop between them.

mod act;
pub mod alert;
pub mod config;
mod engine;
mod flight;
pub mod history;
mod kernel_log;
mod pattern;
mod pressure;
pub mod reading;
mod records;
pub mod rule;
mod run;
pub mod state;

pub use run::{WatchError, run};
