//! Functions that one allocator alone has: more rows beside [`super::table::SYMBOLS`].
//!
//! They count only where the allocator's own `malloc` and `free` are: elsewhere a function `zalloc` may be anything.

use super::table::Role;

/// Functions with one prefix.
pub struct Extended {
    /// The allocator's prefix: in front of its `malloc` and `free`.
    pub beside: &'static str,
    /// What stands in front of these names.
    pub prefix: &'static str,
    /// The functions.
    pub rows: &'static [(&'static str, Role)],
}

impl Extended {
    /// What the function of this name is.
    pub fn role_of(&self, name: &str) -> Option<Role> {
        let plain = name.strip_prefix(self.prefix)?;
        self.rows.iter().find(|(row, _)| *row == plain).map(|(_, role)| *role)
    }
}

/// All of them. mimalloc's heaps have the functions of `mi_`, with the heap in front of the other arguments; since 3.1 the heaps
/// of a thread have them again.
pub const EXTENDED: [Extended; 4] = [
    Extended { beside: "mi_", prefix: "mi_", rows: &MIMALLOC },
    Extended { beside: "mi_", prefix: "mi_heap_", rows: &MIMALLOC_HEAPS },
    Extended { beside: "mi_", prefix: "mi_theap_", rows: &MIMALLOC_HEAPS },
    Extended { beside: "tc_", prefix: "tc_", rows: &GPERFTOOLS },
];

/// C++'s operators, by their names in symbol tables (Itanium C++ ABI, 5.1). They count in the allocators that have their own, see
/// [`Family::has_operators`](super::table::Family::has_operators): `n` is new, `d` delete, `w` and `l` for one, `a` for an array, `m` a
/// size; then come an alignment and `std::nothrow`.
pub const OPERATORS: [(&str, Role); 20] = [
    ("_ZdlPv", Role::Free),
    ("_ZdaPv", Role::Free),
    ("_ZdlPvRKSt9nothrow_t", Role::Free),
    ("_ZdaPvRKSt9nothrow_t", Role::Free),
    ("_ZdlPvm", Role::FreeSized),
    ("_ZdaPvm", Role::FreeSized),
    ("_ZdlPvSt11align_val_t", Role::FreeSized),
    ("_ZdaPvSt11align_val_t", Role::FreeSized),
    ("_ZdlPvSt11align_val_tRKSt9nothrow_t", Role::FreeSized),
    ("_ZdaPvSt11align_val_tRKSt9nothrow_t", Role::FreeSized),
    ("_ZdlPvmSt11align_val_t", Role::FreeAlignedSized),
    ("_ZdaPvmSt11align_val_t", Role::FreeAlignedSized),
    ("_Znwm", Role::New),
    ("_Znam", Role::New),
    ("_ZnwmSt11align_val_t", Role::New),
    ("_ZnamSt11align_val_t", Role::New),
    ("_ZnwmRKSt9nothrow_t", Role::Malloc),
    ("_ZnamRKSt9nothrow_t", Role::Malloc),
    ("_ZnwmSt11align_val_tRKSt9nothrow_t", Role::Malloc),
    ("_ZnamSt11align_val_tRKSt9nothrow_t", Role::Malloc),
];

/// include/mimalloc.h of 2.0 and 3.1. Alignments, offsets and places for usable sizes come last. A block that `mi_reallocf` frees
/// because it cannot be made larger stays in the books.
const MIMALLOC: [(&str, Role); 38] = [
    ("free_size", Role::FreeSized),
    ("free_aligned", Role::FreeSized),
    ("free_size_aligned", Role::FreeAlignedSized),
    ("free_small", Role::Free),
    ("ufree", Role::Free),
    ("expand", Role::Realloc),
    ("reallocf", Role::Realloc),
    ("rezalloc", Role::Realloc),
    ("urealloc", Role::Realloc),
    ("realloc_aligned", Role::Realloc),
    ("realloc_aligned_at", Role::Realloc),
    ("rezalloc_aligned", Role::Realloc),
    ("rezalloc_aligned_at", Role::Realloc),
    ("reallocn", Role::Reallocarray),
    ("recalloc", Role::Reallocarray),
    ("recalloc_aligned", Role::Reallocarray),
    ("recalloc_aligned_at", Role::Reallocarray),
    ("malloc_small", Role::Malloc),
    ("malloc_aligned", Role::Malloc),
    ("malloc_aligned_at", Role::Malloc),
    ("zalloc", Role::Malloc),
    ("zalloc_small", Role::Malloc),
    ("zalloc_aligned", Role::Malloc),
    ("zalloc_aligned_at", Role::Malloc),
    ("umalloc", Role::Malloc),
    ("umalloc_small", Role::Malloc),
    ("umalloc_aligned", Role::Malloc),
    ("uzalloc_small", Role::Malloc),
    ("uzalloc_aligned", Role::Malloc),
    ("new_nothrow", Role::Malloc),
    ("new_aligned_nothrow", Role::Malloc),
    ("new", Role::New),
    ("new_aligned", Role::New),
    ("new_n", Role::NewN),
    ("mallocn", Role::Calloc),
    ("ucalloc", Role::Calloc),
    ("calloc_aligned", Role::Calloc),
    ("calloc_aligned_at", Role::Calloc),
];

