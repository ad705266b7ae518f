//! Tests of unwinding with the code of this process.

use std::{collections::HashMap, fs::File};

use framehop::FrameAddress;

use super::{
    Unwinder, Unwound, WORD,
    steps::{Step, learn},
};
use crate::{
    decode::{Call, CopiedStack},
    modules::Modules,
    source::{mappings::read_mappings, process_dir::ProcessDir, roots::Roots},
    stacks::{Outer, StackHandle},
    units::{Address, Pid},
};

/// The code that this process has mapped, and a sample of its addresses.
pub(super) fn own() -> (Unwinder, Vec<u64>) {
    let pid = Pid(std::process::id());
    let mappings = read_mappings(&ProcessDir::open(&Roots::default(), pid).unwrap()).unwrap();
    let mut modules = Modules::default();
    let changed = modules.update(&mappings, |file| File::open(&file.path));
    let mut unwinder = Unwinder::default();
    unwinder.add(&modules, &changed);
    let code = mappings.iter().filter(|mapping| mapping.permissions.execute);
    let addresses = code.flat_map(|mapping| {
        let step = ((mapping.end - mapping.start) / 5_000).max(1) as usize;
        (mapping.start..mapping.end).step_by(step)
    });
    let addresses: Vec<u64> = addresses.collect();
    assert!(addresses.iter().all(|address| !matches!(
        modules.place(Address(*address)),
        crate::modules::Place::Unmapped
    )));
    (unwinder, addresses)
}

/// Numbers below an end, always the same ones (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) as usize * end) >> 32
    }
}

/// A made-up stack.
struct Made {
    ip: u64,
    sp: u64,
    bp: u64,
    words: Vec<u64>,
}

impl Made {
    /// Of frames that return to these addresses one after the other; what else is in them is noise.
    fn new(unwinder: &Unwinder, returns: &[u64], random: &mut Random) -> Self {
        let sp = 0x7ffd_0000_0000 + (random.below(4) * 0x1_0000) as u64;
        let (mut bp, mut words) = (random.below(1000) as u64, Vec::new());
        // Where the words of a frame begin, and where the frame pointer was saved, unless it is in the register.
        let (mut at, mut saved) = (0, None);
        for (number, address) in returns.iter().enumerate() {
            let place = match number {
                0 => FrameAddress::from_instruction_pointer(*address),
                _ => FrameAddress::from_return_address(*address).unwrap(),
            };
            let caller = match learn(&unwinder.unwinder, place) {
                Step::Offset { caller, frame_pointer } => {
                    if let Some(offset @ 0..) = frame_pointer {
                        saved = Some(at + offset as usize);
                    }
                    at + usize::from(caller)
                }
                Step::FramePointer { .. } => {
                    let frame = at + number % 6;
                    let leads_to = sp + frame as u64 * WORD;
                    match saved.replace(frame) {
                        Some(slot) => words[slot] = leads_to,
                        None => bp = leads_to,
                    }
                    frame + 2
                }
                Step::End | Step::Other => panic!("{place:?} was not to be taken"),
            };
            words.resize_with(caller, || random.below(1000) as u64);
            words[caller - 1] = returns.get(number + 1).copied().unwrap_or(0);
            at = caller;
        }
        Made { ip: returns[0], sp, bp, words }
    }

    /// Changes a word, or the registers, or cuts it.
    fn spoil(&mut self, random: &mut Random, returns: &[u64]) {
        let at = random.below(self.words.len());
        let word = match random.below(4) {
            0 => 0,
            1 => returns[random.below(returns.len())],
            _ => self.sp + random.below(self.words.len()) as u64 * WORD,
        };
        match random.below(8) {
            0 => self.words.truncate(at),
            1 => self.bp = word,
            2 => self.ip = returns[random.below(returns.len())],
            _ => self.words[at] = word,
        }
    }
}

/// Addresses whose rules are clear, and the same for a place and for a return to it.
fn plain_addresses(unwinder: &Unwinder, addresses: Vec<u64>) -> Vec<u64> {
    let is_plain = |address: &u64| {
        let at = learn(&unwinder.unwinder, FrameAddress::from_instruction_pointer(*address));
        let to = FrameAddress::from_return_address(*address)
            .map(|address| learn(&unwinder.unwinder, address));
        matches!(at, Step::Offset { .. } | Step::FramePointer { .. }) && to == Some(at)
    };
    addresses.into_iter().filter(is_plain).collect()
}

