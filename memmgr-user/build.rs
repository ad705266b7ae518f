//! Points the crate at the eBPF object to embed: the committed one, or `MEMMGR_EBPF_OBJECT`.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=MEMMGR_EBPF_OBJECT");
    let object = env::var_os("MEMMGR_EBPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../memmgr-ebpf/memmgr.bpf.o"),
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