const MIMALLOC_HEAPS: [(&str, Role); 23] = [
    ("malloc", Role::HeapMalloc),
    ("malloc_small", Role::HeapMalloc),
    ("malloc_aligned", Role::HeapMalloc),
    ("malloc_aligned_at", Role::HeapMalloc),
    ("zalloc", Role::HeapMalloc),
    ("zalloc_small", Role::HeapMalloc),
    ("zalloc_aligned", Role::HeapMalloc),
    ("zalloc_aligned_at", Role::HeapMalloc),
    ("calloc", Role::HeapCalloc),
    ("mallocn", Role::HeapCalloc),
    ("calloc_aligned", Role::HeapCalloc),
    ("calloc_aligned_at", Role::HeapCalloc),
    ("realloc", Role::HeapRealloc),
    ("reallocf", Role::HeapRealloc),
    ("rezalloc", Role::HeapRealloc),
    ("realloc_aligned", Role::HeapRealloc),
    ("realloc_aligned_at", Role::HeapRealloc),
    ("rezalloc_aligned", Role::HeapRealloc),
    ("rezalloc_aligned_at", Role::HeapRealloc),
    ("reallocn", Role::HeapReallocn),
    ("recalloc", Role::HeapReallocn),
    ("recalloc_aligned", Role::HeapReallocn),
    ("recalloc_aligned_at", Role::HeapReallocn),
];

/// src/gperftools/tcmalloc.h.in of gperftools 2. Each `tc_delete` is an `operator delete` too.
const GPERFTOOLS: [(&str, Role); 21] = [
    ("delete", Role::Free),
    ("deletearray", Role::Free),
    ("delete_nothrow", Role::Free),
    ("deletearray_nothrow", Role::Free),
    ("delete_sized", Role::FreeSized),
    ("deletearray_sized", Role::FreeSized),
    ("delete_aligned", Role::FreeSized),
    ("deletearray_aligned", Role::FreeSized),
    ("delete_aligned_nothrow", Role::FreeSized),
    ("deletearray_aligned_nothrow", Role::FreeSized),
    ("delete_sized_aligned", Role::FreeAlignedSized),
    ("deletearray_sized_aligned", Role::FreeAlignedSized),
    ("new", Role::New),
    ("newarray", Role::New),
    ("new_aligned", Role::New),
    ("newarray_aligned", Role::New),
    ("malloc_skip_new_handler", Role::Malloc),
    ("new_nothrow", Role::Malloc),
    ("newarray_nothrow", Role::Malloc),
    ("new_aligned_nothrow", Role::Malloc),
    ("newarray_aligned_nothrow", Role::Malloc),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_more_than_one_prefix() {
        for (name, expected) in [
            ("mi_zalloc", Some(Role::Malloc)),
            ("mi_heap_zalloc", Some(Role::HeapMalloc)),
            ("mi_theap_recalloc_aligned", Some(Role::HeapReallocn)),
            ("mi_heap_destroy", None),
            ("tc_delete_sized", Some(Role::FreeSized)),
            ("tc_new", Some(Role::New)),
            ("zalloc", None),
            ("delete", None),
        ] {
            let found: Vec<Role> = EXTENDED.iter().filter_map(|own| own.role_of(name)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }
}
