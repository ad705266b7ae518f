//! Synthetic programs, each with the share of seeds that must be judged rightly.

use proptest::prelude::*;

use super::{generate::Program, growth};
use crate::{
    history::{StackHistory, Windows},
    report::Growth,
    track::Class,
};

/// The confidence that a warning needs, and what may be warned about.
fn warns(growth: &Growth) -> bool {
    growth.shape == "linear" && growth.driver != "turnover" && growth.confidence >= super::SURE
}

const SEEDS: u64 = 200;
const FOREVER: f64 = f64::INFINITY;

struct Case {
    name: &'static str,
    make: fn(Program) -> Program,
    /// Whether it leaks.
    leaks: bool,
    /// Seeds of a hundred that may be judged wrongly.
    wrong_percent: f64,
}

fn case(name: &'static str, leaks: bool, wrong_percent: f64, make: fn(Program) -> Program) -> Case {
    Case { name, make, leaks, wrong_percent }
}

/// Sessions that come and go at random, begun long before the attach: those seen begin within it.
fn walk(mut p: Program, rate: f64, mean_life: f64) -> Program {
    let life = mean_life * p.end_s;
    p.at_random(rate, life, 4096.0);
    p
}

fn leaking() -> Vec<Case> {
    vec![
        case("a block a second", true, 0.0, |p| p.with(|p| p.every(1.0, FOREVER, 16.0))),
        case("a block a second at random", true, 2.5, |p| {
            p.with(|p| p.at_random(1.0, FOREVER, 16.0))
        }),
        case("a block every seventh of the capture", true, 0.0, |p| {
            let period = p.end_s / 7.0;
            p.with(|p| p.every(period, FOREVER, 64.0))
        }),
        case("a block beside churn", true, 1.0, |p| {
            p.with(|p| p.every(1.0, FOREVER, 16.0)).with(|p| p.at_random(200.0, 0.05, 16.0))
        }),
        case("a block beside churn that takes seconds", true, 3.0, |p| {
            p.with(|p| p.at_random(1.0, FOREVER, 16.0)).with(|p| p.at_random(50.0, 1.0, 100.0))
        }),
        case("every tenth block", true, 1.0, |mut p| {
            for i in 0..(p.end_s * 20.0) as u64 {
                let life = if i % 10 == 3 { FOREVER } else { p.random.exponential(0.2) };
                p.block((i as f64 + 0.3) / 20.0, life, 128.0);
            }
            p
        }),
        case("in bursts", true, 2.0, |mut p| {
            let period = p.end_s / 8.0;
            for i in 0..8 {
                for j in 0..20 {
                    p.block((f64::from(i) + 0.4) * period + 0.001 * f64::from(j), FOREVER, 64.0);
                }
            }
            p
        }),
        case("load that swings", true, 1.0, |mut p| {
            let (mut at, phase) = (0.0, p.random.between(0.0, 6.3));
            while at < p.end_s {
                let load = 5.0 * (1.0 + 0.5 * (phase + at / p.end_s * 12.6_f64).sin());
                at += p.random.exponential(1.0 / load);
                p.block(at, FOREVER, 200.0);
            }
            p
        }),
        case("after a large start", true, 2.0, |p| {
            p.with(|p| (0..5000).for_each(|i| p.block(1e-4 * f64::from(i), FOREVER, 1e4)))
                .with(|p| p.at_random(2.0, FOREVER, 32.0))
        }),
        case("sampled", true, 2.0, |p| {
            p.with(|p| p.at_random(40.0, FOREVER, 65_536.0)).sampled(524_288.0)
        }),
        case("sampled beside churn", true, 3.0, |p| {
            p.with(|p| p.at_random(40.0, FOREVER, 65_536.0))
                .with(|p| p.at_random(400.0, 0.2, 65_536.0))
                .sampled(524_288.0)
        }),
        case("a buffer made longer", true, 0.0, |p| resize(p, |i| 4096.0 + 512.0 * i as f64, 0.1)),
        case("a buffer made longer seldom", true, 0.0, |p| {
            let period = p.end_s / 9.0;
            resize(p, |i| 4096.0 + 512.0 * i as f64, period)
        }),
        case("a vector that doubles", true, 0.0, doubling),
    ]
}

/// One block after the other, each replaced by the next.
fn resize(mut p: Program, bytes: impl Fn(usize) -> f64, period: f64) -> Program {
    for i in 0..(p.end_s / period) as usize {
        p.block(period * (i as f64 + 0.5), period, bytes(i));
    }
    for i in 1..p.blocks.len() {
        p.blocks[i - 1].dies_s = p.blocks[i].born_s;
    }
    p
}

fn doubling(mut p: Program) -> Program {
    let (mut at, mut bytes) = (p.end_s / 60.0 * p.random.between(0.6, 1.0), 64.0);
    while at < p.end_s {
        p.block(at, at, bytes);
        (at, bytes) = (at * 2.0, bytes * 2.0);
    }
    p
}

