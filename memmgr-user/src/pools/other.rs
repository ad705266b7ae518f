//! The allocator of a process that is none of glibc's: its inside where it can be known, and its mappings always.

use std::io;

use object::{Object, ObjectSymbol, ReadCache};

use super::{
    PoolsError, TRIES, Target, View,
    held::{Held, held},
    jemalloc::{self, Jemalloc},
    library::Library,
    settings::{Given, Settings, variables},
    version::version,
};
use crate::{
    allocator::{
        Family, Recognised,
        elf::Elf,
        mapped::{MappedFile, open_mapped},
        recognise,
    },
    modules::mapped_files,
    source::{mappings::read_mapping_figures, process::read_stack_pointers},
};

/// Longer options are none that a program has.
const MOST_OPTIONS: u64 = 4096;
/// More variables than any environment has.
const MOST_VARIABLES: u64 = 1 << 16;

/// A file that holds an allocator.
pub(super) struct Other {
    pub(super) file: MappedFile,
    pub(super) is: Recognised,
}

impl Other {
    /// Whether it is one of those that are known by name.
    pub(super) fn is_named(&self) -> bool {
        self.is.family != Family::Other
    }
}

/// What can be told of it.
pub(super) struct Seen {
    pub(super) version: String,
    pub(super) found: String,
    pub(super) view: View,
    pub(super) why: Option<String>,
    pub(super) jemalloc: Option<Jemalloc>,
    pub(super) held: Vec<Held>,
    pub(super) unplaced_stacks: u64,
    pub(super) settings: Settings,
    /// Whether what its environment set is not known.
    pub(super) is_assumed: bool,
    pub(super) is_quiet: Option<bool>,
}

/// The allocators of a process but glibc's, those that are known by name first; among them in the order of the mappings, in
/// which the program is before its libraries.
pub(super) fn others(target: &Target) -> Vec<Other> {
    let mut found: Vec<Other> = mapped_files(&target.mappings)
        .into_iter()
        .filter(|file| file.ranges.iter().any(|range| range.executable))
        .filter_map(|file| {
            let elf = Elf::open(open_mapped(&target.roots.proc, target.pid, &file).ok()?).ok()?;
            let is = recognise(&file, &elf).ok()??;
            (is.family != Family::Glibc).then_some(Other { file, is })
        })
        .collect();
    found.sort_by_key(|other| !other.is_named());
    found
}

/// Looks at one of them. `beside_glibc` says that glibc's arenas are in use too.
pub(super) fn look(target: &Target, other: &Other, beside_glibc: bool) -> Result<Seen, PoolsError> {
    let Recognised { family, prefix } = &other.is;
    let prefix = prefix.as_str();
    let open = || open_mapped(&target.roots.proc, target.pid, &other.file);
    let number = open().ok().and_then(|file| version(*family, file, &other.file.path));
    let mut given = Given::read(&target.dir, prefix)?;
    if *family == Family::Jemalloc {
        given.program = program_options(target, other, &format!("{prefix}malloc_conf"));
    }
    if given.is_overwritten
        && let Some(environment) = environment_in_memory(target)
    {
        given.environment = environment;
        given.is_overwritten = false;
    }
    let mut settings = given.settings(*family, prefix, number.as_deref());
    let mut found = "by its name and its functions' names".to_owned();
    let inside = match family {
        Family::Jemalloc => inside(target, other, &mut settings, &mut found)?,
        Family::Tcmalloc | Family::Mimalloc => Err(format!(
            "memmgr knows the inside of glibc's malloc and of jemalloc, not of {}: its own functions tell it ({})",
            family.name(),
            if *family == Family::Mimalloc {
                "mi_stats_print"
            } else {
                "MallocExtension's GetStats"
            },
        )),
        _ => Err(format!("memmgr does not know the inside of {}", shown(*family))),
    };
    let pointers = read_stack_pointers(&target.dir)?;
    let mappings = read_mapping_figures(&target.dir)?;
    let name = shown(*family);
    let (view, why, jemalloc, is_quiet) = match inside {
        Ok((jemalloc, is_quiet)) => (View::Arenas, None, Some(jemalloc), Some(is_quiet)),
        Err(why) => (View::Mappings, Some(why), None, None),
    };
    Ok(Seen {
        version: number.map_or_else(|| name.to_owned(), |number| format!("{name} {number}")),
        found,
        view,
        why,
        jemalloc,
        held: held(&mappings, &target.memory, &pointers.known, beside_glibc),
        unplaced_stacks: pointers.unknown,
        settings,
        is_assumed: given.is_overwritten,
        is_quiet,
    })
}

