//! PTP messages (IEEE 1588-2008, clause 13) as an envelope of probes: a NIC that stamps no other frames stamps these.

/// Bytes of a Sync message: header and origin timestamp.
pub const PTP_SYNC_BYTES: usize = 44;

/// A Sync message of version 2 that no clock heeds: domain 127, without a source port or a time. What follows it
/// is padding to PTP. No byte of it is a lower-case letter, so an echo in upper case is the same.
pub const PTP_SYNC: [u8; PTP_SYNC_BYTES] = {
    let mut message = [0; PTP_SYNC_BYTES];
    message[1] = 2;
    message[3] = PTP_SYNC_BYTES as u8;
    message[4] = 127;
    // An interval that is not told.
    message[33] = 127;
    message
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_in_upper_case_is_the_same() {
        assert_eq!(PTP_SYNC.to_ascii_uppercase(), PTP_SYNC);
    }
}
