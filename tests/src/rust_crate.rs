//! The workload `rust-allocators`, which is a crate because what it is about comes from crates: built by cargo, which knows by itself
//! when there is nothing to do.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The program with the global allocator of this feature; the system's without one. The first time cargo downloads what it needs.
pub fn with_allocator(feature: Option<&str>) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = "rust-allocators";
    // One directory for each: features change what is at one place.
    let target =
        package.join(".cache").join(feature.map_or(name.into(), |f| format!("{name}-{f}")));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(package.join("workloads").join(name).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .args(feature.iter().flat_map(|feature| ["--features", feature]))
        // What the tests were built with is not for it.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-Cforce-frame-pointers=yes");
    let output = cargo.output().expect("cargo can be run");
    assert!(
        output.status.success(),
        "cargo does not build {name} {feature:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("release").join(name)
}
