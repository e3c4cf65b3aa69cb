//! Mapped memory that the kernel shares: rings of sockets, and the UMEM of an AF_XDP socket.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

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
    /// Maps `length` bytes of `fd` from `offset` on, readable, writable and shared.
    ///
    /// `packet_mmap` wants offset 0 and exactly the bytes of all rings together (EINVAL else);
    /// `xsk_mmap` tells its four rings apart by the offset. The mapping is kept out of forked
    /// children (`MADV_DONTFORK`), which would otherwise keep the rings alive.
    pub fn of_socket(
        fd: BorrowedFd<'_>,
        length: NonZeroUsize,
        offset: i64,
    ) -> std::io::Result<Mapping> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, fd, offset) }?;
        Mapping::kept_to_this_process(base, length)
    }

    /// Maps `length` fresh zero bytes that nobody shares yet.
    ///
    /// Kept out of forked children too: pages that the kernel pins would be copied on the first
    /// write after a fork, and this process would then look at others than the kernel does.
    pub fn anonymous(length: NonZeroUsize) -> std::io::Result<Mapping> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE) }?;
        Mapping::kept_to_this_process(base, length)
    }

    fn kept_to_this_process(
        base: NonNull<c_void>,
        length: NonZeroUsize,
    ) -> std::io::Result<Mapping> {
        let mapping = Mapping { base, length: length.get() };
        // SAFETY: the range is exactly the mapping just made, and MADV_DONTFORK changes no byte.
        unsafe { madvise(base, mapping.length, MmapAdvise::MADV_DONTFORK) }?;
        Ok(mapping)
    }

    /// The first byte.
    #[inline]
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
