//! The functions of the allocator families, as data: names, what they do, and where their arguments are.
//!
//! One more function is one more row of [`SYMBOLS`], or of [`EXTENDED`](super::extended::EXTENDED) when only one allocator has it; one
//! more shape of arguments is one more [`Role`].

use memmgr_common::cookie::{Argument, Cookie, FunctionKind};

/// What a function means and how it is called: the C standard's own functions, and all that share their arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `free(block)`
    Free,
    /// `cfree(block)`, an old name of `free`
    Cfree,
    /// `free_sized(block, size)`
    FreeSized,
    /// `free_aligned_sized(block, alignment, size)`
    FreeAlignedSized,
    /// `realloc(block, size)`
    Realloc,
    /// `reallocarray(block, count, size)`
    Reallocarray,
    /// `malloc(size)`
    Malloc,
    /// `calloc(count, size)`
    Calloc,
    /// `posix_memalign(result, alignment, size)`
    PosixMemalign,
    /// `aligned_alloc(alignment, size)`
    AlignedAlloc,
    /// `memalign(alignment, size)`
    Memalign,
    /// `valloc(size)`
    Valloc,
    /// `pvalloc(size)`
    Pvalloc,
    /// `xallocx(block, size, extra, flags)`: resizes a block where it is
    Xallocx,
    /// `heap_malloc(heap, size)`
    HeapMalloc,
    /// `heap_calloc(heap, count, size)`
    HeapCalloc,
    /// `heap_realloc(heap, block, size)`
    HeapRealloc,
    /// `heap_reallocn(heap, block, count, size)`
    HeapReallocn,
    /// `operator new(size)`
    New,
    /// `new_n(count, size)`
    NewN,
}

impl Role {
    /// Every role, frees first, then resizes, then allocations: the order of a plan.
    pub const ALL: [Role; 20] = [
        Role::Free,
        Role::Cfree,
        Role::FreeSized,
        Role::FreeAlignedSized,
        Role::Realloc,
        Role::Reallocarray,
        Role::Xallocx,
        Role::HeapRealloc,
        Role::HeapReallocn,
        Role::Malloc,
        Role::Calloc,
        Role::PosixMemalign,
        Role::AlignedAlloc,
        Role::Memalign,
        Role::Valloc,
        Role::Pvalloc,
        Role::HeapMalloc,
        Role::HeapCalloc,
        Role::New,
        Role::NewN,
    ];

    /// The C function that the role is named after.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Free => "free",
            Role::Cfree => "cfree",
            Role::FreeSized => "free_sized",
            Role::FreeAlignedSized => "free_aligned_sized",
            Role::Realloc => "realloc",
            Role::Reallocarray => "reallocarray",
            Role::Malloc => "malloc",
            Role::Calloc => "calloc",
            Role::PosixMemalign => "posix_memalign",
            Role::AlignedAlloc => "aligned_alloc",
            Role::Memalign => "memalign",
            Role::Valloc => "valloc",
            Role::Pvalloc => "pvalloc",
            Role::Xallocx => "xallocx",
            Role::HeapMalloc => "heap_malloc",
            Role::HeapCalloc => "heap_calloc",
            Role::HeapRealloc => "heap_realloc",
            Role::HeapReallocn => "heap_reallocn",
            Role::New => "new",
            Role::NewN => "new_n",
        }
    }

    /// The role with this name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What the function does with memory.
    pub const fn kind(self) -> FunctionKind {
        match self {
            Role::Free | Role::Cfree | Role::FreeSized | Role::FreeAlignedSized => {
                FunctionKind::Free
            }
            Role::Realloc
            | Role::Reallocarray
            | Role::Xallocx
            | Role::HeapRealloc
            | Role::HeapReallocn => FunctionKind::Resize,
            _ => FunctionKind::Alloc,
        }
    }

    /// The cookie of a function with this role, for its place in the attach plan.
    ///
    /// `leaf` says that it never enters another probed function, see [`Family::has_leaf`].
    pub const fn cookie(self, function: u16, leaf: bool) -> Cookie {
        let cookie = Cookie::new(self.kind(), function);
        let cookie = match self {
            // The sizes that these are told are not needed: the block was recorded with its own.
            Role::Free | Role::Cfree | Role::FreeSized | Role::FreeAlignedSized => cookie.block(0),
            Role::Realloc => cookie.block(0).size(1),
            Role::Reallocarray => cookie.block(0).factor(1).size(2),
            Role::Malloc | Role::Valloc | Role::Pvalloc | Role::New => cookie.size(0),
            Role::Calloc | Role::NewN => cookie.factor(0).size(1),
            Role::PosixMemalign => cookie.out(0).size(2),
            Role::AlignedAlloc | Role::Memalign | Role::HeapMalloc => cookie.size(1),
            // What it may get on top of the size is not asked for.
            Role::Xallocx => cookie.block(0).size(1).in_place(),
            Role::HeapCalloc => cookie.factor(1).size(2),
            Role::HeapRealloc => cookie.block(1).size(2),
            Role::HeapReallocn => cookie.block(1).factor(2).size(3),
        };
        if leaf { cookie.leaf() } else { cookie }
    }

    /// The arguments that must still be in their registers where the probe stands.
    pub fn arguments(self) -> Arguments {
        let cookie = self.cookie(0, false);
        [
            cookie.size_argument(),
            cookie.factor_argument(),
            cookie.block_argument(),
            cookie.out_argument(),
        ]
        .into_iter()
        .filter_map(|position| position.checked_sub(1))
        .collect()
    }

    /// Whether it may throw: a return probe under a throw ends the program, so that its end is seen at its own instructions.
    pub const fn throws(self) -> bool {
        matches!(self, Role::New | Role::NewN)
    }

    /// Whether the return is of interest: only a free is complete at its entry.
    pub fn needs_return(self) -> bool {
        self.kind() != FunctionKind::Free
    }
}

