//! From a target's mappings to a plan: which files hold allocators, which of their functions are probed, and what is not covered.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use memmgr_common::FunctionKind;

use super::elf::{Elf, ElfError};
use super::function;
use super::mapped::MappedFile;
use super::overrides::{AllocatorOption, ProbeOption};
use super::plan::{
    AttachPlan, FileKey, NotCovered, PlanError, PlannedAllocator, PlannedFunction, Stamp, shown,
};
use super::reach::Reach;
use super::site::KernelFacts;
use super::survey::Survey;
use super::table::{FAMILIES, Family, FamilyMarks, TEXTS};

/// What is asked for besides what the mappings show.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the running kernel emulates.
    pub kernel: KernelFacts,
    /// `--allocator`, as often as it was given.
    pub allocators: Vec<AllocatorOption>,
    /// `--probe`, as often as it was given.
    pub probes: Vec<ProbeOption>,
    /// Where debug files are, by build id.
    pub debug_directories: Vec<PathBuf>,
}

impl Request {
    /// Nothing but what the mappings show.
    pub fn of(kernel: KernelFacts) -> Self {
        Request {
            kernel,
            allocators: Vec::new(),
            probes: Vec::new(),
            debug_directories: Vec::new(),
        }
    }
}

/// Where a system keeps the debug files of its programs.
pub const DEBUG_DIRECTORY: &str = "/usr/lib/debug";

/// Where below it that of a build id is.
fn debug_name(build_id: &str) -> Option<String> {
    let (directory, rest) = build_id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())?;
    Some(format!(".build-id/{directory}/{rest}.debug"))
}

/// Plans the probes for a process with these files mapped.
///
/// `open` opens a mapped file; see [`super::open_mapped`]. What cannot be measured is listed in the plan; only an option that cannot
/// be followed is an error.
pub fn plan(
    files: &[MappedFile],
    open: impl FnMut(&MappedFile) -> io::Result<File>,
    request: &Request,
) -> Result<AttachPlan, PlanError> {
    let mut planner = Planner { open, request, plan: AttachPlan::default(), seen: Vec::new() };
    for option in &request.allocators {
        if executed(files, |file| file.path == option.path).is_none() {
            return Err(PlanError::NotMapped(shown(&option.path)));
        }
    }
    for file in files.iter().filter(|file| file.ranges.iter().any(|range| range.executable)) {
        planner.add_file(file)?;
    }
    for option in &request.probes {
        planner.add_probe(files, option)?;
    }
    planner.explain_emptiness(files);
    planner.finish(0)
}

/// Plans the probes for files that were mapped later, as [`plan`] does, but for those that are `probed` already. The first function
/// has the number `index`.
pub fn plan_more(
    files: &[MappedFile],
    open: impl FnMut(&MappedFile) -> io::Result<File>,
    request: &Request,
    probed: &[FileKey],
    index: u16,
) -> Result<AttachPlan, PlanError> {
    let mut planner = Planner { open, request, plan: AttachPlan::default(), seen: Vec::new() };
    for file in files {
        planner.add_file(file)?;
    }
    let is_new = |allocator: &PlannedAllocator| {
        let key = allocator.key();
        probed.iter().all(|known| !known.is_same(&key))
    };
    planner.plan.allocators.retain(is_new);
    planner.finish(index)
}

struct Planner<'a, O> {
    open: O,
    request: &'a Request,
    plan: AttachPlan,
    /// Files that were looked at, by device and inode.
    seen: Vec<(u64, u64)>,
}

