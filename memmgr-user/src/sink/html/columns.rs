//! Stacks and functions in columns: a number a row and column, each text and each frame once.
//!
//! Stacks are sorted by their frames from the root, and each says how many frames it shares with the one
//! before it, so that 50,000 stacks that begin alike cost little more than what tells them apart.

use hashbrown::HashMap;
use serde::Serialize;

use super::strings::Strings;
use crate::report::{Frame, Function, Growth, Lifetime, Report, SizeClass, Stack};
use crate::sink::{Class, text};

/// Shape, confidence, bytes a second, grown bytes, series as differences. An array in JSON: names of
/// fields would be most of it.
type GrowthCell = (u32, f64, f64, u64, Vec<i64>);
/// Freed, censored, median in seconds, immortal share, place in `ages`, shares as differences.
type LifetimeCell = (u64, u64, Option<f64>, f64, usize, Vec<i64>);

/// Stacks of every known class.
#[derive(Default, Serialize)]
pub(super) struct Stacks {
    frames: Frames,
    id: Vec<u32>,
    /// Its place in [`Class::ALL`].
    class: Vec<usize>,
    /// How many frames from the root are the same as in the stack before.
    keep: Vec<usize>,
    /// How many frames of `path` come after those.
    add: Vec<usize>,
    /// Numbers of frames, root first, of all stacks.
    path: Vec<u32>,
    /// How many frames from the leaf are the allocator's.
    skip: Vec<usize>,
    live_bytes: Vec<u64>,
    live_bytes_error: Vec<u64>,
    live_count: Vec<u64>,
    live_samples: Vec<u64>,
    alloc_bytes: Vec<u64>,
    alloc_count: Vec<u64>,
    /// Seconds: youngest, median, oldest.
    age: Vec<Option<[f64; 3]>>,
    finding: Vec<Option<u32>>,
    suppressed: Vec<u32>,
    /// Largest size, live count and bytes, allocated count and bytes.
    sizes: Vec<Vec<[u64; 5]>>,
    growth: Vec<Option<GrowthCell>>,
    lifetime: Vec<Option<LifetimeCell>>,
    /// Ages in seconds of survival curves; most stacks share theirs.
    ages: Vec<Vec<f64>>,
}

/// Every distinct frame.
#[derive(Default, Serialize)]
struct Frames {
    /// Frames of one label are one box in the flame graph.
    label: Vec<u32>,
    function: Vec<u32>,
    module: Vec<u32>,
    file: Vec<u32>,
    line: Vec<u32>,
    inlined: Vec<u8>,
    /// In hex: JavaScript's numbers do not hold 64 bits.
    address: Vec<String>,
    reason: Vec<u32>,
}

/// A frame with its texts as numbers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Row {
    function: u32,
    module: u32,
    file: u32,
    line: u32,
    inlined: bool,
    address: u64,
    reason: u32,
}

impl Row {
    fn of<'a>(frame: &'a Frame, strings: &mut Strings<'a>) -> Self {
        Row {
            function: strings.optional(frame.function.as_deref()),
            module: strings.optional(frame.module.as_deref()),
            file: strings.optional(frame.file.as_deref()),
            line: frame.line.unwrap_or(0),
            inlined: frame.inlined,
            address: frame.address,
            reason: strings.optional(frame.reason.as_deref()),
        }
    }

    /// What makes two frames the same box: the function, or else the place in the file, or else the reason.
    fn label(self) -> Self {
        let Row { function, module, inlined, address, reason, .. } = self;
        match (function, module) {
            (0, 0) => Row { reason, ..Row::default() },
            (0, _) => Row { module, address, ..Row::default() },
            _ => Row { function, module, inlined, ..Row::default() },
        }
    }
}

/// Gives frames their numbers.
#[derive(Default)]
struct Numbering {
    rows: HashMap<Row, u32>,
    labels: HashMap<Row, u32>,
    frames: Frames,
}

impl Numbering {
    fn number(&mut self, row: Row) -> u32 {
        let next = self.rows.len() as u32;
        *self.rows.entry(row).or_insert_with(|| {
            let fresh = self.labels.len() as u32;
            self.frames.label.push(*self.labels.entry(row.label()).or_insert(fresh));
            self.frames.function.push(row.function);
            self.frames.module.push(row.module);
            self.frames.file.push(row.file);
            self.frames.line.push(row.line);
            self.frames.inlined.push(u8::from(row.inlined));
            self.frames.address.push(format!("{:x}", row.address));
            self.frames.reason.push(row.reason);
            next
        })
    }

    /// A stack, root first. What is missing at the root has a frame of its own.
    fn path<'a>(&mut self, stack: &'a Stack, strings: &mut Strings<'a>) -> Vec<u32> {
        let missing = match stack.cut.as_deref() {
            Some("missing") => Some("stack lost"),
            None if stack.frames.is_empty() => Some("stack lost"),
            cut => cut,
        };
        let missing = missing.map(|why| Row { reason: strings.number(why), ..Row::default() });
        let mut path: Vec<u32> = missing.map(|row| self.number(row)).into_iter().collect();
        path.extend(stack.frames.iter().rev().map(|frame| self.number(Row::of(frame, strings))));
        path
    }
}

