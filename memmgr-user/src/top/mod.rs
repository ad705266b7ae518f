//! A view of the host to live in, and of the process that a person chooses.
//!
//! ```text
//! keys ──┐
//! looks ─┼→ app (state, pure) → draw (pure) → terminal
//! live ──┘        └→ effects: attach, detach, write
//! ```
//!
//! Whatever may wait, waits on a thread of its own: the host is looked at by one, costly figures of processes are read
//! by another, and a capture has its own. What draws never waits for any of them.

mod app;
mod capture_view;
mod details;
mod draw;
mod groups;
mod history;
mod keys;
mod layout;
mod list;
mod live;
mod processes;
mod run;
mod save;
mod stacks;
mod terminal;
mod text;

pub use run::{Options, run};
