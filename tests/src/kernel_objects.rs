//! BPF programs and links that a process holds, and whether they are still there.

use std::fs;

/// A BPF object of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BpfObject {
    /// A loaded program.
    Program(u32),
    /// A link, which keeps a program attached.
    Link(u32),
}

/// The objects that a process holds descriptors of, from `/proc/PID/fdinfo` (`bpf_prog_show_fdinfo` and
/// `bpf_link_show_fdinfo` in kernel/bpf/syscall.c write `prog_id` and `link_id`).
pub fn held_by(pid: u32) -> Vec<BpfObject> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return Vec::new() };
    let mut objects = Vec::new();
    for descriptor in descriptors.flatten() {
        let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().parse().ok()
        };
        // A link shows the program that it attaches, too.
        if let Some(link) = number("link_id") {
            objects.push(BpfObject::Link(link));
        }
        objects.extend(number("prog_id").map(BpfObject::Program));
    }
    objects
}

impl BpfObject {
    /// Whether the kernel still has it. Ids are counted up and not soon given out again.
    pub fn exists(self) -> bool {
        // enum bpf_cmd in linux/bpf.h
        let (command, id) = match self {
            BpfObject::Program(id) => (13, id),
            BpfObject::Link(id) => (30, id),
        };
        // union bpf_attr: the id is the first word; the rest is unused and must be 0.
        let attributes: [u32; 16] = std::array::from_fn(|i| if i == 0 { id } else { 0 });
        // SAFETY: bpf(2) reads as many bytes of the attributes as it is told there are.
        let descriptor = unsafe {
            libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes))
        };
        if descriptor >= 0 {
            // SAFETY: the descriptor was just opened and is used nowhere else.
            unsafe { libc::close(i32::try_from(descriptor).expect("a descriptor")) };
            return true;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{self:?}: {error}");
        false
    }
}
