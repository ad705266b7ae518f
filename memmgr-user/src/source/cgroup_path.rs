//! Where a process's cgroups are: `/proc/PID/cgroup`, the mounted hierarchies, and the container's id.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use super::{roots::Roots, text};

/// The cgroup of a process in one hierarchy: a line of `/proc/PID/cgroup`, see cgroups(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The number of the hierarchy, 0 for v2.
    pub hierarchy: u32,
    /// The controllers of a v1 hierarchy, or its name (`name=systemd`); empty for v2.
    pub controllers: Vec<String>,
    /// The path below the root of the hierarchy, as seen from the reader's cgroup namespace.
    pub path: PathBuf,
}

impl Membership {
    fn is_v1_memory(&self) -> bool {
        self.controllers.iter().any(|controller| controller == "memory")
    }

    fn is_v2(&self) -> bool {
        self.hierarchy == 0 && self.controllers.is_empty()
    }
}

/// The two generations of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy a controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The hierarchy that accounts memory: v1 where its controller is in use there, else v2. On a hybrid host
/// both lines exist, and the v2 one leads to groups without a memory controller.
pub fn memory_membership(memberships: &[Membership]) -> Option<(Version, &Membership)> {
    let v1 = memberships.iter().find(|membership| membership.is_v1_memory());
    v1.map(|membership| (Version::V1, membership)).or_else(|| {
        memberships
            .iter()
            .find(|membership| membership.is_v2())
            .map(|membership| (Version::V2, membership))
    })
}

/// Parses `/proc/PID/cgroup`. The kernel allows no newline in a cgroup's name.
pub(super) fn parse_memberships(content: &[u8]) -> Vec<Membership> {
    let line = |line: &[u8]| {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let hierarchy = u32::try_from(text::decimal(parts.next()?)?).ok()?;
        let controllers = String::from_utf8_lossy(parts.next()?).into_owned();
        Some(Membership {
            hierarchy,
            controllers: controllers.split_terminator(',').map(String::from).collect(),
            path: path(parts.next()?.to_vec()),
        })
    };
    content.split(|&byte| byte == b'\n').filter_map(line).collect()
}

/// The id that Docker, containerd, CRI-O and Podman, also below Kubernetes, put into a cgroup's path: 64 hex
/// digits. The innermost counts; the group of Podman's and CRI-O's monitor (`conmon`) is not the container.
pub(super) fn container_id(path: &Path) -> Option<String> {
    path.components().rev().find_map(|component| {
        let name = component.as_os_str().to_str()?;
        let is_hex = |character: char| matches!(character, '0'..='9' | 'a'..='f');
        // `cri-containerd-` itself holds hex digits, so that only a whole word counts.
        let id = name
            .split(|character: char| !character.is_ascii_alphanumeric())
            .find(|word| word.len() == 64 && word.chars().all(is_hex))?;
        (!name.contains("conmon")).then(|| id.to_owned())
    })
}

/// A mounted hierarchy, as far as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Which cgroup the mount shows at its top; not `/` inside many containers.
    root: PathBuf,
    mount_point: PathBuf,
}

impl Hierarchy {
    /// Every place where the memory hierarchy of this version is mounted: a container can have the host's
    /// beside its own.
    pub(super) fn find_all(roots: &Roots, version: Version) -> Vec<Self> {
        let content = std::fs::read(roots.proc.join("self/mountinfo")).unwrap_or_default();
        let mounts =
            content.split(|&byte| byte == b'\n').filter_map(|line| parse_mount(line, version));
        // Other roots stand in for the usual place.
        let rooted = |found: Self| match found.mount_point.strip_prefix("/sys/fs/cgroup") {
            Ok(below) => Self { mount_point: roots.cgroup.join(below), ..found },
            Err(_) => found,
        };
        mounts.map(rooted).collect()
    }

    /// The top of what can be seen of the hierarchy.
    pub(super) fn top(&self) -> &Path {
        &self.mount_point
    }

    /// The cgroup of a directory below the mount.
    pub(super) fn cgroup(&self, directory: &Path) -> Option<PathBuf> {
        let below = directory.strip_prefix(&self.mount_point).ok()?;
        let inside = below.components().all(|component| matches!(component, Component::Normal(_)));
        // Joined with nothing, a path would end in a slash.
        let same = below.as_os_str().is_empty();
        inside.then(|| if same { self.root.clone() } else { self.root.join(below) })
    }

