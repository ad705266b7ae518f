//! Sums over processes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use crate::{
    diff::identity::Names,
    estimate::error_of_sum,
    report::{Function, Module, Report, SizeClass, Suppression, Totals},
};

/// The standard error of a sum of figures of different processes, which are estimated each by itself.
pub(super) fn error(errors: impl Iterator<Item = u64>) -> u64 {
    error_of_sum(errors, false).round() as u64
}

pub(super) fn totals<'a>(all: impl Iterator<Item = &'a Totals> + Clone) -> Totals {
    let sum = |figure: fn(&Totals) -> u64| all.clone().map(figure).fold(0, u64::saturating_add);
    Totals {
        alloc_count: sum(|totals| totals.alloc_count),
        alloc_bytes: sum(|totals| totals.alloc_bytes),
        free_count: sum(|totals| totals.free_count),
        free_bytes: sum(|totals| totals.free_bytes),
        live_count: sum(|totals| totals.live_count),
        live_bytes: sum(|totals| totals.live_bytes),
        peak_live_bytes: sum(|totals| totals.peak_live_bytes),
        live_bytes_error: error(all.clone().map(|totals| totals.live_bytes_error)),
        alloc_bytes_error: error(all.clone().map(|totals| totals.alloc_bytes_error)),
    }
}

pub(super) fn sizes<'a>(all: impl Iterator<Item = &'a SizeClass>) -> Vec<SizeClass> {
    let mut sizes: BTreeMap<(u64, u64), SizeClass> = BTreeMap::new();
    for size in all {
        let SizeClass { min_bytes, max_bytes, .. } = *size;
        let sum = sizes.entry((min_bytes, max_bytes)).or_insert_with(|| SizeClass {
            min_bytes,
            max_bytes,
            ..SizeClass::default()
        });
        sum.live_count += size.live_count;
        sum.live_bytes += size.live_bytes;
        sum.alloc_count += size.alloc_count;
        sum.alloc_bytes += size.alloc_bytes;
    }
    sizes.into_values().collect()
}

pub(super) fn functions(names: &Names<'_>, reports: &[&Report]) -> Vec<Function> {
    let mut groups: HashMap<(&str, &str), Vec<&Function>> = HashMap::new();
    for function in reports.iter().flat_map(|report| &report.functions) {
        let key = (function.function.as_str(), names.file(&function.module));
        groups.entry(key).or_default().push(function);
    }
    let mut functions: Vec<Function> = groups
        .into_values()
        .map(|group| {
            let sum = |figure: fn(&Function) -> u64| group.iter().map(|f| figure(f)).sum();
            Function {
                function: group[0].function.clone(),
                module: group[0].module.clone(),
                self_live_bytes: sum(|f| f.self_live_bytes),
                total_live_bytes: sum(|f| f.total_live_bytes),
                self_alloc_bytes: sum(|f| f.self_alloc_bytes),
                total_alloc_bytes: sum(|f| f.total_alloc_bytes),
                total_live_bytes_error: error(group.iter().map(|f| f.total_live_bytes_error)),
                total_alloc_bytes_error: error(group.iter().map(|f| f.total_alloc_bytes_error)),
            }
        })
        .collect();
    functions.sort_by(|a, b| {
        let rank = |f: &Function| Reverse((f.total_live_bytes, f.total_alloc_bytes));
        (rank(a), &a.function, &a.module).cmp(&(rank(b), &b.function, &b.module))
    });
    functions
}

/// Where a file was mapped is another place in each process: that is left out.
pub(super) fn modules(names: &Names<'_>, reports: &[&Report]) -> Vec<Module> {
    let mut groups: HashMap<(&str, &str), Module> = HashMap::new();
    for module in reports.iter().flat_map(|report| &report.modules) {
        let key = (names.file(&module.path), module.build_id.as_str());
        let sum = groups.entry(key).or_insert_with(|| Module {
            path: module.path.clone(),
            build_id: module.build_id.clone(),
            ..Module::default()
        });
        sum.self_live_bytes += module.self_live_bytes;
        sum.total_live_bytes += module.total_live_bytes;
        sum.self_alloc_bytes += module.self_alloc_bytes;
        sum.total_alloc_bytes += module.total_alloc_bytes;
    }
    let mut modules: Vec<Module> = groups.into_values().collect();
    modules.sort_by(|a, b| {
        let rank = |m: &Module| Reverse((m.total_live_bytes, m.total_alloc_bytes));
        (rank(a), &a.path, &a.build_id).cmp(&(rank(b), &b.path, &b.build_id))
    });
    modules
}

/// All were judged with the same file, so that they have the same patterns in the same order.
pub(super) fn suppressions(reports: &[&Report]) -> Vec<Suppression> {
    let mut sums: Vec<Suppression> = Vec::new();
    for suppression in reports.iter().flat_map(|report| &report.suppressions) {
        match sums.iter_mut().find(|sum| sum.pattern == suppression.pattern) {
            Some(sum) => {
                sum.stacks += suppression.stacks;
                sum.live_count += suppression.live_count;
                sum.live_bytes += suppression.live_bytes;
            }
            None => sums.push(suppression.clone()),
        }
    }
    sums
}
