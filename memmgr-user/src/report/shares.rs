//! The same bytes seen another way: by function, by file, by size of the block.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::Stack;
use crate::{
    estimate::{Coverage, Uncertainty},
    recording::whole,
    track::Class,
};

/// Bytes by function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The function's name.
    pub function: String,
    /// The file that holds it.
    pub module: String,
    /// Outstanding bytes of stacks whose leaf it is.
    pub self_live_bytes: u64,
    /// Outstanding bytes of stacks in which it appears.
    pub total_live_bytes: u64,
    /// Allocated bytes of stacks whose leaf it is.
    pub self_alloc_bytes: u64,
    /// Allocated bytes of stacks in which it appears.
    pub total_alloc_bytes: u64,
    /// Standard error of `total_live_bytes`, in bytes; 0 where it is exact.
    #[serde(default)]
    pub total_live_bytes_error: u64,
    /// Standard error of `total_alloc_bytes`.
    #[serde(default)]
    pub total_alloc_bytes_error: u64,
}

/// Bytes by file, and where the file was mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The file, named as in [`super::Frame::module`].
    pub path: String,
    /// GNU build id in hex, empty when the file has none.
    pub build_id: String,
    /// First address of its code in the target.
    pub start: u64,
    /// First address behind its code.
    pub end: u64,
    /// Where in the file the code at `start` stands.
    pub file_offset: u64,
    /// Address of the file's first byte in the target less its stated address: what
    /// [`super::Frame::address`] must be moved by to stand between `start` and `end`.
    pub bias: u64,
    /// Outstanding bytes of stacks whose leaf is in it.
    pub self_live_bytes: u64,
    /// Outstanding bytes of stacks in which it appears.
    pub total_live_bytes: u64,
    /// Allocated bytes of stacks whose leaf is in it.
    pub self_alloc_bytes: u64,
    /// Allocated bytes of stacks in which it appears.
    pub total_alloc_bytes: u64,
}

/// Blocks of similar size: from a power of two to just below the next. For mappings the length that was mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeClass {
    /// The smallest size in this class, in bytes asked for.
    #[serde(default)]
    pub min_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
    /// Blocks outstanding.
    pub live_count: u64,
    /// Bytes outstanding.
    pub live_bytes: u64,
    /// Allocations made.
    pub alloc_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
}

/// Bytes of a class by function: a function counts once a stack however often it stands in it. Each stack comes with
/// what its errors are made of.
pub(super) fn functions<'a>(
    stacks: impl Iterator<Item = (&'a Stack, &'a Uncertainty)>,
    coverage: &Coverage,
    class: &str,
) -> Vec<Function> {
    let mut functions: HashMap<(&str, &str), (Function, Uncertainty)> = HashMap::new();
    for (stack, uncertainty) in stacks.filter(|(stack, _)| stack.class == class) {
        let mut seen = HashSet::new();
        for (depth, frame) in stack.frames.iter().enumerate() {
            let Some(name) = frame.function.as_deref() else { continue };
            let module = frame.module.as_deref().unwrap_or_default();
            let (entry, sum) = functions.entry((name, module)).or_insert_with(|| {
                let (function, module) = (name.to_owned(), module.to_owned());
                let entry = Function { function, module, ..Function::default() };
                (entry, Uncertainty::none(Class::Heap, coverage))
            });
            if depth == 0 {
                entry.self_live_bytes += stack.live_bytes;
                entry.self_alloc_bytes += stack.alloc_bytes;
            }
            if seen.insert((name, module)) {
                entry.total_live_bytes += stack.live_bytes;
                entry.total_alloc_bytes += stack.alloc_bytes;
                sum.add(uncertainty);
            }
        }
    }
    let finished = functions.into_values().map(|(function, uncertainty)| {
        let [live, alloc] = uncertainty.errors(coverage).map(whole);
        Function { total_live_bytes_error: live, total_alloc_bytes_error: alloc, ..function }
    });
    let mut functions: Vec<Function> = finished.collect();
    functions.sort_by(|a, b| {
        (b.total_live_bytes, b.total_alloc_bytes, &a.function, &a.module).cmp(&(
            a.total_live_bytes,
            a.total_alloc_bytes,
            &b.function,
            &b.module,
        ))
    });
    functions
}