impl Stacks {
    /// Of a report. Stacks of a class that this version does not know are left out, as in every format.
    pub(super) fn of<'a>(report: &'a Report, strings: &mut Strings<'a>) -> Self {
        let mut numbering = Numbering::default();
        let mut sorted: Vec<(Vec<u32>, usize, &Stack)> = Vec::with_capacity(report.stacks.len());
        for stack in &report.stacks {
            if let Some(class) = Class::ALL.iter().position(|class| class.name() == stack.class) {
                sorted.push((numbering.path(stack, strings), class, stack));
            }
        }
        let label = |frame: &u32| numbering.frames.label[*frame as usize];
        sorted.sort_by(|(a, ..), (b, ..)| a.iter().map(label).cmp(b.iter().map(label)));

        let allocators = text::allocator_functions(report);
        let mut stacks = Stacks::default();
        let mut ages = HashMap::new();
        let mut before: &[u32] = &[];
        for (path, class, stack) in &sorted {
            let keep = path.iter().zip(before).take_while(|(a, b)| a == b).count();
            stacks.keep.push(keep);
            stacks.add.push(path.len() - keep);
            stacks.path.extend_from_slice(&path[keep..]);
            stacks.class.push(*class);
            let allocator =
                stack.frames.iter().take_while(|frame| text::is_allocator(frame, &allocators));
            stacks.skip.push(allocator.count());
            stacks.figures(stack, strings, &mut ages);
            before = path;
        }
        stacks.frames = numbering.frames;
        stacks
    }

    fn figures<'a>(
        &mut self,
        stack: &'a Stack,
        strings: &mut Strings<'a>,
        grids: &mut HashMap<Vec<u64>, usize>,
    ) {
        self.id.push(stack.id);
        self.live_bytes.push(stack.live_bytes);
        self.live_bytes_error.push(stack.live_bytes_error);
        self.live_count.push(stack.live_count);
        self.live_samples.push(stack.live_samples);
        self.alloc_bytes.push(stack.alloc_bytes);
        self.alloc_count.push(stack.alloc_count);
        self.age.push(stack.age_s.as_ref().map(|age| [age.min, age.median, age.max].map(brief)));
        self.finding.push(stack.finding);
        self.suppressed.push(strings.optional(stack.suppressed.as_deref()));
        self.sizes.push(stack.sizes.iter().map(size).collect());
        self.growth.push(stack.growth.as_ref().map(|growth: &Growth| {
            (
                strings.number(&growth.shape),
                brief(growth.confidence),
                growth.bytes_per_s,
                growth.grown_bytes,
                differences(growth.series.iter().copied()),
            )
        }));
        let lifetime = stack.lifetime.as_ref().map(|lifetime: &Lifetime| {
            let ages: Vec<f64> = lifetime.survival.iter().map(|point| brief(point.age_s)).collect();
            let bits = ages.iter().map(|age| age.to_bits()).collect();
            let grid = *grids.entry(bits).or_insert_with(|| {
                self.ages.push(ages);
                self.ages.len() - 1
            });
            // In parts of 10,000: a curve of a hundred pixels shows no more.
            let shares = lifetime.survival.iter().map(|point| (point.share * 1e4).round() as u64);
            (
                lifetime.freed_count,
                lifetime.censored_count,
                lifetime.median_s.map(brief),
                brief(lifetime.immortal),
                grid,
                differences(shares),
            )
        });
        self.lifetime.push(lifetime);
    }
}

fn size(size: &SizeClass) -> [u64; 5] {
    [size.min_bytes, size.live_count, size.live_bytes, size.alloc_count, size.alloc_bytes]
}

/// The first value, then each less the one before: series that stay what they are are zeros.
fn differences(values: impl Iterator<Item = u64>) -> Vec<i64> {
    values
        .scan(0_u64, |before, value| {
            Some(value.wrapping_sub(std::mem::replace(before, value)) as i64)
        })
        .collect()
}

/// Four digits: nobody reads more of an age or of a confidence.
fn brief(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

/// Functions, as the report has them.
#[derive(Default, Serialize)]
pub(super) struct Functions {
    function: Vec<u32>,
    module: Vec<u32>,
    self_live_bytes: Vec<u64>,
    total_live_bytes: Vec<u64>,
    total_live_bytes_error: Vec<u64>,
    self_alloc_bytes: Vec<u64>,
    total_alloc_bytes: Vec<u64>,
}

impl Functions {
    /// In the order of the report.
    pub(super) fn of<'a>(functions: &'a [Function], strings: &mut Strings<'a>) -> Self {
        let mut columns = Functions::default();
        for row in functions {
            columns.function.push(strings.number(&row.function));
            columns.module.push(strings.number(&row.module));
            columns.self_live_bytes.push(row.self_live_bytes);
            columns.total_live_bytes.push(row.total_live_bytes);
            columns.total_live_bytes_error.push(row.total_live_bytes_error);
            columns.self_alloc_bytes.push(row.self_alloc_bytes);
            columns.total_alloc_bytes.push(row.total_alloc_bytes);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_differences() {
        for (values, expected) in
            [(vec![], vec![]), (vec![7, 7, 9, 4], vec![7, 0, 2, -5]), (vec![u64::MAX], vec![-1])]
        {
            assert_eq!(differences(values.into_iter()), expected);
        }
    }

    #[test]
    fn numbers_are_brief() {
        for (number, text) in
            [(0.0, "0.0"), (29.750_04, "29.75"), (1234.567, "1235.0"), (0.000_123_456, "0.0001235")]
        {
            assert_eq!(format!("{:?}", brief(number)), text);
        }
    }
}
