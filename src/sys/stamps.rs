//! Receive stamps of the device itself: which its driver offers, switching them on for a while, and its clock
//! (`Documentation/networking/timestamping.rst`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::ethtool_settings::TIME_STAMPING;
use super::failure::failed;
use super::offload::{Ethtool, advice};
use super::runner::{Restored, Runner, RunnerPlan};
use super::settings::Settings;
use crate::error::Result;

/// `enum hwtstamp_rx_filters`: which frames are stamped, by the names of `ethtool -T`.
const FILTERS: [&str; 16] = [
    "none",
    "all",
    "some",
    "ptpv1-l4-event",
    "ptpv1-l4-sync",
    "ptpv1-l4-delay-req",
    "ptpv2-l4-event",
    "ptpv2-l4-sync",
    "ptpv2-l4-delay-req",
    "ptpv2-l2-event",
    "ptpv2-l2-sync",
    "ptpv2-l2-delay-req",
    "ptpv2-event",
    "ptpv2-sync",
    "ptpv2-delay-req",
    "ntp-all",
];
/// Those that stamp every frame, or at least PTP messages straight in Ethernet, the best first.
const WANTED_FILTERS: [usize; 3] = [1, 12, 9];

fn filter_name(number: i32) -> &'static str {
    usize::try_from(number).ok().and_then(|at| FILTERS.get(at)).copied().unwrap_or("unknown")
}

/// What a driver offers (`struct ethtool_ts_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    kinds: u32,
    /// The number of its clock, as in `/dev/ptp0`.
    clock: Option<u32>,
    filters: u32,
}

impl Offer {
    /// The clock and the filter to take; `None` where received frames cannot be stamped.
    fn best(self) -> Option<(u32, usize)> {
        let needed = libc::SOF_TIMESTAMPING_RX_HARDWARE | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
        let filter = WANTED_FILTERS.into_iter().find(|filter| self.filters >> filter & 1 == 1);
        self.clock.zip(filter).filter(|_| self.kinds & needed == needed)
    }
}

/// How a device is set up to stamp: the type of transmit stamps and the receive filter.
pub(super) type StampSetting = (i32, i32);

impl Ethtool {
    /// The number of the interface's clock, as in `/dev/ptp0`.
    pub fn hardware_clock(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(self.stamps_offered(name)?.and_then(|offer| offer.clock))
    }

    fn stamps_offered(&self, name: &str) -> io::Result<Option<Offer>> {
        let words = self.settings(name, &TIME_STAMPING)?;
        // Without a clock the number is -1.
        let clock = |words: &[u32]| u32::try_from(words[2] as i32).ok();
        let offer =
            |words: Vec<u32>| Offer { kinds: words[1], clock: clock(&words), filters: words[7] };
        Ok(words.map(offer))
    }

    /// How the device is set up to stamp (SIOCGHWTSTAMP); EOPNOTSUPP where its driver does not tell.
    pub(super) fn stamp_setting(&self, name: &str) -> io::Result<StampSetting> {
        self.exchange(name, libc::SIOCGHWTSTAMP, (0, 0))
    }

    /// Sets it up (SIOCSHWTSTAMP), and gives what the driver made of it.
    pub(super) fn set_stamp_setting(
        &self,
        name: &str,
        setting: StampSetting,
    ) -> io::Result<StampSetting> {
        self.exchange(name, libc::SIOCSHWTSTAMP, setting)
    }

    fn exchange(
        &self,
        name: &str,
        request: libc::c_ulong,
        (tx_type, rx_filter): StampSetting,
    ) -> io::Result<StampSetting> {
        let mut config = libc::hwtstamp_config { flags: 0, tx_type, rx_filter };
        // SAFETY: both requests copy one `struct hwtstamp_config` to or from ifr_data (dev_get_hwtstamp,
        // dev_set_hwtstamp in net/core/dev_ioctl.c), a live local that nobody else uses.
        unsafe { self.ask_at(request, name, NonNull::from(&mut config).cast()) }?;
        Ok((config.tx_type, config.rx_filter))
    }
}

/// A clock of a device: `/dev/ptp0`.
#[derive(Debug)]
pub struct PtpClock {
    file: File,
    path: String,
    means: Means,
}

/// How a clock is compared with the system's (uapi/linux/ptp_clock.h), the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Both read at one moment, by the hardware: PTP_SYS_OFFSET_PRECISE.
    Precise,
    /// The system's clock read around the register: PTP_SYS_OFFSET_EXTENDED.
    Extended,
    /// Around the driver's whole function: PTP_SYS_OFFSET.
    Plain,
}

