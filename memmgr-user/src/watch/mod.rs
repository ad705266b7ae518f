//! Rules over looks at the host → alerts → what is done about them.
//!
//! `reading` and `engine` decide and know no clock; `act` does; `run` is the loop between them.

mod act;
pub mod alert;
pub mod config;
mod engine;
mod errands;
mod flight;
pub mod history;
mod kept;
mod kernel_log;
mod pattern;
mod pressure;
pub mod reading;
mod records;
pub mod rule;
mod run;
mod standing;
pub mod state;
mod voice;

pub use run::{WatchError, run};
