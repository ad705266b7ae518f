//! Live heap blocks of one process.

use hashbrown::HashMap;

use super::{Anomalies, Change, Class, Delta, Direction, NewBlock, table::Table};
use crate::{
    stacks::StackHandle,
    units::{Address, KernelTime, Tid},
};

/// One live block, 16 bytes: with its address 25 a slot of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed {
    /// Bytes asked for in the low 56 bits, index of the sampling interval above.
    size_and_interval: u64,
    stack: StackHandle,
    /// Milliseconds since the tracker began.
    born_ms: u32,
}

const SIZE_BITS: u32 = 56;
const SIZE_MASK: u64 = (1 << SIZE_BITS) - 1;

/// A live block, unpacked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveBlock {
    /// Bytes asked for.
    pub size: u64,
    /// Bytes that it stands for.
    pub bytes: f64,
    /// Blocks that it stands for.
    pub count: f64,
    /// Who asked.
    pub stack: StackHandle,
    /// When, with a resolution of a millisecond.
    pub born: KernelTime,
}

/// Live heap blocks.
pub struct Blocks {
    began: KernelTime,
    live: Table<Packed>,
    aside: HashMap<Tid, Option<(Address, Packed)>>,
    /// Intervals in use, found again by index; the first is 0: every call.
    intervals: Vec<u64>,
    most_blocks: usize,
    /// Where the last stretch of time without probes ended.
    resumed: KernelTime,
    anomalies: Anomalies,
}

impl Blocks {
    /// A tracker that keeps at most `most_blocks` live blocks.
    pub fn new(began: KernelTime, most_blocks: usize) -> Self {
        Blocks {
            began,
            live: Table::new(),
            aside: HashMap::new(),
            intervals: vec![0],
            most_blocks,
            resumed: began,
            anomalies: Anomalies::default(),
        }
    }

    /// Applies one change; every delta that follows from it goes to `out`.
    pub fn apply(&mut self, change: Change, out: &mut impl FnMut(Delta)) {
        match change {
            Change::Alloc(block) => self.insert(block, out),
            Change::Free(address) => match self.live.remove(address) {
                Some(packed) => out(self.delta(packed, Direction::Freed)),
                None => self.anomalies.unknown_free += 1,
            },
            Change::ResizeBegin(tid, address) => {
                // A begin without its end: the end was lost. What it held is given up with it.
                self.give_up(tid, Direction::Freed, out);
                let block = self.live.remove(address).map(|packed| (address, packed));
                if block.is_none() {
                    self.anomalies.unknown_free += 1;
                }
                self.aside.insert(tid, block);
            }
            Change::ResizeFailed(tid) => match self.aside.remove(&tid) {
                Some(Some((address, packed))) => {
                    // Where events were lost, this is the end of another resize, and the block that
                    // was put aside went unseen before its address was given out again.
                    if let Err(packed) = self.live.insert_new(address, packed) {
                        self.miss(packed, out);
                    }
                }
                // A failed resize of an unknown block is no free after all.
                Some(None) => self.anomalies.unknown_free -= 1,
                None => {}
            },
            Change::ResizeGone(tid) => self.give_up(tid, Direction::Freed, out),
            Change::ResizeMoved(tid, block) => {
                self.give_up(tid, Direction::Replaced, out);
                self.insert(block, out);
            }
        }
    }

    /// The process runs another program now: its memory is gone.
    pub fn clear(&mut self, out: &mut impl FnMut(Delta)) {
        let aside = self.aside.values().flatten().copied();
        let gone: Vec<(Address, Packed)> = self.live.iter().chain(aside).collect();
        self.live = Table::new();
        self.aside.clear();
        for (_, packed) in gone {
            out(self.delta(packed, Direction::Freed));
        }
    }

    /// Probes are in place again from this moment on: before it, frees may have gone unseen.
    pub fn resume(&mut self, at: KernelTime) {
        self.resumed = at;
    }

    /// What did not fit the rules.
    pub fn anomalies(&self) -> Anomalies {
        self.anomalies
    }

