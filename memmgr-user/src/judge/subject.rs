//! Which function of a stack to look at: the first one that is neither an allocator nor a runtime library.

use std::sync::Arc;

use crate::report::{Frame, Stack};

/// Libraries whose functions allocate for their callers.
const RUNTIMES: [&str; 20] = [
    "libc.so",
    "libc-2.",
    "libc.musl",
    "ld-musl",
    "ld-linux",
    "ld-2.",
    "libpthread",
    "libstdc++",
    "libc++",
    "libgcc_s",
    "libm.so",
    "libdl.so",
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
    "libglib-2.0",
    "libgobject-2.0",
    "libasan",
    "liblsan",
    "[vdso]",
];

/// First parts of names in languages whose containers allocate for their callers.
const NAMESPACES: [&str; 14] = [
    "std::",
    "__gnu_cxx::",
    "__cxxabiv1::",
    "alloc::",
    "core::",
    "hashbrown::",
    "allocator_api2::",
    "smallvec::",
    "absl::container_internal::",
    "boost::container::",
    "boost::unordered::",
    "rust_",
    "__rust_",
    "runtime.",
];

/// Functions of allocators and runtimes by the begin of their names.
const RUNTIME_NAMES: [&str; 33] = [
    // Of the standard library, where the demangler gives up.
    "_ZSt",
    "_ZNSt",
    "_ZNKSt",
    "operator new",
    "operator delete",
    "__libc_",
    "__GI_",
    "_int_malloc",
    "_int_realloc",
    "_int_memalign",
    "sysmalloc",
    "PyMem_",
    "PyObject_Malloc",
    "PyObject_Calloc",
    "PyObject_Realloc",
    "_PyMem_",
    "_PyObject_",
    "PyObject_GC_New",
    "_PyObject_GC_",
    "PyType_GenericAlloc",
    "g_malloc",
    "g_slice_",
    "g_realloc",
    "g_strdup",
    "CRYPTO_",
    "sqlite3Malloc",
    "sqlite3_malloc",
    "sqlite3DbMalloc",
    "mi_",
    "_mi_",
    "__cxa_",
    "je_",
    "tc_",
];

/// What wrappers of allocators put before the name of what they wrap.
const WRAPPER_PREFIXES: [&str; 21] = [
    "", "x", "z", "e", "s", "p", "k", "q", "g_", "my_", "mem_", "safe_", "ck_", "ngx_", "apr_",
    "php_", "os_", "zend_", "ztry", "xx", "secure_",
];

/// What is wrapped.
const WRAPPED: [&str; 24] = [
    "malloc",
    "calloc",
    "realloc",
    "zalloc",
    "alloc",
    "palloc",
    "pcalloc",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "reallocarray",
    "strdup",
    "strndup",
    "wcsdup",
    "memdup",
    "free",
    "asprintf",
    "vasprintf",
    "mmap",
    "mmap64",
    "mremap",
    "sbrk",
    "brk",
];

/// What may follow.
const WRAPPER_SUFFIXES: [&str; 9] =
    ["", "_usable", "_usable_internal", "_n", "0", "0_n", "array", "_array", "_internal"];

/// Postgres, Lua, Perl, Python's pools, and others that fit no pattern.
const WRAPPERS: [&str; 28] = [
    "MemoryContextAlloc",
    "MemoryContextAllocZero",
    "MemoryContextAllocExtended",
    "MemoryContextStrdup",
    "AllocSetAlloc",
    "AllocSetAllocFromNewBlock",
    "AllocSetRealloc",
    "palloc0",
    "repalloc",
    "pstrdup",
    "luaM_realloc_",
    "luaM_malloc_",
    "l_alloc",
    "pagerAllocatePage",
    "tsd_fetch",
    "mallocgc",
    "Perl_safesysmalloc",
    "Perl_safesyscalloc",
    "Perl_safesysrealloc",
    "Perl_more_bodies",
    "Perl_sv_grow",
    "Perl_sv_grow_fresh",
    "Perl_savepvn",
    "pymalloc_alloc",
    "pymalloc_pool_extend",
    "pymalloc_realloc",
    "allocate_from_new_pool",
    "new_arena",
];

