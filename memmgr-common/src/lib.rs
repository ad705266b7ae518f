//! What crosses the kernel boundary: event bodies, settings, counters and limits.
//!
//! Everything here is plain data of fixed layout, the same on both sides. Sizes are asserted at
//! compile time, so a change of layout that is not meant does not build.
#![no_std]

pub mod cookie;
pub mod counters;
pub mod events;
pub mod limits;
pub mod per_cpu;
pub mod sampling;
pub mod settings;
pub mod target;

pub use cookie::{Cookie, FunctionKind, MappingCookie};
pub use counters::Counter;
pub use settings::{MappingWay, Mode, Settings, StackKind};