impl<O: FnMut(&MappedFile) -> io::Result<File>> Planner<'_, O> {
    /// Adds the file's allocator, if it has one.
    fn add_file(&mut self, file: &MappedFile) -> Result<(), PlanError> {
        let identity = (file.device, file.inode);
        if self.seen.contains(&identity) {
            return Ok(());
        }
        self.seen.push(identity);
        let wanted: Vec<&str> = self
            .request
            .allocators
            .iter()
            .filter(|o| o.path == file.path)
            .map(|o| o.prefix.as_str())
            .collect();
        let survey = self.open_elf(file).and_then(|(elf, stamp)| {
            let found = Survey::new(&elf, None, &wanted)?;
            let debug = if found.is_empty() { self.debug_file(&elf) } else { None };
            let found = match debug {
                Some(debug) => Survey::new(&elf, Some(&debug), &wanted)?,
                None => found,
            };
            Ok((found, elf, stamp))
        });
        let (survey, elf, stamp) = match survey {
            Ok(found) => found,
            Err(cause) if !wanted.is_empty() => {
                return Err(PlanError::Unusable { path: shown(&file.path), cause });
            }
            // Compilers at run time execute plain memory files.
            Err(ElfError::NotElf) => return Ok(()),
            Err(cause) => {
                self.not_covered(
                    shown(&file.path),
                    format!("it is mapped but cannot be looked into: {cause}"),
                );
                return Ok(());
            }
        };
        if let Some(prefix) = wanted.iter().find(|prefix| !survey.has_prefix(prefix)) {
            return Err(PlanError::NoFunctions {
                path: shown(&file.path),
                prefix: (*prefix).to_owned(),
            });
        }
        if elf.is_go() && file.main {
            self.not_covered(
                shown(&file.path),
                "Go's own heap has no functions that can be probed at their return: Go moves its stacks. `memmgr go` looks into \
                 it; C code in the program is measured"
                    .into(),
            );
        }
        if survey.dynamic_linker {
            return Ok(());
        }
        // What has names has those of its allocator too, if it has one.
        if survey.is_empty() && file.main && !elf.has_symbols() {
            self.explain_nameless(file, &elf);
        }
        let family = survey.family(file);
        let reach = Reach { elf: &elf, survey: &survey };
        let functions = match self.plan_functions(file, &reach, family) {
            Ok(functions) => functions,
            Err(why) => {
                self.not_covered(
                    shown(&file.path),
                    format!("its allocator is left out as a whole: {why}"),
                );
                return Ok(());
            }
        };
        if let Some(marks) = FAMILIES.iter().find(|marks| marks.family == family) {
            self.explain_unprobed(file, &reach, marks, &functions);
        }
        if !functions.is_empty() {
            let build_id = elf.build_id().map(str::to_owned);
            let file_handle = elf.into_file();
            self.plan.allocators.push(PlannedAllocator {
                family,
                path: file.path.clone(),
                build_id,
                identity,
                functions,
                file: file_handle,
                stamp,
            });
        }
        Ok(())
    }

    /// The names of a file that has none of its own, by its build id.
    fn debug_file(&self, elf: &Elf) -> Option<Elf> {
        let build_id = elf.build_id().filter(|_| !elf.has_symbols())?;
        let name = debug_name(build_id)?;
        let mut places = self.request.debug_directories.iter().map(|place| place.join(&name));
        let debug = places.find_map(|place| Elf::open(File::open(place).ok()?).ok())?;
        debug.build_id().is_none_or(|own| own == build_id).then_some(debug)
    }

    fn open_elf(&mut self, file: &MappedFile) -> Result<(Elf, Stamp), ElfError> {
        let opened = (self.open)(file)?;
        let stamp = Stamp::from(&opened.metadata()?);
        Ok((Elf::open(opened)?, stamp))
    }

    /// The functions to probe. The error says why the whole allocator must be left out: a free or a resize that is not seen would
    /// make live memory of what is long freed.
    fn plan_functions(
        &mut self,
        file: &MappedFile,
        reach: &Reach<'_>,
        family: Family,
    ) -> Result<Vec<PlannedFunction>, String> {
        let groups = reach.survey.functions(family);
        let of_kind = |wanted: fn(FunctionKind) -> bool| -> Vec<u64> {
            groups.iter().filter(|g| wanted(g.role.kind())).map(|g| g.address).collect()
        };
        let frees = of_kind(|kind| kind == FunctionKind::Free);
        let others = of_kind(|kind| kind != FunctionKind::Free);
        let mut planned: Vec<PlannedFunction> = Vec::new();
        let mut left_out = Vec::new();
        for group in &groups {
            // A free is told at its entry: one that ends in another would be told twice. Where a function that throws ends in
            // another, that one is the cheaper to see.
            if group.role.kind() == FunctionKind::Free && reach.hands_on(group, &frees)
                || group.role.throws() && reach.hands_on(group, &others)
            {
                continue;
            }
            match function::by_name(file, reach.elf, group, self.request.kernel) {
                Ok(function) if planned.iter().any(|other| other.probe == function.probe) => {}
                Ok(function) => {
                    let enters = |at: &u64| *at != group.address && others.contains(at);
                    let alone = !group.extended && !reach.entered(group).iter().any(enters);
                    planned.push(PlannedFunction { alone, ..function });
                }
                Err(why) if group.role.kind() == FunctionKind::Alloc => {
                    left_out.push(NotCovered {
                        what: format!("{} in {}", group.names(), shown(&file.path)),
                        why,
                    });
                }
                Err(why) => return Err(format!("{} cannot be probed: {why}", group.names())),
            }
        }
        self.plan.not_covered.append(&mut left_out);
        Ok(planned)
    }

    fn explain_unprobed(
        &mut self,
        file: &MappedFile,
        reach: &Reach<'_>,
        marks: &FamilyMarks,
        functions: &[PlannedFunction],
    ) {
        let probed: Vec<u64> =
            functions.iter().filter_map(|f| reach.elf.address(f.function)).collect();
        let is_open = |name: &&str| {
            reach.survey.symbols.iter().any(|symbol| {
                symbol.name == *name
                    && !probed.contains(&symbol.address)
                    && !reach.ends_in(symbol, &probed)
            })
        };
        let open: Vec<&str> = marks.unprobed.iter().copied().filter(is_open).collect();
        if !open.is_empty() {
            let names = open.join(", ").replace("_Znwm", "operator new and delete");
            self.not_covered(
                format!("{names} in {}", shown(&file.path)),
                "blocks that are got and given back there are not seen".into(),
            );
        }
    }

    /// Says that a program has an allocator inside whose functions nobody can find.
    fn explain_nameless(&mut self, file: &MappedFile, elf: &Elf) {
        let Some(text) = elf.holds(&TEXTS.map(|(text, _)| text)) else { return };
        let family = TEXTS.iter().find(|(own, _)| *own == text).map_or("an", |(_, f)| f.name());
        let path = shown(&file.path);
        let debug_file = elf.build_id().and_then(debug_name).map_or_else(String::new, |name| {
            format!("put its debug file at {DEBUG_DIRECTORY}/{name}, or ")
        });
        self.not_covered(
            path,
            format!(
                "it seems to hold {family}'s malloc (it has the text `{text}`), whose functions have no names any more: what it gives \
                 out is seen only as far as it maps memory. To see its blocks {debug_file}give the functions' offsets in the \
                 file: --probe malloc@0x… --probe free@0x…"
            ),
        );
    }

    /// Adds a place that a person gave, once it is verified.
    fn add_probe(&mut self, files: &[MappedFile], option: &ProbeOption) -> Result<(), PlanError> {
        let file = match &option.path {
            Some(path) => executed(files, |file| file.path == *path)
                .ok_or_else(|| PlanError::NotMapped(shown(path)))?,
            None => executed(files, |file| file.main)
                .ok_or_else(|| PlanError::NotMapped("a program file".into()))?,
        };
        let unusable = |cause| PlanError::Unusable { path: shown(&file.path), cause };
        let (elf, stamp) = self.open_elf(file).map_err(unusable)?;
        let place =
            option.path.as_ref().map_or_else(String::new, |path| format!("{}:", shown(path)));
        let probe = format!("{}@{place}{:#x}", option.role.name(), option.offset);
        let bad = |why| PlanError::BadProbe { probe: probe.clone(), why };
        let function = function::by_offset(file, &elf, option, self.request.kernel).map_err(bad)?;

        let identity = (file.device, file.inode);
        if let Some(known) =
            self.plan.allocators.iter_mut().find(|known| known.identity == identity)
        {
            if known.functions.iter().all(|other| other.probe != function.probe) {
                known.functions.push(function);
            }
            return Ok(());
        }
        self.plan.allocators.push(PlannedAllocator {
            family: Family::Other,
            path: file.path.clone(),
            build_id: elf.build_id().map(str::to_owned),
            identity,
            functions: vec![function],
            file: elf.into_file(),
            stamp,
        });
        Ok(())
    }

    /// Says what to do when nothing at all was found.
    fn explain_emptiness(&mut self, files: &[MappedFile]) {
        if !self.plan.allocators.is_empty() {
            return;
        }
        let program = executed(files, |file| file.main)
            .map_or_else(|| "the process".into(), |file| shown(&file.path));
        self.not_covered(
            program.clone(),
            format!(
                "no allocator is visible: no mapped file has functions named malloc and free. If the program brings its own \
                 under another name, give --allocator {program}:PREFIX; if its symbols are stripped, give the functions' offsets \
                 in the file: --probe malloc@0x… --probe free@0x…"
            ),
        );
    }

    /// Gives every function its number, the first of them `index`.
    fn finish(mut self, mut index: u16) -> Result<AttachPlan, PlanError> {
        for kind in [FunctionKind::Free, FunctionKind::Resize, FunctionKind::Alloc] {
            for allocator in &mut self.plan.allocators {
                let of_this_kind = allocator.functions.iter_mut().filter(|f| f.role.kind() == kind);
                for function in of_this_kind {
                    let leaf = function.alone && allocator.family.has_leaf(function.role);
                    function.cookie = function.role.cookie(index, leaf);
                    index = index.checked_add(1).ok_or(PlanError::TooMany)?;
                }
            }
        }
        for allocator in &mut self.plan.allocators {
            allocator.functions.sort_by_key(|function| function.cookie.function());
        }
        Ok(self.plan)
    }

    fn not_covered(&mut self, what: String, why: String) {
        self.plan.not_covered.push(NotCovered { what, why });
    }
}

fn executed(files: &[MappedFile], wanted: impl Fn(&MappedFile) -> bool) -> Option<&MappedFile> {
    files.iter().find(|file| wanted(file) && file.ranges.iter().any(|range| range.executable))
}

#[cfg(test)]
mod tests;
