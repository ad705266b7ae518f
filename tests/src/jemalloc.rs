//! A program with a jemalloc of a chosen version linked into it, built by cargo from its crate.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

/// Which jemalloc.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Jemalloc {
    /// The version of the crate `tikv-jemalloc-sys`.
    pub package: &'static str,
    /// The version of jemalloc in it.
    pub version: &'static str,
    /// Whether it counts blocks.
    pub has_statistics: bool,
}

impl Jemalloc {
    /// `workloads/tells-mallctl.rs` with it, and with debug information, unless it was built before. Panics with cargo's words.
    pub fn build(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = root.join("workloads/tells-mallctl.rs");
        let text = fs::read_to_string(&source).expect("a workload");
        let mut hasher = DefaultHasher::new();
        (self, &text).hash(&mut hasher);
        let folder = root.join(format!(".cache/tells-mallctl-{:016x}", hasher.finish()));
        let program = folder.join("program");
        if program.exists() {
            return program;
        }
        fs::create_dir_all(&folder).expect("the cache of workloads cannot be made");
        let features = if self.has_statistics { "\"stats\"" } else { "" };
        let manifest = format!(
            "[package]\nname = \"tells-mallctl\"\nversion = \"0.0.0\"\nedition = \"2024\"\nrust-version = \"1.95\"\n\n\
             [workspace]\n\n[[bin]]\nname = \"tells-mallctl\"\npath = \"{}\"\n\n\
             [dependencies]\ntikv-jemalloc-sys = {{ version = \"={}\", features = [{features}] }}\n\n\
             [profile.dev]\nopt-level = 1\ndebug = true\n",
            source.display(),
            self.package
        );
        fs::write(folder.join("Cargo.toml"), manifest).expect("the cache of workloads");
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--manifest-path"]).arg(folder.join("Cargo.toml"));
        // What these tests are built with is not meant for the program.
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(name);
        }
        let output = cargo.env("CARGO_TARGET_DIR", folder.join("target")).output();
        let output = output.unwrap_or_else(|error| panic!("cargo cannot be run: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{self:?} cannot be built:\n{stderr}");
        let built = folder.join("target/debug/tells-mallctl");
        fs::rename(built, &program).expect("the cache of workloads cannot be written");
        fs::remove_dir_all(folder.join("target")).expect("what cargo left");
        program
    }
}
