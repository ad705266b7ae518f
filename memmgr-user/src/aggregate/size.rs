//! Blocks by size.

/// Blocks of similar size: from a power of two to just below the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SizeClass {
    /// The smallest size, in bytes.
    pub min_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
}

impl SizeClass {
    /// Sizes below this are one class.
    const SMALLEST: u64 = 16;

    /// The class of a block. One that reaches from below `divide` to above it is divided there.
    pub fn of(size: u64, divide: u64) -> Self {
        let (mut min_bytes, mut max_bytes) = match size.checked_ilog2() {
            Some(power) if size >= Self::SMALLEST => (1 << power, u64::MAX >> (63 - power)),
            _ => (0, Self::SMALLEST - 1),
        };
        if (min_bytes + 1..=max_bytes).contains(&divide) {
            if size < divide {
                max_bytes = divide - 1;
            } else {
                min_bytes = divide;
            }
        }
        SizeClass { min_bytes, max_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes() {
        for (size, divide, expected) in [
            (0, 0, (0, 15)),
            (15, 0, (0, 15)),
            (16, 0, (16, 31)),
            (31, 0, (16, 31)),
            (4096, 0, (4096, 8191)),
            (u64::MAX, 0, (1 << 63, u64::MAX)),
            (5000, 6000, (4096, 5999)),
            (6000, 6000, (6000, 8191)),
            (3000, 6000, (2048, 4095)),
            (5, 10, (0, 9)),
            (10, 10, (10, 15)),
            (4096, 4096, (4096, 8191)),
            (8191, 8191, (8191, 8191)),
        ] {
            let class = SizeClass::of(size, divide);
            assert_eq!((class.min_bytes, class.max_bytes), expected, "{size} {divide}");
        }
    }
}
