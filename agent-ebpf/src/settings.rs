//! Constants the loader puts into the read-only section before the verifier sees the programs.
//!
//! The section is frozen, so the verifier knows every value: a kernel offset read from here is a constant to it, and
//! branches on settings are decided when loading.

use agent_common::offsets::Settings;

/// Replaced by the loader (`EbpfLoader::override_global`).
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    offsets: agent_common::offsets::Offsets::ZERO,
    self_tgid: 0,
    scope_all: 1,
    ports_all: 1,
    head_bytes: 4096,
    message_bytes: 8192,
    wake_bytes: agent_common::limits::RING_WAKE_BYTES,
    all_armed: 1,
    option: 0,
    header: 0,
    header_stay: 0,
    socket_pair: 1,
    sampled_roots: agent_common::offsets::sampled::ALWAYS,
    sampled_by_parent: 1,
    sampled_bound_low: 0,
    sampled_bound_high: 0,
};

/// Reads one setting. Volatile, because the compiler must not fold the value the static has at build time.
macro_rules! setting {
    ($($field:ident).+) => {{
        // SAFETY: the pointer is to a field of an initialised static that nobody writes after loading.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::settings::raw()).$($field).+) }
    }};
}
pub(crate) use setting;

/// The settings' place; read fields through `setting!`.
#[inline(always)]
pub(crate) fn raw() -> *const Settings {
    &raw const SETTINGS
}
