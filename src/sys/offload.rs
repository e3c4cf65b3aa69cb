//! The ethtool ioctls: an interface's driver and speed.

use std::ffi::{c_char, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::failure::failed;
use super::interface::name_bytes;
use super::link::{NAME_BYTES_MAX, NEEDS_NET_ADMIN};
use super::netlink::text;
use crate::error::Result;

const GET_LINK_SETTINGS: u32 = 0x4c;

/// Unknown speed (`SPEED_UNKNOWN`).
const SPEED_UNKNOWN: u32 = u32::MAX;

const GET_DRIVER_INFO: u32 = 0x03;

/// 32-bit words of `struct ethtool_drvinfo`, whose first texts have 32 bytes each: driver, version,
/// firmware, place on the bus.
const DRIVER_INFO_WORDS: usize = 49;
const DRIVER_TEXT_BYTES: usize = 32;

/// 32-bit words of `struct ethtool_link_settings` before its masks.
const SETTINGS_WORDS: usize = 12;

/// The byte of `struct ethtool_link_settings` that holds `link_mode_masks_nwords`, signed.
const MASK_WORDS_BYTE: usize = 15;

/// The most that `link_mode_masks_nwords`, a signed byte, can be; three masks follow.
const MASK_WORDS_MAX: usize = 127;

/// Who drives an interface (`struct ethtool_drvinfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Driver {
    /// Its name, as in `ixgbe`.
    pub name: String,
    /// Its version; of most drivers that of the kernel.
    pub version: String,
    /// The device's firmware; empty or `N/A` where there is none.
    pub firmware: String,
    /// Where the device is on its bus, as in `0000:03:00.0`; empty for virtual ones.
    pub bus_place: String,
}

/// The ethtool ioctls in the network namespace of the thread that opened this.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

impl Ethtool {
    /// Opens a socket to ask through; needs no privilege.
    pub fn open() -> Result<Ethtool> {
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map(|socket| Ethtool { socket })
            .map_err(|errno| failed("open a socket for ethtool requests", &errno.into(), ""))
    }

    /// The speed of the link in megabits per second; `None` where the interface has none or knows
    /// none. A veth says 10000 and means nothing by it: decide by the link's kind.
    pub fn megabits_per_second(&self, name: &str) -> Result<Option<u32>> {
        match self.speed(name) {
            Ok(speed) => Ok(speed),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(failed(format!("read the speed of {name}"), &error, advice(&error))),
        }
    }

    fn speed(&self, name: &str) -> io::Result<Option<u32>> {
        let mut settings = [0u32; SETTINGS_WORDS + 3 * MASK_WORDS_MAX];
        settings[0] = GET_LINK_SETTINGS;
        self.request(name, &mut settings)?;
        // The first answer only says, negated, how many words the kernel's masks have
        // (ethtool_get_link_ksettings in net/ethtool/ioctl.c); the second holds the settings.
        let words = mask_words(&settings);
        if words >= 0 {
            return Ok(None);
        }
        settings = [0u32; SETTINGS_WORDS + 3 * MASK_WORDS_MAX];
        settings[0] = GET_LINK_SETTINGS;
        set_mask_words(&mut settings, words.saturating_neg());
        self.request(name, &mut settings)?;
        Ok(Some(settings[1]).filter(|&speed| speed != SPEED_UNKNOWN && speed != 0))
    }

    /// The driver of the interface `name`.
    pub fn driver(&self, name: &str) -> io::Result<Driver> {
        let mut info = [0u32; DRIVER_INFO_WORDS];
        info[0] = GET_DRIVER_INFO;
        self.request(name, &mut info)?;
        let bytes: Vec<u8> = info[1..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut texts = bytes.chunks(DRIVER_TEXT_BYTES).map(text);
        let mut next = || texts.next().unwrap_or_default();
        Ok(Driver { name: next(), version: next(), firmware: next(), bus_place: next() })
    }

    /// One ethtool request in place. `words` begins with the command and is as long as the kernel's
    /// structure for it, or longer.
    pub(super) fn request(&self, name: &str, words: &mut [u32]) -> io::Result<()> {
        let start = NonNull::from(words).cast();
        // SAFETY: the commands of this file use `struct ethtool_value` (two words), `struct
        // ethtool_drvinfo` (49 words: 196 bytes in
        // uapi/linux/ethtool.h), those of `ethtool_settings` (their sizes are there), `struct
        // ethtool_rxfh` (of which the kernel writes as many entries as the caller says, or nothing:
        // ethtool_get_rxfh), `struct ethtool_sfeatures` (of which the kernel reads as many blocks as it says itself, or nothing)
        // or `struct ethtool_link_settings` with three masks of at most 127 words, and every caller
        // passes an array of at least that length, which lives and is not otherwise borrowed until
        // return.
        unsafe { self.request_at(name, start) }
    }

    /// One ethtool request on the structure that begins at `structure`, with the command.
    ///
    /// # Safety
    ///
    /// The structure of the command must be readable, and all that the kernel writes for it must
    /// be writable or not mapped at all, until this returns; nobody else may use it meanwhile.
    pub(super) unsafe fn request_at(
        &self,
        name: &str,
        structure: NonNull<c_void>,
    ) -> io::Result<()> {
        // SAFETY: SIOCETHTOOL copies the structure of the command to and from ifr_data (dev_ethtool in
        // net/ethtool/ioctl.c), for which the caller answers.
        unsafe { self.ask_at(libc::SIOCETHTOOL, name, structure) }
    }

    /// The request `number` of an interface, whose structure lies at `structure`.
    ///
    /// # Safety
    ///
    /// As for [`Ethtool::request_at`], for the structure of the request.
    pub(super) unsafe fn ask_at(
        &self,
        number: libc::c_ulong,
        name: &str,
        structure: NonNull<c_void>,
    ) -> io::Result<()> {
        let mut interface = [0 as c_char; NAME_BYTES_MAX + 1];
        let name = name_bytes(name);
        if name.len() > NAME_BYTES_MAX {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, from) in interface.iter_mut().zip(name) {
            *to = from as c_char;
        }
        let mut request = libc::ifreq {
            ifr_name: interface,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: structure.as_ptr().cast() },
        };
        let descriptor = self.socket.as_raw_fd();
        // SAFETY: the kernel reads `struct ifreq`, whose name is NUL-terminated, and uses the structure at
        // ifr_data, for which the caller answers.
        let result = unsafe { libc::ioctl(descriptor, number as _, &mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn mask_words(settings: &[u32]) -> i8 {
    settings[MASK_WORDS_BYTE / 4].to_ne_bytes()[MASK_WORDS_BYTE % 4] as i8
}

fn set_mask_words(settings: &mut [u32], words: i8) {
    let mut bytes = settings[MASK_WORDS_BYTE / 4].to_ne_bytes();
    bytes[MASK_WORDS_BYTE % 4] = words as u8;
    settings[MASK_WORDS_BYTE / 4] = u32::from_ne_bytes(bytes);
}

pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => NEEDS_NET_ADMIN,
        Some(libc::ENODEV) => "there is no such interface in this network namespace",
        Some(libc::EOPNOTSUPP) => "its driver cannot do that",
        _ => "",
    }
}