/// Adds bytes of a class to the modules: a module counts once a stack. Those that hold none keep their zeros.
pub(super) fn modules(mut modules: Vec<Module>, stacks: &[Stack], class: &str) -> Vec<Module> {
    let mut index: HashMap<String, usize> =
        modules.iter().enumerate().map(|(i, module)| (module.path.clone(), i)).collect();
    for stack in stacks.iter().filter(|stack| stack.class == class) {
        let mut seen = HashSet::new();
        for (depth, frame) in stack.frames.iter().enumerate() {
            let Some(path) = frame.module.as_deref() else { continue };
            let at = *index.entry(path.to_owned()).or_insert_with(|| {
                modules.push(Module { path: path.to_owned(), ..Module::default() });
                modules.len() - 1
            });
            let module = &mut modules[at];
            if depth == 0 {
                module.self_live_bytes += stack.live_bytes;
                module.self_alloc_bytes += stack.alloc_bytes;
            }
            if seen.insert(at) {
                module.total_live_bytes += stack.live_bytes;
                module.total_alloc_bytes += stack.alloc_bytes;
            }
        }
    }
    modules.sort_by(|a, b| {
        (b.total_live_bytes, b.total_alloc_bytes, &a.path).cmp(&(
            a.total_live_bytes,
            a.total_alloc_bytes,
            &b.path,
        ))
    });
    modules
}

/// Bytes of a class by size of the block.
pub(super) fn sizes(stacks: &[Stack], class: &str) -> Vec<SizeClass> {
    let mut sizes: BTreeMap<(u64, u64), SizeClass> = BTreeMap::new();
    let stacks = stacks.iter().filter(|stack| stack.class == class);
    for size in stacks.flat_map(|stack| &stack.sizes) {
        let sum = sizes.entry((size.min_bytes, size.max_bytes)).or_insert_with(|| SizeClass {
            min_bytes: size.min_bytes,
            max_bytes: size.max_bytes,
            ..SizeClass::default()
        });
        sum.live_count += size.live_count;
        sum.live_bytes += size.live_bytes;
        sum.alloc_count += size.alloc_count;
        sum.alloc_bytes += size.alloc_bytes;
    }
    sizes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Frame;

    fn frame(function: &str) -> Frame {
        Frame { function: Some(function.into()), module: Some("m".into()), ..Frame::default() }
    }

    #[test]
    fn a_recursive_function_counts_once_a_stack() {
        let stack = |names: &[&str], live_bytes, class: &str| Stack {
            class: class.into(),
            live_bytes,
            alloc_bytes: live_bytes * 2,
            frames: names.iter().map(|name| frame(name).into()).collect(),
            ..Stack::default()
        };
        let stacks = [
            stack(&["leaf", "walk", "walk", "main"], 10, "heap"),
            stack(&["walk", "main"], 5, "heap"),
            stack(&["mmap", "main"], 1000, "mapping"),
        ];
        let exact = Uncertainty::default();
        let functions = |class| {
            let stacks = stacks.iter().map(|stack| (stack, &exact));
            functions(stacks, &Coverage::default(), class)
        };
        let got: Vec<String> = functions("heap")
            .iter()
            .map(|f| {
                format!(
                    "{} {}/{} {}/{}",
                    f.function,
                    f.self_live_bytes,
                    f.total_live_bytes,
                    f.self_alloc_bytes,
                    f.total_alloc_bytes
                )
            })
            .collect();
        assert_eq!(got, ["main 0/15 0/30", "walk 5/15 10/30", "leaf 10/10 20/20"]);
        let mapped = functions("mapping");
        assert_eq!(mapped.iter().map(|f| f.total_live_bytes).collect::<Vec<_>>(), [1000, 1000]);
    }
}
