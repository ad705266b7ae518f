//! How the books moved over a capture: what growth is judged from. Pure figures, no names.
//!
//! A capture is cut into windows: one interval each, or several where there are many. All figures
//! are exact in exact mode and estimates in sample mode.

use crate::track::Class;

/// The windows that all histories of a capture share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows {
    /// Where each ends, in seconds since counting began, ascending; the first begins at 0.
    pub ends_s: Vec<f64>,
    /// Seconds of each in which the allocator probes were in place; empty when all the time.
    pub observed_s: Vec<f64>,
}

impl Windows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends_s.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends_s.is_empty()
    }

    /// Where a window begins, in seconds since counting began.
    pub fn begin_s(&self, window: usize) -> f64 {
        if window == 0 { 0.0 } else { self.ends_s[window - 1] }
    }
}

/// One stack over the windows; every vector has one figure a window.
#[derive(Clone, Debug, PartialEq)]
pub struct StackHistory {
    /// Kind of memory.
    pub class: Class,
    /// Blocks allocated in the window.
    pub alloc_count: Vec<f64>,
    /// Bytes allocated in the window.
    pub alloc_bytes: Vec<f64>,
    /// Blocks freed in the window.
    pub free_count: Vec<f64>,
    /// Bytes freed in the window.
    pub free_bytes: Vec<f64>,
    /// Least bytes outstanding at any time within the window.
    pub low_bytes: Vec<f64>,
    /// Of the blocks allocated in the window, those outstanding at the end of the capture.
    pub kept_count: Vec<f64>,
    /// Their bytes.
    pub kept_bytes: Vec<f64>,
    /// Of those blocks, as many as were really seen.
    pub kept_samples: Vec<f64>,
    /// Blocks freed at an age of so many windows, the window of their birth being 0; as long as the oldest needs.
    pub freed_at_age: Vec<f64>,
    /// Of those, as many as were really seen.
    pub samples_freed_at_age: Vec<f64>,
    /// The squares of those, window by window added up: blocks that were born and freed together are one event.
    pub freed_together_at_age: Vec<f64>,
    /// Standard error of the bytes outstanding at the end, all windows together; 0 where they are exact.
    pub kept_bytes_error: f64,
    /// Outstanding blocks that were really seen: in sample mode the samples behind the estimate.
    pub live_samples: u64,
    /// Allocations that were really seen.
    pub alloc_samples: u64,
}

impl StackHistory {
    /// Of a stack that did nothing in so many windows.
    pub fn empty(class: Class, windows: usize) -> Self {
        let zeros = || vec![0.0; windows];
        StackHistory {
            class,
            alloc_count: zeros(),
            alloc_bytes: zeros(),
            free_count: zeros(),
            free_bytes: zeros(),
            low_bytes: zeros(),
            kept_count: zeros(),
            kept_bytes: zeros(),
            kept_samples: zeros(),
            freed_at_age: Vec::new(),
            samples_freed_at_age: Vec::new(),
            freed_together_at_age: Vec::new(),
            kept_bytes_error: 0.0,
            live_samples: 0,
            alloc_samples: 0,
        }
    }
}
