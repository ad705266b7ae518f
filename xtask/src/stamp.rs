//! The stamp beside the committed object: what the object was made of.

use crate::{toolchain::Versions, workspace::Workspace};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// The crates whose sources make the object.
const CRATES: [&str; 2] = ["memmgr-ebpf", "memmgr-common"];
/// Crates of the lock file that begin so are compiled into the object.
const DEPENDENCIES: &str = "aya-ebpf";

/// One stamp: a text file of `key: value` lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// What the object was compiled from.
    pub(crate) inputs: Inputs,
    /// What compiled it.
    pub(crate) versions: Versions,
    /// SHA-256 of the object.
    pub(crate) object: String,
}

/// The part of a stamp that the workspace alone decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// SHA-256 over the path and content of every source file and manifest, in the order of the paths.
    pub(crate) sources: String,
    /// Name and version of the dependencies in the lock file.
    pub(crate) dependencies: String,
    /// The compiler flags.
    pub(crate) flags: String,
}

impl Inputs {
    /// What the workspace holds now.
    pub(crate) fn of(workspace: &Workspace, flags: &[&str]) -> Result<Self> {
        let mut files = Vec::new();
        for name in CRATES {
            files.push(PathBuf::from(name).join("Cargo.toml"));
            collect(&workspace.root, &PathBuf::from(name).join("src"), &mut files)?;
        }
        files.sort();
        let contents = files
            .into_iter()
            .map(|file| {
                Ok((fs::read(workspace.path(&file)).with_context(|| cannot_read(&file))?, file))
            })
            .collect::<Result<Vec<_>>>()?;
        let lock = Path::new("Cargo.lock");
        let lock = fs::read_to_string(workspace.path(lock)).with_context(|| cannot_read(lock))?;
        Ok(Inputs {
            sources: hash_files(
                contents.iter().map(|(content, file)| (file.as_path(), content.as_slice())),
            ),
            dependencies: dependencies(&lock),
            flags: flags.join(" "),
        })
    }

    /// What differs from the inputs of the committed object, in words; `None` when nothing does.
    pub(crate) fn difference(&self, committed: &Inputs) -> Option<&'static str> {
        [
            (self.sources != committed.sources, "the sources of memmgr-ebpf or memmgr-common"),
            (self.dependencies != committed.dependencies, "the version of aya-ebpf in Cargo.lock"),
            (self.flags != committed.flags, "the compiler flags in xtask"),
        ]
        .into_iter()
        .find_map(|(differs, what)| differs.then_some(what))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sources: {}", self.inputs.sources)?;
        writeln!(f, "dependencies: {}", self.inputs.dependencies)?;
        writeln!(f, "flags: {}", self.inputs.flags)?;
        writeln!(f, "rustc: {}", self.versions.rustc)?;
        writeln!(f, "linker: {}", self.versions.linker)?;
        writeln!(f, "object: {}", self.object)
    }
}

impl std::str::FromStr for Stamp {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("the stamp has no line `{key}`"))
        };
        Ok(Stamp {
            inputs: Inputs {
                sources: value("sources")?,
                dependencies: value("dependencies")?,
                flags: value("flags")?,
            },
            versions: Versions { rustc: value("rustc")?, linker: value("linker")? },
            object: value("object")?,
        })
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// One hash over files; each length is hashed too, so that bytes cannot move from one file to the next unseen.
fn hash_files<'a>(files: impl Iterator<Item = (&'a Path, &'a [u8])>) -> String {
    let mut hasher = Sha256::new();
    for (path, content) in files {
        for part in [path.as_os_str().as_encoded_bytes(), content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hex(&hasher.finalize())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Every file below a folder, with paths from the root.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| cannot_read(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// `NAME VERSION` of each dependency of the object in a lock file.
fn dependencies(lock: &str) -> String {
    let quoted = |line: &str, key: &str| {
        Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    let lines: Vec<&str> = lock.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| Some((quoted(pair[0], "name")?, quoted(pair[1], "version")?)))
        .filter(|(name, _)| name.starts_with(DEPENDENCIES))
        .map(|(name, version)| format!("{name} {version}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Stamp {
        Stamp {
            inputs: Inputs {
                sources: "aa".into(),
                dependencies: "aya-ebpf 0.2.1".into(),
                flags: "-C x=y".into(),
            },
            versions: Versions { rustc: "rustc 1.96.0".into(), linker: "bpf-linker 0.13.0".into() },
            object: "bb".into(),
        }
    }

    #[test]
    fn a_stamp_is_read_back() {
        let text = example().to_string();
        assert_eq!(
            text,
            "sources: aa\ndependencies: aya-ebpf 0.2.1\nflags: -C x=y\nrustc: rustc 1.96.0\nlinker: bpf-linker 0.13.0\nobject: bb\n"
        );
        assert_eq!(text.parse::<Stamp>().unwrap(), example());
        let error = "sources: aa\n".parse::<Stamp>().unwrap_err();
        assert_eq!(error.to_string(), "the stamp has no line `dependencies`");
    }

    #[test]
    fn every_input_counts() {
        let committed = example().inputs;
        let check = |change: fn(&mut Inputs), expected: Option<&str>| {
            let mut now = committed.clone();
            change(&mut now);
            assert_eq!(now.difference(&committed), expected);
        };
        check(|_| {}, None);
        check(|i| i.sources.push('a'), Some("the sources of memmgr-ebpf or memmgr-common"));
        check(|i| i.dependencies.clear(), Some("the version of aya-ebpf in Cargo.lock"));
        check(|i| i.flags.push('2'), Some("the compiler flags in xtask"));
    }

    #[test]
    fn names_and_contents_change_the_hash() {
        let check = |files: &[(&str, &str)]| {
            hash_files(files.iter().map(|(p, c)| (Path::new(p), c.as_bytes())))
        };
        let hashes = [
            check(&[("a", "bc")]),
            check(&[("ab", "c")]),
            check(&[("a", "b"), ("c", "")]),
            check(&[("a", "bd")]),
        ];
        for (i, one) in hashes.iter().enumerate() {
            assert!(hashes[i + 1..].iter().all(|other| other != one), "{hashes:?}");
        }
    }

    #[test]
    fn dependencies_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\n\n[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\n\
                    dependencies = [\n \"aya-ebpf-macros\",\n]\n\n[[package]]\nname = \"aya-ebpf-macros\"\nversion = \"0.2.0\"\n";
        assert_eq!(dependencies(lock), "aya-ebpf 0.2.1, aya-ebpf-macros 0.2.0");
    }
}
