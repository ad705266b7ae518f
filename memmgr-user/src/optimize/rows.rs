//! The figures of a report as rows of tables, for people: what was before, right after and when it had settled.

use serde::Serialize;

use super::{
    figures::{Figures, Rates},
    report::Report,
};

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// What its rows are of. Hostile.
    pub title: String,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// A figure at the moments that were looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// How it is written.
    pub unit: Unit,
    /// Before, right after, settled; the latter two are absent in a dry run.
    pub values: Vec<Option<f64>>,
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// In powers of 1024.
    Bytes,
    /// A whole number.
    Count,
    /// 0 to 1.
    Index,
    /// Bytes a second.
    BytesPerSecond,
    /// A number a second.
    PerSecond,
    /// Percent of the time.
    Percent,
}

/// What is read of figures for a row.
type Of = fn(&Figures) -> Option<f64>;

/// And of rates.
type OfRates = fn(&Rates) -> Option<f64>;

/// The figures at each moment.
pub fn tables(report: &Report) -> Vec<Table> {
    let mut moments = vec![&report.before];
    if let Some(changed) = &report.changed {
        moments.extend([&changed.after, &changed.settled]);
    }
    let table = |title: String, rows: &[(&str, Unit, Of)]| {
        let rows: Vec<Row> = rows
            .iter()
            .map(|(what, unit, of)| Row {
                what: (*what).to_owned(),
                unit: *unit,
                values: moments.iter().map(|figures| of(figures)).collect(),
            })
            .filter(|row| row.values.iter().any(|value| value.is_some_and(|value| value != 0.0)))
            .collect();
        (!rows.is_empty()).then_some(Table { title, rows })
    };
    let processes = match (&report.subject.pid, &report.before.processes) {
        (Some(_), _) => report.subject.words(),
        (None, Some(processes)) => format!("its {} processes together", processes.count),
        (None, None) => String::new(),
    };
    let group = report.before.cgroup.as_ref().map_or_else(String::new, |group| {
        format!("cgroup {} ({})", group.cgroup.path, group.cgroup.version)
    });
    [
        table("heap, as the runtime says".to_owned(), HEAP),
        table(processes, PROCESSES),
        table(group, GROUP),
        table("host".to_owned(), HOST),
        blocks(report, &moments),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn bytes(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

const HEAP: &[(&str, Unit, Of)] = &[
    ("in use", Unit::Bytes, |f| bytes(Some(f.heap.as_ref()?.used_bytes))),
    ("committed", Unit::Bytes, |f| bytes(Some(f.heap.as_ref()?.committed_bytes))),
];

const PROCESSES: &[(&str, Unit, Of)] = &[
    ("resident (RSS)", Unit::Bytes, |f| bytes(f.processes.as_ref()?.sum.rss_bytes)),
    ("proportional (PSS)", Unit::Bytes, |f| bytes(f.processes.as_ref()?.sum.pss_bytes)),
    ("anonymous", Unit::Bytes, |f| bytes(f.processes.as_ref()?.sum.anon_bytes)),
    ("of files", Unit::Bytes, |f| bytes(f.processes.as_ref()?.sum.file_bytes)),
    ("shared memory", Unit::Bytes, |f| bytes(f.processes.as_ref()?.sum.shmem_bytes)),
    ("swapped out", Unit::Bytes, |f| bytes(f.processes.as_ref()?.sum.swap_bytes)),
    ("inactive", Unit::Bytes, |f| bytes(f.processes.as_ref()?.inactive_bytes)),
    ("in huge pages", Unit::Bytes, |f| bytes(f.processes.as_ref()?.huge_bytes)),
    ("page tables", Unit::Bytes, |f| bytes(f.processes.as_ref()?.sum.page_tables_bytes)),
    ("major faults so far", Unit::Count, |f| bytes(f.processes.as_ref()?.sum.major_faults)),
];

const GROUP: &[(&str, Unit, Of)] = &[
    ("usage", Unit::Bytes, |f| bytes(f.cgroup.as_ref()?.cgroup.usage_bytes)),
    ("anonymous", Unit::Bytes, |f| {
        let group = f.cgroup.as_ref()?;
        bytes(group.counter("anon").or_else(|| group.counter("rss")))
    }),
    ("of files", Unit::Bytes, |f| {
        let group = f.cgroup.as_ref()?;
        bytes(group.counter("file").or_else(|| group.counter("cache")))
    }),
    ("inactive, of files", Unit::Bytes, |f| bytes(f.cgroup.as_ref()?.counter("inactive_file"))),
    ("inactive, anonymous", Unit::Bytes, |f| bytes(f.cgroup.as_ref()?.counter("inactive_anon"))),
    ("caches of the kernel", Unit::Bytes, |f| {
        bytes(f.cgroup.as_ref()?.counter("slab_reclaimable"))
    }),
    ("swap", Unit::Bytes, |f| bytes(f.cgroup.as_ref()?.swap_bytes)),
    ("in the swap cache", Unit::Bytes, |f| bytes(f.cgroup.as_ref()?.counter("swapcached"))),
    ("major faults so far", Unit::Count, |f| bytes(f.cgroup.as_ref()?.counter("pgmajfault"))),
];

const HOST: &[(&str, Unit, Of)] = &[
    ("available", Unit::Bytes, |f| bytes(f.host.memory.available_bytes)),
    ("free", Unit::Bytes, |f| bytes(Some(f.host.memory.free_bytes))),
    ("caches", Unit::Bytes, |f| bytes(Some(f.cache_bytes()))),
    ("swap in use", Unit::Bytes, |f| {
        bytes(f.host.memory.swap_total_bytes.checked_sub(f.host.memory.swap_free_bytes))
    }),
    ("in the swap cache", Unit::Bytes, |f| bytes(Some(f.host.swap_cached_bytes))),
    ("saved by merging", Unit::Bytes, |f| {
        let page = rustix::param::page_size() as u64;
        bytes(Some(f.merging.as_ref()?.sharing_pages * page))
    }),
    ("free in blocks of a huge page", Unit::Bytes, |f| bytes(Some(f.high_order_free_bytes()))),
    ("of the free memory, in smaller blocks", Unit::Percent, |f| {
        let free: u64 = f.host.zones.iter().map(|zone| zone.free_bytes).sum();
        let large = f.high_order_free_bytes() as f64 / free as f64;
        (free > 0).then_some((1.0 - large) * 100.0)
    }),
    ("fragmentation index", Unit::Index, Figures::fragmentation_index),
];

/// Free blocks by order: what compaction is about.
fn blocks(report: &Report, moments: &[&Figures]) -> Option<Table> {
    if !matches!(report.action.as_str(), "compact" | "drop-caches") {
        return None;
    }
    let blocks: Vec<Vec<u64>> = moments.iter().map(|figures| figures.free_blocks()).collect();
    let orders = blocks.iter().map(Vec::len).max().filter(|orders| *orders > 0)?;
    let page = rustix::param::page_size() as u64;
    let rows = (0..orders).map(|order| Row {
        what: format!("of {}", crate::units::human_bytes(page << order)),
        unit: Unit::Count,
        values: blocks.iter().map(|blocks| blocks.get(order).map(|count| *count as f64)).collect(),
    });
    Some(Table { title: "free blocks".to_owned(), rows: rows.collect() })
}

/// What happened a second, before the action and while it settled; nothing for a dry run.
pub fn rates(report: &Report) -> Option<Table> {
    let changed = report.changed.as_ref()?;
    let moments = [&changed.rates_before, &changed.rates_settling];
    let of: [(&str, Unit, OfRates); 7] = [
        ("major faults", Unit::PerSecond, |r| Some(r.major_faults)),
        ("evicted and wanted again", Unit::BytesPerSecond, |r| Some(r.refaulted_bytes)),
        ("read from disks", Unit::BytesPerSecond, |r| Some(r.read_bytes)),
        ("read from swap", Unit::BytesPerSecond, |r| Some(r.swapped_in_bytes)),
        ("some task waited for memory", Unit::Percent, |r| Some(r.stalled_some? * 100.0)),
        ("all tasks waited for memory", Unit::Percent, |r| Some(r.stalled_full? * 100.0)),
        ("threads waited for a processor", Unit::Percent, |r| Some(r.run_delay_s? * 100.0)),
    ];
    let rows = of.map(|(what, unit, of)| Row {
        what: what.to_owned(),
        unit,
        values: moments.iter().map(|rates| of(rates)).collect(),
    });
    let title = format!(
        "a second: in {:.0} s before, in {:.0} s while it settled",
        changed.rates_before.seconds, changed.rates_settling.seconds
    );
    let rows = rows.into_iter().filter(|row| row.values.iter().any(Option::is_some)).collect();
    Some(Table { title, rows })
}