/// The frame of the function to look at. When everything on the stack is a runtime's, the outermost frame
/// with a name; nothing when no frame has one.
///
/// A frame without a name is passed over for its caller in the same file, of which most names are known,
/// but not for one in another file: a stripped program is not the fault of the library that called it.
pub fn subject(stack: &Stack) -> Option<&Frame> {
    let mut own = stack.frames.iter().filter(|frame| frame.module.is_some() && !is_runtime(frame));
    let mut named = stack.frames.iter().filter(|frame| frame.function.is_some());
    let first_named = named.clone().find(|frame| !is_runtime(frame));
    match (own.next(), first_named) {
        (Some(nameless), named)
            if nameless.function.is_none()
                && named.is_none_or(|named| named.module != nameless.module) =>
        {
            Some(nameless)
        }
        (_, Some(named)) => Some(named),
        (_, None) => named.next_back(),
    }
    .map(Arc::as_ref)
}

/// What to call the function of a frame: its name, else the file and where in it.
pub fn name_of(frame: &Frame) -> String {
    frame.function.clone().unwrap_or_else(|| {
        let module = frame.module.as_deref().unwrap_or_default();
        format!("{}+{:#x}", module.rsplit('/').next().unwrap_or_default(), frame.address)
    })
}

/// What to call the function to look at.
pub fn subject_name(stack: &Stack) -> String {
    subject(stack).map_or_else(|| "unknown".to_owned(), name_of)
}

/// Whether it is an allocator's or a runtime library's: it allocates for its callers.
pub(super) fn is_runtime(frame: &Frame) -> bool {
    let module = frame.module.as_deref().unwrap_or_default();
    let file = module.rsplit('/').next().unwrap_or_default();
    // `getline` of <stdio.h> is compiled into its callers, and Rust's standard library into every program.
    let file_begins =
        |begin: &str| frame.file.as_deref().is_some_and(|file| file.starts_with(begin));
    (frame.inlined && file_begins("/usr/include/"))
        || file_begins("/rustc/")
        || frame.function.as_deref().is_some_and(is_runtime_function)
        || RUNTIMES.iter().any(|runtime| file.starts_with(runtime))
}

fn is_runtime_function(function: &str) -> bool {
    let name = qualified_name(function);
    if RUNTIME_NAMES.iter().any(|begin| name.starts_with(begin)) {
        return true;
    }
    // `<alloc::vec::Vec<T> as core::iter::FromIterator<T>>::from_iter`, `<std::..>::..`
    let path = name.trim_start_matches(['<', '&', '*']);
    NAMESPACES.iter().any(|namespace| path.starts_with(namespace)) || is_wrapper(name)
}

/// Whether it is named like an allocator: `xmalloc`, `zcalloc`, `ztrymalloc_usable`, `__strdup`. A name that only
/// contains such a word, like `leak_malloc`, is a function of the program.
fn is_wrapper(name: &str) -> bool {
    let name = name.split(['(', '<', '@', '.']).next().unwrap_or(name);
    let bare = name.trim_start_matches('_');
    WRAPPERS.contains(&bare)
        || WRAPPED.iter().any(|wrapped| {
            bare.match_indices(wrapped).any(|(at, _)| {
                WRAPPER_PREFIXES.contains(&&bare[..at])
                    && WRAPPER_SUFFIXES.contains(&&bare[at + wrapped.len()..])
            })
        })
}

