//! Workload programs, compiled once for each set of flags into a cache beside the package.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

/// A program of `workloads/` and how to compile it.
#[derive(Clone, Debug)]
pub struct Program {
    source: PathBuf,
    compiler: String,
    flags: Vec<String>,
}

impl Program {
    /// `workloads/NAME.c`, by `cc -O2 -g -pthread`.
    pub fn c(name: &str) -> Self {
        Self::new(&format!("{name}.c"), "cc")
    }

    /// `workloads/NAME.cpp`, by `c++ -O2 -g -pthread`.
    pub fn cpp(name: &str) -> Self {
        Self::new(&format!("{name}.cpp"), "c++")
    }

    /// `workloads/NAME.rs`, by `rustc -O -g`.
    pub fn rust(name: &str) -> Self {
        Program { flags: Vec::new(), ..Self::new(&format!("{name}.rs"), "rustc") }.flags(&[
            "-O",
            "-g",
            "--edition=2024",
        ])
    }

    fn new(file: &str, compiler: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(file);
        let flags = ["-O2", "-g", "-pthread"].map(str::to_owned).to_vec();
        Program { source, compiler: compiler.to_owned(), flags }
    }

    /// Takes another compiler.
    #[must_use]
    pub fn compiler(mut self, compiler: &str) -> Self {
        compiler.clone_into(&mut self.compiler);
        self
    }

    /// Adds flags after those that are always there. A linker's `-l` comes after the source, as it must.
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// The executable, compiled unless it is in the cache. Panics with the compiler's words.
    pub fn build(&self) -> PathBuf {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache");
        let stem = self.source.file_stem().expect("a source has a name").to_string_lossy();
        let done = cache.join(format!("{stem}-{:016x}", self.key()));
        if done.exists() {
            return done;
        }
        fs::create_dir_all(&cache).expect("the cache of workloads cannot be made");
        // Compiled aside and renamed: tests of several binaries may want the same program at once.
        let aside =
            tempfile::Builder::new().prefix("compiling-").tempdir_in(&cache).expect("no room");
        let fresh = aside.path().join(&*stem);
        let (libraries, flags): (Vec<_>, Vec<_>) =
            self.flags.iter().partition(|flag| flag.starts_with("-l"));
        let output = Command::new(&self.compiler)
            .args(flags)
            .arg("-o")
            .arg(&fresh)
            .arg(&self.source)
            .args(libraries)
            .output()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", self.compiler));
        assert!(
            output.status.success(),
            "{} does not compile {}:\n{}",
            self.compiler,
            self.source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&fresh, &done).expect("the cache of workloads cannot be written");
        done
    }

    /// Of the source, the headers beside it, and the command.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.compiler, &self.flags).hash(&mut hasher);
        let read = |path: &Path| {
            fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        read(&self.source).hash(&mut hasher);
        let directory = self.source.parent().expect("a source is in a directory");
        let mut headers: Vec<PathBuf> = fs::read_dir(directory)
            .expect("workloads cannot be listed")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "h"))
            .collect();
        headers.sort();
        for header in headers {
            read(&header).hash(&mut hasher);
        }
        hasher.finish()
    }
}
