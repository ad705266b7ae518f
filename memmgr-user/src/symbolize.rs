//! Addresses → frames, or the reason why there is none. Once per distinct address, late, on a
//! thread of its own (blazesym's symbolizer is not `Send`).

use std::{
    collections::{BTreeMap, HashMap},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use blazesym::{
    Pid as BlazePid,
    symbolize::{
        Input, Reason, Sym, Symbolized, Symbolizer,
        source::{Elf, Process, Source},
    },
};

use crate::{
    modules::{Modules, Place, build_id_of},
    recording::Recorded,
    report::Frame,
    units::{Address, Pid},
};

/// Where separate debug files are looked for, below the root of the target and then of the host.
const DEBUG_DIRECTORY: &str = "usr/lib/debug";
/// A perf map larger than this is not read.
const MOST_PERF_MAP_BYTES: u64 = 256 << 20;

/// Frames of every distinct address, inlined functions first.
pub type Symbols = HashMap<Address, Vec<Arc<Frame>>>;

/// Resolves return addresses. The address looked up is one less, which lies inside the call.
pub fn symbolize(modules: &Modules, pid: Pid, proc_root: &Path, addresses: &[Address]) -> Symbols {
    let mut by_module: HashMap<usize, Vec<(Address, u64)>> = HashMap::new();
    let mut in_process: Vec<(Address, bool)> = Vec::new();
    let mut symbols = Symbols::new();
    for &address in addresses {
        match modules.place(Address(address.0.saturating_sub(1))) {
            Place::Module { module, address: stated } => {
                by_module.entry(module).or_default().push((address, stated));
            }
            Place::Unreadable { path, why, offset } => {
                let reason = format!("the file could not be read: {why}");
                symbols.insert(address, vec![unknown(Some(name_of(&path)), offset, reason)]);
            }
            Place::Vdso => in_process.push((address, true)),
            Place::Generated => in_process.push((address, false)),
            Place::Unmapped => {
                let reason = "in no executable mapping that was seen".to_owned();
                symbols.insert(address, vec![unknown(None, address.0, reason)]);
            }
        }
    }
    let symbolizer =
        Symbolizer::builder().enable_auto_reload(false).enable_demangling(false).build();
    for (module, wanted) in by_module {
        resolve_module(&symbolizer, modules, module, pid, proc_root, &wanted, &mut symbols);
    }
    resolve_in_process(&symbolizer, pid, proc_root, &in_process, &mut symbols);
    symbols
}

fn resolve_module(
    symbolizer: &Symbolizer,
    modules: &Modules,
    module: usize,
    pid: Pid,
    proc_root: &Path,
    wanted: &[(Address, u64)],
    symbols: &mut Symbols,
) {
    let module = modules.module(module);
    // The open descriptor leads to the mapped file even when it was deleted or the target is gone.
    let mapped = PathBuf::from(format!("/proc/self/fd/{}", module.file.as_raw_fd()));
    let debug_file = debug_file(&module.build_id, pid, proc_root);
    let candidates: Vec<PathBuf> = debug_file.into_iter().chain([mapped]).collect();
    resolve_files(symbolizer, &candidates, &name_of(&module.path), wanted, symbols);
}

/// Looks addresses up in one file after another, until all are found.
fn resolve_files(
    symbolizer: &Symbolizer,
    candidates: &[PathBuf],
    name: &str,
    wanted: &[(Address, u64)],
    symbols: &mut Symbols,
) {
    let mut left: Vec<(Address, u64)> = wanted.to_vec();
    let mut why = HashMap::new();
    for path in candidates {
        let source = Source::Elf(Elf::new(path));
        let inputs: Vec<u64> = left.iter().map(|(_, stated)| *stated).collect();
        match symbolizer.symbolize(&source, Input::VirtOffset(&inputs)) {
            Ok(results) => {
                let mut still = Vec::new();
                for ((address, stated), result) in left.into_iter().zip(results) {
                    match result {
                        Symbolized::Sym(sym) => {
                            symbols.insert(address, frames(&sym, name, stated));
                        }
                        Symbolized::Unknown(reason) => {
                            why.insert(address, describe(reason).to_owned());
                            still.push((address, stated));
                        }
                    }
                }
                left = still;
            }
            Err(error) => {
                for (address, _) in &left {
                    why.insert(*address, format!("symbols could not be read: {error}"));
                }
            }
        }
    }
    for (address, stated) in left {
        let reason = why.remove(&address).unwrap_or_else(|| "no symbol covers it".to_owned());
        symbols.insert(address, vec![unknown(Some(name.to_owned()), stated, reason)]);
    }
}

/// Resolves what a recording left open, because memmgr was killed before its end: by the files of this host
/// and of `debug_directories`, which must have the build ids that were recorded.
pub fn symbolize_late(recorded: &Recorded, debug_directories: &[PathBuf]) -> Symbols {
    let mut symbols = Symbols::new();
    let mut by_module: BTreeMap<u32, Vec<(Address, u64)>> = BTreeMap::new();
    for location in &recorded.unresolved {
        if let Some(module) = location.module {
            by_module.entry(module).or_default().push((location.address, location.stated));
        } else {
            let reason = location.reason.clone().unwrap_or_default();
            symbols.insert(location.address, vec![unknown(None, location.stated, reason)]);
        }
    }
    let symbolizer =
        Symbolizer::builder().enable_auto_reload(false).enable_demangling(false).build();
    for (module, wanted) in by_module {
        let Some(module) = recorded.modules.get(module as usize) else { continue };
        let candidates = late_candidates(&module.path, &module.build_id, debug_directories);
        if candidates.is_empty() {
            let reason = format!(
                "no file with build id {} is on this host; name a directory that has it with --debug-dir",
                if module.build_id.is_empty() { "(none)" } else { &module.build_id }
            );
            for (address, stated) in wanted {
                symbols.insert(
                    address,
                    vec![unknown(Some(module.path.clone()), stated, reason.clone())],
                );
            }
        } else {
            resolve_files(&symbolizer, &candidates, &module.path, &wanted, &mut symbols);
        }
    }
    symbols
}

/// Files with this build id: debug files first, which know the most.
fn late_candidates(path: &str, build_id: &str, debug_directories: &[PathBuf]) -> Vec<PathBuf> {
    let Some((directory, rest)) = build_id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())
    else {
        // Without a build id nothing tells whether a file of that name is the one that ran.
        return Vec::new();
    };
    let debug_name = format!(".build-id/{directory}/{rest}.debug");
    let own = Path::new("/").join(DEBUG_DIRECTORY);
    let mut candidates = Vec::new();
    for root in debug_directories.iter().chain([&own]) {
        candidates.push(root.join(&debug_name));
        candidates.push(root.join(format!("{build_id}.debug")));
    }
    for root in debug_directories {
        candidates.push(root.join(path.trim_start_matches('/')));
        candidates.extend(Path::new(path).file_name().map(|name| root.join(name)));
    }
    candidates.push(PathBuf::from(path));
    candidates.retain(|candidate| build_id_of(candidate).as_deref() == Some(build_id));
    candidates
}

