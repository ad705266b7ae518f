//! Tests of `site`.

use proptest::prelude::*;

use super::*;
use crate::allocator::table::Role;

pub(super) const NEW_KERNEL: KernelFacts = KernelFacts { multi_byte_nop_emulated: true };
const OLD_KERNEL: KernelFacts = KernelFacts { multi_byte_nop_emulated: false };

fn requirement(role: Role, kernel: KernelFacts) -> Requirement {
    let need = if role.needs_return() { Need::EntryAndReturn } else { Need::Entry };
    Requirement { need, arguments: role.arguments(), kernel }
}

pub(super) fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn outcome(result: Result<Site, SiteError>) -> String {
    match result {
        Ok(site) => format!("{}{}", site.description, if site.emulated { "" } else { ", stepped" }),
        Err(error) => error.to_string(),
    }
}

fn check(kernel: KernelFacts, function: &str, code: &str, expected: &str) {
    let role = Role::from_name(function).unwrap();
    assert_eq!(
        outcome(choose(&bytes(code), requirement(role, kernel))),
        expected,
        "{function} {code}"
    );
}

#[test]
fn glibc_2_36() {
    for (function, code, expected) in [
        (
            "free",
            "4885ff 0f84bf000000 55 488d77f0 53 4883ec18 488b1dd69e1300 488b47f8 648b2b a802 755b",
            "+3 je",
        ),
        (
            "malloc",
            "4154 55 53 4889fb 4883ec10 803d461b140000 0f84f8010000 4885db 0f88fd010000",
            "entry push",
        ),
        (
            "calloc",
            "4155 4889f8 4154 55 53 4883ec18 48f7e6 4889c3 0f90c0 4885db 0f88d9020000",
            "entry push",
        ),
        (
            "realloc",
            "4157 4156 4155 4154 55 4889f5 53 4889fb 4883ec28 803d3d13140000 0f8457010000",
            "entry push",
        ),
        (
            "aligned_alloc",
            "803d710e140000 7407 e932f6ffff 6690 4883ec18 4889742408 48893c24 e8bebcffff",
            "+7 je",
        ),
        (
            "posix_memalign",
            "803d0102140000 4154 4989d4 55 4889fd 53 4889f3 745a 4889da 48c1ea03",
            "+7 push",
        ),
        // rsi and rdx are overwritten before the first branch
        (
            "reallocarray",
            "4889f0 48f7e2 4889c6 7005 e940b8f8ff 488b05e9851300",
            "entry mov, stepped",
        ),
    ] {
        check(NEW_KERNEL, function, code, expected);
        check(OLD_KERNEL, function, code, expected);
    }
}

#[test]
fn other_allocators() {
    for (function, code, expected) in [
        // jemalloc 5.3
        ("malloc", "4881ff00100000 0f8793000000 488d155c7f2c00 488d4707 488b0d49960a00", "+7 ja"),
        (
            "free",
            "4889f8 488b150e530a00 4889f9 48c1e81a 4881e1000000c0 25f0000000 644803042500000000 4801d0 483b88b0010000
             0f858a000000 4889fe 4c8b80b8010000",
            "+48 jne",
        ),
        ("realloc", "4157 4156 4155 4154 55 4889fd 53 4889f3 4881ec88000000", "entry push"),
        // gperftools 2.10
        ("malloc", "488b0559ab0000 4885c0 7575 488b0505a10000 644c8b00 4d85c0 7465", "+10 jne"),
        ("free", "488b0559b11b00 4885c0 0f8590000000 4889fa 488b053ebd0000", "+10 jne"),
        ("posix_memalign", "488d46ff 4883c807 4885f0 752b 53 b816000000 4889fb", "+11 jne"),
        ("aligned_alloc", "4989f8 4881ff00200000 0f87e8000000 4c89c0", "+10 ja"),
        // mimalloc 2.0: rdi becomes the heap before anything cheap
        ("malloc", "488b0549b40000 4889fe 64488b38 4881fe00040000 7729 488d4607", "entry mov, stepped"),
        ("free", "4889f9 4885ff 745d 488d7fff 4889c8", "+6 je"),
        ("aligned_alloc", "e9eb59ffff 66662e0f1f840000000000", "entry jmp"),
        // musl 1.2
        ("malloc", "e96b190000 662e0f1f840000000000 90", "entry jmp"),
        ("calloc", "4154 4989f4 55 53 4885f6 740c 4889f8", "entry push"),
    ] {
        check(NEW_KERNEL, function, code, expected);
    }
}