    /// Number of live blocks in the table.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no block is live.
    pub fn is_empty(&self) -> bool {
        self.live.len() == 0
    }

    /// Every live block by its address, those between two states included, in no order.
    pub fn live(&self) -> impl Iterator<Item = (Address, LiveBlock)> {
        let aside = self.aside.values().flatten().copied();
        self.live.iter().chain(aside).map(|(address, packed)| (address, self.unpack(packed)))
    }

    fn insert(&mut self, block: NewBlock, out: &mut impl FnMut(Delta)) {
        let packed = self.pack(&block);
        out(self.delta(packed, Direction::Allocated));
        if self.live.len() >= self.most_blocks && !self.live.contains(block.address) {
            // Not kept, so that it cannot be seen to be freed: taken back at once, and counted.
            self.anomalies.table_full += 1;
            out(self.delta(packed, Direction::Freed));
            return;
        }
        if let Some(missed) = self.live.insert(block.address, packed) {
            self.miss(missed, out);
        }
    }

    /// A block's address was handed out again, and its free went unseen: a loss, or the free fell into the stretch
    /// without probes that ended last.
    fn miss(&mut self, packed: Packed, out: &mut impl FnMut(Delta)) {
        if self.unpack(packed).born < self.resumed {
            self.anomalies.hidden_free += 1;
        } else {
            self.anomalies.implied_free += 1;
        }
        out(self.delta(packed, Direction::Freed));
    }

    fn give_up(&mut self, tid: Tid, direction: Direction, out: &mut impl FnMut(Delta)) {
        if let Some(Some((_, packed))) = self.aside.remove(&tid) {
            out(self.delta(packed, direction));
        }
    }

    fn delta(&self, packed: Packed, direction: Direction) -> Delta {
        let block = self.unpack(packed);
        Delta {
            class: Class::Heap,
            stack: block.stack,
            direction,
            bytes: block.bytes,
            count: block.count,
            variance: variance(block.bytes, block.count),
            size: block.size,
            born: block.born,
        }
    }

    fn pack(&mut self, block: &NewBlock) -> Packed {
        let known = self.intervals.iter().position(|interval| *interval == block.interval);
        let interval = known.unwrap_or_else(|| {
            // The governor changes the interval by factors of two: a few dozen at most.
            assert!(
                self.intervals.len() < 255,
                "more sampling intervals than there are bits for them"
            );
            self.intervals.push(block.interval);
            self.intervals.len() - 1
        });
        Packed {
            size_and_interval: block.size.min(SIZE_MASK) | (interval as u64) << SIZE_BITS,
            stack: block.stack,
            born_ms: (block.time.0.saturating_sub(self.began.0) / 1_000_000)
                .min(u64::from(u32::MAX)) as u32,
        }
    }

    fn unpack(&self, packed: Packed) -> LiveBlock {
        let size = packed.size_and_interval & SIZE_MASK;
        let interval = self.intervals[(packed.size_and_interval >> SIZE_BITS) as usize];
        let count = weight(size, interval);
        LiveBlock {
            size,
            bytes: size as f64 * count,
            count,
            stack: packed.stack,
            born: KernelTime(self.began.0 + u64::from(packed.born_ms) * 1_000_000),
        }
    }
}

/// How many blocks a sampled block of `size` bytes stands for: one over the probability that it was
/// sampled, `1 - e^(-size/interval)`. Exactly 1 when every call is reported.
pub fn weight(size: u64, interval: u64) -> f64 {
    if interval == 0 {
        return 1.0;
    }
    // exp_m1 keeps its digits for small blocks. A block of 0 bytes is never sampled by itself.
    -1.0 / (-(size.max(1) as f64) / interval as f64).exp_m1()
}

