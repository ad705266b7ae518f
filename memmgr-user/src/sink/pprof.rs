//! The profile format of pprof: gzip around the messages of `profile.proto`.
//!
//! The four sample types have the names and the order that pprof knows from heaps. A stack is one
//! sample a size class, labelled with the mean size of its blocks. Values are estimates already
//! scaled up where a capture sampled. Names are written so that no reader can mistake them for
//! anything else on a terminal; they are demangled, so that functions have no system name.

mod code;
mod proto;

use std::io::Write as _;
use std::time::UNIX_EPOCH;

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;

use self::code::Code;
use self::proto::{Label, Profile, Sample, ValueType};
use super::parts::{Part, parts};
use super::{Metric, RenderOptions, about, frames};
use crate::report::{Report, Stack};

/// The sample types, allocated before outstanding: readers that know no default take the last.
const TYPES: [Metric; 4] =
    [Metric::AllocObjects, Metric::AllocSpace, Metric::InuseObjects, Metric::InuseSpace];

/// The profile of the chosen class. The same report always gives the same bytes.
///
/// # Errors
/// When it cannot be compressed.
pub(super) fn render(report: &Report, options: &RenderOptions) -> anyhow::Result<Vec<u8>> {
    // The header of gzip has no time and no name unless one is set.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&profile(report, options).encode_to_vec())?;
    Ok(gzip.finish()?)
}

fn profile(report: &Report, options: &RenderOptions) -> Profile {
    let mut code = Code::new(report);
    let samples =
        options.class.stacks(report).flat_map(|stack| samples(&mut code, stack)).collect();
    code.judge_mappings();
    let strings = &mut code.strings;
    let comment =
        about::remarks(report, options).iter().map(|remark| strings.index(remark)).collect();
    let sample_type = TYPES
        .map(|metric| {
            let unit = match metric {
                Metric::AllocObjects | Metric::InuseObjects => "count",
                Metric::AllocSpace | Metric::InuseSpace => "bytes",
            };
            ValueType { r#type: strings.index(metric.name()), unit: strings.index(unit) }
        })
        .to_vec();
    let period_type = ValueType { r#type: strings.index("space"), unit: strings.index("bytes") };
    let default_sample_type = strings.index(Metric::InuseSpace.name());
    Profile {
        sample_type,
        sample: samples,
        mapping: code.mappings,
        location: code.locations,
        function: code.functions,
        string_table: code.strings.table(),
        time_nanos: nanos_since_1970(&report.captured_at),
        duration_nanos: (report.duration_s.max(0.0) * 1e9) as i64,
        period_type: Some(period_type),
        period: clamped(report.capture.sample_interval_bytes.max(1)),
        comment,
        default_sample_type,
    }
}

/// One sample a size class; what belongs to no class has no label.
fn samples<'a>(code: &mut Code<'a>, stack: &'a Stack) -> Vec<Sample> {
    let mut location_id: Vec<u64> = frames::calls(stack).map(|call| code.call(call)).collect();
    location_id.extend(frames::cut(stack).map(|cut| code.note(&cut)));
    let sample = |part: Part| Sample {
        location_id: location_id.clone(),
        value: [part.alloc_count, part.alloc_bytes, part.live_count, part.live_bytes]
            .map(clamped)
            .to_vec(),
        label: part
            .block_bytes()
            .map(|bytes| Label {
                key: code.strings.index("bytes"),
                num: clamped(bytes),
                num_unit: code.strings.index("bytes"),
            })
            .into_iter()
            .collect(),
    };
    parts(stack).map(sample).collect()
}

/// 0, "not known", when it is no time after 1970.
fn nanos_since_1970(rfc3339: &str) -> i64 {
    let time = humantime::parse_rfc3339(rfc3339).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

/// Values are signed; no process has more than that.
fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
