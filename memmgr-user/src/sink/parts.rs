//! The figures of a stack by size of the block, for formats that know blocks and not only sums.

use crate::report::Stack;

/// Blocks of one stack and about one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) live_count: u64,
    pub(super) live_bytes: u64,
    pub(super) alloc_count: u64,
    pub(super) alloc_bytes: u64,
    /// Whether they are of one size class; otherwise they may be of any size.
    pub(super) sized: bool,
}

impl Part {
    fn is_empty(&self) -> bool {
        Self { sized: false, ..*self } == Self::default()
    }

    /// The mean size of its blocks in bytes, when they are of one class.
    pub(super) fn block_bytes(&self) -> Option<u64> {
        let (bytes, count) = match self.alloc_count {
            0 => (self.live_bytes, self.live_count),
            count => (self.alloc_bytes, count),
        };
        (self.sized && count > 0).then(|| (bytes as f64 / count as f64).round() as u64)
    }
}

/// One part a size class, and one for whatever the classes do not hold: the parts add up to the
/// stack. A stack without classes is one part.
pub(super) fn parts(stack: &Stack) -> impl Iterator<Item = Part> {
    let mut rest = Part {
        live_count: stack.live_count,
        live_bytes: stack.live_bytes,
        alloc_count: stack.alloc_count,
        alloc_bytes: stack.alloc_bytes,
        sized: false,
    };
    let mut parts = Vec::with_capacity(stack.sizes.len() + 1);
    for class in &stack.sizes {
        // Never more than the stack has, even where estimates were rounded one by one.
        let take = |rest: &mut u64, wanted: u64| {
            let taken = wanted.min(*rest);
            *rest -= taken;
            taken
        };
        parts.push(Part {
            live_count: take(&mut rest.live_count, class.live_count),
            live_bytes: take(&mut rest.live_bytes, class.live_bytes),
            alloc_count: take(&mut rest.alloc_count, class.alloc_count),
            alloc_bytes: take(&mut rest.alloc_bytes, class.alloc_bytes),
            sized: true,
        });
    }
    parts.push(rest);
    parts.into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::SizeClass;

    fn class(live: (u64, u64), alloc: (u64, u64)) -> SizeClass {
        let ((live_count, live_bytes), (alloc_count, alloc_bytes)) = (live, alloc);
        SizeClass { min_bytes: 0, max_bytes: 0, live_count, live_bytes, alloc_count, alloc_bytes }
    }

    #[track_caller]
    fn check(sizes: Vec<SizeClass>, expected: &[(u64, u64, u64, u64, Option<u64>)]) {
        let stack = Stack {
            live_count: 5,
            live_bytes: 500,
            alloc_count: 10,
            alloc_bytes: 1000,
            sizes,
            ..Stack::default()
        };
        let found: Vec<_> = parts(&stack)
            .map(|p| (p.live_count, p.live_bytes, p.alloc_count, p.alloc_bytes, p.block_bytes()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn parts_add_up_to_the_stack() {
        check(vec![], &[(5, 500, 10, 1000, None)]);
        check(
            vec![class((2, 40), (4, 81)), class((3, 460), (6, 919))],
            &[(2, 40, 4, 81, Some(20)), (3, 460, 6, 919, Some(153))],
        );
        // Classes that do not hold all of it, that hold too much, and one of blocks older than the attach.
        check(vec![class((1, 20), (4, 80))], &[(1, 20, 4, 80, Some(20)), (4, 480, 6, 920, None)]);
        check(
            vec![class((5, 499), (10, 999)), class((1, 90), (1, 90))],
            &[(5, 499, 10, 999, Some(100)), (0, 1, 0, 1, None)],
        );
        check(vec![class((5, 500), (0, 0))], &[(5, 500, 0, 0, Some(100)), (0, 0, 10, 1000, None)]);
    }
}
