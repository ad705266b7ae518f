//! The same bytes seen another way: by function, by file, by size of the block.

use serde::{Deserialize, Serialize};

/// Bytes by function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The function's name.
    pub function: String,
    /// The file that holds it.
    pub module: String,
    /// Outstanding bytes of stacks whose leaf it is.
    pub self_live_bytes: u64,
    /// Outstanding bytes of stacks in which it appears.
    pub total_live_bytes: u64,
    /// Allocated bytes of stacks whose leaf it is.
    pub self_alloc_bytes: u64,
    /// Allocated bytes of stacks in which it appears.
    pub total_alloc_bytes: u64,
}

/// Heap bytes by file, and where the file was mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The file, named as in [`super::Frame::module`].
    pub path: String,
    /// GNU build id in hex, empty when the file has none.
    pub build_id: String,
    /// First address of its code in the target.
    pub start: u64,
    /// First address behind its code.
    pub end: u64,
    /// Where in the file the code at `start` stands.
    pub file_offset: u64,
    /// Address of the file's first byte in the target less its stated address: what
    /// [`super::Frame::address`] must be moved by to stand between `start` and `end`.
    pub bias: u64,
    /// Outstanding bytes of stacks whose leaf is in it.
    pub self_live_bytes: u64,
    /// Outstanding bytes of stacks in which it appears.
    pub total_live_bytes: u64,
    /// Allocated bytes of stacks whose leaf is in it.
    pub self_alloc_bytes: u64,
    /// Allocated bytes of stacks in which it appears.
    pub total_alloc_bytes: u64,
}

/// Heap blocks of one size class: more than half of `max_bytes`, and at most that. Classes are powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeClass {
    /// The largest size in this class, in bytes asked for; 16 also holds everything smaller.
    pub max_bytes: u64,
    /// Blocks outstanding.
    pub live_count: u64,
    /// Bytes outstanding.
    pub live_bytes: u64,
    /// Allocations made.
    pub alloc_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
}
