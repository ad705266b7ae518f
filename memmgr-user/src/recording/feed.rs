//! What of a capture is new since the last interval, and what is as of now.

use std::collections::HashSet;

use super::{Documents, Entry, Location, ModuleRecord, Node};
use crate::{
    collect::Collector,
    modules::{Modules, Place},
    report::TimelinePoint,
    track::Class,
    units::{Address, KernelTime},
};

/// Remembers what was handed on.
#[derive(Default)]
pub struct Feed {
    nodes: usize,
    modules: usize,
    addresses: HashSet<Address>,
}

impl Feed {
    /// Ends the running interval at `now`, whose heap blocks stand for so many times as many.
    pub fn entry(
        &mut self,
        collector: &mut Collector,
        now: KernelTime,
        stands_for: f64,
        point: TimelinePoint,
        documents: Documents,
    ) -> Entry {
        let interval = collector.cut(now, stands_for);
        // What was seen in windows is all of it only now.
        let live_bytes = interval.totals[Class::Heap as usize].live_bytes() as u64;
        let point = TimelinePoint { live_bytes, ..point };
        let nodes: Vec<Node> = collector.stacks.nodes_from(self.nodes).collect();
        self.nodes += nodes.len();
        let new = |address: &Address| self.addresses.insert(*address);
        let locations = nodes
            .iter()
            .map(|node| node.address)
            .filter(new)
            .map(|address| location(&collector.modules, address))
            .collect();
        let modules: Vec<ModuleRecord> = (self.modules..collector.modules.iter().count())
            .map(|m| module_record(&collector.modules, m))
            .collect();
        self.modules += modules.len();
        Entry { point, interval, nodes, locations, modules, documents }
    }
}

/// The call is what is looked up, which ends where the return address begins.
fn location(modules: &Modules, address: Address) -> Location {
    let (module, stated, reason) = match modules.place(Address(address.0.saturating_sub(1))) {
        Place::Module { module, address } => (Some(module as u32), address, None),
        Place::Unreadable { path, why, offset } => {
            (None, offset, Some(format!("{}: the file could not be read: {why}", path.display())))
        }
        Place::Vdso => (None, address.0, Some("the kernel's page of fast system calls".into())),
        Place::Generated => (None, address.0, Some("generated at run time".into())),
        Place::Unmapped => (None, address.0, Some("in no executable mapping that was seen".into())),
    };
    Location { address, module, stated, reason }
}

/// Where a module is, as recordings have it.
pub(crate) fn module_record(modules: &Modules, index: usize) -> ModuleRecord {
    let module = modules.module(index);
    let (start, end, file_offset, bias) = modules.span(index).unwrap_or_default();
    ModuleRecord {
        path: module.path.to_string_lossy().into_owned(),
        build_id: module.build_id.clone(),
        start,
        end,
        file_offset,
        bias,
    }
}
