//! The tables of a profile: strings, mappings, functions and locations, each of them once.

use std::collections::HashMap;
use std::sync::Arc;

use super::proto::{Function, Line, Location, Mapping};
use crate::report::{Frame, Module, Report};
use crate::sink::frames;

/// Texts and their indices.
#[derive(Default)]
pub(super) struct Strings {
    indices: HashMap<String, i64>,
}

impl Strings {
    pub(super) fn new() -> Self {
        let mut strings = Self::default();
        strings.index("");
        strings
    }

    /// The index of a text of ours.
    pub(super) fn index(&mut self, text: &str) -> i64 {
        if let Some(index) = self.indices.get(text) {
            return *index;
        }
        let next = self.indices.len() as i64;
        self.indices.insert(text.to_owned(), next);
        next
    }

    /// The index of a text of the target.
    fn hostile(&mut self, text: &str) -> i64 {
        if text.is_empty() { 0 } else { self.index(&frames::one_line(text)) }
    }

    /// The texts in the order of their indices.
    pub(super) fn table(self) -> Vec<String> {
        let mut table: Vec<(String, i64)> = self.indices.into_iter().collect();
        table.sort_unstable_by_key(|(_, index)| *index);
        table.into_iter().map(|(text, _)| text).collect()
    }
}

/// What the samples point to.
pub(super) struct Code<'a> {
    pub(super) strings: Strings,
    pub(super) mappings: Vec<Mapping>,
    pub(super) locations: Vec<Location>,
    pub(super) functions: Vec<Function>,
    /// The module of each mapping, by the path that frames name.
    modules: HashMap<&'a str, (usize, &'a Module)>,
    by_call: HashMap<&'a [Arc<Frame>], u64>,
    by_name: HashMap<(i64, i64), u64>,
    /// The location of each function that is none.
    notes: HashMap<u64, u64>,
}

impl<'a> Code<'a> {
    /// The mappings of a report, the main binary first even when nothing is known about it but its name.
    pub(super) fn new(report: &'a Report) -> Self {
        let mut code = Self {
            strings: Strings::new(),
            mappings: Vec::new(),
            locations: Vec::new(),
            functions: Vec::new(),
            modules: HashMap::new(),
            by_call: HashMap::new(),
            by_name: HashMap::new(),
            notes: HashMap::new(),
        };
        let exe = report.target.exe.as_str();
        let is_main = |module: &&Module| module.path == exe;
        let (main, others) = report.modules.iter().partition::<Vec<_>, _>(is_main);
        if main.is_empty() && !exe.is_empty() {
            let filename = code.strings.hostile(exe);
            code.mappings.push(Mapping { id: 1, filename, ..Mapping::default() });
        }
        for module in main.into_iter().chain(others) {
            code.modules.insert(&module.path, (code.mappings.len(), module));
            code.mappings.push(Mapping {
                id: code.mappings.len() as u64 + 1,
                memory_start: module.start,
                memory_limit: module.end,
                file_offset: module.file_offset,
                filename: code.strings.hostile(&module.path),
                build_id: code.strings.hostile(&module.build_id),
                ..Mapping::default()
            });
        }
        code
    }

    /// The location of a call: inlined functions and the one that holds them. The report's address
    /// is within the call instruction already, as pprof wants it.
    pub(super) fn call(&mut self, call: &'a [Arc<Frame>]) -> u64 {
        if let Some(id) = self.by_call.get(call) {
            return *id;
        }
        let place = call.last().and_then(|frame| self.place(frame));
        // A place in a mapping needs no name: pprof shows the file, and may find the function itself.
        let named = call.iter().filter(|frame| frame.function.is_some() || place.is_none());
        let lines = named
            .map(|frame| self.line(&frames::name(frame), frame.file.as_deref(), frame.line))
            .collect();
        let id = self.location(place, lines);
        self.by_call.insert(call, id);
        id
    }

    /// The location of something that is no code, such as the place where a stack was cut.
    pub(super) fn note(&mut self, note: &str) -> u64 {
        let line = self.line(note, None, None);
        if let Some(id) = self.notes.get(&line.function_id) {
            return *id;
        }
        let id = self.location(None, vec![line]);
        self.notes.insert(line.function_id, id);
        id
    }

    /// The mapping of a frame and the address that its code had in the target.
    fn place(&self, frame: &Frame) -> Option<(usize, u64)> {
        let (mapping, module) = *self.modules.get(frame.module.as_deref()?)?;
        // The module may lie below its stated address.
        let address = frame.address.wrapping_add(module.bias);
        (module.start..module.end).contains(&address).then_some((mapping, address))
    }

    fn location(&mut self, place: Option<(usize, u64)>, line: Vec<Line>) -> u64 {
        let id = self.locations.len() as u64 + 1;
        let (mapping_id, address) =
            place.map_or((0, 0), |(mapping, address)| (self.mappings[mapping].id, address));
        self.locations.push(Location { id, mapping_id, address, line });
        id
    }

    fn line(&mut self, name: &str, file: Option<&str>, line: Option<u32>) -> Line {
        let key = (self.strings.hostile(name), self.strings.hostile(file.unwrap_or_default()));
        let next = self.functions.len() as u64 + 1;
        let id = *self.by_name.entry(key).or_insert(next);
        if id == next {
            let (name, filename) = key;
            self.functions.push(Function { id, name, filename });
        }
        Line { function_id: id, line: line.map_or(0, i64::from) }
    }

    /// Says of each mapping what all of its locations have; of one without any, nothing.
    pub(super) fn judge_mappings(&mut self) {
        let mapped = || self.locations.iter().filter(|location| location.mapping_id > 0);
        for location in mapped() {
            let mapping = &mut self.mappings[location.mapping_id as usize - 1];
            mapping.has_functions = true;
            mapping.has_filenames = true;
            mapping.has_line_numbers = true;
        }
        for location in mapped() {
            let mapping = &mut self.mappings[location.mapping_id as usize - 1];
            let all = |known: &dyn Fn(&Line) -> bool| {
                !location.line.is_empty() && location.line.iter().all(known)
            };
            mapping.has_functions &= all(&|_| true);
            mapping.has_filenames &=
                all(&|line| self.functions[line.function_id as usize - 1].filename != 0);
            mapping.has_line_numbers &= all(&|line| line.line != 0);
            mapping.has_inline_frames |= location.line.len() > 1;
        }
    }
}
