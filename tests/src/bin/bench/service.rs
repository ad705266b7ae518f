//! `service`: C++ programs with as much debug information as is asked for, which allocate from as many stacks as they
//! are told, or say what these stacks look like.

use std::{
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ReadCache};

use crate::lanes;

/// Frames between the outermost function and an allocation.
pub const DEPTH: usize = 30;
/// Outer frames that many stacks share.
const SHARED: usize = 10;
/// Functions of a compilation unit; each has two call sites, in a function that is inlined into it.
const FUNCTIONS: u32 = 200;
const FLAGS: [&str; 3] = ["-Og", "-g", "-fno-eliminate-unused-debug-types"];

/// How large a program is.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Scale {
    /// Compilation units.
    pub units: u32,
    /// Classes of a unit, with ten members and fourteen methods each: only the debug information has them.
    pub classes: u32,
}

/// 1,600 functions, with their lines and little else.
pub const SMALL: Scale = Scale { units: 8, classes: 0 };
/// 12,800 functions, and more than 100 MiB of debug information.
pub const LARGE: Scale = Scale { units: 64, classes: 1_000 };

/// Compiles the program, unless it was already.
pub fn build(scale: Scale) -> Result<PathBuf> {
    let main = main_source(scale.units);
    let sources: Vec<String> =
        std::iter::once(main).chain((0..scale.units).map(|n| unit(n, scale.classes))).collect();
    let mut hasher = DefaultHasher::new();
    (HEADER, FLAGS, &sources).hash(&mut hasher);
    // Beside the bench itself: in the folder that `cargo clean` removes.
    let own = std::env::current_exe()?;
    let folder = own.parent().context("the bench is in no folder")?.join("large-programs");
    let done = folder.join(format!("service-{:016x}", hasher.finish()));
    if done.exists() {
        return Ok(done);
    }
    eprintln!("bench: compiling a program of {} units", scale.units);
    fs::create_dir_all(&folder)?;
    let aside = tempfile::tempdir_in(&folder)?;
    fs::write(aside.path().join("service.h"), HEADER)?;
    for (number, source) in sources.iter().enumerate() {
        fs::write(aside.path().join(format!("{number}.cpp")), source)?;
    }
    let numbers: Vec<usize> = (0..sources.len()).collect();
    drop(sources);
    let compile = |number: &usize| {
        let mut command = Command::new("c++");
        command.args(FLAGS).args(["-c", &format!("{number}.cpp")]).current_dir(aside.path());
        succeed(&mut command)
    };
    let processors = std::thread::available_parallelism()?.get();
    lanes::each(processors, &numbers, compile).into_iter().collect::<Result<()>>()?;
    let objects = numbers.iter().map(|number| format!("{number}.o"));
    succeed(
        Command::new("c++")
            .args(["-Wl,--build-id", "-o", "service"])
            .args(objects)
            .current_dir(aside.path()),
    )?;
    fs::rename(aside.path().join("service"), &done)?;
    // What is not written yet stays in the page cache, whatever is asked of it.
    fs::File::open(&done)?.sync_all()?;
    Ok(done)
}