/// A set of integer arguments of a C function, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments(u8);

impl Arguments {
    /// Whether the argument at this position, 0 to 7, is in the set.
    pub const fn contains(self, argument: Argument) -> bool {
        self.0 & 1 << argument != 0
    }
}

impl FromIterator<Argument> for Arguments {
    fn from_iter<I: IntoIterator<Item = Argument>>(arguments: I) -> Self {
        Arguments(arguments.into_iter().fold(0, |set, argument| set | 1 << argument))
    }
}

/// Function names without a prefix, and what they are. jemalloc's own functions are shaped as the standard's; their flags come last.
pub const SYMBOLS: [(&str, Role); 18] = [
    ("free", Role::Free),
    ("cfree", Role::Cfree),
    ("free_sized", Role::FreeSized),
    ("free_aligned_sized", Role::FreeAlignedSized),
    ("dallocx", Role::Free),
    ("sdallocx", Role::FreeSized),
    ("realloc", Role::Realloc),
    ("reallocarray", Role::Reallocarray),
    ("rallocx", Role::Realloc),
    ("xallocx", Role::Xallocx),
    ("malloc", Role::Malloc),
    ("mallocx", Role::Malloc),
    ("calloc", Role::Calloc),
    ("posix_memalign", Role::PosixMemalign),
    ("aligned_alloc", Role::AlignedAlloc),
    ("memalign", Role::Memalign),
    ("valloc", Role::Valloc),
    ("pvalloc", Role::Pvalloc),
];

/// Prefixes that allocators are commonly built with: none, jemalloc's, that of Rust's jemalloc crates, gperftools', mimalloc's.
pub const PREFIXES: [&str; 5] = ["", "je_", "_rjem_", "tc_", "mi_"];

/// Texts among a program's constants that tell an allocator whose functions have no names any more: what its messages begin with.
pub const TEXTS: [(&str, Family); 3] = [
    ("<jemalloc>", Family::Jemalloc),
    ("mimalloc: ", Family::Mimalloc),
    ("tcmalloc: large alloc", Family::Tcmalloc),
];

/// Whose allocator a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// The GNU C library.
    Glibc,
    /// The musl C library.
    Musl,
    /// jemalloc.
    Jemalloc,
    /// gperftools' or Google's tcmalloc.
    Tcmalloc,
    /// Microsoft's mimalloc.
    Mimalloc,
    /// One that is not known by name.
    Other,
}

impl Family {
    /// The name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Glibc => "glibc",
            Family::Musl => "musl",
            Family::Jemalloc => "jemalloc",
            Family::Tcmalloc => "tcmalloc",
            Family::Mimalloc => "mimalloc",
            Family::Other => "other",
        }
    }

    /// Whether its function with this role gives out no block of another probed function as its own, so that the return of a
    /// call that is not sampled can be skipped. Where `malloc` gets its memory from the kernel, what it allocates for itself
    /// at its start are blocks of their own. `calloc` of musl and tcmalloc may be `malloc` and a fill; an allocator that is not known
    /// may stand before another one.
    pub const fn has_leaf(self, role: Role) -> bool {
        match role {
            Role::Malloc => !matches!(self, Family::Other),
            Role::Calloc => matches!(self, Family::Glibc | Family::Jemalloc),
            _ => false,
        }
    }
}

impl Family {
    /// Whether it brings C++'s operators along, which do not go by its `malloc` and `free`.
    pub const fn has_operators(self) -> bool {
        matches!(self, Family::Jemalloc | Family::Tcmalloc | Family::Mimalloc)
    }
}

/// How a family is recognised, and what of it is not probed.
pub struct FamilyMarks {
    /// The family.
    pub family: Family,
    /// Any of these names in a symbol table tells it.
    pub symbols: &'static [&'static str],
    /// Any of these in the file's name tells it too.
    pub file_names: &'static [&'static str],
    /// Ways into the allocator that reach none of the probed functions.
    pub unprobed: &'static [&'static str],
}

