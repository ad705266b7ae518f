//! A capture as a recording: a SQLite database, in memory or a file, from which every report is made.
//!
//! ```text
//! pipeline → feed → recorder (a thread) → write → SQLite → read → report
//! ```
//!
//! It is written at every interval in one transaction and can be read while it is written, after a
//! kill -9 and on another host. `docs/recording.md` is its schema.

mod changes;
mod feed;
mod level;
mod read;
mod recorder;
mod retain;
mod rows;
mod schema;
mod series;
mod stacks;
mod store;
mod write;

use std::sync::Arc;

use crate::{
    aggregate::Interval,
    report::{
        Capture, Cgroup, Collector, Fragmentation, Frame, Host, Process, Reconciliation, Target,
        TimelinePoint,
    },
    stacks::{Outer, StackHandle},
    track::Class,
    units::Address,
};

pub use feed::Feed;
pub(crate) use feed::module_record;
pub use read::{Query, Recorded};
pub use recorder::{Recorder, Room};
pub use schema::RecordingError;
pub use stacks::StackRecord;
pub use store::{Recording, is_recording};
pub(crate) use write::whole;

/// Everything about a capture that is not by stack. What is not known yet is empty.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Documents {
    /// When the capture ended, or the interval did; RFC 3339, UTC.
    pub captured_at: String,
    /// The version of memmgr that captured.
    pub memmgr_version: String,
    /// What was looked at.
    pub target: Target,
    /// How, and what was lost.
    pub capture: Capture,
    /// The target's figures.
    pub process: Process,
    /// Its memory cgroup.
    pub cgroup: Option<Cgroup>,
    /// The host.
    pub host: Host,
    /// What explains RSS: at the end.
    pub reconciliation: Reconciliation,
    /// What is outstanding on which pages, with stacks by their number in the recording: at the end.
    #[serde(default)]
    pub fragmentation: Option<Fragmentation>,
    /// What memmgr used: at the end.
    pub collector: Collector,
}

/// A node of the tree of stacks, in the order of their handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The handle.
    pub handle: StackHandle,
    /// Its caller's.
    pub parent: StackHandle,
    /// The return address.
    pub address: Address,
}

/// What an address of a stack belongs to, so that it can be resolved without the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The return address.
    pub address: Address,
    /// The file that holds the code, by its index.
    pub module: Option<u32>,
    /// The address as the file states it; without a file the address itself.
    pub stated: u64,
    /// Why there is no module.
    pub reason: Option<String>,
}

/// A file with code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleRecord {
    /// Path as the target's mappings have it.
    pub path: String,
    /// GNU build id in hex.
    pub build_id: String,
    /// First address of its code.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Where in the file `start` stands.
    pub file_offset: u64,
    /// What to add to a stated address for one of the process.
    pub bias: u64,
}

/// One interval, all of it: what the recorder is sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The interval's end and the figures at that moment.
    pub point: TimelinePoint,
    /// The books.
    pub interval: Interval,
    /// Nodes of the tree of stacks that are new.
    pub nodes: Vec<Node>,
    /// Addresses that are new.
    pub locations: Vec<Location>,
    /// Modules that are new.
    pub modules: Vec<ModuleRecord>,
    /// Everything else, as of now.
    pub documents: Documents,
}

/// What ends a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ending {
    /// Everything that is not by stack, for good.
    pub documents: Documents,
    /// The frames of every address.
    pub frames: Vec<(Address, Vec<Arc<Frame>>)>,
}

/// The class of this name.
fn class_of(name: &str) -> Option<Class> {
    Class::ALL.into_iter().find(|class| class.name() == name)
}

/// The four ways in which a stack ends, by the handle of their root.
fn outer_of(root: StackHandle) -> Option<Outer> {
    [Outer::Whole, Outer::Cut, Outer::Missing, Outer::NotKept]
        .into_iter()
        .find(|o| *o as u32 == root.0)
}

#[cfg(test)]
mod estimate_tests;
#[cfg(test)]
mod tests;
