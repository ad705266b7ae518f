//! What a file's unwind tables (`.eh_frame`) tell besides how to unwind: where functions begin and end, and whether they keep frame
//! pointers.

use std::ops::Range;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EndianSlice, FrameDescriptionEntry, LittleEndian,
    UnwindContext, UnwindSection, X86_64,
};

/// How the stack is walked through a file's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwind {
    /// The functions keep frame pointers, so that the kernel can walk them.
    FramePointers,
    /// They do not; the unwind tables tell.
    Tables,
    /// There are no tables, and nothing says that there are frame pointers.
    None,
}

/// The most functions whose rules are looked at for [`Unwind`].
const SAMPLE: usize = 2000;
/// Functions up to this many bytes seldom need a frame, whatever the compiler was told.
const SMALL: u64 = 16;
/// The longest entry that is evaluated, in bytes: real ones have tens to a few hundred.
const ENTRY_CAP: usize = 1 << 14;
/// The most entries that are looked through. The largest browsers have about a million functions.
const ENTRIES_CAP: usize = 1 << 22;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The contents of `.eh_frame`.
pub struct Frames {
    section: Vec<u8>,
    bases: BaseAddresses,
}

impl Frames {
    /// Takes the section's bytes, its address and that of `.text`.
    pub fn new(section: Vec<u8>, address: u64, text: u64) -> Self {
        Frames { section, bases: BaseAddresses::default().set_eh_frame(address).set_text(text) }
    }

    /// The addresses of the function around `address`, as its entry says.
    pub fn function_at(&self, address: u64) -> Option<Range<u64>> {
        let section = self.section();
        self.entries(&section)
            .find(|entry| entry.contains(address))
            .map(|entry| entry.initial_address()..entry.end_address())
    }

    /// Whether a call arrives at this address: an entry begins here, and the return address is on top of the stack. The parts that
    /// compilers split off from a function have entries too, but arrive with a deeper stack.
    pub fn is_function_start(&self, address: u64) -> bool {
        let section = self.section();
        let entry = self.entries(&section).find(|entry| entry.initial_address() == address);
        let rules = entry.and_then(|entry| self.rules(&section, &entry).first().cloned());
        matches!(rules, Some(CfaRule::RegisterAndOffset { register: X86_64::RSP, offset: 8 }))
    }

    /// [`Unwind::FramePointers`] when most functions set up a frame pointer.
    pub fn unwind(&self) -> Unwind {
        let section = self.section();
        let functions = self.entries(&section).filter(|entry| entry.len() > SMALL).count();
        let sample = self
            .entries(&section)
            .filter(|entry| entry.len() > SMALL)
            .step_by(functions.div_ceil(SAMPLE).max(1));
        let (mut framed, mut frameless) = (0_usize, 0);
        for entry in sample {
            let rules = self.rules(&section, &entry);
            let is_by = |rule: &CfaRule<usize>, wanted| matches!(rule, CfaRule::RegisterAndOffset { register, .. } if *register == wanted);
            if rules.iter().any(|rule| is_by(rule, X86_64::RBP)) {
                framed += 1;
            } else if rules.iter().all(|rule| is_by(rule, X86_64::RSP)) {
                // The linker's own stubs have an expression and say nothing of the compiler.
                frameless += 1;
            }
        }
        match (framed, frameless) {
            (0, 0) => Unwind::None,
            _ if framed > frameless => Unwind::FramePointers,
            _ => Unwind::Tables,
        }
    }

    fn section(&self) -> EhFrame<Slice<'_>> {
        EhFrame::new(&self.section, LittleEndian)
    }

    /// The entries of functions, up to the first one that is malformed. Entries that end before they begin are left out.
    fn entries<'a>(
        &'a self,
        section: &EhFrame<Slice<'a>>,
    ) -> impl Iterator<Item = FrameDescriptionEntry<Slice<'a>>> {
        let mut entries = section.entries(&self.bases);
        std::iter::from_fn(move || entries.next().ok().flatten())
            .take(ENTRIES_CAP)
            .filter_map(|entry| match entry {
                CieOrFde::Fde(partial) => partial.parse(EhFrame::cie_from_offset).ok(),
                CieOrFde::Cie(_) => None,
            })
            .filter(|entry| entry.initial_address().checked_add(entry.len()).is_some())
    }

    /// How the frame's address is computed along the function; as far as the rules can be read.
    fn rules<'a>(
        &'a self,
        section: &EhFrame<Slice<'a>>,
        entry: &FrameDescriptionEntry<Slice<'a>>,
    ) -> Vec<CfaRule<usize>> {
        let mut rules = Vec::new();
        if entry.entry_len() > ENTRY_CAP || entry.cie().entry_len() > ENTRY_CAP {
            return rules;
        }
        let mut context = UnwindContext::new();
        if let Ok(mut table) = entry.rows(section, &self.bases, &mut context) {
            while let Ok(Some(row)) = table.next_row() {
                rules.push(row.cfa().clone());
            }
        }
        rules
    }
}
