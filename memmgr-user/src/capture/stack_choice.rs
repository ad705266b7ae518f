//! Which stacks to take: `--stack auto` asks every mapped file.

use std::{fs::File, path::Path};

use memmgr_common::StackKind;

use crate::{
    allocator::{Unwind, elf::Elf},
    modules::Modules,
    report::{StackChoice, StackFile},
};

use super::{CapturePlan, StackOption};

/// The choice, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What the kernel part does.
    pub kind: StackKind,
    /// A sentence for people.
    pub why: String,
}

/// Chooses. With `auto` frame pointers are taken only when every file keeps them: a walk through one
/// function that uses the register for something else skips callers without a sign of it.
pub fn choose<'a>(plan: &CapturePlan, files: impl IntoIterator<Item = (&'a Path, File)>) -> Choice {
    let choice = |kind, why: String| Choice { kind, why };
    match plan.stack {
        StackOption::FramePointers => {
            choice(StackKind::FramePointers, "asked for with --stack fp".into())
        }
        StackOption::Tables => choice(StackKind::Copy, "asked for with --stack dwarf".into()),
        StackOption::Auto => {
            let without = files.into_iter().find(|(_, file)| unwind(file) != Unwind::FramePointers);
            match without {
                None => choice(
                    StackKind::FramePointers,
                    "every mapped file keeps frame pointers".into(),
                ),
                Some((without, _)) => choice(
                    StackKind::Copy,
                    format!(
                        "{} keeps no frame pointers, so that they cannot be followed through it",
                        without.display()
                    ),
                ),
            }
        }
    }
}

/// The choice for the report, with what every file allows. Reads every file: for after the capture.
pub fn describe(choice: &Choice, plan: &CapturePlan, modules: &Modules) -> StackChoice {
    let files = modules
        .iter()
        .map(|module| StackFile {
            path: module.path.to_string_lossy().into_owned(),
            unwind: match unwind(&module.file) {
                Unwind::FramePointers => "frame pointers",
                Unwind::Tables => "unwind tables",
                Unwind::None => "none",
            }
            .to_owned(),
        })
        .collect();
    StackChoice { files, ..brief(choice, plan) }
}

/// The choice for the report, without the files.
pub fn brief(choice: &Choice, plan: &CapturePlan) -> StackChoice {
    let (kind, bytes) = match choice.kind {
        StackKind::FramePointers => ("fp", 0),
        StackKind::Copy => ("dwarf", plan.stack_bytes),
    };
    StackChoice { kind: kind.into(), bytes, why: choice.why.clone(), files: Vec::new() }
}

fn unwind(file: &File) -> Unwind {
    file.try_clone()
        .map_err(Into::into)
        .and_then(Elf::open)
        .map_or(Unwind::None, |elf| elf.frame_pointers())
}
