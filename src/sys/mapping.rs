//! A shared mapping of a packet socket's rings.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

/// Memory that the kernel writes at any time; unmapped on drop.
///
/// It hands out its address and length and never a slice: only `ring::view` knows which bytes
/// are ours at a given moment.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it (mmap(2)); Mapping
// itself offers no access to the bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above; the address and length that a shared Mapping gives are plain numbers.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of `fd` from offset 0, readable, writable and shared.
    ///
    /// `packet_mmap` wants exactly the bytes of all rings together (EINVAL else). The mapping is
    /// kept out of forked children (`MADV_DONTFORK`), which would otherwise keep the rings alive.
    pub fn of_socket(fd: BorrowedFd<'_>, length: NonZeroUsize) -> std::io::Result<Mapping> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, fd, 0) }?;
        let mapping = Mapping { base, length: length.get() };
        // SAFETY: the range is exactly the mapping just made, and MADV_DONTFORK changes no byte.
        unsafe { madvise(base, mapping.length, MmapAdvise::MADV_DONTFORK) }?;
        Ok(mapping)
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base.cast()
    }

    /// Bytes mapped.
    pub fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those that mmap returned, and views of the memory hold an
        // Arc of this value, so none is left.
        let result = unsafe { munmap(self.base, self.length) };
        debug_assert!(result.is_ok(), "munmap of our own mapping: {result:?}");
    }
}

/// Bytes of a memory page on this machine.
pub fn page_bytes() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    // Every Linux names its page size (sysconf(3)).
    size.ok().flatten().map_or(4096, |bytes| bytes as usize)
}
