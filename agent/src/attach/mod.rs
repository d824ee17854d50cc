//! Loads the BPF programs and attaches them.
//!
//! In: [`Options`]. Out: [`Attached`], which detaches everything when dropped. Always holds: the maps are filled with
//! scope and runtime classes before the first program is attached; a required hook that fails leaves nothing
//! attached. Refuses: a kernel whose struct layouts are not known.

pub mod btf_offsets;
pub mod carriers;
mod error;
mod place;
pub mod sockhash;
pub mod table;
pub mod user;
mod way;

pub use error::AttachError;
pub use way::{SOCKETS_NEED, has_functions_way, has_sockets_way, preferred_way};

use std::{
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use agent_common::{
    abi::{Runtime, demand, destination},
    limits,
    offsets::Settings,
};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, RingBuf, lpm_trie::Key},
};

use aya_log::EbpfLogger;

use carriers::{Carriers, Network};
use place::{attach_one, load_all};
use table::{Carrier, HOOKS, Hook, Need, Place, Way};
use way::kernel_release;

/// The BPF object, built by `cargo xtask build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SUTURE_BPF_OBJECT"));

/// [`Runtime`] as aya takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct RuntimeValue(pub(crate) Runtime);
// SAFETY: repr(C) integers without padding: any bytes are a value (its size is asserted in agent-common).
unsafe impl aya::Pod for RuntimeValue {}

/// What is traced, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a head, at most `limits::HEAD_CAPTURE_MAX`.
    pub head_bytes: u32,
    /// Bytes of each write and read of a broker's client, at most `limits::HEAD_CAPTURE_MAX`; 0: none are followed.
    pub message_bytes: u32,
    /// Only these processes (empty: all). Forked children of a process in scope are in scope.
    pub processes: Option<Vec<u32>>,
    /// Only connections with one of these local or remote ports (empty: all).
    pub ports: Vec<u16>,
    /// Runtimes of the processes that run already, by tgid. Those that need uprobes are told later.
    pub runtimes: Vec<(u32, Runtime)>,
    /// Pass on what the programs log (`--bpf-log`).
    pub bpf_log: bool,
    /// How bytes are seen; none: the cheapest way that this kernel has.
    pub way: Option<Way>,
    /// What contexts are carried to other hosts by.
    pub carriers: Carriers,
}

/// A hook that is off, and what is lost without it.
#[derive(Clone, Debug)]
pub struct Missing {
    /// The row.
    pub hook: &'static Hook,
    /// What the kernel said.
    pub reason: String,
}