/// The variance of an estimate of `bytes` from one block that stands for `count`: (S/p)² (1 − p) with p = 1/`count`.
/// Exactly 0 when every call is reported.
pub(super) fn variance(bytes: f64, count: f64) -> f64 {
    bytes * bytes * (1.0 - 1.0 / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alloc(address: u64, size: u64, stack: u32) -> Change {
        Change::Alloc(block(address, size, stack))
    }

    fn block(address: u64, size: u64, stack: u32) -> NewBlock {
        let (address, stack) = (Address(address), StackHandle(stack));
        NewBlock { address, size, interval: 0, stack, time: KernelTime(0) }
    }

    /// Applies a script; returns live bytes by stack, the totals, and the anomalies.
    fn run(most: usize, script: &[Change]) -> (Vec<(u32, u64)>, (u64, u64), Anomalies) {
        let mut blocks = Blocks::new(KernelTime(0), most);
        let (mut allocated, mut freed) = (0.0, 0.0);
        for change in script {
            blocks.apply(*change, &mut |delta| match delta.direction {
                Direction::Allocated => allocated += delta.bytes,
                Direction::Freed | Direction::Replaced => freed += delta.bytes,
            });
        }
        let mut live = std::collections::BTreeMap::new();
        for (_, block) in blocks.live() {
            *live.entry(block.stack.0).or_insert(0) += block.size;
        }
        let balance = live.values().sum::<u64>() as f64;
        assert_eq!(allocated - freed, balance, "allocated less freed is what is live");
        (live.into_iter().collect(), (allocated as u64, freed as u64), blocks.anomalies())
    }

    fn check(
        script: &[Change],
        live: &[(u32, u64)],
        allocated: u64,
        freed: u64,
        anomalies: Anomalies,
    ) {
        assert_eq!(run(usize::MAX, script), (live.to_vec(), (allocated, freed), anomalies));
    }

    const NONE: Anomalies =
        Anomalies { unknown_free: 0, implied_free: 0, hidden_free: 0, table_full: 0 };
    const A: Address = Address(0xa0);
    const T1: Tid = Tid(1);
    const T2: Tid = Tid(2);

    #[test]
    fn a_free_gives_back_what_its_allocation_took() {
        check(&[alloc(0xa0, 10, 1), alloc(0xb0, 5, 2), Change::Free(A)], &[(2, 5)], 15, 10, NONE);
    }

    #[test]
    fn a_free_of_an_unknown_block_changes_nothing() {
        let unknown = Anomalies { unknown_free: 1, ..NONE };
        check(&[Change::Free(A), alloc(0xa0, 10, 1)], &[(1, 10)], 10, 0, unknown);
    }

    #[test]
    fn an_allocation_at_a_live_address_implies_a_free() {
        let implied = Anomalies { implied_free: 1, ..NONE };
        check(&[alloc(0xa0, 10, 1), alloc(0xa0, 7, 2)], &[(2, 7)], 17, 10, implied);
    }

    #[test]
    fn a_free_between_windows_is_no_loss() {
        let mut blocks = Blocks::new(KernelTime(0), usize::MAX);
        let at = |ms: u64| NewBlock { time: KernelTime(ms * 1_000_000), ..block(0xa0, 10, 1) };
        let mut live = 0.0;
        for (resumed_ms, allocated_ms) in [(0, 5), (1_000, 1_007), (1_000, 1_009)] {
            blocks.resume(KernelTime(resumed_ms * 1_000_000));
            blocks.apply(Change::Alloc(at(allocated_ms)), &mut |delta| match delta.direction {
                Direction::Allocated => live += delta.bytes,
                Direction::Freed | Direction::Replaced => live -= delta.bytes,
            });
        }
        assert_eq!(live, 10.0);
        assert_eq!(blocks.anomalies(), Anomalies { hidden_free: 1, implied_free: 1, ..NONE });
    }

    #[test]
    fn a_resize_moves_the_bytes_to_its_own_stack() {
        let script = [
            alloc(0xa0, 10, 1),
            Change::ResizeBegin(T1, A),
            Change::ResizeMoved(T1, block(0xc0, 20, 2)),
        ];
        check(&script, &[(2, 20)], 30, 10, NONE);
    }

    #[test]
    fn a_failed_resize_leaves_the_block_as_it_was() {
        let script = [alloc(0xa0, 10, 1), Change::ResizeBegin(T1, A), Change::ResizeFailed(T1)];
        check(&script, &[(1, 10)], 10, 0, NONE);
        check(&[Change::ResizeBegin(T1, A), Change::ResizeFailed(T1)], &[], 0, 0, NONE);
    }

    #[test]
    fn a_block_between_two_states_is_live() {
        check(&[alloc(0xa0, 10, 1), Change::ResizeBegin(T1, A)], &[(1, 10)], 10, 0, NONE);
    }

    #[test]
    fn another_thread_may_be_given_the_old_address_before_the_resize_returns() {
        let script = [
            alloc(0xa0, 10, 1),
            Change::ResizeBegin(T1, A),
            alloc(0xa0, 3, 3), // T2, before T1 is back
            Change::ResizeMoved(T1, block(0xc0, 20, 2)),
            Change::ResizeBegin(T2, A),
            Change::ResizeGone(T2),
        ];
        check(&script, &[(2, 20)], 33, 13, NONE);
    }

    #[test]
    fn a_resize_whose_end_was_lost_gives_its_block_up() {
        let script = [
            alloc(0xa0, 10, 1),
            alloc(0xb0, 4, 1),
            Change::ResizeBegin(T1, A),
            Change::ResizeBegin(T1, Address(0xb0)),
            Change::ResizeMoved(T1, block(0xd0, 8, 2)),
        ];
        check(&script, &[(2, 8)], 22, 14, NONE);
    }

    #[test]
    fn a_block_that_was_given_out_again_is_not_overwritten_by_a_failed_resize() {
        let script = [
            alloc(0xa0, 10, 1),
            Change::ResizeBegin(T1, A), // its end, the free of its result and another begin are lost
            alloc(0xa0, 3, 2),
            Change::ResizeFailed(T1),
        ];
        check(&script, &[(2, 3)], 13, 10, Anomalies { implied_free: 1, ..NONE });
    }

    #[test]
    fn a_full_table_counts_what_it_does_not_keep() {
        let script =
            [alloc(0xa0, 10, 1), alloc(0xb0, 5, 2), Change::Free(Address(0xb0)), alloc(0xa0, 6, 1)];
        let (live, totals, anomalies) = run(1, &script);
        assert_eq!((live, totals), (vec![(1, 6)], (21, 15)));
        assert_eq!(
            anomalies,
            Anomalies { unknown_free: 1, implied_free: 1, table_full: 1, ..NONE }
        );
    }

    #[test]
    fn weights_undo_the_probability_of_being_sampled() {
        assert_eq!(weight(1000, 0), 1.0);
        let interval = 512.0 * 1024.0;
        for size in [1u64, 100, 4096, 512 << 10, 1 << 30] {
            let probability = 1.0 - (-(size as f64) / interval).exp();
            let product = weight(size, 512 << 10) * probability;
            assert!((product - 1.0).abs() < 1e-6, "{size}: {product}");
        }
        assert!(weight(0, 512 << 10).is_finite());
    }

    #[test]
    fn sampled_blocks_keep_the_interval_they_were_sampled_with() {
        let mut blocks = Blocks::new(KernelTime(0), 10);
        let mut sum = 0.0;
        for (i, interval) in [0u64, 1000, 2000, 1000].into_iter().enumerate() {
            let new = NewBlock { interval, ..block(i as u64, 100, 1) };
            blocks.apply(Change::Alloc(new), &mut |delta| sum += delta.bytes);
        }
        let expected = 100.0 * (1.0 + 2.0 * weight(100, 1000) + weight(100, 2000));
        assert!((sum - expected).abs() < 1e-9);
        assert!((blocks.live().map(|(_, b)| b.bytes).sum::<f64>() - expected).abs() < 1e-9);
    }

    #[test]
    fn a_live_block_is_sixteen_bytes() {
        assert_eq!(size_of::<Packed>(), 16);
    }
}
