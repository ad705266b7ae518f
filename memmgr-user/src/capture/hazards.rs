//! Combinations of kernel and target in which a probe would harm the target. Facts in, a reason out.

/// A kernel release: major, minor, patch.
pub type Release = (u32, u32, u32);

/// What matters about the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetFacts {
    /// It runs under a seccomp filter or in strict mode.
    pub seccomp: bool,
    /// It runs with a user shadow stack.
    pub shadow_stack: bool,
}

/// Why return probes would harm this target on this kernel.
pub fn return_probe_hazard(kernel: Release, target: TargetFacts) -> Option<String> {
    let (major, minor, patch) = kernel;
    // A return probe became a system call in 6.11 (ff474a78cef5), which a filter that denies by
    // default answers with a kill, until it was let through (cf6cb56ef244: 6.14, 6.13.3, 6.12.14).
    let killed_by_seccomp = match (major, minor) {
        (6, 11) => true,
        (6, 12) => patch < 14,
        (6, 13) => patch < 3,
        _ => false,
    };
    if target.seccomp && killed_by_seccomp {
        return Some(format!(
            "the target runs under seccomp, and Linux {major}.{minor}.{patch} would let its filter kill the target at a return probe; \
             update the kernel to 6.12.14, 6.13.3, 6.14 or later"
        ));
    }
    // User shadow stacks came with 6.6; return probes know them since 6.11 (1713b63a07a2).
    if target.shadow_stack && (6..=10).contains(&minor) && major == 6 {
        return Some(format!(
            "the target runs with a shadow stack, which return probes of Linux {major}.{minor} break; update the kernel to 6.11 or later"
        ));
    }
    None
}

/// Reads a release like `6.12.14-1-amd64`; missing numbers are 0.
pub fn parse_release(release: &str) -> Release {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// The release of the running kernel.
pub fn running_kernel() -> Release {
    parse_release(&rustix::system::uname().release().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (text, release) in [
            ("6.18.44-fc-v669", (6, 18, 44)),
            ("6.1.0-13-amd64", (6, 1, 0)),
            ("6.12", (6, 12, 0)),
            ("7.0-rc1", (7, 0, 0)),
            ("", (0, 0, 0)),
        ] {
            assert_eq!(parse_release(text), release, "{text}");
        }
    }

    #[test]
    fn only_the_windows_of_the_kernel_bugs_are_closed() {
        let seccomp = TargetFacts { seccomp: true, shadow_stack: false };
        let shadow = TargetFacts { seccomp: false, shadow_stack: true };
        for (kernel, target, harmful) in [
            ((6, 10, 9), seccomp, false),
            ((6, 11, 0), seccomp, true),
            ((6, 12, 13), seccomp, true),
            ((6, 12, 14), seccomp, false),
            ((6, 13, 2), seccomp, true),
            ((6, 13, 3), seccomp, false),
            ((6, 18, 0), seccomp, false),
            ((6, 12, 0), TargetFacts::default(), false),
            ((6, 5, 0), shadow, false),
            ((6, 6, 0), shadow, true),
            ((6, 10, 0), shadow, true),
            ((6, 11, 0), shadow, false),
        ] {
            assert_eq!(
                return_probe_hazard(kernel, target).is_some(),
                harmful,
                "{kernel:?} {target:?}"
            );
        }
    }
}