    /// The directory of a cgroup; absent when it lies outside of the mount or of our cgroup namespace
    /// (`/../..`).
    pub(super) fn directory(&self, cgroup: &Path) -> Option<PathBuf> {
        let below = cgroup.strip_prefix(&self.root).ok()?;
        let inside = below.components().all(|component| matches!(component, Component::Normal(_)));
        inside.then(|| self.mount_point.join(below))
    }
}

/// A line of mountinfo: `36 35 98:0 /root /mount/point options [tags...] - type source super-options`.
fn parse_mount(line: &[u8], version: Version) -> Option<Hierarchy> {
    let mut words = line.split(|&byte| byte == b' ');
    let root = words.nth(3)?;
    let mount_point = words.next()?;
    let mut after = words.skip_while(|&word| word != b"-").skip(1);
    let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
    let wanted = match version {
        Version::V1 => {
            kind == b"cgroup"
                && options.split(|&byte| byte == b',').any(|option| option == b"memory")
        }
        Version::V2 => kind == b"cgroup2",
    };
    let plain = |word: &[u8]| path(text::unescape(word, b" \t\n\\#"));
    wanted.then(|| Hierarchy { root: plain(root), mount_point: plain(mount_point) })
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// A cgroup's path as text for the report; bytes that are no UTF-8 are replaced.
pub(super) fn display(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_hierarchy_is_chosen() {
        for (content, expected) in [
            ("4:memory:/a\n1:name=systemd:/b\n0::/c\n", Some((Version::V1, "/a"))),
            ("3:cpu,memory:/a:b\n", Some((Version::V1, "/a:b"))),
            ("1:name=systemd:/b\n0::/c d\n", Some((Version::V2, "/c d"))),
            ("0::/\n", Some((Version::V2, "/"))),
            ("1:name=memory:/b\n", None),
            ("garbage\n\n::\nx:y:z\n", None),
        ] {
            let memberships = parse_memberships(content.as_bytes());
            let found = memory_membership(&memberships);
            assert_eq!(
                found.map(|(version, found)| (version, found.path.to_str().unwrap())),
                expected,
                "{content}"
            );
        }
    }

    #[test]
    fn container_ids() {
        let id = "0123456789abcdef".repeat(4);
        let other = "f".repeat(64);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/burstable/pod12-34/{id}"),
            format!("/kubepods.slice/kubepods-burstable.slice/crio-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"),
            format!("/docker/{other}/docker/{id}"),
        ] {
            assert_eq!(container_id(Path::new(&path)), Some(id.clone()), "{path}");
        }
        for path in [
            "/".to_owned(),
            format!("/user.slice/{}", &id[1..]),
            format!("/docker/{id}0"),
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/{}", id.to_uppercase()),
        ] {
            assert_eq!(container_id(Path::new(&path)), None, "{path}");
        }
    }

    #[test]
    fn mounts() {
        let v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 master:2 - cgroup cgroup rw,memory";
        let container = r"35 31 0:32 /docker/a\040b /mnt/c\040g rw - cgroup2 cgroup2 rw,nsdelegate";
        for (line, version, expected) in [
            (v1, Version::V1, Some(("/", "/sys/fs/cgroup/memory"))),
            (v1, Version::V2, None),
            ("35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", Version::V1, None),
            (container, Version::V2, Some(("/docker/a b", "/mnt/c g"))),
            ("22 1 0:20 / / rw - ext4 /dev/sda rw", Version::V2, None),
            ("", Version::V1, None),
            ("35 31 0:32 /", Version::V1, None),
        ] {
            let expected = expected.map(|(root, mount_point)| Hierarchy {
                root: root.into(),
                mount_point: mount_point.into(),
            });
            assert_eq!(parse_mount(line.as_bytes(), version), expected, "{line}");
        }
    }

    #[test]
    fn cgroups_outside_of_the_mount_have_no_directory() {
        let hierarchy = Hierarchy { root: "/docker/x".into(), mount_point: "/cg".into() };
        for (cgroup, directory) in [
            ("/docker/x", Some("/cg")),
            ("/docker/x/y", Some("/cg/y")),
            ("/docker/xy", None),
            ("/docker/x/../z", None),
            ("/../../other", None),
            ("/", None),
        ] {
            assert_eq!(
                hierarchy.directory(Path::new(cgroup)),
                directory.map(PathBuf::from),
                "{cgroup}"
            );
        }
    }
}
