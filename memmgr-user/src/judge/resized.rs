//! The second witness of a leak: as many blocks as before, but larger ones. Buffers that `realloc` makes longer,
//! vectors and hash tables that double.

use crate::history::StackHistory;

use super::{
    shape::{Trend, enough_windows},
    spread::{Spread, spread},
    statistics::{drift, lasting, theil_sen},
};

/// Random sizes drift by so many standard errors once in 160 times.
const DRIFT: f64 = 2.5;
/// All falls together, as a share of the rise: some buffers of many may be given back.
const WAY_BACK: f64 = 0.25;
/// Between its jumps a table or buffer does not change; this share of it may.
const STILL: f64 = 0.02;
/// A rise by less than this factor is no doubling of a table or buffer.
const JUMP: f64 = 1.25;
/// No table or buffer grows by more than this factor at once.
const LEAP: f64 = 4.5;
/// A buffer that is filled steadily jumps again after the last pause times the factor it grows by. This much
/// later it is taken to have stopped.
const LATE: f64 = 1.2;

/// The growth by blocks that become larger: whatever is born replaces something smaller.
pub(super) fn resized(ends_s: &[f64], history: &StackHistory) -> Option<Trend> {
    let windows = ends_s.len();
    if windows < 4 || !is_replacement(history, windows) {
        return None;
    }
    // At the ends of the windows, not at their lowest: the old block may be booked out before the new one is booked in.
    let mut live = 0.0;
    let moved = history.alloc_bytes.iter().zip(&history.free_bytes).take(windows);
    let levels: Vec<f64> = moved
        .map(|(taken, given)| {
            live += taken - given;
            live
        })
        .collect();
    let begin = levels.iter().position(|bytes| *bytes > 0.0)?.max(1);
    let (ends_s, levels) = (&ends_s[begin..], &levels[begin..]);
    if levels.len() < 4 {
        return None;
    }
    let bytes_per_s = theil_sen(ends_s, levels).max(0.0);
    let confidence = steady(levels).or_else(|| doubling(ends_s, levels))?;
    Some(Trend { confidence: confidence * enough_windows(windows), bytes_per_s })
}

/// Whether births after the first third were paid for with frees and bytes grew all the same.
fn is_replacement(history: &StackHistory, windows: usize) -> bool {
    let third = (windows / 3).max(1);
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let (born, freed) =
        (sum(&history.alloc_count[1..windows]), sum(&history.free_count[1..windows]));
    let live_count = |to: usize| sum(&history.alloc_count[..to]) - sum(&history.free_count[..to]);
    let live_bytes = |to: usize| sum(&history.alloc_bytes[..to]) - sum(&history.free_bytes[..to]);
    let (early, late) = (live_count(third), live_count(windows));
    let (early_bytes, late_bytes) = (live_bytes(third), live_bytes(windows));
    let seen_all = history.alloc_samples as f64 >= 0.999 * sum(&history.alloc_count);
    seen_all
        && freed >= 0.6 * born
        && born >= 2.0
        && late >= 1.0
        && early >= 1.0
        && late_bytes * early > 1.15 * early_bytes * late
        // Most of the growth is in the size of the blocks, not in their number.
        && (late / early).ln() < 0.3 * (late_bytes / early_bytes).ln()
}

/// Growth by small steps all through the capture, with no way back.
fn steady(levels: &[f64]) -> Option<f64> {
    let lasting = lasting(levels);
    let grew: Vec<f64> =
        lasting.windows(2).map(|pair| f64::from(u8::from(pair[1] > pair[0]))).collect();
    let steps: Vec<f64> = levels.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let rise = levels[levels.len() - 1] - levels[0];
    let falls: f64 = steps.iter().map(|step| (-step).max(0.0)).sum();
    let largest = steps.iter().copied().fold(0.0, f64::max);
    let third = (steps.len() / 3).max(1);
    let last: f64 = steps[steps.len() - third..].iter().sum();
    let is_steady = matches!(spread(&grew, &vec![1.0; grew.len()]), Spread::Steady(_))
        && drift(levels) >= DRIFT
        && falls <= WAY_BACK * rise
        && largest <= 0.5 * rise
        && last >= 0.15 * rise;
    is_steady.then(|| 1.0 - 1.0 / (1.0 + grew.iter().sum::<f64>()))
}

/// Growth by jumps, each a multiple of what was there, at growing intervals.
fn doubling(ends_s: &[f64], levels: &[f64]) -> Option<f64> {
    let mut jumps: Vec<(f64, f64)> = Vec::new();
    for (at, pair) in levels.windows(2).enumerate() {
        if pair[1] > LEAP * pair[0] {
            return None;
        } else if pair[1] >= JUMP * pair[0] {
            jumps.push((ends_s[at + 1], pair[1] / pair[0]));
        } else if (pair[1] - pair[0]).abs() > STILL * pair[0] {
            return None;
        }
    }
    let [.., (before_s, _), (last_s, factor)] = jumps[..] else { return None };
    let end_s = ends_s[ends_s.len() - 1];
    let window_s = end_s / ends_s.len() as f64;
    let due_s = last_s + (last_s - before_s) * factor * LATE + window_s;
    (jumps.len() >= 3 && end_s <= due_s).then(|| 1.0 - 1.15 / jumps.len() as f64)
}