fn sound() -> Vec<Case> {
    vec![
        case("nothing", false, 0.0, |p| p),
        case("churn", false, 0.0, |p| p.with(|p| p.at_random(200.0, 0.1, 100.0))),
        case("churn that takes seconds", false, 0.0, |p| walk(p, 50.0, 0.05)),
        case("start-up pool", false, 0.0, |mut p| {
            for _ in 0..500 {
                let at = p.random.between(0.0, 0.08 * p.end_s);
                p.block(at, FOREVER, 4096.0);
            }
            p
        }),
        case("cache that fills and is full", false, 1.0, |mut p| {
            let full = p.random.between(0.1, 0.8) * p.end_s;
            for _ in 0..2000 {
                let at = p.random.between(0.0, full);
                p.block(at, FOREVER, 256.0);
            }
            p
        }),
        case("cache that warms up", false, 1.0, |mut p| {
            let warm = p.random.between(0.1, 0.45) * p.end_s;
            for _ in 0..2000 {
                let at = p.random.exponential(warm);
                p.block(at, FOREVER, 256.0);
            }
            p
        }),
        case("least recently used", false, 0.5, |mut p| {
            let stay = p.random.between(0.02, 0.95) * p.end_s;
            p.every(0.05, stay, 512.0);
            p
        }),
        case("ring", false, 0.0, |mut p| {
            let stay = p.random.between(0.02, 0.6) * p.end_s;
            p.every(stay / 64.0, stay, 1500.0);
            p
        }),
        case("sawtooth", false, 1.0, |mut p| {
            let period = p.random.between(0.03, 0.7) * p.end_s;
            sweep(&mut p, period);
            p
        }),
        case("grows, then shrinks", false, 0.5, |mut p| {
            let turn = p.random.between(0.3, 0.7) * p.end_s;
            for i in 0..1000 {
                let at = turn * f64::from(i) / 1000.0;
                let dies = turn + (p.end_s - turn) * p.random.uniform();
                p.block(at, dies - at, 300.0);
            }
            p
        }),
        case("one step", false, 0.0, |mut p| {
            let at = p.random.uniform() * p.end_s;
            (0..300).for_each(|i| p.block(at + 1e-4 * f64::from(i), FOREVER, 9000.0));
            p
        }),
        case("two steps", false, 0.0, |mut p| {
            for _ in 0..2 {
                let at = p.random.uniform() * p.end_s;
                (0..300).for_each(|i| p.block(at + 1e-4 * f64::from(i), FOREVER, 9000.0));
            }
            p
        }),
        case("step beside churn", false, 0.0, |mut p| {
            let at = p.random.uniform() * p.end_s;
            p.block(at, FOREVER, 1e6);
            p.with(|p| p.at_random(100.0, 0.2, 50.0))
        }),
        case("connections that last for a tenth", false, 0.5, |p| walk(p, 4.0, 0.1)),
        case("connections that last for a third", false, 1.0, |p| walk(p, 4.0, 0.33)),
        case("connections that last for the capture", false, 1.0, |p| walk(p, 4.0, 1.0)),
        case("connections that last for two captures", false, 2.0, |p| walk(p, 4.0, 2.0)),
        case("few connections that last for a third", false, 3.0, |p| walk(p, 0.3, 0.33)),
        case("few connections that last for a tenth", false, 2.0, |p| walk(p, 0.3, 0.1)),
        case("connections sampled", false, 2.0, |p| walk(p, 40.0, 0.3).sampled(65_536.0)),
        case("churn sampled", false, 1.0, |p| {
            p.with(|p| p.at_random(300.0, 0.3, 4096.0)).sampled(524_288.0)
        }),
        case("a buffer of any size", false, 0.5, |mut p| {
            for i in 0..(p.end_s * 3.0) as usize {
                let bytes = p.random.between(1e3, 1e5);
                p.block((i as f64 + 0.5) / 3.0, 0.3333, bytes);
            }
            p
        }),
        case("a table that doubled and is full", false, 0.0, |mut p| {
            let mut at = p.end_s / 60.0;
            let mut bytes = 64.0;
            while at < 0.4 * p.end_s {
                let next = at * 2.0;
                let dies = if next < 0.4 * p.end_s { at } else { FOREVER };
                p.block(at, dies, bytes);
                (at, bytes) = (next, bytes * 2.0);
            }
            p
        }),
    ]
}

/// Blocks are collected and freed all at once.
fn sweep(p: &mut Program, period: f64) {
    let mut next = p.random.uniform() * period;
    for i in 0..(p.end_s * 30.0) as usize {
        let at = i as f64 / 30.0;
        while next <= at {
            next += period;
        }
        p.block(at, next - at, 700.0);
    }
}

fn check(cases: &[Case], windows: usize) {
    let mut faults = Vec::new();
    for case in cases {
        let mut shapes = std::collections::BTreeMap::<String, u64>::new();
        let mut wrong = 0_u32;
        for seed in 1..=SEEDS {
            let program = (case.make)(Program::seeded(windows, seed));
            let (windows, history) = program.history();
            let got = growth(&windows, &history);
            if warns(&got) != case.leaks {
                wrong += 1;
                *shapes
                    .entry(format!("{} {} {:.1}", got.shape, got.driver, got.confidence))
                    .or_default() += 1;
            }
        }
        if f64::from(wrong) > case.wrong_percent / 100.0 * SEEDS as f64 {
            faults.push(format!("{}: {wrong} of {SEEDS} wrong: {shapes:?}", case.name));
        }
    }
    assert!(faults.is_empty(), "{windows} windows:\n{}", faults.join("\n"));
}

