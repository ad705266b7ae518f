//! Finds the allocators of a process and plans where each of their functions is probed.
//!
//! ```text
//! mappings → discover (which files) → survey (which functions) → elf, frames (where they are) → site (where the probe goes) → plan
//! ```
//!
//! [`table`] holds the functions as data; [`site`] alone knows about instructions; [`overrides`] reads what a person gave by hand.

pub mod discover;
pub mod elf;
mod exits;
pub mod extended;
pub mod frames;
mod function;
pub mod mapped;
pub mod mapping_calls;
pub mod overrides;
pub mod plan;
mod reach;
pub mod site;
mod survey;
pub mod table;

pub use discover::{Request, plan, plan_more};
pub use frames::Unwind;
pub use mapped::{MappedFile, MappedRange, open_mapped};
pub use mapping_calls::{LibraryCalls, mapping_calls};
pub use overrides::{AllocatorOption, ProbeOption};
pub use plan::{AttachPlan, FileKey, NotCovered, PlanError, PlannedAllocator, PlannedFunction};
pub use site::{KernelFacts, Site};
pub use survey::{Recognised, recognise};
pub use table::{Family, Role};
