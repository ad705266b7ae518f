//! The file format of speedscope: one file, a profile for each figure, the chosen one on top.
//!
//! Every profile is of the type "sampled", a stack being a sample and its figure the weight. A frame
//! is a function with its source file, or else the file that holds its code; lines would tear one
//! function into many where speedscope adds up by function. Text stands as it was found, escaped as
//! JSON, which speedscope draws and never runs.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Metric, RenderOptions, about, frames, json};
use crate::report::{Frame, Report, Stack};

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: String,
    name: String,
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<Profile<'a>>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Function<'a>>,
}

#[derive(Clone, Hash, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile<'a> {
    r#type: &'static str,
    name: &'static str,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<&'a [usize]>,
    weights: Vec<u64>,
}

/// The four profiles of the chosen class.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn render(report: &Report, options: &RenderOptions) -> anyhow::Result<Vec<u8>> {
    let stacks: Vec<(&Stack, Vec<Function<'_>>)> =
        options.class.stacks(report).map(|stack| (stack, root_first(stack))).collect();
    let (functions, numbers) = numbered(&stacks, options.metric);
    let mut samples: Vec<(Vec<usize>, &Stack)> = stacks
        .iter()
        .map(|(stack, path)| (path.iter().map(|function| numbers[function]).collect(), *stack))
        .collect();
    // Neighbours share as much of their path as they can, the heavier ones to the left.
    samples.sort_by(|(a, _), (b, _)| a.cmp(b));

    let mut metrics = Metric::ALL;
    metrics.sort_by_key(|metric| *metric != options.metric);
    let file = File {
        schema: SCHEMA,
        exporter: format!("memmgr@{}", env!("CARGO_PKG_VERSION")),
        name: format!("{}: {}", about::target(report), about::capture(report)),
        active_profile_index: 0,
        shared: Shared { frames: functions },
        profiles: metrics.map(|metric| profile(metric, &samples)).into(),
    };
    json::render_compact(&file)
}

fn profile<'a>(metric: Metric, samples: &'a [(Vec<usize>, &Stack)]) -> Profile<'a> {
    let weighed = samples
        .iter()
        .map(|(path, stack)| (path.as_slice(), metric.of(stack)))
        .filter(|(_, weight)| *weight > 0);
    let (samples, weights): (Vec<_>, Vec<_>) = weighed.unzip();
    Profile {
        r#type: "sampled",
        name: metric.words(),
        unit: match metric {
            Metric::InuseSpace | Metric::AllocSpace => "bytes",
            Metric::InuseObjects | Metric::AllocObjects => "none",
        },
        start_value: 0,
        end_value: weights.iter().fold(0, |sum: u64, weight| sum.saturating_add(*weight)),
        samples,
        weights,
    }
}

fn root_first(stack: &Stack) -> Vec<Function<'_>> {
    let cut = frames::cut(stack).map(|name| Function { name, file: None });
    cut.into_iter().chain(stack.frames.iter().rev().map(|frame| function(frame))).collect()
}

fn function(frame: &Frame) -> Function<'_> {
    Function { name: frames::name(frame), file: frame.file.as_deref().or(frame.module.as_deref()) }
}

/// Every function once, the one in whose stacks there is most first, and the number of each.
fn numbered<'a>(
    stacks: &[(&Stack, Vec<Function<'a>>)],
    metric: Metric,
) -> (Vec<Function<'a>>, HashMap<Function<'a>, usize>) {
    let mut totals: HashMap<&Function<'a>, u64> = HashMap::new();
    for (stack, path) in stacks {
        for function in path.iter().collect::<HashSet<_>>() {
            let total = totals.entry(function).or_default();
            *total = total.saturating_add(metric.of(stack));
        }
    }
    let mut order: Vec<(&Function<'a>, u64)> = totals.into_iter().collect();
    order.sort_unstable_by(|(a, a_total), (b, b_total)| {
        (Reverse(a_total), a).cmp(&(Reverse(b_total), b))
    });
    let functions: Vec<Function<'a>> =
        order.into_iter().map(|(function, _)| function.clone()).collect();
    let numbers =
        functions.iter().enumerate().map(|(number, function)| (function.clone(), number)).collect();
    (functions, numbers)
}

#[cfg(test)]
mod tests;