#[test]
fn prologues_of_other_distributions() {
    // endbr64, as Ubuntu and Fedora compile
    check(NEW_KERNEL, "malloc", "f30f1efa 4154 55 53 4889fb", "+4 push");
    check(NEW_KERNEL, "free", "f30f1efa 4885ff 0f84bf000000 55", "+7 je");
    check(NEW_KERNEL, "malloc", "f30f1efa e800000000 55", "+4 call");
    // five bytes of nop for patching: cheap on new kernels only
    check(NEW_KERNEL, "malloc", "f30f1efa 0f1f440000 4883ec08", "+4 nop");
    check(OLD_KERNEL, "malloc", "f30f1efa 0f1f440000 4883ec08", "entry endbr64, stepped");
    // frame pointers
    check(NEW_KERNEL, "malloc", "55 4889e5 4883ec10", "entry push");
}

#[test]
fn the_stack_pointer_matters_only_for_a_return() {
    let code = "4883ec08 4885ff 7405 c3";
    check(NEW_KERNEL, "free", code, "+7 je");
    check(NEW_KERNEL, "malloc", code, "entry sub, stepped");
}

#[test]
fn partial_and_implicit_writes_destroy_an_argument() {
    for write in ["89f7", "4088f7", "6689f7", "31ff", "4889c7", "0fb6f8"] {
        check(NEW_KERNEL, "free", &format!("{write} 7405 c3"), &{
            let name = if write.starts_with("31") {
                "xor"
            } else if write.starts_with("0fb6") {
                "movzx"
            } else {
                "mov"
            };
            format!("entry {name}, stepped")
        });
    }
    // rep movsb moves rdi, cmpxchg may write rax only
    check(NEW_KERNEL, "free", "f3a4 7405 c3", "entry movsb, stepped");
    check(NEW_KERNEL, "free", "480fb1 16 7405 c3", "+4 je");
}

#[test]
fn a_loop_through_the_site_is_refused() {
    // test; je out; ...; jmp to the test
    check(
        NEW_KERNEL,
        "free",
        "4885ff 7404 90 90 ebf7 c3",
        "the function jumps back to +0x0, so that one call would be counted more than once",
    );
    // the loop begins behind the entry: the entry is met once
    check(NEW_KERNEL, "free", "4889f8 4885ff 7404 90 90 ebf7 c3", "entry mov, stepped");
    // a loop behind the site does not matter
    check(NEW_KERNEL, "free", "4885ff 7406 90 90 90 75fb c3", "+3 je");
    // so does `loop`
    check(NEW_KERNEL, "free", "4889f8 90 e2fd c3", "entry mov, stepped");
}

