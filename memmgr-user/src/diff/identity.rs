//! When two stacks of different reports are the same stack.
//!
//! By function and file, not by address: addresses move with every start of a program and every build.
//! Lines move with every edit, so that two places of one function are one place here. What has no name
//! is known by its offset in its file.

use std::collections::HashSet;

use super::Relation;
use crate::report::{Frame, Report, Stack};

/// How files are called, so that the two sides agree.
pub(crate) struct Names<'a> {
    /// Paths that all sides know: they stand for themselves.
    common: HashSet<&'a str>,
    pub(super) relation: Relation,
}

/// A stack's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key<'a> {
    class: &'a str,
    cut: Option<&'a str>,
    frames: Vec<FrameKey<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum FrameKey<'a> {
    Function {
        name: &'a str,
        file: Option<&'a str>,
        inlined: bool,
    },
    Offset {
        file: &'a str,
        offset: u64,
    },
    /// Code without a file: its address means something within one process only.
    Address(Option<u64>),
}

impl<'a> Key<'a> {
    pub(super) fn class(&self) -> &'a str {
        self.class
    }

    pub(super) fn cut(&self) -> Option<&'a str> {
        self.cut
    }
}

impl<'a> Names<'a> {
    pub(super) fn common_to(before: &'a Report, after: &'a Report) -> Self {
        let common = common([before, after].into_iter());
        Self { common, relation: Relation::of(before, after) }
    }

    /// Of processes that ran side by side: an address of one means nothing in another.
    pub(crate) fn common_to_processes(reports: impl Iterator<Item = &'a Report>) -> Self {
        Self { common: common(reports), relation: Relation::Different }
    }

    /// The path where all sides know it, else the file's name: releases, containers and stores put one
    /// file into many directories.
    pub(crate) fn file<'b>(&self, path: &'b str) -> &'b str {
        if self.common.contains(path) { path } else { path.rsplit('/').next().unwrap_or(path) }
    }

    pub(crate) fn stack<'b>(&self, stack: &'b Stack) -> Key<'b> {
        Key {
            class: &stack.class,
            cut: stack.cut.as_deref(),
            frames: stack.frames.iter().map(|frame| self.frame(frame)).collect(),
        }
    }

    fn frame<'b>(&self, frame: &'b Frame) -> FrameKey<'b> {
        let file = frame.module.as_deref().map(|path| self.file(path));
        match (frame.function.as_deref(), file) {
            (Some(name), file) => FrameKey::Function { name, file, inlined: frame.inlined },
            (None, Some(file)) => FrameKey::Offset { file, offset: frame.address },
            (None, None) => {
                FrameKey::Address(self.relation.is_one_process().then_some(frame.address))
            }
        }
    }
}

/// Paths that every report knows.
fn common<'a>(mut reports: impl Iterator<Item = &'a Report>) -> HashSet<&'a str> {
    let mut common: HashSet<&str> = reports.next().into_iter().flat_map(paths).collect();
    for report in reports {
        let known: HashSet<&str> = paths(report).collect();
        common.retain(|path| known.contains(path));
    }
    common
}

fn paths(report: &Report) -> impl Iterator<Item = &str> {
    let frames = report.stacks.iter().flat_map(|stack| &stack.frames);
    let functions = report.functions.iter().map(|function| function.module.as_str());
    let modules = report.modules.iter().map(|module| module.path.as_str());
    frames.filter_map(|frame| frame.module.as_deref()).chain(functions).chain(modules)
}
