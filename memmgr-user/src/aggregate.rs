//! [`Delta`]s → books by class and stack, totals and peaks. Pure.

use hashbrown::HashMap;

use crate::{
    stacks::StackHandle,
    track::{Blocks, Class, Delta, Direction, Mappings},
    units::KernelTime,
};

/// Sums over allocations; in sample mode estimates. Whole numbers stay exact up to 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Blocks allocated.
    pub alloc_count: f64,
    /// Bytes allocated.
    pub alloc_bytes: f64,
    /// Blocks freed.
    pub free_count: f64,
    /// Bytes freed.
    pub free_bytes: f64,
    /// Most bytes live at any time.
    pub peak_live_bytes: f64,
}

impl Sums {
    /// Bytes outstanding; estimates cannot go below 0 by rounding.
    pub fn live_bytes(&self) -> f64 {
        (self.alloc_bytes - self.free_bytes).max(0.0)
    }

    /// Blocks outstanding.
    pub fn live_count(&self) -> f64 {
        (self.alloc_count - self.free_count).max(0.0)
    }

    fn apply(&mut self, delta: &Delta) {
        match delta.direction {
            Direction::Allocated => {
                self.alloc_count += delta.count;
                self.alloc_bytes += delta.bytes;
                self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes());
            }
            Direction::Freed => {
                self.free_count += delta.count;
                self.free_bytes += delta.bytes;
            }
        }
    }
}

/// Books by class and stack.
#[derive(Default)]
pub struct Ledger {
    stacks: HashMap<(Class, StackHandle), Sums>,
    heap: Sums,
    mapped: Sums,
    file_mapped: Sums,
}

/// Which outstanding blocks a person wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filter {
    /// At least this old, in seconds.
    pub min_age_s: f64,
    /// At least this large, in bytes.
    pub min_size: u64,
}

/// One stack at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Kind of memory.
    pub class: Class,
    /// Which stack.
    pub stack: StackHandle,
    /// Everything since the attach.
    pub sums: Sums,
    /// Bytes outstanding in blocks that pass the filter.
    pub live_bytes: f64,
    /// Such blocks.
    pub live_count: f64,
    /// Blocks that were really seen: in sample mode the samples behind the estimate.
    pub live_samples: u64,
    /// Their ages in seconds: youngest, median, oldest.
    pub age_s: Option<(f64, f64, f64)>,
}

impl Ledger {
    /// Books one delta.
    pub fn apply(&mut self, delta: &Delta) {
        self.stacks.entry((delta.class, delta.stack)).or_default().apply(delta);
        match delta.class {
            Class::Heap => self.heap.apply(delta),
            Class::Mapping => self.mapped.apply(delta),
            Class::FileMapping => self.file_mapped.apply(delta),
        }
    }

    /// Totals of the heap.
    pub fn heap(&self) -> Sums {
        self.heap
    }

    /// Totals of anonymous mappings and the program break.
    pub fn mapped(&self) -> Sums {
        self.mapped
    }

    /// Totals of mappings of files.
    pub fn file_mapped(&self) -> Sums {
        self.file_mapped
    }

    /// Every stack, with the ages of what is outstanding at `now`; most live bytes first, then by handle.
    pub fn rows(
        &self,
        blocks: &Blocks,
        mappings: &Mappings,
        filter: Filter,
        now: KernelTime,
    ) -> Vec<Row> {
        let mut live: HashMap<(Class, StackHandle), Outstanding> = HashMap::new();
        let mut add = |key, size: u64, bytes, count, born: KernelTime| {
            let age = now.seconds_since(born);
            if age >= filter.min_age_s && size >= filter.min_size {
                let outstanding = live.entry(key).or_default();
                outstanding.bytes += bytes;
                outstanding.count += count;
                outstanding.ages.push(age as f32);
            }
        };
        for block in blocks.live() {
            add((Class::Heap, block.stack), block.size, block.bytes, block.count, block.born);
        }
        for range in mappings.live() {
            let bytes = range.bytes();
            add((range.class, range.stack), bytes, bytes as f64, 1.0, range.time);
        }
        let mut rows: Vec<Row> = self
            .stacks
            .iter()
            .map(|(key, sums)| {
                let outstanding = live.remove(key).unwrap_or_default();
                Row {
                    class: key.0,
                    stack: key.1,
                    sums: *sums,
                    live_bytes: outstanding.bytes,
                    live_count: outstanding.count,
                    live_samples: outstanding.ages.len() as u64,
                    age_s: outstanding.ages(),
                }
            })
            .collect();
        rows.sort_by(|a, b| {
            b.live_bytes
                .total_cmp(&a.live_bytes)
                .then(b.sums.alloc_bytes.total_cmp(&a.sums.alloc_bytes))
                .then(a.stack.cmp(&b.stack))
        });
        rows
    }
}