/// The vDSO and generated code exist in the target's memory alone.
fn resolve_in_process(
    symbolizer: &Symbolizer,
    pid: Pid,
    proc_root: &Path,
    wanted: &[(Address, bool)],
    symbols: &mut Symbols,
) {
    if wanted.is_empty() {
        return;
    }
    let mut process = Process::new(BlazePid::from(pid.0));
    process.perf_map = perf_map_is_trustworthy(pid, proc_root);
    let inputs: Vec<u64> = wanted.iter().map(|(address, _)| address.0.saturating_sub(1)).collect();
    let results = symbolizer.symbolize(&Source::Process(process), Input::AbsAddr(&inputs));
    for (i, &(address, vdso)) in wanted.iter().enumerate() {
        let module = if vdso { "[vdso]" } else { "[generated code]" }.to_owned();
        let found = match &results {
            Ok(results) => match results.get(i) {
                Some(Symbolized::Sym(sym)) => Ok(frames(sym, &module, address.0)),
                _ if vdso => Err("no symbol covers it".to_owned()),
                _ => Err("generated at run time, and the runtime wrote no perf map".to_owned()),
            },
            Err(_) => Err("the target is gone, and with it this code".to_owned()),
        };
        let frames = found.unwrap_or_else(|reason| vec![unknown(Some(module), address.0, reason)]);
        symbols.insert(address, frames);
    }
}