#[test]
fn leaks_are_found() {
    check(&leaking(), 60);
    check(&leaking(), 30);
}

#[test]
fn sound_programs_are_left_alone() {
    check(&sound(), 60);
    check(&sound(), 30);
}

/// Shape, driver, rate and growth.
#[test]
fn shapes() {
    let of = |make: &dyn Fn(&mut Program)| {
        let (windows, history) = Program::seeded(30, 5).with(make).history();
        let got = growth(&windows, &history);
        format!("{} {} {:.0} B/s {}", got.shape, got.driver, got.bytes_per_s, got.grown_bytes)
    };
    let fill = |p: &mut Program, full: f64| {
        (0..300).for_each(|i| p.block(f64::from(i) / 300.0 * full, FOREVER, 100.0));
    };
    let queue = |p: &mut Program| {
        (0..600).for_each(|i| p.block(f64::from(i) * 0.05, f64::from(i) * 0.02, 10.0));
    };
    let buffer = |p: &mut Program| *p = resize(p.clone(), |i| 100.0 * i as f64, 0.5);
    let got = [
        of(&|_| {}),
        of(&|p| p.at_random(2000.0, 0.2, 100.0)),
        of(&|p| fill(p, 0.9)),
        of(&|p| p.block(15.0, FOREVER, 5000.0)),
        of(&|p| fill(p, 18.0)),
        of(&|p| sweep(p, 7.0)),
        of(&|p| p.every(1.0, FOREVER, 16.0)),
        of(&buffer),
        of(&queue),
    ];
    let expected = [
        "flat  0 B/s 0",
        "flat  0 B/s 0",
        "flat  0 B/s 0",
        "step  0 B/s 5000",
        "saturating  0 B/s 15000",
        "sawtooth  0 B/s 0",
        "linear kept 16 B/s 320",
        "linear resized 200 B/s 4000",
        "linear turnover 57 B/s 1140",
    ];
    assert_eq!(got, expected);
}

fn series(n: usize) -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![Just(0.0), 0.0..10.0, 0.0..1e15];
    prop::collection::vec(value.prop_map(f64::floor), 0..=n)
}

prop_compose! {
    fn any_history()(
        n in 0_usize..65,
    )(
        alloc_count in series(n), alloc_bytes in series(n), free_count in series(n), free_bytes in series(n),
        low_bytes in series(n), kept_count in series(n), kept_bytes in series(n), freed_at_age in series(n + 2),
        kept_samples in series(n), observed_s in series(n),
        live_samples in 0_u64..1000, alloc_samples in 0_u64..1000, width in 0.001..100.0, n in Just(n),
    ) -> (Windows, StackHistory) {
        (
            Windows { ends_s: (1..=n).map(|i| i as f64 * width).collect(), observed_s },
            StackHistory {
                class: Class::Heap, alloc_count, alloc_bytes, free_count, free_bytes, low_bytes, kept_count,
                kept_bytes_error: kept_bytes.iter().sum::<f64>() / 7.0, kept_bytes, kept_samples, samples_freed_at_age: freed_at_age.clone(),
                freed_together_at_age: freed_at_age.clone(), freed_at_age,
                live_samples, alloc_samples,
            },
        )
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_figures_are_in_range((windows, history) in any_history()) {
        let got = growth(&windows, &history);
        prop_assert!((0.0..=1.0).contains(&got.confidence), "{got:?}");
        prop_assert!(got.bytes_per_s >= 0.0 && got.bytes_per_s.is_finite(), "{got:?}");
        let life = super::lifetime(&windows, &history);
        prop_assert!((0.0..=1.0).contains(&life.immortal), "{life:?}");
        prop_assert!(life.noticed.is_none_or(|n| n.expected.is_finite() && n.freed <= n.outlived), "{life:?}");
        prop_assert!(life.survival.is_sorted_by(|a, b| a.share >= b.share), "{life:?}");
    }

    #[test]
    fn the_unit_of_bytes_does_not_matter((windows, history) in any_history(), power in 0..20) {
        let scale = f64::from(2_i32.pow(power as u32));
        let mut scaled = history.clone();
        scaled.kept_bytes_error *= scale;
        for series in [&mut scaled.alloc_bytes, &mut scaled.free_bytes, &mut scaled.low_bytes, &mut scaled.kept_bytes] {
            for bytes in series.iter_mut() {
                *bytes *= scale;
            }
        }
        let (got, big) = (growth(&windows, &history), growth(&windows, &scaled));
        prop_assert_eq!((&got.shape, got.confidence, &got.driver), (&big.shape, big.confidence, &big.driver));
        prop_assert_eq!(got.bytes_per_s * scale, big.bytes_per_s);
    }
}
