//! Which stacks are judged at all.

use crate::report::{Allocator, Report, Stack};

use super::subject::is_runtime;

/// Parts of the names of an allocator's functions that map memory.
const ALLOCATING: [&str; 6] = ["alloc", "memalign", "morecore", "arena", "sbrk", "new_heap"];

/// The heap, resident pages, and mappings that the program made by itself. What an allocator mapped to serve the heap
/// is the heap's; files are not the program's memory.
pub(super) fn is_judged(stack: &Stack, report: &Report) -> bool {
    match stack.class.as_str() {
        "heap" | "resident" => true,
        "mapping" => !is_of_allocator(stack, report),
        _ => false,
    }
}

/// Whether an allocator made the mapping: a function of a probed allocator that is named like one, or an unnamed
/// one in a library that is nothing else. Where it is linked into the program, which may have an `alloc` of its own, one of the
/// functions that were probed. Where none was probed, any function of a runtime that is named like one.
pub(crate) fn is_of_allocator(stack: &Stack, report: &Report) -> bool {
    let allocators = &report.target.allocators;
    let is_named = |name: &str| {
        !name.contains("allocate_stack") && ALLOCATING.iter().any(|part| name.contains(part))
    };
    if allocators.is_empty() {
        let mut runtime = stack.frames.iter().filter(|frame| is_runtime(frame));
        return runtime.any(|frame| frame.function.as_deref().is_some_and(is_named));
    }
    stack.frames.iter().any(|frame| {
        let Some(module) = frame.module.as_deref() else { return false };
        let mut probed = allocators.iter().filter(|allocator| allocator.path == module);
        let is_probed = |name: &str, allocator: &Allocator| {
            let mut symbols = allocator.functions.iter().flat_map(|f| f.symbol.split('='));
            symbols.any(|symbol| bare(symbol) == bare(name))
        };
        match frame.function.as_deref() {
            Some(name) if module == report.target.exe => {
                probed.any(|allocator| is_probed(name, allocator))
            }
            Some(name) => probed.next().is_some() && is_named(name),
            None => probed.any(|allocator| !matches!(allocator.kind.as_str(), "glibc" | "musl")),
        }
    })
}

/// A C library has several names for one function: `malloc`, `__malloc`, `__libc_malloc`, of musl in a static program
/// `default_malloc`.
fn bare(name: &str) -> &str {
    let name = name.trim_start_matches('_');
    name.strip_prefix("libc_").or_else(|| name.strip_prefix("default_")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_function_are_one() {
        for name in ["malloc", "__malloc", "__libc_malloc", "default_malloc"] {
            assert_eq!(bare(name), "malloc");
        }
        assert_eq!(bare("my_malloc"), "my_malloc");
    }
}
