//! The figures of an interval: what procfs and the cgroup say, beside the books.

use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use memmgr_common::Counter;

use super::{Pulse, said, steer::Seeing};
use crate::{
    bpf::Books,
    capture::Session,
    collect::Collector,
    govern::Governor,
    recording::{Documents, Entry, Feed},
    report::{TimelinePoint, account::Standing, ending, last_look::LastLook},
    source::{process::count_descriptors, roots::Roots},
    units::KernelTime,
};

/// The figures of one moment.
pub(super) struct Observed {
    point: TimelinePoint,
    private_bytes: u64,
    documents: Documents,
}

/// Looks at a target again and again, and remembers what it saw last: of a process that has ended the
/// kernel says nothing any more, or nonsense (no memory, the root cgroup, one thread).
#[derive(Default)]
pub(super) struct Observer {
    last: Option<(LastLook, Option<u64>)>,
    gone: bool,
}

impl Observer {
    pub(super) fn observe(
        &mut self,
        roots: &Roots,
        session: &Session,
        standing: &Standing<'_>,
    ) -> Observed {
        let dir = &session.target.dir;
        let seen = (LastLook::brief(roots, dir), count_descriptors(dir));
        self.gone = seen.0.process.rss_bytes.is_none();
        let (look, descriptors) = match &self.last {
            Some(last) if self.gone => last.clone(),
            _ => seen,
        };
        self.last = Some((look.clone(), descriptors));
        let point = TimelinePoint {
            t_s: standing.span.1.seconds_since(standing.span.0),
            live_bytes: standing.collector.ledger.heap().live_bytes() as u64,
            rss_bytes: look.process.rss_bytes.unwrap_or(0),
            cgroup_bytes: look.cgroup.as_ref().and_then(|cgroup| cgroup.usage_bytes),
            swap_bytes: look.process.swap_bytes,
            threads: look.process.threads,
            descriptors,
            observed_s: None,
        };
        let process = &look.process;
        let private_bytes =
            process.anon_bytes.or(process.rss_bytes).unwrap_or(0) + process.swap_bytes.unwrap_or(0);
        let now = format_rfc3339_seconds(SystemTime::now()).to_string();
        Observed { point, private_bytes, documents: ending::running(standing, now, look) }
    }

    /// What was seen last of a target that has ended.
    pub(super) fn of_the_gone(self) -> Option<LastLook> {
        self.last.filter(|_| self.gone).map(|(look, _)| look)
    }
}

impl Observed {
    /// What a person sees.
    pub(super) fn pulse(&self, collector: &Collector, books: &Books, governor: &Governor) -> Pulse {
        let (heap, resident) = (collector.ledger.heap(), collector.ledger.resident());
        let main = if heap.alloc_count > 0.0 { heap } else { resident };
        Pulse {
            elapsed: Duration::from_secs_f64(self.point.t_s),
            events: collector.counts.received,
            live_bytes: main.live_bytes() as u64,
            rss_bytes: self.point.rss_bytes,
            lost: books.sum(&Counter::LOST),
            overhead_percent: governor.achieved_percent(),
            steps: said(governor.steps()),
            news: Vec::new(),
        }
    }

    /// Memory that is the target's alone, swapped out or not.
    pub(super) fn private_bytes(&self) -> u64 {
        self.private_bytes
    }

    /// What the recording gets; ends the running interval of the books.
    pub(super) fn entry(
        self,
        feed: &mut Feed,
        collector: &mut Collector,
        now: KernelTime,
        seeing: Seeing,
    ) -> Entry {
        let point = TimelinePoint { observed_s: seeing.observed_s, ..self.point };
        feed.entry(collector, now, seeing.stands_for, point, self.documents)
    }
}