fn shown(family: Family) -> &'static str {
    match family {
        Family::Other => "an allocator of its own",
        family => family.name(),
    }
}

/// What jemalloc holds, and whether a second read said the same; or in a sentence why that is not known.
fn inside(
    target: &Target,
    other: &Other,
    settings: &mut Settings,
    found: &mut String,
) -> Result<Result<(Jemalloc, bool), String>, PoolsError> {
    let library = match target.library(&other.file) {
        Ok(library) => library,
        Err(error) => return Ok(Err(format!("its file cannot be read: {error}"))),
    };
    let place = match jemalloc::find(&library, target.roots, target.pid, target.caches) {
        Ok(place) => place,
        Err(why) => return Ok(Err(why)),
    };
    place.add_settings(&target.memory, settings);
    let reader = match place.reader(&target.memory) {
        Ok(reader) => reader,
        Err(why) => return Ok(Err(why)),
    };
    let read = || -> Result<io::Result<Jemalloc>, PoolsError> {
        let mut error = None;
        for _ in 0..TRIES {
            match reader.read() {
                Ok(jemalloc) => return Ok(Ok(jemalloc)),
                Err(cause) => {
                    // If it is gone, this is why.
                    target.dir.read("stat")?;
                    error = Some(cause);
                }
            }
        }
        Ok(Err(error.unwrap_or_else(|| io::Error::other("nothing was read"))))
    };
    let first = read()?;
    let second = read()?;
    place.by.clone_into(found);
    Ok(match (first, second) {
        (Ok(first), Ok(second)) => {
            let is_quiet = first == second;
            Ok((second, is_quiet))
        }
        (Err(error), _) | (_, Err(error)) => {
            Err(format!("its arenas could not be read in {TRIES} tries: {error}"))
        }
    })
}

/// The environment that getenv(3) reads: a program that has written over the one it was started with moved it first.
fn environment_in_memory(target: &Target) -> Option<Vec<(String, String)>> {
    // The program's own, where it was linked by a copy, else that of the C library.
    let files = mapped_files(&target.mappings);
    let array = files.iter().find_map(|file| {
        let library = target.library(file).ok()?;
        let array = target.memory.word(variable(target, &library, "environ")?).ok()?;
        (array != 0).then_some(array)
    })?;
    let mut all = Vec::new();
    for at in 0..MOST_VARIABLES {
        match target.memory.word(array + 8 * at).ok()? {
            0 => return Some(variables(all.iter().map(String::as_bytes))),
            text => all.push(target.memory.text(text, MOST_OPTIONS).ok()?),
        }
    }
    None
}

/// What the program's variable of this name says: its own, or that of the library.
fn program_options(target: &Target, other: &Other, name: &str) -> Option<String> {
    let program = mapped_files(&target.mappings).into_iter().next();
    let files = program.iter().chain([&other.file]);
    files.into_iter().find_map(|file| {
        let library = target.library(file).ok()?;
        let text = target.memory.word(variable(target, &library, name)?).ok()?;
        (text != 0).then(|| target.memory.text(text, MOST_OPTIONS).ok()).flatten()
    })
}

/// Where a variable of a library is in the process.
fn variable(target: &Target, library: &Library, name: &str) -> Option<u64> {
    let cache = ReadCache::new(open_mapped(&target.roots.proc, target.pid, &library.file).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let mut symbols = file.dynamic_symbols().chain(file.symbols());
    let symbol = symbols.find(|symbol| symbol.is_definition() && symbol.name() == Ok(name))?;
    Some(library.loaded(symbol.address()))
}
