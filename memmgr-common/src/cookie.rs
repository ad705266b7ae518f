//! The attach cookies: what one generic program must know about the place that it stands on.

use crate::events::Kind;

/// What a probed function does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FunctionKind {
    /// Gives out a block: reported on return.
    Alloc = 1,
    /// Gives back one block for another: put aside on entry, committed or restored on return.
    Resize = 2,
    /// Takes a block back: reported on entry.
    Free = 3,
}

/// An integer argument of a C function, by position: 0 is the first.
pub type Argument = u8;

/// A cookie, packed into the 64 bits that the kernel hands to the program.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0..8 | [`FunctionKind`] |
/// | 8..12 | argument that holds the size, plus 1; 0 when there is none |
/// | 12..16 | argument that multiplies the size, plus 1; 0 when there is none |
/// | 16..20 | argument that holds the old block, plus 1; 0 when there is none |
/// | 20..24 | argument that points to where the new block is stored, plus 1; 0 when the block is the return value |
/// | 24 | leaf: the function never enters another probed function, so that its return may be skipped |
/// | 25 | in place: the block stays where it is, and the return value is the size that it has then |
/// | 32..48 | index of the function in the attach plan |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Cookie(pub u64);

impl Cookie {
    /// A cookie for a function of this kind, without any argument named yet.
    pub const fn new(kind: FunctionKind, function: u16) -> Self {
        Cookie(kind as u64 | (function as u64) << 32)
    }

    /// Names the argument that holds the size in bytes.
    #[must_use]
    pub const fn size(self, argument: Argument) -> Self {
        self.with(8, argument)
    }

    /// Names the argument that multiplies the size.
    #[must_use]
    pub const fn factor(self, argument: Argument) -> Self {
        self.with(12, argument)
    }

    /// Names the argument that holds the block to free or to resize.
    #[must_use]
    pub const fn block(self, argument: Argument) -> Self {
        self.with(16, argument)
    }

    /// Names the argument that points to where the new block's address is stored; the return value is then an error number.
    #[must_use]
    pub const fn out(self, argument: Argument) -> Self {
        self.with(20, argument)
    }

    /// Says that the function never enters another probed function.
    #[must_use]
    pub const fn leaf(self) -> Self {
        Cookie(self.0 | 1 << 24)
    }

    /// Says that the function resizes a block where it is, and returns the size that the block has then: no smaller than what was
    /// asked for when it could be done.
    #[must_use]
    pub const fn in_place(self) -> Self {
        Cookie(self.0 | 1 << 25)
    }

    const fn with(self, shift: u32, argument: Argument) -> Self {
        Cookie(self.0 | (argument as u64 + 1) << shift)
    }

    /// The kind as a number; compare with `FunctionKind::… as u8`.
    pub const fn kind(self) -> u8 {
        self.0 as u8
    }

    /// Position of the size argument plus 1, or 0.
    pub const fn size_argument(self) -> u8 {
        (self.0 >> 8) as u8 & 0xf
    }

    /// Position of the factor argument plus 1, or 0.
    pub const fn factor_argument(self) -> u8 {
        (self.0 >> 12) as u8 & 0xf
    }

    /// Position of the old block's argument plus 1, or 0.
    pub const fn block_argument(self) -> u8 {
        (self.0 >> 16) as u8 & 0xf
    }

    /// Position of the argument that points to the result plus 1, or 0.
    pub const fn out_argument(self) -> u8 {
        (self.0 >> 20) as u8 & 0xf
    }

    /// Whether the return of an uninteresting call may be skipped.
    pub const fn is_leaf(self) -> bool {
        self.0 & 1 << 24 != 0
    }

    /// Whether the return value is a size and no address.
    pub const fn is_in_place(self) -> bool {
        self.0 & 1 << 25 != 0
    }

    /// Index of the function in the attach plan.
    pub const fn function(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// The cookie of a probe on a mapping call in the C library: the [`Kind`] of what happens there, and in bit 16 whether
/// the kernel single-steps the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct MappingCookie(pub u64);

impl MappingCookie {
    /// A cookie for this moment of a call.
    pub const fn new(kind: Kind, single_stepped: bool) -> Self {
        MappingCookie(kind as u64 | (single_stepped as u64) << 16)
    }

    /// The kind as a number; compare with `Kind::… as u16`.
    pub const fn kind(self) -> u16 {
        self.0 as u16
    }

    /// Whether every hit pays for a single step.
    pub const fn is_single_stepped(self) -> bool {
        self.0 & 1 << 16 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_a_mapping_call_is_read_back() {
        let stepped = MappingCookie::new(Kind::UnmapBegin, true);
        assert_eq!((stepped.kind(), stepped.is_single_stepped()), (Kind::UnmapBegin as u16, true));
        assert!(!MappingCookie::new(Kind::Fault, false).is_single_stepped());
    }

    #[test]
    fn every_field_is_read_back() {
        let c = Cookie::new(FunctionKind::Resize, 513).block(0).size(2).factor(1).leaf();
        assert_eq!(c.kind(), FunctionKind::Resize as u8);
        assert_eq!((c.block_argument(), c.size_argument(), c.factor_argument()), (1, 3, 2));
        assert_eq!((c.out_argument(), c.is_leaf(), c.function()), (0, true, 513));
        assert_eq!((c.is_in_place(), c.in_place().is_in_place()), (false, true));
        assert_eq!(Cookie::new(FunctionKind::Alloc, 0).out(0).out_argument(), 1);
    }
}
