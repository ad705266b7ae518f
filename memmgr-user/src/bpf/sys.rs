//! The bpf(2) and perf_event_open(2) calls that aya does not offer. Each wraps one call, owns what it returns, and keeps nothing.

use std::{
    ffi::{CStr, CString, c_long},
    io, mem,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attr, bpf_insn, bpf_prog_info, perf_event_attr};

use super::apart;

/// Program types (`enum bpf_prog_type`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProgramType {
    /// Uprobes of every kind.
    Kprobe = 2,
    /// Perf tracepoints.
    Tracepoint = 5,
    /// Raw tracepoints.
    RawTracepoint = 17,
    /// Entry and return of a function of the kernel (5.5).
    Tracing = 26,
}

/// Attach types (`enum bpf_attach_type`); what is loaded with one must be linked with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AttachType {
    /// When a function of the kernel begins.
    FunctionEntry = 24,
    /// When a function of the kernel returns.
    FunctionExit = 25,
    /// Through a perf event; programs are loaded with 0.
    PerfEvent = 41,
    /// Many probes in one link (6.6).
    UprobeMulti = 48,
    /// One program for entry and return (6.13).
    UprobeSession = 57,
}

const BPF_PROG_LOAD: c_long = 5;
const BPF_OBJ_GET_INFO_BY_FD: c_long = 15;
const BPF_RAW_TRACEPOINT_OPEN: c_long = 17;
const BPF_LINK_CREATE: c_long = 28;
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

fn zeroed<T: Copy>() -> T {
    // SAFETY: used with the kernel's plain structs and unions only, for which all zero bytes are a
    // valid value that means "not given".
    unsafe { mem::zeroed() }
}

fn bpf(command: c_long, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: `attr` is a whole `bpf_attr`; what its pointers lead to is owned by our callers in
    // this file and outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// The same in a process of its own, which a kill of memmgr does not interrupt.
fn bpf_apart(command: c_long, attr: &mut bpf_attr) -> io::Result<i32> {
    let attr = &raw mut *attr;
    let call = || {
        // SAFETY: as in `bpf`; the process has a copy of what `attr` leads to.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<bpf_attr>()) };
        let error = || i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
        if result < 0 { -error() } else { result }
    };
    // SAFETY: `call` is one system call.
    apart::outcome(unsafe { apart::apart(call) }).map(|fd| fd as i32)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a successful call just returned it, so that it is open and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// One BPF instruction, for programs that are written by hand (the empty ones of the bench).
#[derive(Clone, Copy)]
pub struct Instruction {
    code: u8,
    destination: u8,
    immediate: i32,
}

impl Instruction {
    /// Sets a register to a constant (`BPF_ALU64 | BPF_MOV | BPF_K`).
    pub const fn mov(destination: u8, immediate: i32) -> Self {
        Instruction { code: 0xb7, destination, immediate }
    }

    /// Ends the program with the value of register 0 (`BPF_JMP | BPF_EXIT`).
    pub const fn exit() -> Self {
        Instruction { code: 0x95, destination: 0, immediate: 0 }
    }
}

impl From<Instruction> for bpf_insn {
    fn from(instruction: Instruction) -> Self {
        bpf_insn {
            code: instruction.code,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(instruction.destination, 0),
            off: 0,
            imm: instruction.immediate,
        }
    }
}

/// Loads a program; `function` is the BTF id of the kernel's function that a [`ProgramType::Tracing`] is for, else 0.
///
/// # Errors
/// The kernel's error and the verifier's last lines, when the verifier wrote any.
pub fn load_program(
    name: &str,
    program_type: ProgramType,
    expected: Option<AttachType>,
    function: u32,
    instructions: &[bpf_insn],
) -> Result<OwnedFd, (io::Error, String)> {
    let load = |log: &mut [u8]| {
        let mut attr: bpf_attr = zeroed();
        // SAFETY: this is the member of the union that BPF_PROG_LOAD reads.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = program_type as u32;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = c"GPL".as_ptr() as u64;
        load.expected_attach_type = match expected {
            Some(AttachType::PerfEvent) | None => 0,
            Some(attach) => attach as u32,
        };
        load.attach_btf_id = function;
        for (to, from) in load.prog_name.iter_mut().zip(name.bytes().take(15)) {
            *to = from as _;
        }
        if !log.is_empty() {
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = log.len() as u32;
            load.log_level = 1;
        }
        bpf(BPF_PROG_LOAD, &mut attr).map(owned)
    };
    load(&mut []).or_else(|error| {
        // Asked again only to learn why.
        let mut log = vec![0u8; 1 << 22];
        if let Ok(program) = load(&mut log) {
            Ok(program)
        } else {
            let text = CStr::from_bytes_until_nul(&log).unwrap_or(c"").to_string_lossy();
            let lines: Vec<&str> = text.lines().collect();
            Err((error, lines[lines.len().saturating_sub(12)..].join("\n")))
        }
    })
}

/// Where probes go, for [`link_uprobes`].
pub struct UprobeTargets<'a> {
    /// The file, by any path that leads to its inode.
    pub path: &'a Path,
    /// File offsets.
    pub offsets: &'a [u64],
    /// One cookie an offset.
    pub cookies: &'a [u64],
    /// Process whose memory is probed.
    pub pid: u32,
}

/// Links a program to many uprobes at once: all or none.
pub fn link_uprobes(
    program: BorrowedFd<'_>,
    attach: AttachType,
    on_return: bool,
    targets: &UprobeTargets<'_>,
) -> io::Result<OwnedFd> {
    assert_eq!(targets.offsets.len(), targets.cookies.len());
    let path = c_path(targets.path)?;
    let mut attr: bpf_attr = zeroed();
    // SAFETY: these are the members of the unions that BPF_LINK_CREATE reads for this attach type.
    unsafe {
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        attr.link_create.attach_type = attach as u32;
        let multi = &mut attr.link_create.__bindgen_anon_3.uprobe_multi;
        multi.path = path.as_ptr() as u64;
        multi.offsets = targets.offsets.as_ptr() as u64;
        multi.cookies = targets.cookies.as_ptr() as u64;
        multi.cnt = targets.offsets.len() as u32;
        multi.flags = if on_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 };
        multi.pid = targets.pid;
    }
    bpf_apart(BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Links a program to a perf event; the event lives as long as the link.
pub fn link_perf_event(
    program: BorrowedFd<'_>,
    event: BorrowedFd<'_>,
    cookie: u64,
) -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.__bindgen_anon_2.target_fd = event.as_raw_fd() as u32;
    attr.link_create.attach_type = AttachType::PerfEvent as u32;
    attr.link_create.__bindgen_anon_3.perf_event.bpf_cookie = cookie;
    bpf(BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Attaches a raw tracepoint program; closing the result detaches it.
pub fn open_raw_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    bpf(BPF_RAW_TRACEPOINT_OPEN, &mut attr).map(owned)
}

/// Attaches a program to the function that it was loaded for; closing the result detaches it.
pub fn link_function(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // Without a name this command is about the function (kernel/bpf/syscall.c, bpf_raw_tp_link_attach).
    // BPF_LINK_CREATE takes such programs from 6.0 on only.
    let mut attr: bpf_attr = zeroed();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    bpf(BPF_RAW_TRACEPOINT_OPEN, &mut attr).map(owned)
}

/// Times that the kernel did not run the program because it was already running (5.12 and later).
pub fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info: bpf_prog_info = zeroed();
    let mut attr: bpf_attr = zeroed();
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.recursion_misses)
}

