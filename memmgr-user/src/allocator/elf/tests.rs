//! Tests of `elf`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;

const PROGRAM: &str = r"
#include <stdlib.h>
__attribute__((noinline)) int leaf_or_not(int n) { volatile char room[64]; room[n & 63] = 1; return room[0] + rand(); }
__attribute__((noinline)) int second(int n) { volatile int x = leaf_or_not(n); return x * leaf_or_not(x); }
__attribute__((noinline)) int third(int n) { volatile int x = second(n); return x * second(x) + leaf_or_not(n); }
int main(int argc, char **argv) { return third(argc) + second(third(argc)); }
";

/// Compiles C source with these flags in `dir`.
fn compile(dir: &Path, source: &str, flags: &[&str]) -> PathBuf {
    let (input, output) = (dir.join("input.c"), dir.join(format!("output{}", flags.join(""))));
    std::fs::write(&input, source).unwrap();
    let status = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&output)
        .arg(&input)
        .args(flags)
        .status()
        .unwrap();
    assert!(status.success(), "cc {flags:?}");
    output
}

fn open(path: &Path) -> Result<Elf, ElfError> {
    Elf::open(File::open(path).unwrap())
}

fn open_bytes(bytes: &[u8]) -> Result<Elf, ElfError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Elf::open(file)
}

#[test]
fn frame_pointers_are_told_from_the_unwind_tables() {
    let dir = tempfile::tempdir().unwrap();
    for (flags, expected) in [
        (vec!["-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"], Unwind::FramePointers),
        (vec!["-fomit-frame-pointer"], Unwind::Tables),
        (
            vec![
                "-fno-omit-frame-pointer",
                "-mno-omit-leaf-frame-pointer",
                "-static-pie",
                "-Wl,--strip-all",
            ],
            Unwind::Tables,
        ),
    ] {
        let elf = open(&compile(dir.path(), PROGRAM, &flags)).unwrap();
        assert_eq!(elf.frame_pointers(), expected, "{flags:?}");
    }
    let bare = "int main(void) { for (;;) {} }";
    let flags = ["-fno-asynchronous-unwind-tables", "-nostdlib", "-static", "-Wl,-emain"];
    assert_eq!(open(&compile(dir.path(), bare, &flags)).unwrap().frame_pointers(), Unwind::None);
    assert_eq!(open(&libc_of_this_process()).unwrap().frame_pointers(), Unwind::Tables);
}

fn libc_of_this_process() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains("libc.so"))
        .unwrap()
        .into()
}

#[test]
fn symbols_that_are_no_code_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        int chosen(void) { return 1; }
        void *resolve(void) { return chosen; }
        int indirect(void) __attribute__((ifunc("resolve")));
        int alias(void) __attribute__((alias("chosen")));
        int filled[4] = {1};
        int empty[4096];
        asm(".globl into_data; .set into_data, filled; .type into_data, @function");
        asm(".globl into_bss; .set into_bss, empty + 8192; .type into_bss, @function");
        asm(".globl nowhere; .set nowhere, 0x7fffffff0000; .type nowhere, @function");
    "#;
    let elf = open(&compile(dir.path(), source, &["-shared", "-fPIC"])).unwrap();
    let find = |name: &str| {
        elf.functions(|n, _, _| n == name)
            .unwrap()
            .pop()
            .map(|symbol| (symbol.place, symbol.dynamic))
    };
    assert_eq!(find("into_data"), Some((Err(Unprobeable::NotExecutable), true)));
    assert_eq!(find("into_bss"), Some((Err(Unprobeable::NotExecutable), true)));
    assert_eq!(find("nowhere"), Some((Err(Unprobeable::OutsideFile), true)));
    assert_eq!(find("indirect"), Some((Err(Unprobeable::Indirect), true)));
    assert!(find("chosen").unwrap().0.is_ok());
    assert_eq!(find("alias"), find("chosen"));
    assert_eq!(find("filled"), None, "an object is no function");
    assert!(
        elf.build_id()
            .is_some_and(|id| id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    );
}

