//! The embedded object: its maps made by aya, its programs relocated against those maps.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Map, MapData},
};
use aya_obj::{Object, generated::bpf_insn};

use super::{
    kernel::KernelError,
    sys::{self, AttachType, ProgramType},
};

static OBJECT: &[u8] = include_bytes_aligned!(env!("MEMMGR_EBPF_OBJECT_PATH"));

/// Maps in the kernel, and programs ready to load.
pub struct Programs {
    /// Owner of the maps.
    pub maps: Ebpf,
    instructions: HashMap<String, Vec<bpf_insn>>,
}

impl Programs {
    /// Makes the maps; `ring_bytes` must be a power of two.
    pub fn new(ring_bytes: u32) -> Result<Self, KernelError> {
        let maps = EbpfLoader::new()
            // No program is relocated by kernel types, and reading them takes as long as all the rest.
            .btf(None)
            .map_max_entries("EVENTS", ring_bytes)
            .load(OBJECT)
            .map_err(KernelError::from_aya)?;
        let instructions = relocated(&maps)?;
        Ok(Programs { maps, instructions })
    }

    /// Names of all programs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.instructions.keys().map(String::as_str)
    }

    /// Loads one program.
    pub fn load(
        &self,
        name: &'static str,
        program_type: ProgramType,
        expected: Option<AttachType>,
    ) -> Result<OwnedFd, KernelError> {
        self.load_for(name, program_type, expected, 0)
    }

    /// Loads one program for a function of the kernel, by its BTF id.
    pub fn load_for(
        &self,
        name: &'static str,
        program_type: ProgramType,
        expected: Option<AttachType>,
        function: u32,
    ) -> Result<OwnedFd, KernelError> {
        let instructions = self
            .instructions
            .get(name)
            .ok_or_else(|| KernelError::Object(format!("has no program {name}")))?;
        sys::load_program(name, program_type, expected, function, instructions)
            .map_err(|(error, log)| KernelError::Load { program: name, error, log })
    }
}

/// The same steps as aya's own loader (aya 0.14, bpf.rs, `EbpfLoader::load`), up to the instructions.
fn relocated(ebpf: &Ebpf) -> Result<HashMap<String, Vec<bpf_insn>>, KernelError> {
    let broken = |error: &dyn std::fmt::Display| KernelError::Object(error.to_string());
    let mut object = Object::parse(OBJECT).map_err(|e| broken(&e))?;
    object.patch_map_data(HashMap::default()).map_err(|e| broken(&e))?;
    let maps: HashMap<String, aya_obj::Map> = object.maps.drain().collect();
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let made: Vec<_> = ebpf
        .maps()
        .filter_map(|(name, map)| {
            Some((name, data(map)?.fd().as_fd().as_raw_fd(), maps.get(name)?))
        })
        .collect();
    object.relocate_maps(made.into_iter(), &text).map_err(|e| broken(&e))?;
    object.relocate_calls(&text).map_err(|e| broken(&e))?;
    object.sanitize_functions(aya::features());
    Ok(object
        .programs
        .iter()
        .filter_map(|(name, program)| {
            Some((
                name.clone(),
                object.functions.get(&program.function_key())?.instructions.clone(),
            ))
        })
        .collect())
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data) => {
            Some(data)
        }
        _ => None,
    }
}
