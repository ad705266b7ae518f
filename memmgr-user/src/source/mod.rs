//! Readers: procfs and cgroup files → plain values. Each takes the root directories that it reads
//! below, so that tests run on a made-up tree of any kernel.

pub mod cgroup;
pub mod cgroup_path;
pub mod cgroup_tree;
pub mod cpu_clock;
pub mod gauge;
pub mod groups;
pub mod host;
pub mod identity;
pub mod mappings;
pub mod memory;
pub mod pagemap;
mod pressure;
pub mod process;
pub mod process_dir;
pub mod process_stat;
pub mod processes;
pub mod roots;
mod text;
