//! Numbers of a load as its text shows them.

use super::text::{grouped, lines_of, table};
use crate::load::plan::Stamps;
use crate::load::run::{LoadOutcome, NicTimes};
use crate::load::sizes::{IMIX, Sizes};
use crate::stats::latency::{LADDER, Latency};
use crate::units::nanoseconds;

/// A value of `latency`; a dash if nothing is in it.
pub(super) fn time(latency: &Latency, value_ns: u64) -> String {
    if latency.count() == 0 { "-".into() } else { nanoseconds(value_ns) }
}

/// In seconds, with as many digits as a short one needs.
pub(super) fn span(span_ns: u64) -> String {
    match span_ns {
        0..100_000_000 => nanoseconds(span_ns),
        _ => format!("{:.2} s", span_ns as f64 / 1e9),
    }
}

/// The percentile ladders of the round trips, side by side.
pub(super) fn latency_table(outcome: &LoadOutcome, breakdown: bool) -> String {
    let mut columns: Vec<(&str, &Latency)> =
        vec![("response", &outcome.latencies.response), ("service", &outcome.latencies.service)];
    if breakdown {
        columns.push(("to kernel stamp", &outcome.latencies.until_kernel));
        columns.push(("in our ring", &outcome.latencies.in_ring));
        // Beside all of them, never in their place.
        columns.push(("response, no gap", &outcome.latencies.untouched));
    }
    if let Some(nic) = &outcome.nic {
        columns.push(("to NIC stamp", &nic.until_nic));
        columns.push(("NIC to kernel stamp", &nic.nic_to_kernel));
        columns.push(("since NIC stamp", &nic.since_nic));
    }
    let header: Vec<&str> = std::iter::once("latency").chain(columns.iter().map(|c| c.0)).collect();
    let mut rows = table(&header);
    for percentile in LADDER {
        let values =
            columns.iter().map(|(_, latency)| time(latency, latency.percentile(percentile)));
        rows.add_row(std::iter::once(format!("p{percentile}")).chain(values));
    }
    for (name, value) in [
        ("max", Latency::max as fn(&Latency) -> u64),
        ("mean", |latency| latency.mean() as u64),
        ("standard deviation", |latency| latency.stdev() as u64),
    ] {
        let values = columns.iter().map(|(_, latency)| time(latency, value(latency)));
        rows.add_row(std::iter::once(name.to_string()).chain(values));
    }
    lines_of(&mut rows)
}

/// Whose stamps there are and what they are worth; nothing where the kernel's were asked for.
pub(super) fn stamps(asked: &Stamps, nic: Option<&NicTimes>) -> Option<String> {
    let (clock, filter, nic) = match (asked, nic) {
        (Stamps::NicMissing(reason), _) => {
            return Some(format!("NO HARDWARE STAMPS: {reason}; stamps are the kernel's"));
        }
        (Stamps::Nic { clock, filter, .. }, Some(nic)) => (clock, filter, nic),
        _ => return None,
    };
    let (stamped, all) = (nic.stamped(), nic.stamped() + nic.unstamped);
    let mut text = format!(
        "hardware stamps of {} ({filter}) on {} of {} echoes\n  its clock is {} s from the system's, stamps are \
         right to {} ({})",
        clock.path(),
        grouped(stamped),
        grouped(all),
        nic.offset_ns as f64 / 1e9,
        nanoseconds(nic.uncertainty_ns),
        clock.means(),
    );
    if stamped < all {
        text.push_str(&match *filter {
            "all" => "\nWARNING: the NIC left echoes without a stamp".to_string(),
            _ => format!(
                "\nWARNING: the NIC stamps no other frames than {filter}, and maybe not each of them: \
                 --ethertype 0x88f7 has the load send such"
            ),
        });
    }
    match (nic.is_ordered(), &nic.failure) {
        (_, Some(failure)) => {
            text.push_str(&format!("\nWARNING: reading its clock failed: {failure}"))
        }
        (Some(false), _) => text.push_str(&format!(
            "\nWARNING: stamps of the NIC are up to {} after the kernel's on the same echo",
            nanoseconds(nic.after_kernel_max_ns)
        )),
        _ => {}
    }
    Some(text)
}

/// Sizes as typed, with what the socket carries of them where that is one number or a mix.
pub(super) fn sizes(sizes: &Sizes) -> String {
    match sizes {
        Sizes::Fixed(size) => format!("{sizes} B ({} B at the socket)", size.socket_bytes()),
        Sizes::Imix => {
            let shares = IMIX.map(|(bytes, weight)| format!("{weight} of {bytes} B"));
            format!("{sizes} ({}; 4 B less at the socket)", shares.join(" to "))
        }
        _ => format!("{sizes} B (4 B less at the socket)"),
    }
}

/// Bits per second.
pub(super) fn bits(per_second: f64) -> String {
    match per_second {
        1e9.. => format!("{:.2} Gb/s", per_second / 1e9),
        1e5.. => format!("{:.1} Mb/s", per_second / 1e6),
        1e3.. => format!("{:.1} kb/s", per_second / 1e3),
        _ => format!("{per_second:.0} b/s"),
    }
}

/// A change in frames.
pub(super) fn signed(frames: i128) -> String {
    let digits = grouped(frames.unsigned_abs().min(u128::from(u64::MAX)) as u64);
    if frames < 0 { format!("-{digits}") } else { format!("+{digits}") }
}