/// A clock beside the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset {
    /// What it shows less what `CLOCK_REALTIME` shows, in nanoseconds.
    pub ns: i64,
    /// How far off that may be, in nanoseconds: half of the time that the reading took.
    pub within_ns: u64,
}

/// Readings at a time, of which the quickest counts.
const SAMPLES: usize = 5;

impl PtpClock {
    fn open(number: u32) -> Result<PtpClock> {
        let path = format!("/dev/ptp{number}");
        let fails = |attempted: &str, error: &io::Error| {
            let advice =
                "reading a NIC's clock needs its file: run it as root, or take --stamps kernel";
            failed(format!("{attempted} {path}"), error, advice)
        };
        let file = File::open(&path).map_err(|error| fails("open", &error))?;
        let mut clock = PtpClock { file, path: path.clone(), means: Means::Precise };
        for means in [Means::Precise, Means::Extended, Means::Plain] {
            clock.means = means;
            if clock.offset().is_ok() {
                return Ok(clock);
            }
        }
        clock.offset().map_err(|error| fails("compare with the system's clock:", &error))?;
        Ok(clock)
    }

    /// Its file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How it is compared: `precise`, `extended` or `plain`.
    pub fn means(&self) -> &'static str {
        match self.means {
            Means::Precise => "precise",
            Means::Extended => "extended",
            Means::Plain => "plain",
        }
    }

    /// Compares it with `CLOCK_REALTIME`; takes some microseconds.
    pub fn offset(&self) -> io::Result<ClockOffset> {
        let zero = libc::ptp_clock_time { sec: 0, nsec: 0, reserved: 0 };
        let quickest = match self.means {
            Means::Precise => {
                let mut answer = libc::ptp_sys_offset_precise {
                    device: zero,
                    sys_realtime: zero,
                    sys_monoraw: zero,
                    rsv: [0; 4],
                };
                self.ask(libc::PTP_SYS_OFFSET_PRECISE, &mut answer)?;
                quickest([[answer.sys_realtime, answer.device, answer.sys_realtime]])
            }
            Means::Extended => {
                let mut answer = libc::ptp_sys_offset_extended {
                    n_samples: SAMPLES as u32,
                    clockid: libc::CLOCK_REALTIME,
                    rsv: [0; 2],
                    ts: [[zero; 3]; libc::PTP_MAX_SAMPLES as usize],
                };
                self.ask(libc::PTP_SYS_OFFSET_EXTENDED, &mut answer)?;
                quickest(answer.ts.into_iter().take(SAMPLES))
            }
            Means::Plain => {
                let mut answer = libc::ptp_sys_offset {
                    n_samples: SAMPLES as u32,
                    rsv: [0; 3],
                    ts: [zero; 2 * libc::PTP_MAX_SAMPLES as usize + 1],
                };
                self.ask(libc::PTP_SYS_OFFSET, &mut answer)?;
                quickest((0..SAMPLES).map(|at| [0, 1, 2].map(|part| answer.ts[2 * at + part])))
            }
        };
        quickest.ok_or_else(|| io::Error::other("somebody set the system's clock meanwhile"))
    }

    fn ask<T>(&self, request: libc::Ioctl, answer: &mut T) -> io::Result<()> {
        // SAFETY: `offset` passes each request its own structure of uapi/linux/ptp_clock.h, with no more
        // samples than it has room for; ptp_ioctl (drivers/ptp/ptp_chardev.c) copies one of that size.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request, answer) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The offset by the quickest of readings of the system's clock, the other one and the system's again.
fn quickest(readings: impl IntoIterator<Item = [libc::ptp_clock_time; 3]>) -> Option<ClockOffset> {
    let ns = |time: libc::ptp_clock_time| time.sec * 1_000_000_000 + i64::from(time.nsec);
    let offset = |reading: [libc::ptp_clock_time; 3]| {
        let [before, device, after] = reading.map(ns);
        let took = u64::try_from(after - before).ok()?;
        let within_ns = took.div_ceil(2);
        Some(ClockOffset { ns: device - before - within_ns as i64, within_ns })
    };
    readings.into_iter().filter_map(offset).min_by_key(|offset| offset.within_ns)
}

/// Received frames are stamped by the device as long as this lives; how it was set up before comes back then,
/// however the program ends.
#[derive(Debug)]
pub struct NicStamps {
    /// Its clock.
    pub clock: Arc<PtpClock>,
    /// Which frames it stamps, as in `all` or `ptpv2-event`.
    pub filter: &'static str,
    /// Which it stamped before.
    pub filter_before: &'static str,
    runner: Runner,
}

impl NicStamps {
    /// Has the interface `name` stamp; says why not where its driver cannot. Call it while there is one thread
    /// and the rights are there.
    pub fn begin(name: &str) -> Result<std::result::Result<NicStamps, String>> {
        let ethtool = Ethtool::open()?;
        let fails = |attempted: &str, error: &io::Error| {
            failed(format!("{attempted} {name}"), error, advice(error))
        };
        let offer = ethtool.stamps_offered(name).map_err(|error| {
            fails("ask for the hardware stamps (ETHTOOL_GET_TS_INFO) of", &error)
        })?;
        let driver = || ethtool.driver(name).map_or("no driver".into(), |driver| driver.name);
        let Some((clock, filter)) = offer.and_then(Offer::best) else {
            return Ok(Err(format!("{name} ({}) has no hardware receive stamps", driver())));
        };
        let Ok((tx_type, before)) = ethtool.stamp_setting(name) else {
            return Ok(Err(format!(
                "{name} ({}) does not tell how its stamps are set, so that could not be put back",
                driver()
            )));
        };
        let clock = Arc::new(PtpClock::open(clock)?);
        let runner = Runner::start(&RunnerPlan {
            places: Vec::new(),
            before: vec![Settings::of_stamps(name)],
            restore: None,
            limit: Duration::ZERO,
            stop: Arc::default(),
        })?;
        let (_, granted) = ethtool
            .set_stamp_setting(name, (tx_type, filter as i32))
            .map_err(|error| fails("switch on the hardware stamps (SIOCSHWTSTAMP) of", &error))?;
        let (filter, filter_before) = (filter_name(granted), filter_name(before));
        Ok(Ok(NicStamps { clock, filter, filter_before, runner }))
    }

    /// Puts the setting back, and says what could not be.
    pub fn end(&mut self) -> Restored {
        self.runner.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_filter_is_taken_and_half_an_offer_is_none() {
        let kinds = libc::SOF_TIMESTAMPING_RX_HARDWARE | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
        let offer = |kinds, clock, filters| Offer { kinds, clock, filters }.best();
        let name = |found: Option<(u32, usize)>| found.map(|(_, filter)| FILTERS[filter]);
        assert_eq!(name(offer(kinds, Some(0), 0b10_0000_0000_0011)), Some("all"));
        // As the 82576 offers them: PTPv1 over UDP is of no use here.
        assert_eq!(name(offer(kinds, Some(0), 1 << 12 | 0b11_0001)), Some("ptpv2-event"));
        assert_eq!(name(offer(kinds, Some(0), 1 << 9 | 1)), Some("ptpv2-l2-event"));
        assert_eq!(offer(kinds, Some(0), 0b11_0001), None);
        assert_eq!(offer(kinds, None, 2), None);
        assert_eq!(offer(libc::SOF_TIMESTAMPING_RX_HARDWARE, Some(0), 2), None);
    }

    #[test]
    fn the_quickest_reading_gives_the_offset_and_its_uncertainty() {
        let time = |ns: i64| libc::ptp_clock_time {
            sec: ns / 1_000_000_000,
            nsec: (ns % 1_000_000_000) as u32,
            reserved: 0,
        };
        let reading = |ns: [i64; 3]| ns.map(time);
        let slow = reading([5_000_000_000, 42_000_400_000, 5_000_900_000]);
        let quick = reading([5_999_999_000, 43_000_000_500, 6_000_000_001]);
        // The system's clock was set back meanwhile.
        let back = reading([7_000_000_000, 44_000_000_000, 6_999_999_999]);
        let offset = quickest([slow, quick, back]).unwrap();
        assert_eq!(offset, ClockOffset { ns: 37_000_000_999, within_ns: 501 });
        assert_eq!(quickest([back]), None);
        let exact = reading([9, 4, 9]);
        assert_eq!(quickest([exact]), Some(ClockOffset { ns: -5, within_ns: 0 }));
    }

    #[test]
    fn a_loopback_has_no_stamps_and_that_is_said() {
        let reason = NicStamps::begin("lo").unwrap().unwrap_err();
        assert!(reason.contains("lo") && reason.contains("no hardware receive stamps"), "{reason}");
        assert!(NicStamps::begin("no-such-link").is_err());
    }
}