/// Everything attached. Dropping it detaches the programs and frees the maps.
pub struct Attached {
    ebpf: Ebpf,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    pub(crate) demands: Array<MapData, u64>,
    /// Groups of `abi::demand` that are attached.
    armed: u64,
    /// Uprobes that are attached.
    placed: user::Placed,
    /// How bytes are seen.
    pub way: Way,
    /// Optional hooks this kernel does not have.
    pub missing: Vec<Missing>,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached")
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// Bytes of the settings, as the loader wants them.
fn settings_bytes(settings: &Settings) -> &[u8] {
    // SAFETY: Settings is repr(C), all u32, without padding (asserted in agent-common); any byte may be read.
    unsafe {
        std::slice::from_raw_parts((&raw const *settings).cast::<u8>(), size_of::<Settings>())
    }
}

/// Loads and attaches everything, in the way asked for or else the cheapest that works.
///
/// # Errors
/// [`AttachError`]; nothing stays attached.
pub fn attach(options: &Options) -> Result<Attached, AttachError> {
    if let Some(way) = options.way {
        return attach_in(way, options);
    }
    let way = preferred_way();
    if way != Way::Syscalls {
        match attach_in(way, options) {
            Ok(attached) => return Ok(attached),
            Err(error) => {
                tracing::warn!("{error}. Bytes are seen at the syscalls instead, at a higher cost")
            }
        }
    }
    attach_in(Way::Syscalls, options)
}

/// Loads and attaches what serves one way of seeing bytes.
fn attach_in(way: Way, options: &Options) -> Result<Attached, AttachError> {
    let cpus = aya::util::nr_cpus().map_or(1, |cpus| cpus as u32);
    let (sampled_roots, sampled_by_parent, bound) = carriers::sampling(options.carriers.sampler);
    let settings = Settings {
        offsets: btf_offsets::read(Path::new(btf_offsets::KERNEL_BTF))?,
        self_tgid: std::process::id(),
        scope_all: u32::from(options.processes.is_none()),
        ports_all: u32::from(options.ports.is_empty()),
        head_bytes: options.head_bytes.min(limits::HEAD_CAPTURE_MAX as u32),
        message_bytes: options.message_bytes.min(limits::HEAD_CAPTURE_MAX as u32),
        wake_bytes: limits::RING_WAKE_BYTES / cpus.max(1),
        all_armed: u32::from(way == Way::Syscalls),
        option: u32::from(options.carriers.option),
        header: u32::from(options.carriers.header.is_some()),
        header_stay: options.carriers.header.map_or(0, carriers::Members::stay),
        socket_pair: u32::from(options.carriers.socket_pair),
        sampled_roots,
        sampled_by_parent,
        sampled_bound_low: bound as u32,
        sampled_bound_high: (bound >> 32) as u32,
    };
    let log_level = if options.bpf_log {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    let mut ebpf = EbpfLoader::new()
        // The programs carry no relocations, so the kernel's BTF is not needed for loading: reading it costs 10 MB.
        .btf(None::<&Btf>)
        .override_global("SETTINGS", settings_bytes(&settings), true)
        // A constant to the verifier: at level 0 the programs' log statements are removed when they are loaded.
        .override_global(aya_log::LEVEL, &log_level, true)
        .load(OBJECT)?;
    // The tracepoints' types are looked up in it; what it costs is given back when the agent is ready.
    let types = Btf::from_sys_fs()?;
    let release = kernel_release().unwrap_or_default();
    let mut missing = Vec::new();
    let is_wanted = |hook: &&Hook| {
        hook.is_in(release)
            && match hook.place {
                Place::RootCgroup(Carrier::Option) => options.carriers.option,
                Place::RootCgroup(Carrier::Header) | Place::Members => {
                    options.carriers.header.is_some()
                }
                _ => true,
            }
    };
    let wanted = HOOKS
        .iter()
        .filter(|hook| hook.serves(way))
        .filter(is_wanted);
    for (hook, load) in load_all(&mut ebpf, wanted, &types) {
        match load {
            // What an optional function is called in is known only when it is asked for; a cgroup asks for a capability of its
            // own (CAP_NET_ADMIN).
            Err(AttachError::Program { reason, .. })
                if hook.need == Need::Optional
                    && matches!(
                        hook.place,
                        Place::Entry(_) | Place::Exit(_) | Place::RootCgroup(_) | Place::Members
                    ) =>
            {
                missing.push(Missing { hook, reason });
            }
            other => other?,
        }
    }
    drop(types);
    let log = if options.bpf_log {
        EbpfLogger::init(&mut ebpf).ok()
    } else {
        None
    };
    let demands = Array::try_from(
        ebpf.take_map("DEMANDS")
            .ok_or(AttachError::Absent("DEMANDS"))?,
    )
    .map_err(|source| AttachError::Map {
        name: "DEMANDS",
        source: Box::new(source),
    })?;
    let mut attached = Attached {
        ebpf,
        log,
        demands,
        armed: 0,
        placed: user::Placed::default(),
        way,
        missing,
    };
    attached.fill(
        "SCOPE",
        options.processes.iter().flatten().map(|tgid| (*tgid, 1u8)),
    )?;
    attached.fill("PORTS", options.ports.iter().map(|port| (*port, 1u8)))?;
    let runtimes = options.runtimes.iter();
    attached.fill(
        "RUNTIMES",
        runtimes.map(|(tgid, runtime)| (*tgid, RuntimeValue(*runtime))),
    )?;
    attached.fill_destinations(&options.carriers.destinations)?;
    for hook in HOOKS
        .iter()
        .filter(|hook| hook.at_once(way))
        .filter(is_wanted)
    {
        attached.hook(hook)?;
    }
    if way == Way::Syscalls {
        attached.armed = demand::ALL & !demand::PIPES;
    }
    Ok(attached)
}

/// Names of the programs in the BPF object.
///
/// # Errors
/// [`AttachError::Load`] when the object cannot be parsed or its maps cannot be made.
pub fn object_programs() -> Result<Vec<String>, AttachError> {
    let ebpf = EbpfLoader::new().btf(None::<&Btf>).load(OBJECT)?;
    Ok(ebpf.programs().map(|(name, _)| name.to_owned()).collect())
}

/// Descriptor of a map of one of the types that are used.
fn map_fd(map: &Map) -> Option<i32> {
    match map {
        Map::HashMap(inner) | Map::PerCpuArray(inner) | Map::RingBuf(inner) | Map::Array(inner) => {
            Some(inner.fd().as_fd().as_raw_fd())
        }
        _ => None,
    }
}

impl Attached {
    /// Attaches one row; an optional one that this kernel does not have is noted.
    fn hook(&mut self, hook: &'static Hook) -> Result<(), AttachError> {
        if self
            .missing
            .iter()
            .any(|known| known.hook.program == hook.program)
        {
            return Ok(());
        }
        // Without the program that sees their messages no socket is chosen.
        let has_no_use = hook.place == Place::RootCgroup(Carrier::Header)
            && self
                .missing
                .iter()
                .any(|known| known.hook.place == Place::Members);
        if has_no_use {
            return Ok(());
        }
        let Err(source) = attach_one(&mut self.ebpf, hook)? else {
            return Ok(());
        };
        if hook.need == Need::Required {
            return Err(AttachError::Attach {
                program: hook.program,
                place: hook.place,
                loss: hook.loss,
                source: Box::new(source),
            });
        }
        self.missing.push(Missing {
            hook,
            reason: source.to_string(),
        });
        Ok(())
    }

    /// Groups of `abi::demand` that the programs ask for and that are not attached.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.demands.get(&demand::ASKED, 0).unwrap_or(0) & !self.armed
    }

    /// Whether the hooks of a group are attached.
    #[must_use]
    pub fn is_armed(&self, group: u64) -> bool {
        self.armed & group == group
    }

    /// Attaches the hooks of these groups. What depends on them counts from the moment it returns. Returns the groups
    /// that are new.
    ///
    /// # Errors
    /// [`AttachError::Absent`] and [`AttachError::Map`]; a hook that the kernel refuses is noted in `missing`, and what
    /// depends on its group stays off.
    pub fn arm(&mut self, groups: u64) -> Result<u64, AttachError> {
        let new = groups & demand::ALL & !self.armed;
        if new == 0 {
            return Ok(0);
        }
        for hook in HOOKS {
            let is_attached = hook.on_demand & self.armed != 0;
            if hook.serves(self.way) && hook.on_demand & new != 0 && !is_attached {
                self.hook(hook)?;
            }
        }
        self.armed |= new;
        let refused = self
            .missing
            .iter()
            // Every group asks for connect's hooks, which none of them depends on.
            .filter(|missing| missing.hook.on_demand != demand::ALL)
            .fold(0, |groups, missing| groups | missing.hook.on_demand);
        self.demands
            .set(demand::ARMED, self.armed & !refused, 0)
            .map_err(|source| AttachError::Map {
                name: "DEMANDS",
                source: Box::new(source),
            })?;
        Ok(new)
    }

    fn fill<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &'static str,
        rows: impl Iterator<Item = (K, V)>,
    ) -> Result<(), AttachError> {
        let map = self.ebpf.map_mut(name).ok_or(AttachError::Absent(name))?;
        let failed = |source| AttachError::Map {
            name,
            source: Box::new(source),
        };
        let mut map: HashMap<&mut MapData, K, V> = HashMap::try_from(map).map_err(failed)?;
        for (key, value) in rows {
            map.insert(key, value, 0).map_err(failed)?;
        }
        Ok(())
    }