#[derive(Default)]
struct Outstanding {
    bytes: f64,
    count: f64,
    ages: Vec<f32>,
}

impl Outstanding {
    fn ages(mut self) -> Option<(f64, f64, f64)> {
        if self.ages.is_empty() {
            return None;
        }
        self.ages.sort_by(f32::total_cmp);
        let at = |i: usize| f64::from(self.ages[i]);
        Some((at(0), at(self.ages.len() / 2), at(self.ages.len() - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        track::{Change, NewBlock},
        units::Address,
    };

    const SECOND: u64 = 1_000_000_000;

    fn alloc(address: u64, size: u64, stack: u32, second: u64) -> Change {
        Change::Alloc(NewBlock {
            address: Address(address),
            size,
            interval: 0,
            stack: StackHandle(stack),
            time: KernelTime(second * SECOND),
        })
    }

    fn run(script: &[Change]) -> (Ledger, Blocks) {
        let (mut ledger, mut blocks) = (Ledger::default(), Blocks::new(KernelTime(0), usize::MAX));
        for change in script {
            blocks.apply(*change, &mut |delta| ledger.apply(&delta));
        }
        (ledger, blocks)
    }

    /// Rows as text: stack, live bytes, live count, allocated bytes, ages.
    fn check(script: &[Change], filter: Filter, expected: &[&str]) {
        let (ledger, blocks) = run(script);
        let rows = ledger.rows(&blocks, &Mappings::new(None, 10), filter, KernelTime(10 * SECOND));
        let got: Vec<String> = rows
            .iter()
            .map(|r| {
                format!(
                    "{}: {}/{} of {} {:?}",
                    r.stack.0, r.live_bytes, r.live_count, r.sums.alloc_bytes, r.age_s
                )
            })
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn rows_are_sorted_and_know_their_ages() {
        let script = [
            alloc(1, 10, 7, 1),
            alloc(2, 10, 7, 2),
            alloc(3, 10, 7, 9),
            alloc(4, 100, 8, 5),
            alloc(5, 1, 9, 5),
            Change::Free(Address(5)),
        ];
        check(
            &script,
            Filter::default(),
            &[
                "8: 100/1 of 100 Some((5.0, 5.0, 5.0))",
                "7: 30/3 of 30 Some((1.0, 8.0, 9.0))",
                "9: 0/0 of 1 None",
            ],
        );
        check(
            &script,
            Filter { min_age_s: 6.0, min_size: 5 },
            &["7: 20/2 of 30 Some((8.0, 9.0, 9.0))", "8: 0/0 of 100 None", "9: 0/0 of 1 None"],
        );
    }

    #[test]
    fn totals_and_the_peak() {
        let (ledger, _) = run(&[
            alloc(1, 10, 1, 0),
            alloc(2, 20, 1, 0),
            Change::Free(Address(1)),
            alloc(3, 5, 2, 0),
        ]);
        let heap = ledger.heap();
        assert_eq!((heap.alloc_bytes, heap.free_bytes, heap.live_bytes()), (35.0, 10.0, 25.0));
        assert_eq!((heap.alloc_count, heap.free_count, heap.peak_live_bytes), (3.0, 1.0, 30.0));
        assert_eq!(ledger.mapped(), Sums::default());
    }
}
