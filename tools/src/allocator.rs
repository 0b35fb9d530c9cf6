//! Few arenas for the allocator.
//!
//! glibc gives threads arenas of their own, up to eight for each core, and what is freed in one serves no other. Buffers
//! of chunks are made by one thread and freed by another, and blocking threads come and go: after a while each arena
//! keeps as much as was ever in use at once. With two for each core they are shared (ADR 18).

/// Arenas for each core: enough that threads seldom wait for one another.
#[cfg(target_env = "gnu")]
const ARENAS_PER_CORE: usize = 2;

/// Bounds the arenas of this process. To be called before it has threads.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator is told by a C function")]
pub(crate) fn bound_arenas() {
    if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = i32::try_from(cores * ARENAS_PER_CORE).unwrap_or(i32::MAX);
    // SAFETY: it takes two numbers, and may be called at any time. That it refuses them is no matter: nothing relies on it.
    let _is_taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, count) };
}

/// Other allocators have no such arenas.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn bound_arenas() {}