    fn fill_destinations(&mut self, networks: &[Network]) -> Result<(), AttachError> {
        const NAME: &str = "DESTINATIONS";
        let failed = |source| AttachError::Map {
            name: NAME,
            source: Box::new(source),
        };
        let map = self.ebpf.map_mut(NAME).ok_or(AttachError::Absent(NAME))?;
        let mut map: LpmTrie<&mut MapData, [u8; 16], u8> =
            LpmTrie::try_from(map).map_err(failed)?;
        for network in networks {
            let carriers = destination::OPTION | destination::HEADER;
            map.insert(&Key::new(network.bits, network.addr), carriers, 0)
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Memory of all maps in bytes, as the kernel accounts it (`memlock` in fdinfo). 0 where it does not say.
    #[must_use]
    pub fn map_bytes(&self) -> u64 {
        self.ebpf
            .maps()
            .filter_map(|(_, map)| map_fd(map))
            .filter_map(|fd| std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok())
            .filter_map(|text| {
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix("memlock:"))?;
                line.trim().parse::<u64>().ok()
            })
            .sum()
    }

    /// Passes on what the programs have logged (`--bpf-log`).
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Takes the ring buffer; there is one reader.
    ///
    /// # Errors
    /// [`AttachError::Absent`] the second time.
    pub fn ring(&mut self) -> Result<RingBuf<MapData>, AttachError> {
        let map = self
            .ebpf
            .take_map("RECORDS")
            .ok_or(AttachError::Absent("RECORDS"))?;
        RingBuf::try_from(map).map_err(|source| AttachError::Map {
            name: "RECORDS",
            source: Box::new(source),
        })
    }

    /// Takes a hash map, to be read and written while the programs run.
    ///
    /// # Errors
    /// [`AttachError::Absent`] the second time.
    pub fn hash<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<MapData, K, V>, AttachError> {
        let map = self.ebpf.take_map(name).ok_or(AttachError::Absent(name))?;
        HashMap::try_from(map).map_err(|source| AttachError::Map {
            name,
            source: Box::new(source),
        })
    }

    /// Takes the counters.
    ///
    /// # Errors
    /// [`AttachError::Absent`] the second time.
    pub fn counters(&mut self) -> Result<PerCpuArray<MapData, u64>, AttachError> {
        let map = self
            .ebpf
            .take_map("COUNTERS")
            .ok_or(AttachError::Absent("COUNTERS"))?;
        PerCpuArray::try_from(map).map_err(|source| AttachError::Map {
            name: "COUNTERS",
            source: Box::new(source),
        })
    }
}