/// A perf map lies in a directory that anybody can write: it is believed only when it is a regular
/// file of the target's own user and of a sane size.
fn perf_map_is_trustworthy(pid: Pid, proc_root: &Path) -> bool {
    let process = proc_root.join(pid.to_string());
    let Ok(owner) = std::fs::metadata(&process) else { return false };
    let map = process.join("root/tmp").join(format!("perf-{pid}.map"));
    std::fs::symlink_metadata(map).is_ok_and(|map| {
        map.is_file() && map.uid() == owner.uid() && map.len() <= MOST_PERF_MAP_BYTES
    })
}

/// The separate debug file of a build id, in the target's root or the host's.
pub(crate) fn debug_file(build_id: &str, pid: Pid, proc_root: &Path) -> Option<PathBuf> {
    let (directory, rest) = build_id.split_at_checked(2)?;
    if rest.is_empty() {
        return None;
    }
    let file =
        Path::new(DEBUG_DIRECTORY).join(".build-id").join(directory).join(format!("{rest}.debug"));
    [proc_root.join(pid.to_string()).join("root"), PathBuf::from("/")]
        .into_iter()
        .map(|root| root.join(&file))
        .find(|path| path.is_file())
}

fn frames(sym: &Sym<'_>, module: &str, stated: u64) -> Vec<Arc<Frame>> {
    let location = |info: Option<&blazesym::symbolize::CodeInfo<'_>>| {
        let file = info.map(|info| info.to_path().display().to_string());
        (file, info.and_then(|info| info.line))
    };
    // blazesym nests from the outside in; a stack is read from the leaf.
    let mut frames: Vec<Arc<Frame>> = Vec::with_capacity(1 + sym.inlined.len());
    for inlined in sym.inlined.iter().rev() {
        let (file, line) = location(inlined.code_info.as_ref());
        frames.push(Arc::new(Frame {
            function: Some(demangled(&inlined.name)),
            module: Some(module.to_owned()),
            file,
            line,
            inlined: true,
            address: stated,
            reason: None,
        }));
    }
    let (file, line) = location(sym.code_info.as_deref());
    frames.push(Arc::new(Frame {
        function: Some(demangled(&sym.name)),
        module: Some(module.to_owned()),
        file,
        line,
        inlined: false,
        address: stated,
        reason: None,
    }));
    frames
}

/// Only what is mangled is demangled: to a demangler of C++ a C function called `i` is the type `int`.
fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    let mangled = name.starts_with("_Z") || name.starts_with("__Z");
    let cpp = mangled.then(|| cpp_demangle::Symbol::new(name).ok()?.demangle().ok()).flatten();
    cpp.unwrap_or_else(|| name.to_owned())
}

fn unknown(module: Option<String>, address: u64, reason: String) -> Arc<Frame> {
    Arc::new(Frame { module, address, reason: Some(reason), ..Frame::default() })
}

fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn describe(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingSyms => "the file has no symbol for it; a debug package may",
        Reason::UnknownAddr => "no symbol covers it",
        Reason::InvalidFileOffset | Reason::Unmapped => "the address is not in the file",
        Reason::Unsupported | Reason::MissingComponent => "not a kind of file that can be resolved",
        _ => "its symbols could not be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mangled_names_are_demangled() {
        for (name, expected) in [
            ("i", "i"),
            ("main", "main"),
            ("w", "w"),
            ("_ZN4shop6BasketIlE4fillEj", "shop::Basket<long>::fill(unsigned int)"),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_Z", "_Z"),
        ] {
            assert_eq!(demangled(name), expected);
        }
    }
}