/// Opens a uprobe as a perf event (`perf_uprobe`, 4.17 and later) for one process.
pub fn perf_uprobe(path: &Path, offset: u64, on_return: bool, pid: u32) -> io::Result<OwnedFd> {
    const PMU: &str = "/sys/bus/event_source/devices/uprobe";
    let number =
        |file: &str| -> io::Result<String> { std::fs::read_to_string(format!("{PMU}/{file}")) };
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let pmu = number("type")?;
    let path = c_path(path)?;
    let mut attr: perf_event_attr = zeroed();
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.type_ = pmu.trim().parse().map_err(|_| invalid(format!("{PMU}/type holds {pmu:?}")))?;
    if on_return {
        // The file says which bit of `config` asks for the return: "config:0".
        let format = number("format/retprobe")?;
        let bit: u32 = format
            .trim()
            .strip_prefix("config:")
            .and_then(|bit| bit.parse().ok())
            .ok_or_else(|| invalid(format!("{PMU}/format/retprobe holds {format:?}")))?;
        attr.config = 1 << bit;
    }
    attr.__bindgen_anon_3.config1 = path.as_ptr() as u64;
    attr.__bindgen_anon_4.config2 = offset;
    open_perf_event(&mut attr, pid as i32, -1)
}

/// Opens a tracepoint by its id. A program linked to it runs for hits on every processor.
pub fn perf_tracepoint(id: u64) -> io::Result<OwnedFd> {
    let mut attr: perf_event_attr = zeroed();
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.type_ = PERF_TYPE_TRACEPOINT;
    attr.config = id;
    attr.__bindgen_anon_1.sample_period = 1;
    open_perf_event(&mut attr, -1, 0)
}

fn open_perf_event(attr: &mut perf_event_attr, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is a whole `perf_event_attr`; what it points to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw mut *attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(owned(result as i32)) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
