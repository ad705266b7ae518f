//! The kernel part, seen from user space: loading, attaching, settings, counters.
//!
//! aya makes the maps and reads the object. It has no uprobe sessions and no uprobe.multi in the
//! version that builds here, so loading and linking of programs is ours: [`sys`] holds the system
//! calls, [`object`] the programs, [`attach`] the ladder of ways to attach to the heap, [`gate`] probes that come
//! and go, [`mappings`] the ways to watch mappings, [`kernel`] the whole behind one type.

pub mod apart;
pub mod attach;
pub mod gate;
pub mod kernel;
pub mod mappings;
pub mod object;
mod preemption;
pub mod sys;
pub mod tracefs;

pub use attach::{FileProbes, HeapPrograms, Links, Moment, ProbePoint, Rung};
pub use gate::Gate;
pub use kernel::{Books, Kernel, KernelError};
pub use mappings::{LibraryProbes, Mappings, Way};
