//! The few calls of the C library that the standard library does not offer.
#![expect(
    unsafe_code,
    reason = "malloc_trim, mallopt, newlocale, geteuid, sched_setattr and SO_RCVLOWAT exist only as C functions"
)]

/// Gives free heap pages back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn trim_heap() {
    // SAFETY: malloc_trim takes no pointer and may be called from any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Bounds the number of heap arenas; each holds on to free memory of its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn bound_arenas(arenas: libc::c_int) {
    // SAFETY: mallopt takes two integers and sets a process-wide parameter under malloc's own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

/// Gives blocks of `bytes` and more straight back when they are freed. Set once, the threshold no longer rises by
/// itself with the first large block that is freed, after which weights would stay inside the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn map_large_blocks(bytes: libc::c_int) {
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) };
}

/// The user whom this process acts as.
#[cfg(unix)]
pub(crate) fn effective_user() -> u32 {
    // SAFETY: geteuid takes nothing, changes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Keeps up to `bytes` of free memory at the end of each arena, so that it need not be mapped anew for the next block.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn keep_free(bytes: libc::c_int) {
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, bytes) };
}

/// Lets small blocks that the threads' own lists have no room for go back to the heap at once. Otherwise each block of
/// 1 KiB and more that is asked for merges all of them first, the buffer of a request among them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn no_fast_bins() {
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_MXFAST, 0) };
}

/// Whether the C library can construct the locale `name`.
#[cfg(unix)]
pub(super) fn locale_exists(name: &std::ffi::CStr) -> bool {
    // SAFETY: `name` is NUL-terminated and outlives the call; a null base asks for a new object.
    let locale = unsafe { libc::newlocale(libc::LC_ALL_MASK, name.as_ptr(), std::ptr::null_mut()) };
    if locale.is_null() {
        return false;
    }
    // SAFETY: `locale` came from newlocale just above, is not null and is used nowhere else.
    unsafe { libc::freelocale(locale) };
    true
}

/// Has this thread keep a processor for so many nanoseconds before others that want it have their turn, as far as the
/// system lets it; with 0 for as long as is usual. Says whether the system was asked.
#[cfg(target_os = "linux")]
pub(super) fn resize_turns(nanoseconds: u64) -> bool {
    // What else stands there stays as it is.
    let Some(mut how) = scheduling() else { return false };
    let is_fair = matches!(libc::c_int::try_from(how.sched_policy), Ok(libc::SCHED_OTHER | libc::SCHED_BATCH));
    how.sched_runtime = nanoseconds;
    // SAFETY: the structure is as large as it says, and the system touches nothing else; 0 is the calling thread.
    is_fair && unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut how, 0) } == 0
}

/// For how many nanoseconds this thread keeps a processor.
#[cfg(all(test, target_os = "linux"))]
pub(super) fn turns() -> Option<u64> {
    scheduling().map(|how| how.sched_runtime)
}

/// How this thread is scheduled, as far as the system tells.
#[cfg(target_os = "linux")]
fn scheduling() -> Option<libc::sched_attr> {
    let mut how = libc::sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let size = u32::try_from(size_of_val(&how)).ok()?;
    // SAFETY: the system writes no more than the size that it is told; 0 is the calling thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut how, size, 0) };
    (got == 0).then_some(how)
}

/// Has the system wake who waits to read from `socket` only once so many bytes are there, or no more come. Says whether it
/// does.
#[cfg(target_os = "linux")]
pub fn wake_at(socket: std::os::fd::BorrowedFd<'_>, bytes: i32) -> bool {
    use std::os::fd::AsRawFd;
    let Ok(length) = libc::socklen_t::try_from(size_of_val(&bytes)) else { return false };
    let value = (&raw const bytes).cast();
    // SAFETY: the option is an integer of that length, which the system reads during the call.
    unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, value, length) == 0 }
}
