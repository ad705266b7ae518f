//! What an eBPF object must hold, and what it must not say.

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};
use std::path::{Path, PathBuf};

/// Sections that a loader needs: the types, what refers to them, and the licence.
const NEEDED: [&str; 3] = [".BTF", ".BTF.ext", "license"];

/// Refuses an object that a loader could not use or that says where it was built.
pub(crate) fn verify(object: &[u8], private: &[PathBuf]) -> Result<()> {
    let file = object::File::parse(object).context("the object is no readable ELF file")?;
    let names = file.sections().map(|section| section.name()).collect::<Result<Vec<_>, _>>()?;
    if let Some(missing) = NEEDED.iter().find(|needed| !names.contains(needed)) {
        bail!("the object has no section {missing}");
    }
    if let Some(debug) = names.iter().find(|name| name.contains(".debug")) {
        bail!("the object still has the section {debug}");
    }
    if let Some(path) = private.iter().find(|path| contains_path(object, path)) {
        bail!("the object contains the path {} of this machine", path.display());
    }
    Ok(())
}

/// Whether a folder is named in the bytes. The root folder does not count: every path begins with it.
fn contains_path(bytes: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    path.len() > 1 && bytes.windows(path.len()).any(|window| window == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_folder_counts_as_a_leak() {
        let bytes = b"\0/builder/tree/src/main.rs\0";
        assert!(contains_path(bytes, Path::new("/builder/tree")));
        assert!(!contains_path(bytes, Path::new("/elsewhere")));
        assert!(!contains_path(bytes, Path::new("/")));
    }

    #[test]
    fn a_loader_finds_what_it_needs_and_nobody_finds_more() {
        let check = |sections: &[&str], content: &str, expected: Option<&str>| {
            let (format, architecture) = (object::BinaryFormat::Elf, object::Architecture::Bpf);
            let mut elf =
                object::write::Object::new(format, architecture, object::Endianness::Little);
            for name in sections {
                let section = elf.add_section(
                    Vec::new(),
                    name.as_bytes().to_vec(),
                    object::SectionKind::Other,
                );
                elf.append_section_data(section, content.as_bytes(), 1);
            }
            let result = verify(&elf.write().unwrap(), &[PathBuf::from("/builder/tree")]);
            assert_eq!(result.err().map(|error| error.to_string()).as_deref(), expected);
        };
        check(&NEEDED, "", None);
        check(&["license"], "", Some("the object has no section .BTF"));
        let with_debug = [".BTF", ".BTF.ext", "license", ".debug_info"];
        check(&with_debug, "", Some("the object still has the section .debug_info"));
        let path = "/builder/tree/src/main.rs";
        check(&NEEDED, path, Some("the object contains the path /builder/tree of this machine"));
    }
}
