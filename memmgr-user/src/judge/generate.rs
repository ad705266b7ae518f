//! Programs made up for tests: blocks with births and deaths, and the history that a capture of them gives.

use crate::{
    history::{StackHistory, Windows},
    track::Class,
};

/// A block of one stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub born_s: f64,
    pub dies_s: f64,
    pub bytes: f64,
}

/// What one stack of a program does during a capture.
#[derive(Clone, Debug)]
pub(super) struct Program {
    windows: usize,
    pub end_s: f64,
    pub blocks: Vec<Block>,
    pub random: Random,
    sample_interval: Option<f64>,
}

impl Program {
    pub fn new(windows: usize, end_s: f64) -> Self {
        Program { windows, end_s, blocks: Vec::new(), random: Random(1), sample_interval: None }
    }

    pub fn seeded(windows: usize, seed: u64) -> Self {
        Program { random: Random(seed), ..Program::new(windows, windows as f64) }
    }

    pub fn with(mut self, add: impl FnOnce(&mut Self)) -> Self {
        add(&mut self);
        self
    }

    /// As a capture in sample mode sees it.
    pub fn sampled(mut self, interval: f64) -> Self {
        self.sample_interval = Some(interval);
        self
    }

    pub fn block(&mut self, born_s: f64, life_s: f64, bytes: f64) {
        self.blocks.push(Block { born_s, dies_s: born_s + life_s, bytes });
    }

    /// A block every `period_s`, beginning half a period late.
    pub fn every(&mut self, period_s: f64, life_s: f64, bytes: f64) {
        let births = (self.end_s / period_s).round() as usize;
        for i in 0..births {
            self.block((i as f64 + 0.5) * period_s, life_s, bytes);
        }
    }

    /// Births at random, so many a second on average, with lives of random length.
    pub fn at_random(&mut self, rate: f64, mean_life_s: f64, bytes: f64) {
        let mut at_s = self.random.exponential(1.0 / rate);
        while at_s < self.end_s {
            let life_s = self.random.exponential(mean_life_s);
            self.block(at_s, life_s, bytes);
            at_s += self.random.exponential(1.0 / rate);
        }
    }

    /// What a capture of it keeps.
    pub fn history(&self) -> (Windows, StackHistory) {
        let n = self.windows;
        let ends_s: Vec<f64> = (1..=n).map(|i| self.end_s * i as f64 / n as f64).collect();
        let mut history = StackHistory::empty(Class::Heap, n);
        let window = |at_s: f64| ((at_s / self.end_s * n as f64) as usize).min(n - 1);
        let mut random = self.random.clone();
        let mut events: Vec<(f64, f64)> = Vec::new();
        let mut kept_variance = 0.0;
        for block in self.blocks.iter().filter(|block| block.born_s < self.end_s) {
            let weight = match self.sample_interval {
                None => 1.0,
                Some(interval) => {
                    let chance = 1.0 - (-block.bytes / interval).exp();
                    if random.uniform() >= chance {
                        continue;
                    }
                    1.0 / chance
                }
            };
            let bytes = block.bytes * weight;
            let born = window(block.born_s);
            history.alloc_samples += 1;
            history.alloc_count[born] += weight;
            history.alloc_bytes[born] += bytes;
            events.push((block.born_s, bytes));
            if block.dies_s < self.end_s {
                let died = window(block.dies_s);
                history.free_count[died] += weight;
                history.free_bytes[died] += bytes;
                history.freed_at_age.resize(history.freed_at_age.len().max(died - born + 1), 0.0);
                history.freed_at_age[died - born] += weight;
                history.samples_freed_at_age.resize(history.freed_at_age.len(), 0.0);
                history.samples_freed_at_age[died - born] += 1.0;
                events.push((block.dies_s, -bytes));
            } else {
                history.live_samples += 1;
                history.kept_samples[born] += 1.0;
                history.kept_count[born] += weight;
                history.kept_bytes[born] += bytes;
                kept_variance += bytes * bytes * (1.0 - 1.0 / weight);
            }
        }
        history.kept_bytes_error = f64::sqrt(kept_variance);
        // Each by itself.
        history.freed_together_at_age = history.samples_freed_at_age.clone();
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let (mut live, mut next) = (0.0_f64, 0);
        for (low, end_s) in history.low_bytes.iter_mut().zip(&ends_s) {
            *low = live;
            while next < events.len() && events[next].0 < *end_s {
                live += events[next].1;
                *low = low.min(live);
                next += 1;
            }
            *low = low.max(0.0);
        }
        (Windows { ends_s, observed_s: Vec::new() }, history)
    }
}

/// Numbers at random from a seed: SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    /// From 0 up to 1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }
}
