//! Tests of the mappings' parser: literal lines, hostile names, and the live mappings of this process.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use proptest::prelude::*;

use super::*;
use crate::{
    source::roots::{Roots, fake::FakeTree},
    units::Pid,
};

fn file(path: &[u8], deleted: bool) -> Kind {
    Kind::File { path: OsStr::from_bytes(path).into(), deleted }
}

fn anonymous(name: Option<&str>) -> Kind {
    Kind::Anonymous { name: name.map(String::from) }
}

#[test]
fn whole_line() {
    let line = b"7f5b2c228000-7f5b2c3b0000 r-xs 00028000 fe:10 247030                     /usr/lib/libc.so.6\n";
    let expected = Mapping {
        start: 0x7f5b_2c22_8000,
        end: 0x7f5b_2c3b_0000,
        offset: 0x28000,
        permissions: Permissions { read: true, write: false, execute: true, shared: true },
        device: (0xfe, 0x10),
        inode: 247_030,
        kind: file(b"/usr/lib/libc.so.6", false),
    };
    assert_eq!(parse_maps(line), Ok(vec![expected]));
}

#[test]
fn names() {
    for (name, expected) in [
        (&b""[..], anonymous(None)),
        (b"[heap]", Kind::Heap),
        (b"[stack]", Kind::Stack),
        (b"[vdso]", Kind::Vdso),
        (b"[vsyscall]", Kind::Vsyscall),
        (b"[vvar]", Kind::Other("[vvar]".into())),
        (b"[anon:glibc: malloc arena]", anonymous(Some("glibc: malloc arena"))),
        (b"[anon:]", anonymous(Some(""))),
        (b"[anon_shmem:cache]", anonymous(Some("cache"))),
        (b"[anon:cut", Kind::Other("[anon:cut".into())),
        (b"anon_inode:[io_uring]", Kind::Other("anon_inode:[io_uring]".into())),
        (b"/opt/my app/two  spaces ", file(b"/opt/my app/two  spaces ", false)),
        (b"/a\\012b", file(b"/a\nb", false)),
        (b"/a\\040b\\", file(b"/a\\040b\\", false)),
        (b"/not \xff utf8", file(b"/not \xff utf8", false)),
        (b"/lib/x.so (deleted)", file(b"/lib/x.so", true)),
        (b"/x (deleted) (deleted)", file(b"/x (deleted)", true)),
        (b"/memfd:jit code (deleted)", file(b"/memfd:jit code", true)),
        (b"/SYSV00000000 (deleted)", file(b"/SYSV00000000", true)),
        (b"/[heap]", file(b"/[heap]", false)),
    ] {
        for padding in [" ", "", "          "] {
            let line = [b"1000-2000 rw-p 00000000 00:00 0 ", padding.as_bytes(), name].concat();
            let mappings = parse_maps(&line).unwrap();
            assert_eq!(mappings[0].kind, expected, "{}", line.escape_ascii());
        }
    }
    assert_eq!(parse_maps(b"1000-2000 rw-p 00000000 00:00 0").unwrap()[0].kind, anonymous(None));
}

#[test]
fn broken_lines_are_named() {
    for line in [
        &b"1000 rw-p 0 0:0 0"[..],
        b"2000-1000 rw-p 0 0:0 0",
        b"1000-2000 rw- 0 0:0 0",
        b"1000-2000 rw-p x 0:0 0",
        b"1000-2000 rw-p 0 0 0",
        b"1000-2000 rw-p 0 0:0",
        b"Rss: 4 kB",
        b"\x1b[31m",
    ] {
        let escaped = line.escape_ascii().to_string();
        assert_eq!(parse_maps(line), Err(escaped.clone()));
        assert_eq!(parse_smaps(line), Err(escaped));
    }
}

#[test]
fn figures() {
    let text = b"\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus: daemon
Size:                328 kB
KernelPageSize:        4 kB
Rss:                 200 kB
Pss:                 100 kB
Pss_Dirty:             0 kB
Shared_Clean:        150 kB
Shared_Dirty:          1 kB
Private_Clean:        40 kB
Private_Dirty:         9 kB
Referenced:           30 kB
Anonymous:            10 kB
LazyFree:              6 kB
AnonHugePages:      2048 kB
Shared_Hugetlb:     2048 kB
Private_Hugetlb:    4096 kB
Swap:                  8 kB
SwapPss:               8 kB
Locked:               12 kB
THPeligible:           0
ProtectionKey:         0
VmFlags: rd ex mr nh mw me
7f0000000000-7f0000001000 rw-p 00000000 00:00 0
Rss:                   4 kB
VmFlags: rd wr
7f0000000000-7f0000002000 rw-p 00000000 00:00 0
Rss:                   8 kB
VmFlags: rd wr
";
    let all = parse_smaps(text).unwrap();
    assert_eq!(all.len(), 2);
    let expected = MappingFigures {
        mapping: all[0].mapping.clone(),
        rss: 200 << 10,
        pss: 100 << 10,
        private_clean: 40 << 10,
        private_dirty: 9 << 10,
        shared_clean: 150 << 10,
        shared_dirty: 1 << 10,
        anonymous: 10 << 10,
        referenced: 30 << 10,
        lazily_freed: 6 << 10,
        swap: 8 << 10,
        locked: 12 << 10,
        anon_huge: 2 << 20,
        hugetlb: 6 << 20,
        no_huge_pages: true,
    };
    assert_eq!(all[0], expected);
    assert_eq!(all[0].mapping.kind, file(b"/usr/bin/dbus: daemon", false));
    assert_eq!(
        all[1],
        MappingFigures { rss: 4096, ..MappingFigures::empty(all[1].mapping.clone()) }
    );
}

