//! What the live tests share: programs that know the truth about themselves, and captures of them.
//!
//! A test compiles a program from `workloads/` ([`Program`]), starts it ([`Workload`]), captures it
//! with the binary under test ([`Capture`]) and compares what memmgr says with what the program says.
//! Every process ends with its guard, also when a test panics.

pub mod browser;
pub mod capture;
pub mod cgroup;
pub mod code;
pub mod counts_itself;
pub mod go;
pub mod host;
pub mod jemalloc;
pub mod kernel_objects;
pub mod leaks;
pub mod lines;
pub mod optimizing;
pub mod program;
pub mod rust_crate;
pub mod servers;
pub mod serving;
pub mod swap;
pub mod watching;
pub mod workload;

pub use capture::{Capture, Outcome};
pub use host::{require_root, take_turn};
pub use program::Program;
pub use workload::Workload;
