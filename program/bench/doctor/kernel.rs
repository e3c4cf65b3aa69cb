//! Faults and habits of kernel versions that matter here.

/// A version: series and patch level, as in 6.12.42.
type Version = (u32, u32, u32);

/// A fault of the mainline kernel: since when, in which version of each series it was mended, and what it
/// does. Series that are not named have it until the last that is.
struct Fault {
    since: Version,
    mended: &'static [Version],
    what: &'static str,
}

/// From the CVE records of the kernel's own numbering authority.
const FAULTS: [Fault; 3] = [
    Fault {
        since: (0, 0, 0),
        mended: &[(5, 10, 88), (5, 15, 11), (5, 16, 0)],
        what: "CVE-2021-22600: a ring's set-up may free memory twice",
    },
    Fault {
        since: (0, 0, 0),
        mended: &[
            (5, 4, 297),
            (5, 10, 241),
            (5, 15, 190),
            (6, 1, 148),
            (6, 6, 102),
            (6, 12, 42),
            (6, 15, 10),
            (6, 16, 1),
            (6, 17, 0),
        ],
        what: "CVE-2025-38617: a ring's set-up races with links that come up",
    },
    Fault {
        since: (6, 16, 0),
        mended: &[(6, 17, 10), (6, 18, 0)],
        what: "CVE-2025-68232: a veth's TX queue may stop for ever",
    },
];

/// The oldest kernel that linerate is meant for.
pub const OLDEST: Version = (5, 10, 0);
/// Since when blocks of a V3 ring are retired by a timer of high resolution (RX-11).
pub const FINE_BLOCK_TIMER: Version = (6, 18, 0);

/// The version in a release, as in `6.1.0-18-amd64`.
pub fn version(release: &str) -> Option<Version> {
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    let mut parts = release.splitn(3, '.').map(number);
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

/// What a mainline kernel of that version does wrong.
pub fn faults(version: Version) -> Vec<&'static str> {
    let series = |(major, minor, _): Version| (major, minor);
    let has = |fault: &&Fault| {
        let mended = fault.mended.iter().find(|one| series(**one) == series(version));
        let last = fault.mended[fault.mended.len() - 1];
        version >= fault.since && version < *mended.unwrap_or(&last)
    };
    FAULTS.iter().filter(has).map(|fault| fault.what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_releases() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18, 44)));
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1, 0)));
        assert_eq!(version("7.0-rc1"), Some((7, 0, 0)));
        assert_eq!(version("5.15"), Some((5, 15, 0)));
        assert_eq!((version("unknown"), version("")), (None, None));
    }

    #[test]
    fn a_fault_ends_within_each_series() {
        let count = |release| faults(version(release).unwrap()).len();
        assert_eq!((count("5.10.87"), count("5.10.88"), count("5.10.241")), (2, 1, 0));
        assert_eq!((count("6.1.147"), count("6.1.148"), count("6.2.0")), (1, 0, 1));
        assert_eq!(
            (count("6.16.0"), count("6.16.1"), count("6.17.9"), count("6.17.10")),
            (2, 1, 1, 0)
        );
        assert_eq!((count("6.18.0"), count("7.3.1")), (0, 0));
    }
}