#[test]
fn name_that_ends_in_deleted() {
    let tree = FakeTree::new(&[("proc/7/root/a/b (deleted)", "content")]);
    let inode = |path: &str| {
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(tree.path().join(path)).unwrap())
    };
    let there = inode("proc/7/root/a/b (deleted)");
    for (inode, expected) in
        [(there, file(b"/a/b (deleted)", false)), (there + 1, file(b"/a/b", true))]
    {
        let line = format!("1000-2000 r-xp 00000000 00:00 {inode} /a/b (deleted)\n");
        tree.write("proc/7/maps", &line);
        tree.write("proc/7/smaps", &line);
        let dir = ProcessDir::open(&tree.roots(), Pid(7)).unwrap();
        assert_eq!(read_mappings(&dir).unwrap()[0].kind, expected);
        assert_eq!(read_mapping_figures(&dir).unwrap()[0].mapping.kind, expected);
    }
}

#[test]
fn executable_files_come_once() {
    let maps = b"\
1000-2000 r--p 00000000 08:02 5 /bin/a
2000-3000 r-xp 00001000 08:02 5 /bin/a
4000-5000 r-xp 00009000 08:02 5 /bin/a
5000-6000 r-xp 00000000 08:02 6 /lib/b.so (deleted)
6000-7000 r-xp 00000000 08:02 7 /lib/b.so
7000-8000 rwxp 00000000 00:00 0
8000-9000 r-xp 00000000 00:00 0 [vdso]
";
    let mappings = parse_maps(maps).unwrap();
    let starts: Vec<_> = executable_files(&mappings).iter().map(|mapping| mapping.start).collect();
    assert_eq!(starts, [0x2000, 0x5000, 0x6000]);
}

#[test]
fn as_many_mappings_as_the_kernel_allows() {
    let line = |index: u64| {
        let start = 0x1000 + index * 0x2000;
        format!("{start:x}-{:x} rw-p 00000000 00:00 0 \n", start + 0x1000)
    };
    let text: String = (0..65_530).map(line).collect();
    let mappings = parse_maps(text.as_bytes()).unwrap();
    assert_eq!((mappings.len(), mappings[65_529].start), (65_530, 0x1000 + 65_529 * 0x2000));
}

#[test]
fn own_mappings() {
    let dir = ProcessDir::open(&Roots::default(), Pid(std::process::id())).unwrap();
    let mappings = read_mappings(&dir).unwrap();
    assert!(mappings.windows(2).all(|pair| pair[0].end <= pair[1].start));
    let exe = std::env::current_exe().unwrap();
    let code = own_mappings as *const () as u64;
    let found = mappings.iter().find(|mapping| mapping.contains(code)).unwrap();
    assert_eq!(found.kind, file(exe.as_os_str().as_bytes(), false));
    assert!(executable_files(&mappings).iter().any(|mapping| mapping.inode == found.inode));

    // Other tests of this process allocate meanwhile, so that one quiet moment is enough.
    let unique = |figures: &[MappingFigures]| -> u64 {
        figures.iter().map(|figures| figures.private_clean + figures.private_dirty).sum()
    };
    let figures = (0..200)
        .map(|_| {
            let figures = read_mapping_figures(&dir).unwrap();
            let mut process = crate::report::Process::default();
            crate::source::process::add_costly_figures(&dir, &mut process).unwrap();
            (figures, process.uss_bytes.unwrap())
        })
        .find(|(figures, uss)| unique(figures).abs_diff(*uss) < 256 << 10)
        .expect("the mappings add up to smaps_rollup")
        .0;
    let parts = |figures: &MappingFigures| {
        figures.private_clean + figures.private_dirty + figures.shared_clean + figures.shared_dirty
    };
    assert!(
        figures
            .iter()
            .all(|figures| parts(figures) == figures.rss && figures.anonymous <= figures.rss)
    );
}

proptest! {
    #[test]
    fn no_content_panics(content: Vec<u8>) {
        let _ = (parse_maps(&content), parse_smaps(&content));
    }

    #[test]
    fn any_name_is_read(name in proptest::collection::vec(1_u8.., 0..40)) {
        let name: Vec<u8> = name.into_iter().filter(|&byte| byte != b'\n').collect();
        let line = [b"1000-2000 rw-p 00000000 00:00 0 /", &name[..]].concat();
        let mappings = parse_maps(&line).unwrap();
        prop_assert_eq!(mappings.len(), 1);
        prop_assert!(matches!(mappings[0].kind, Kind::File { .. }), "a path is a file");
    }

    #[test]
    fn broken_kernel_text_does_not_panic(
        text in "[0-9a-f]{0,9}-?[0-9a-f]{0,9} [rwxps-]{3,5} [0-9a-f]{0,20} [0-9a-f:]{0,6} [0-9]{0,22} ?[/\\[].{0,9}\n[A-Za-z]{0,5}:? *[0-9]{0,22} (kB)?\n"
    ) {
        let _ = (parse_maps(text.as_bytes()), parse_smaps(text.as_bytes()));
    }
}