/// Bytes of its debug information.
pub fn debug_bytes(program: &Path) -> Result<u64> {
    let cache = ReadCache::new(fs::File::open(program)?);
    let file = object::File::parse(&cache)?;
    let debug = |section: &object::Section<'_, '_, _>| {
        section.name().is_ok_and(|name| name.starts_with(".debug_"))
    };
    Ok(file.sections().filter(debug).map(|section| section.size()).sum())
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("c++ cannot be run")?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

const HEADER: &str = "\
#pragma once
#include <cstdlib>
struct Path;
using Step = long (*)(Path &, long);
struct Path {
    unsigned long seed, random;
    long depth;
    void **kept;
    unsigned long next() { return (random = random * 6364136223846793005ul + 1442695040888963407ul) >> 33; }
    long take(long size);
};
Step choose(Path &path, long depth);
inline __attribute__((always_inline)) long descend(Path &path, long depth) {
    return choose(path, depth)(path, depth + 1) + 1;
}
";

/// Reads what to do: `allocate N` does so once from each of N stacks, `copy N` writes of each of N stacks of many
/// depths the registers and the bytes up to its end.
fn main_source(units: u32) -> String {
    let mut text = String::from(
        "#include \"service.h\"\n#include <cstdio>\n#include <unistd.h>\n#include <vector>\n",
    );
    for unit in 0..units {
        _ = writeln!(text, "extern const Step steps_{unit}[{FUNCTIONS}];");
    }
    let tables: Vec<String> = (0..units).map(|unit| format!("steps_{unit}")).collect();
    _ = write!(
        text,
        "static const Step *const units[] = {{{}}};
static const char *end;
Step choose(Path &path, long depth) {{
    if (depth == {SHARED}) path.random = path.seed * 2654435761ul + 1;
    unsigned long next = path.next();
    return units[next % {units}][(next >> 12) % {FUNCTIONS}];
}}
long Path::take(long size) {{
    if (kept) return (*kept = malloc(64 + size)) != nullptr;
    unsigned long at[4];
    asm volatile(\"lea 0(%%rip), %0; mov %%rsp, %1; mov %%rbp, %2\" : \"=&r\"(at[0]), \"=&r\"(at[1]), \"=&r\"(at[2]));
    at[3] = reinterpret_cast<unsigned long>(end) - at[1];
    return fwrite(at, sizeof at, 1, stdout) + fwrite(reinterpret_cast<void *>(at[1]), at[3], 1, stdout);
}}
int main(int, char **, char **environment) {{
    // The kernel has put the environment above all frames.
    end = reinterpret_cast<const char *>(environment);
    std::vector<void *> kept;
    char what[16];
    puts(\"ready\");
    fflush(stdout);
    for (unsigned long stacks; scanf(\"%15s %lu\", what, &stacks) == 2;) {{
        bool copy = *what == 'c';
        for (unsigned long seed = 0; seed < stacks; seed++) {{
            kept.push_back(nullptr);
            Path path{{seed, seed % 16, copy ? 12 + static_cast<long>(seed % 48) : {DEPTH}, copy ? nullptr : &kept.back()}};
            descend(path, 0);
            // What comes faster than any collector takes it is lost, and this is not about that.
            if (!copy && seed % 20 == 0) usleep(1000);
        }}
        if (!copy) puts(\"done\");
        fflush(stdout);
    }}
}}
",
        tables.join(", ")
    );
    text
}

fn unit(number: u32, classes: u32) -> String {
    let types =
        ["int", "long", "char", "double", "void *", "const char *", "unsigned long", "short"];
    let kind = |n: u32| types[n as usize % types.len()];
    let mut text =
        format!("#include \"service.h\"\nnamespace service {{ namespace unit{number} {{\n");
    for class in 0..classes {
        _ = writeln!(text, "struct Record{class} {{");
        for member in 0..10 {
            _ = writeln!(text, "    {} field_{member};", kind(class + member));
        }
        let before = class.saturating_sub(1);
        for method in 0..14 {
            let (result, first, second) =
                (kind(class + method), kind(method + 1), kind(method + 2));
            _ = writeln!(
                text,
                "    {result} put_{method}(Record{before} *before, {first} first, {second} second) const;"
            );
        }
        text.push_str("};\n");
    }
    for step in 0..FUNCTIONS {
        _ = write!(
            text,
            "static inline __attribute__((always_inline)) long either{step}(Path &path, long depth) {{
    if (path.next() & 1) {{
        long inner = descend(path, depth);
        return inner + {step};
    }}
    long rest = descend(path, depth);
    return rest ^ {step};
}}
__attribute__((noinline)) long step{step}(Path &path, long depth) {{
    if (depth >= path.depth) return path.take(depth);
    return either{step}(path, depth);
}}
"
        );
    }
    let steps: Vec<String> =
        (0..FUNCTIONS).map(|step| format!("service::unit{number}::step{step}")).collect();
    _ = writeln!(text, "}} }}\nextern const Step steps_{number}[] = {{{}}};", steps.join(", "));
    text
}
