//! How much room the levels may take. When one is full its oldest buckets are dropped: those of the
//! level above hold the same sums.

use std::collections::VecDeque;

use super::level::{FACTOR, LEVELS};

const MIB: u64 = 1 << 20;

/// Bytes by level, and what is kept.
pub(super) struct Retention {
    most: [u64; LEVELS as usize],
    /// Number and bytes of every bucket that is kept, oldest first.
    kept: [VecDeque<(u32, u64)>; LEVELS as usize],
    bytes: [u64; LEVELS as usize],
}

impl Retention {
    /// 192 MiB of changes at most; the coarsest level is never dropped.
    pub(super) const IN_FILE: Retention = Retention::new([96 * MIB, 48 * MIB, 24 * MIB, u64::MAX]);
    /// 28 MiB.
    pub(super) const IN_MEMORY: Retention = Retention::new([16 * MIB, 8 * MIB, 4 * MIB, u64::MAX]);

    const fn new(most: [u64; LEVELS as usize]) -> Self {
        Retention {
            most,
            kept: [const { VecDeque::new() }; LEVELS as usize],
            bytes: [0; LEVELS as usize],
        }
    }

    /// A bucket was written; returns those of its level that must go now.
    pub(super) fn written(&mut self, level: u32, bucket: u32, bytes: u64) -> Vec<u32> {
        let at = level as usize;
        self.kept[at].push_back((bucket, bytes));
        self.bytes[at] += bytes;
        let mut dropped = Vec::new();
        while self.bytes[at] > self.most[at] {
            // Only what the level above has taken in already.
            let whole = (bucket + 1) / FACTOR * FACTOR;
            match self.kept[at].front() {
                Some((oldest, bytes)) if *oldest < whole => {
                    self.bytes[at] -= bytes;
                    dropped.push(*oldest);
                    self.kept[at].pop_front();
                }
                _ => break,
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_the_next_level_has_them() {
        let mut retention = Retention::new([100, 0, 0, 0]);
        let mut dropped = Vec::new();
        for bucket in 0..16 {
            dropped.push(retention.written(0, bucket, 10).len());
        }
        // Sixteen of them make a bucket of the next level, and only then six may go.
        assert_eq!(dropped[..15], [0; 15]);
        assert_eq!(dropped[15], 6);
        assert_eq!(retention.written(0, 16, 30), [6, 7, 8]);
    }
}
