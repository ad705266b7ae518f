//! Programs of Go's, built by the host's toolchain and by those that `cargo xtask test` fetched.

use std::{
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

/// One toolchain.
pub struct Toolchain {
    /// Its folder's name, `host` for the host's own.
    pub name: String,
    go: OsString,
    root: Option<PathBuf>,
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/go")
}

/// The host's and all that were fetched, by name.
pub fn toolchains() -> Vec<Toolchain> {
    let host = Toolchain { name: "host".into(), go: "go".into(), root: None };
    let fetched = fs::read_dir(target()).into_iter().flatten().filter_map(|entry| {
        let (name, root) =
            (entry.as_ref().ok()?.file_name(), entry.as_ref().ok()?.path().join("go"));
        let go = root.join("bin/go");
        go.is_file().then(|| Toolchain {
            name: name.to_string_lossy().into_owned(),
            go: go.into(),
            root: Some(root),
        })
    });
    let mut all: Vec<Toolchain> = fetched.collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.insert(0, host);
    all
}

impl Toolchain {
    /// Builds `workloads/NAME.go` with these flags, unless that was done before.
    pub fn build(&self, name: &str, flags: &[&str]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("workloads/{name}.go"));
        let text =
            fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        let mut hash = DefaultHasher::new();
        (text, flags, &self.name).hash(&mut hash);
        let folder = target().join(".programs");
        fs::create_dir_all(&folder).expect("a folder for programs");
        let program = folder.join(format!("{name}-{}-{:016x}", self.name, hash.finish()));
        if program.exists() {
            return program;
        }
        let unfinished = program.with_extension(std::process::id().to_string());
        let mut command = Command::new(&self.go);
        command
            .arg("build")
            .args(flags)
            .arg("-o")
            .arg(&unfinished)
            .arg(&source)
            // Nothing is fetched, neither modules nor another toolchain.
            .envs([("GO111MODULE", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")])
            .env("GOCACHE", target().join(".cache"));
        if let Some(root) = &self.root {
            command.env("GOROOT", root);
        }
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", self.name);
        fs::rename(&unfinished, &program).expect("the program");
        program
    }
}