#[test]
fn code_is_read_to_the_functions_end() {
    let dir = tempfile::tempdir().unwrap();
    let elf = open(&compile(dir.path(), PROGRAM, &[])).unwrap();
    let third = elf.functions(|name, _, _| name == "third").unwrap().remove(0);
    assert!(!third.dynamic);
    let by_symbol = elf.code(third.address, third.size).unwrap();
    assert_eq!(by_symbol.len() as u64, third.size);
    assert_eq!(
        elf.code(third.address, 0).unwrap(),
        by_symbol,
        "the unwind tables know the size too"
    );
    assert_eq!(elf.code(third.address, u64::MAX).unwrap()[..by_symbol.len()], by_symbol);
    assert_eq!(elf.address(third.place.unwrap()), Some(third.address));

    let frames = elf.frames().unwrap();
    assert_eq!(
        frames.function_at(third.address + 3),
        Some(third.address..third.address + third.size)
    );
    assert!(frames.is_function_start(third.address));
    assert!(!frames.is_function_start(third.address + 1));
}

#[test]
fn a_part_that_was_split_off_is_no_function_start() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <stdlib.h>
        #include <stdio.h>
        __attribute__((cold, noinline)) void rare(int *p) { printf("%d", *p); }
        int split(int n) { int x[8]; for (int i = 0; i < 8; i++) x[i] = rand();
            if (__builtin_expect(n > 90, 0)) { rare(x); rare(x + 1); puts("rare"); abort(); } return x[n & 7] * rand(); }
        int main(int argc, char **argv) { return split(argc); }
    "#;
    let elf = open(&compile(dir.path(), source, &["-freorder-blocks-and-partition"])).unwrap();
    let part = elf.functions(|name, _, _| name == "split.cold").unwrap().remove(0);
    assert_eq!(elf.frames().unwrap().function_at(part.address).unwrap().start, part.address);
    assert!(!elf.frames().unwrap().is_function_start(part.address));
}

#[test]
fn foreign_and_broken_files_are_named() {
    let own = std::fs::read("/proc/self/exe").unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = own[..4096].to_vec();
        bytes[at] = byte;
        bytes
    };
    for (bytes, expected) in [
        (b"#!/bin/sh\n".to_vec(), "not an ELF file"),
        (Vec::new(), "not an ELF file"),
        (b"\x7fELF".to_vec(), "a 32-bit program; memmgr measures 64-bit programs only"),
        (b"\x7fELF\x02".to_vec(), "malformed or cut off: the header"),
        (with(4, 1), "a 32-bit program; memmgr measures 64-bit programs only"),
        (
            with(5, 2),
            "made for another processor (ELF machine 62); this memmgr measures x86-64 programs",
        ),
        (
            with(18, 183),
            "made for another processor (ELF machine 183); this memmgr measures x86-64 programs",
        ),
        (
            own[..4096].to_vec(),
            "malformed or cut off: a table lies outside the file or is too large",
        ),
    ] {
        assert_eq!(
            open_bytes(&bytes).map_or_else(|error| error.to_string(), |_| "read".into()),
            expected
        );
    }
}

/// Runs all that reads the file; only its not panicking counts.
fn read_all(elf: &Elf) {
    if let Ok(symbols) = elf.functions(|name, _, _| !name.is_empty()) {
        for symbol in symbols.iter().take(32) {
            let _ = elf.code(symbol.address, symbol.size);
            if let Some(frames) = elf.frames() {
                frames.function_at(symbol.address);
                frames.is_function_start(symbol.address);
            }
            if let Ok(offset) = symbol.place {
                assert!(offset.0 < elf.file_size);
            }
        }
    }
    elf.frame_pointers();
    elf.address(FileOffset(0x1000));
}

#[test]
fn mutated_files_never_cause_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let original = std::fs::read(compile(dir.path(), PROGRAM, &[])).unwrap();
    read_all(&open_bytes(&original).unwrap());
    let section_headers = original.len() - 64 * 40..original.len();
    let interesting =
        prop_oneof![Just(0_u8), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    let place = prop_oneof![0..4096_usize, section_headers, 0..original.len()];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1500));
    let strategy = (prop::collection::vec((place, interesting), 1..12), 0..original.len() * 8);
    let outcome = runner.run(&strategy, |(changes, cut)| {
        let mut bytes = original.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(16));
        // Most changed bytes are in the headers; these two must stand for the rest to be reached.
        bytes[..6].copy_from_slice(&original[..6]);
        if let Ok(elf) = open_bytes(&bytes) {
            read_all(&elf);
        }
        Ok(())
    });
    outcome.unwrap();
}
