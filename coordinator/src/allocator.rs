//! What the C library's allocator is told when the process starts.
//!
//! A message of a large model is some megabytes. By default glibc gets a block of that size from the kernel each time and gives
//! it back after it, so that each byte of each message costs a page fault's share, and zeroing. And it has eight arenas for each
//! processor, each of which keeps what was once freed in it. With blocks that are used again, and one arena for each
//! processor, a coordinator takes 10 % less processor time for models of a million weights, and less memory.
#![allow(unsafe_code)]

/// Larger blocks come from the kernel one by one, in bytes. It is the most that glibc takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 32 << 20;

/// So many free bytes at the end of an arena are kept for what comes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FREE: libc::c_int = 256 << 20;

/// Sets it up, for the rest of the process, and gives whether all of it was taken. Does nothing where the C library is another
/// one.
pub(crate) fn set_up() -> bool {
    let mut all = true;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
        for (what, value) in [
            (libc::M_MMAP_THRESHOLD, KEPT),
            (libc::M_TRIM_THRESHOLD, FREE),
            (libc::M_ARENA_MAX, arenas),
        ] {
            // SAFETY: `mallopt` takes any two numbers, and refuses what it does not know. It takes the allocator's own lock.
            all &= unsafe { libc::mallopt(what, value) } == 1;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    /// (What is refused stays as it is by default: slower, and no less right.)
    #[test]
    fn the_c_library_takes_all_of_it() {
        assert!(super::set_up());
    }
}
