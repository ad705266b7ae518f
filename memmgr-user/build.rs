//! Points the crate at the eBPF object to embed: the committed one, or `MEMMGR_EBPF_OBJECT`.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=MEMMGR_EBPF_OBJECT");
    let object = env::var_os("MEMMGR_EBPF_OBJECT").map_or_else(
        || {
            // Of this run: a script that was built in another checkout may be used again.
            let crate_dir = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
            PathBuf::from(crate_dir).join("../memmgr-ebpf/memmgr.bpf.o")
        },
        PathBuf::from,
    );
    let object = object.canonicalize().unwrap_or_else(|error| {
        panic!(
            "the eBPF object {} cannot be read: {error}; `cargo xtask ebpf` builds it",
            object.display()
        )
    });
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=MEMMGR_EBPF_OBJECT_PATH={}", object.display());
}