/// A demangled name without the return type that C++ puts before a template: `void std::f<int>(int)`.
fn qualified_name(function: &str) -> &str {
    if function.starts_with("operator ") || function.starts_with('<') {
        return function;
    }
    let (mut depth, mut begin) = (0_usize, 0);
    for (at, c) in function.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            '(' if depth == 0 => break,
            ' ' if depth == 0 && !function[..at].ends_with("operator") => begin = at + 1,
            _ => {}
        }
    }
    &function[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames as `function` or `function@module`, leaf first.
    fn check(frames: &[&str], expected: Option<&str>) {
        let frame = |text: &&str| {
            let (function, module) = text.split_once('@').unwrap_or((text, "/usr/bin/app"));
            Frame {
                function: (!function.is_empty()).then(|| function.to_owned()),
                module: Some(module.to_owned()),
                ..Frame::default()
            }
        };
        let stack =
            Stack { frames: frames.iter().map(frame).map(Arc::new).collect(), ..Stack::default() };
        assert_eq!(subject(&stack).and_then(|frame| frame.function.as_deref()), expected);
    }

    #[test]
    fn a_stripped_program_is_not_its_librarys_fault() {
        let frame = |function: &str, module: &str| Frame {
            function: (!function.is_empty()).then(|| function.to_owned()),
            module: Some(module.to_owned()),
            address: 0x11d1c,
            ..Frame::default()
        };
        for (frames, expected) in [
            (
                vec![
                    ("malloc", "/lib/libc.so.6"),
                    ("", "/usr/bin/memcached"),
                    ("event_base_loop", "/lib/libevent.so"),
                ],
                "memcached+0x11d1c",
            ),
            (
                vec![("", "/usr/bin/python3"), ("PyByteArray_Resize", "/usr/bin/python3")],
                "PyByteArray_Resize",
            ),
            (vec![("", "/usr/bin/service"), ("main", "/usr/bin/service")], "main"),
        ] {
            let frames =
                frames.into_iter().map(|(function, module)| Arc::new(frame(function, module)));
            let stack = Stack { frames: frames.collect(), ..Stack::default() };
            assert_eq!(subject(&stack).map(name_of).as_deref(), Some(expected));
        }
    }

    #[test]
    fn functions_of_system_headers_are_passed_over() {
        let inlined = |file: &str| Stack {
            frames: vec![
                Frame {
                    function: Some("getline".into()),
                    file: Some(file.into()),
                    inlined: true,
                    ..Frame::default()
                }
                .into(),
                Frame { function: Some("read_line".into()), ..Frame::default() }.into(),
            ],
            ..Stack::default()
        };
        for (file, expected) in [
            ("/usr/include/x86_64-linux-gnu/bits/stdio.h", "read_line"),
            ("/rustc/5980/library/alloc/src/alloc.rs", "read_line"),
            ("/opt/shop/src/stdio.h", "getline"),
        ] {
            let stack = inlined(file);
            assert_eq!(subject(&stack).and_then(|frame| frame.function.as_deref()), Some(expected));
        }
        check(&["_ZSt11make_sharedI4NodeE", "build"], Some("build"));
    }

    #[test]
    fn runtimes_are_passed_over() {
        for (frames, expected) in [
            (&["handle", "main"][..], Some("handle")),
            (&["zmalloc", "createObject", "main"], Some("createObject")),
            (&["ztrymalloc_usable_internal", "ztrymalloc_usable", "sdsnew"], Some("sdsnew")),
            (&["operator new(unsigned long)", "handle"], Some("handle")),
            (
                &[
                    "std::__new_allocator<int>::allocate(unsigned long, void const*)",
                    "void std::vector<int, std::allocator<int> >::_M_realloc_insert<int>(int&&)",
                    "Server::push(int)",
                ],
                Some("Server::push(int)"),
            ),
            (
                &[
                    "alloc::raw_vec::RawVec<T,A>::grow_one",
                    "<alloc::vec::Vec<T> as core::iter::traits::collect::FromIterator<I>>::from_iter",
                    "app::cache::fill",
                ],
                Some("app::cache::fill"),
            ),
            (&["__strdup@/lib/libc.so.6", "fopen@/lib/libc.so.6", "open_log"], Some("open_log")),
            (&["g_malloc0@/lib/libglib-2.0.so.0", "load"], Some("load")),
            (&["_PyMem_RawMalloc", "PyMem_Malloc", "list_resize"], Some("list_resize")),
            (
                &["new_arena", "allocate_from_new_pool", "pymalloc_alloc", "dict_new"],
                Some("dict_new"),
            ),
            (
                &["Perl_safesysmalloc", "Perl_sv_grow", "Perl_sv_setsv_flags"],
                Some("Perl_sv_setsv_flags"),
            ),
            // Named after what they do, and not allocators.
            (&["leak_malloc", "main"], Some("leak_malloc")),
            (&["leaky_alloc", "main"], Some("leaky_alloc")),
            (&["leak_strdup", "main"], Some("leak_strdup")),
            (&["allocate_session", "main"], Some("allocate_session")),
            (&["std_like", "main"], Some("std_like")),
            (&["freeze", "main"], Some("freeze")),
            (&["mmap@/lib/libc.so.6", "map_segment", "main"], Some("map_segment")),
            // Nothing else is there.
            (&["malloc@/lib/libc.so.6", "start_thread@/lib/libc.so.6"], Some("start_thread")),
            (&["", "handle"], Some("handle")),
            (&[""], None),
            (&[], None),
        ] {
            check(frames, expected);
        }
    }

    #[test]
    fn return_types_are_no_names() {
        for (function, expected) in [
            ("void f<int>(int)", "f<int>(int)"),
            ("std::vector<int, A> g<std::pair<a, b> >()", "g<std::pair<a, b> >()"),
            ("Foo::operator new(unsigned long)", "Foo::operator new(unsigned long)"),
            ("f(unsigned long)", "f(unsigned long)"),
            ("plain", "plain"),
        ] {
            assert_eq!(qualified_name(function), expected);
        }
    }
}
