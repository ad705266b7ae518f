//! From a target's mappings to a plan: which files hold allocators, which of their functions are probed, and what is not covered.

use std::fs::File;
use std::io;

use memmgr_common::FunctionKind;

use super::elf::{Elf, ElfError, Symbol};
use super::function;
use super::mapped::MappedFile;
use super::overrides::{AllocatorOption, ProbeOption};
use super::plan::{
    AttachPlan, NotCovered, PlanError, PlannedAllocator, PlannedFunction, Stamp, shown,
};
use super::site::KernelFacts;
use super::survey::Survey;
use super::table::{FAMILIES, Family, FamilyMarks};

/// What is asked for besides what the mappings show.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the running kernel emulates.
    pub kernel: KernelFacts,
    /// `--allocator`, as often as it was given.
    pub allocators: Vec<AllocatorOption>,
    /// `--probe`, as often as it was given.
    pub probes: Vec<ProbeOption>,
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
    planner.finish()
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
        let survey = self
            .open_elf(file)
            .and_then(|(elf, stamp)| Ok((Survey::new(&elf, &wanted)?, elf, stamp)));
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
                "Go's own heap has no functions that can be probed at their return: Go moves its stacks. C code in the program \
                 is measured"
                    .into(),
            );
        }
        if survey.dynamic_linker {
            return Ok(());
        }
        let family = survey.family(file);
        let functions = match self.plan_functions(file, &elf, &survey) {
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
            self.explain_unprobed(file, &elf, &survey, marks, &functions);
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
        elf: &Elf,
        survey: &Survey,
    ) -> Result<Vec<PlannedFunction>, String> {
        let mut planned: Vec<PlannedFunction> = Vec::new();
        let mut left_out = Vec::new();
        for group in survey.functions() {
            match function::by_name(file, elf, &group, self.request.kernel) {
                Ok(function) if planned.iter().any(|other| other.probe == function.probe) => {}
                Ok(function) => planned.push(function),
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
        elf: &Elf,
        survey: &Survey,
        marks: &FamilyMarks,
        functions: &[PlannedFunction],
    ) {
        let is_probed = |symbol: &Symbol| {
            elf.place(symbol.address).is_ok_and(|at| functions.iter().any(|f| f.function == at))
        };
        let is_open = |name: &&str| survey.symbols.iter().any(|s| s.name == *name && !is_probed(s));
        let open: Vec<&str> = marks.unprobed.iter().copied().filter(is_open).collect();
        if !open.is_empty() {
            let names = open.join(", ").replace("_Znwm", "operator new and delete");
            self.not_covered(
                format!("{names} in {}", shown(&file.path)),
                "blocks that are got and given back there are not seen".into(),
            );
        }
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

    fn finish(mut self) -> Result<AttachPlan, PlanError> {
        let mut index = 0_u16;
        for kind in [FunctionKind::Free, FunctionKind::Resize, FunctionKind::Alloc] {
            for allocator in &mut self.plan.allocators {
                let of_this_kind = allocator.functions.iter_mut().filter(|f| f.role.kind() == kind);
                for function in of_this_kind {
                    let leaf = allocator.family.has_leaf(function.role);
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