#[test]
fn a_stack_goes_on_behind_a_call_that_no_table_leads_out_of() {
    const TRAMPOLINE: u64 = 0x7fff_ffff_e000;
    const NOWHERE: u64 = 0x1234;
    let (mut unwinder, addresses) = own();
    let addresses = plain_addresses(&unwinder, addresses);
    let random = &mut Random(1);
    let mut check = |chain: &[u64], inside: usize| {
        let made = Made::new(&unwinder, chain, random);
        let mut words = vec![7; inside];
        words.push(TRAMPOLINE);
        words.extend(&made.words);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let call = Call {
            slot: Address(made.sp - WORD),
            return_address: Address(made.ip),
            function: Address(0x5000),
            bp: Address(made.bp),
        };
        let copied = CopiedStack {
            ip: Address(NOWHERE),
            sp: Address(made.sp - WORD * (inside as u64 + 1)),
            bp: Address(0),
            bytes: &bytes,
            cut: false,
            call: Some(call),
        };
        let Unwound::Frames(frames, outer) = unwinder.unwind(copied) else {
            panic!("such a stack is not remembered")
        };
        let frames: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
        assert_eq!((frames, outer), ([&[NOWHERE, 0x5001][..], chain].concat(), Outer::Whole));
        unwinder.remember(outer, StackHandle(7));
    };
    for (number, chain) in addresses.chunks(5).take(200).enumerate() {
        check(chain, number % 9);
    }
}

#[test]
fn a_call_that_tables_lead_out_of_hides_only_its_return_address() {
    let (mut unwinder, addresses) = own();
    let addresses = plain_addresses(&unwinder, addresses);
    let random = &mut Random(1);
    for chain in addresses.chunks_exact(5).take(200) {
        let made = Made::new(&unwinder, chain, random);
        // The last of a word is the return address: others are noise below 1000, or in the stack.
        let at = made.words.iter().position(|word| *word == chain[2]).expect("it returns there");
        let mut words = made.words.clone();
        words[at] = 0x7fff_ffff_e000;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let call = Call {
            slot: Address(made.sp + at as u64 * WORD),
            return_address: Address(chain[2]),
            function: Address(0x5000),
            bp: Address(1),
        };
        let (ip, sp, bp) = (Address(made.ip), Address(made.sp), Address(made.bp));
        let copied = CopiedStack { ip, sp, bp, bytes: &bytes, cut: false, call: Some(call) };
        let expected: Vec<Address> = chain.iter().copied().map(Address).collect();
        assert_eq!(unwinder.unwind(copied), Unwound::Frames(&expected, Outer::Whole));
    }
}

#[test]
fn a_stack_that_is_recognized_is_what_unwinding_makes_of_it() {
    let (mut plain, addresses) = own();
    let (mut recalling, _) = own();
    let is_clear = |address: &u64| {
        let places = [
            Some(FrameAddress::from_instruction_pointer(*address)),
            FrameAddress::from_return_address(*address),
        ];
        places.into_iter().flatten().all(|place| {
            matches!(learn(&plain.unwinder, place), Step::Offset { .. } | Step::FramePointer { .. })
        })
    };
    let addresses: Vec<u64> = addresses.into_iter().filter(is_clear).collect();
    let random = &mut Random(1);
    // Few return addresses, so that stacks share inner and outer parts, but not the whole.
    let few: Vec<u64> = (0..6).map(|_| addresses[random.below(addresses.len())]).collect();
    let chains: Vec<Vec<u64>> = (0..60)
        .map(|_| (0..=random.below(60)).map(|_| few[random.below(few.len())]).collect())
        .collect();
    let mut kept: HashMap<StackHandle, Vec<Address>> = HashMap::new();
    let (mut recognized, mut spoiled) = (0, 0);
    for number in 0..20_000 {
        let chain = &chains[random.below(chains.len())];
        let mut made = Made::new(&plain, chain, random);
        let is_spoiled = number % 2 == 1;
        if is_spoiled {
            made.spoil(random, &few);
        }
        let bytes: Vec<u8> = made.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (ip, sp, bp) = (Address(made.ip), Address(made.sp), Address(made.bp));
        let copied = CopiedStack { ip, sp, bp, bytes: &bytes, cut: false, call: None };
        let Unwound::Frames(frames, outer) = plain.unwind(copied) else {
            panic!("nothing was remembered")
        };
        if !is_spoiled {
            let returns: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
            assert_eq!((&returns, outer), (chain, Outer::Whole));
        }
        match recalling.unwind(copied) {
            Unwound::Again(stack) => {
                assert_eq!((kept[&stack].as_slice(), Outer::Whole), (frames, outer));
                recognized += 1;
                spoiled += usize::from(is_spoiled);
            }
            found @ Unwound::Frames(..) => {
                assert_eq!(found, Unwound::Frames(frames, outer));
                let stack = StackHandle(100 + number);
                kept.insert(stack, frames.to_vec());
                recalling.remember(outer, stack);
            }
        }
    }
    assert!(recognized > 8_000 && spoiled > 1_000, "{recognized} recognized, {spoiled} spoiled");
}