#[test]
fn what_the_kernel_refuses_is_never_chosen() {
    for (code, expected) in [
        ("f0480fc107 c3", "the kernel puts no probe on the instruction xadd (f0 48 0f c1 07)"),
        ("2e488b07 c3", "the kernel puts no probe on the instruction mov (2e 48 8b 07)"),
        ("c5f877 c3", "the kernel puts no probe on the instruction vzeroupper (c5 f8 77)"),
        ("cc c3", "the kernel puts no probe on the instruction int3 (cc)"),
        ("0f0b", "the kernel puts no probe on the instruction ud2 (0f 0b)"),
        ("4990 c3", "the kernel puts no probe on the instruction xchg (49 90)"),
        ("66e9000000 c3", "the kernel puts no probe on the instruction jmp (66 e9 00 00 00 c3)"),
        ("8ed0 c3", "the kernel puts no probe on the instruction mov (8e d0)"),
        ("f4 c3", "the kernel puts no probe on the instruction hlt (f4)"),
        ("0f05 c3", "the kernel puts no probe on the instruction syscall (0f 05)"),
        ("06 c3", "its first bytes are no instruction (06 c3)"),
        ("", "its first bytes are no instruction ()"),
        // a refused branch ends the line, and the entry before it is used
        ("4885ff 3e7405 c3", "entry test, stepped"),
        ("662e0f1f840000000000 55 c3", "+10 push"),
    ] {
        check(NEW_KERNEL, "malloc", code, expected);
    }
    check(OLD_KERNEL, "malloc", "6690 55", "+2 push");
    check(NEW_KERNEL, "malloc", "6690 55", "entry nop");
    check(NEW_KERNEL, "malloc", "488b442408 c3", "entry mov, stepped");
}

#[test]
fn a_nop_that_may_become_a_call_is_not_taken_behind_a_store() {
    check(NEW_KERNEL, "malloc", "48897c24f8 0f1f440000 c3", "entry mov, stepped");
    check(NEW_KERNEL, "malloc", "4889f8 0f1f440000 c3", "+3 nop");
}

#[test]
fn an_offset_given_by_a_person_is_verified() {
    let free = bytes("4885ff 0f84bf000000 55 488d77f0 53");
    for (offset, expected) in [
        (0, "entry test, stepped"),
        (3, "+3 je"),
        (
            1,
            "+0x1 is not an instruction that every call passes with its arguments and its return address still in place",
        ),
        (
            9,
            "+0x9 is not an instruction that every call passes with its arguments and its return address still in place",
        ),
        (
            999,
            "+0x3e7 is not an instruction that every call passes with its arguments and its return address still in place",
        ),
    ] {
        assert_eq!(outcome(verify(&free, offset, requirement(Role::Free, NEW_KERNEL))), expected);
    }
}

/// Decodes from the entry to the site in another way than the chooser: instruction by instruction, each from its own slice.
fn assert_sound(code: &[u8], role: Role, site: &Site) {
    let mut at = 0;
    let mut info = InstructionInfoFactory::new();
    while at < site.offset as usize {
        let instruction =
            Decoder::with_ip(64, &code[at..], at as u64, DecoderOptions::NONE).decode();
        assert!(!instruction.is_invalid());
        assert_eq!(instruction.flow_control(), FlowControl::Next, "a branch before the site");
        for used in info.info(&instruction).used_registers() {
            if matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
            {
                continue;
            }
            let written = used.register().full_register();
            let argument =
                [Register::RDI, Register::RSI, Register::RDX].iter().position(|&r| r == written);
            assert!(
                argument.is_none_or(|a| !role.arguments().contains(a as u8)),
                "{written:?} is lost"
            );
            assert!(
                written != Register::RSP || !role.needs_return(),
                "the stack pointer has moved"
            );
        }
        at += instruction.len();
    }
    assert_eq!(at, site.offset as usize, "not a boundary");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn any_bytes_give_a_sound_site_or_none(
        random in prop::collection::vec(any::<u8>(), 0..48),
        // Random bytes seldom reach far; these harmless starts carry the walk on.
        start in prop::sample::select(vec!["", "f30f1efa", "4885ff", "4889f8", "488b05491300004885c0", "4889f890"]),
        role in prop::sample::select(Role::ALL.to_vec()),
        offset in 0_u64..64,
        multi_byte_nop_emulated in any::<bool>(),
    ) {
        let mut code = bytes(start);
        code.extend(random);
        let requirement = requirement(role, KernelFacts { multi_byte_nop_emulated });
        if let Ok(site) = choose(&code, requirement) {
            assert_sound(&code, role, &site);
        }
        if let Ok(site) = verify(&code, offset, requirement) {
            prop_assert_eq!(u64::from(site.offset), offset);
            assert_sound(&code, role, &site);
        }
    }
}
