//! A capture: what is asked for, and everything that is held while it runs.

pub mod attach;
pub mod calibrate;
pub mod facts;
pub mod hazards;
pub mod late;
pub mod launch;
pub mod prospect;
pub mod stack_choice;
pub mod target;
pub mod urgent;

use std::time::Duration;

use memmgr_common::{MappingWay, Mode, Settings, StackKind};

use crate::{
    aggregate::Filter,
    allocator::{AllocatorOption, ProbeOption},
    govern::Budget,
    units::Pid,
};

pub use attach::{AttachError, Session};
pub use prospect::Prospect;
pub use target::{Target, TargetError};

/// How heap calls are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every call.
    Exact,
    /// Poisson by bytes, with this mean distance.
    Sample {
        /// Bytes.
        interval: u64,
    },
    /// None: no allocator is probed, and page faults are sampled by the bytes of their pages.
    Growth {
        /// Mean bytes between samples.
        interval: u64,
    },
    /// What the budget allows: every call, else samples, else windows of time.
    Auto {
        /// Capture page faults too, and look closely at the allocator only while the process grows.
        growth_first: bool,
    },
}

/// Mean bytes between samples of page faults beside an allocator's probes: 16 pages.
const FAULT_INTERVAL: u64 = 64 << 10;

/// Which stacks a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackOption {
    /// What the mapped files allow.
    Auto,
    /// Frame pointers.
    FramePointers,
    /// Unwind tables.
    Tables,
}

/// What is asked for, checked.
#[derive(Clone, Debug)]
pub struct CapturePlan {
    /// The process.
    pub pid: Pid,
    /// Which calls.
    pub selection: Selection,
    /// Which stacks.
    pub stack: StackOption,
    /// Bytes of stack to copy at most; one of the sizes in [`memmgr_common::limits::STACK_CLASSES`].
    pub stack_bytes: u32,
    /// Size of the ring buffer, a power of two.
    pub ring_bytes: u32,
    /// When to end by itself.
    pub duration: Option<Duration>,
    /// Distance of the points of the timeline.
    pub interval: Duration,
    /// Which outstanding blocks the report shows.
    pub filter: Filter,
    /// `--allocator`.
    pub allocators: Vec<AllocatorOption>,
    /// `--probe`.
    pub probes: Vec<ProbeOption>,
    /// Attach although a debugger traces the target.
    pub allow_traced: bool,
    /// What the capture may cost the target.
    pub budget: Budget,
    /// Whether it is one of several, side by side, whose probes stand at the same places.
    pub in_group: bool,
}

impl CapturePlan {
    /// What is asked for where nobody says how: within 5 % of the target's processor time, until it is ended.
    pub fn usual(pid: Pid) -> Self {
        CapturePlan {
            pid,
            selection: Selection::Auto { growth_first: true },
            stack: StackOption::Auto,
            stack_bytes: 16 << 10,
            ring_bytes: 4 << 20,
            duration: None,
            interval: Duration::from_secs(1),
            filter: Filter::default(),
            allocators: Vec::new(),
            probes: Vec::new(),
            allow_traced: false,
            budget: Budget::Percent(5.0),
            in_group: false,
        }
    }

    /// Units in which a recording counts blocks: whole ones, or for estimates a 256th.
    pub fn count_scale(&self) -> u32 {
        match self.selection {
            Selection::Exact => 1,
            Selection::Sample { .. } | Selection::Growth { .. } | Selection::Auto { .. } => 256,
        }
    }

    /// Whether allocators are probed.
    pub fn probes_allocators(&self) -> bool {
        !matches!(self.selection, Selection::Growth { .. })
    }

    /// Whether it will do to watch mapping calls in the C library: not where every call is asked for, nor where the budget
    /// allows no probe.
    pub fn allows_library(&self) -> bool {
        self.selection != Selection::Exact && !self.budget.is_below_a_window()
    }

    /// Whether page faults are captured.
    pub fn traces_faults(&self) -> bool {
        matches!(self.selection, Selection::Growth { .. } | Selection::Auto { growth_first: true })
    }

    /// Whether the allocator is looked at closely only while the process grows, where the budget does not allow it always.
    pub fn grows_first(&self) -> bool {
        self.selection == Selection::Auto { growth_first: true }
    }

    /// The settings of the kernel part when capturing begins, where mapping calls are watched in the kernel.
    pub fn settings(&self, stack: StackKind) -> Settings {
        let (mode, sample_interval, fault_interval) = match self.selection {
            Selection::Exact => (Mode::Exact, 0, 0),
            Selection::Sample { interval } => (Mode::Sample, interval, 0),
            Selection::Growth { interval } => (Mode::Off, 0, interval),
            // Every call, but remembered as samples are, so that it can become coarser at any time.
            Selection::Auto { .. } => (Mode::Sample, 0, FAULT_INTERVAL),
        };
        Settings {
            capturing: 1,
            mode: mode as u32,
            stack_kind: stack as u32,
            stack_bytes: self.stack_bytes,
            sample_interval,
            fault_interval,
            awake_until: u64::MAX,
            event_cost: 0,
            tokens_per_1024_ns: 0,
            ring_bytes: self.ring_bytes.into(),
            window: 0,
            mapping_way: MappingWay::Kernel as u64,
        }
    }
}
