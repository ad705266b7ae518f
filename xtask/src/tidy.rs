//! `cargo xtask tidy`: the house rules that a program can check.

mod code;
mod helpers;
mod readme;
mod rust;
mod text;

use crate::{ebpf, process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{fmt, fs, path::Path, process::Command};

/// A broken rule at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// Counted from 1; 0 means the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Finding { line, what: what.into() }
    }
}

/// Prints `FILE:LINE: WHAT`, the form that editors jump to.
struct Located<'a>(&'a str, &'a Finding);

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Located(file, Finding { line, what }) = self;
        if *line == 0 { write!(f, "{file}: {what}") } else { write!(f, "{file}:{line}: {what}") }
    }
}

/// All rules.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    house_rules(workspace)?;
    readme(workspace)
}

/// The rules over every file that git tracks or would track.
pub(crate) fn house_rules(workspace: &Workspace) -> Result<()> {
    let files = files(workspace)?;
    let mut broken = 0;
    for name in &files {
        let path = workspace.path(name);
        if !path.is_file() {
            continue; // deleted and not yet committed, or a link to a folder
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        for finding in check(name, &bytes) {
            println!("{}", Located(name, &finding));
            broken += 1;
        }
    }
    if broken > 0 {
        bail!("{broken} house rules broken");
    }
    println!("{} files keep the house rules", files.len());
    Ok(())
}

/// Every verb and flag that the README names is one that the binary knows.
pub(crate) fn readme(workspace: &Workspace) -> Result<()> {
    let name = "README.md";
    let Some(binary) = readme::newest_binary(&workspace.target) else {
        println!("{name} not compared with --help: the binary is not built (cargo build)");
        return Ok(());
    };
    let text =
        fs::read_to_string(workspace.path(name)).with_context(|| format!("cannot read {name}"))?;
    let findings = readme::check(&text, &mut readme::Help::of(&binary))?;
    for finding in &findings {
        println!("{}", Located(name, finding));
    }
    if !findings.is_empty() {
        bail!("{name} names {} things that {} does not know", findings.len(), binary.display());
    }
    println!("{name} names only verbs and flags that exist");
    Ok(())
}

/// What is wrong with one file.
fn check(name: &str, bytes: &[u8]) -> Vec<Finding> {
    if name == ebpf::OBJECT {
        // Lines mean nothing in it.
        return text::builder_paths(bytes)
            .into_iter()
            .map(|found| Finding::new(0, found.what))
            .collect();
    }
    let Ok(text) = str::from_utf8(bytes) else { return Vec::new() };
    if text.contains('\0') {
        return Vec::new();
    }
    let mut findings = text::check(name, text);
    if Path::new(name).extension().is_some_and(|extension| extension == "rs") {
        let code = code::only(text);
        findings.extend(rust::check(text, &code));
        if name.starts_with("memmgr-ebpf/") {
            findings.extend(helpers::check(&code));
        }
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// Tracked files and new ones that are not ignored.
fn files(workspace: &Workspace) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    // The checkout may belong to somebody else than the user who tests it.
    git.arg("-c").arg(format!("safe.directory={}", workspace.root.display()));
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&workspace.root);
    Ok(process::output(&mut git)?.split_terminator('\0').map(str::to_owned).collect())
}