/// The families, the telling ones first: tcmalloc and mimalloc also define glibc's `__libc_malloc`.
pub const FAMILIES: [FamilyMarks; 5] = [
    FamilyMarks {
        family: Family::Jemalloc,
        symbols: &["mallctl", "je_mallctl", "_rjem_mallctl", "_rjem_mallocx", "_rjem_sdallocx"],
        file_names: &["libjemalloc"],
        unprobed: &["_Znwm"],
    },
    FamilyMarks {
        family: Family::Tcmalloc,
        symbols: &["tc_malloc", "TCMallocInternalMalloc"],
        file_names: &["libtcmalloc"],
        unprobed: &["_Znwm", "TCMallocInternalNew"],
    },
    FamilyMarks {
        family: Family::Mimalloc,
        symbols: &["mi_malloc", "mi_malloc_aligned", "mi_free"],
        file_names: &["libmimalloc"],
        unprobed: &[
            "_Znwm",
            "mi_new_realloc",
            "mi_new_reallocn",
            "mi_heap_alloc_new",
            "mi_heap_alloc_new_n",
            "mi_strdup",
            "mi_strndup",
            "mi_realpath",
            "mi_heap_strdup",
            "mi_heap_strndup",
            "mi_heap_realpath",
            "mi_heap_destroy",
        ],
    },
    FamilyMarks {
        family: Family::Musl,
        symbols: &["__dls3", "__malloc_donate", "__libc_malloc_impl"],
        file_names: &["ld-musl", "libc.musl"],
        unprobed: &[],
    },
    FamilyMarks {
        family: Family::Glibc,
        symbols: &["gnu_get_libc_version", "_int_malloc"],
        file_names: &[],
        unprobed: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::extended::EXTENDED;

    /// `kind size factor block out leaf`, with argument positions as the cookie stores them, and the argument registers needed.
    fn shape(role: Role, family: Family) -> String {
        let c = role.cookie(7, family.has_leaf(role));
        let needed: String = (0..6)
            .filter(|&a| role.arguments().contains(a))
            .map(|a| char::from(b'0' + a))
            .collect();
        format!(
            "{} {}{}{}{} {} {needed}",
            c.kind(),
            c.size_argument(),
            c.factor_argument(),
            c.block_argument(),
            c.out_argument(),
            u8::from(c.is_leaf()),
        )
    }

    #[test]
    fn cookies_name_the_arguments_of_the_c_functions() {
        for (name, expected) in [
            ("free", "3 0010 0 0"),
            ("cfree", "3 0010 0 0"),
            ("free_sized", "3 0010 0 0"),
            ("free_aligned_sized", "3 0010 0 0"),
            ("realloc", "2 2010 0 01"),
            ("reallocarray", "2 3210 0 012"),
            ("malloc", "1 1000 1 0"),
            ("calloc", "1 2100 1 01"),
            ("posix_memalign", "1 3001 0 02"),
            ("aligned_alloc", "1 2000 0 1"),
            ("memalign", "1 2000 0 1"),
            ("valloc", "1 1000 0 0"),
            ("pvalloc", "1 1000 0 0"),
            ("xallocx", "2 2010 0 01"),
            ("heap_malloc", "1 2000 0 1"),
            ("heap_calloc", "1 3200 0 12"),
            ("heap_realloc", "2 3020 0 12"),
            ("heap_reallocn", "2 4320 0 123"),
            ("new", "1 1000 0 0"),
            ("new_n", "1 2100 0 01"),
        ] {
            let role = Role::from_name(name).unwrap();
            assert_eq!(shape(role, Family::Glibc), expected, "{name}");
            assert_eq!(role.needs_return(), !name.contains("free"), "{name}");
            assert_eq!(role.cookie(7, false).is_in_place(), name == "xallocx");
        }
        assert_eq!(shape(Role::Malloc, Family::Jemalloc), "1 1000 1 0");
        assert_eq!(shape(Role::Calloc, Family::Musl), "1 2100 0 01");
        assert_eq!(shape(Role::Malloc, Family::Other), "1 1000 0 0");
    }

    #[test]
    fn roles_and_rows_agree() {
        assert!(Role::ALL.iter().all(|&role| Role::from_name(role.name()) == Some(role)));
        let order = |role: Role| Role::ALL.iter().position(|&r| r == role);
        for role in Role::ALL {
            let own = format!("mi_{}", role.name());
            assert!(
                SYMBOLS.contains(&(role.name(), role))
                    || EXTENDED.iter().any(|rows| rows.role_of(&own) == Some(role)),
                "{role:?} has no row"
            );
        }
        assert!(Role::ALL.is_sorted_by_key(|&role| std::cmp::Reverse(role.kind() as u8)));
        assert!(order(Role::Free) < order(Role::Malloc));
    }
}
