//! The storm guard: limits answers that may be part of an endless loop.
//!
//! Nothing in Ethernet or UDP ends a loop between two stations that answer each other. Two signs are
//! looked at (docs/decisions/0005 and 0014): the transform changes nothing in the frame, so it may be
//! an echo of an echo; or a UDP service is answered more often than people and small tools ask. A peer
//! that sends linerate's probes, or many datagrams without waiting for answers, is a load, and is
//! answered without limit.

use super::edit::Edit;
use crate::stats::drops::DropReason;
use crate::wire::probe::Probe;

/// How many answers of a kind may pass in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// At most this many in a second, all at once or spread over it.
    PerSecond(u32),
    /// All.
    Unlimited,
}

impl Allowance {
    #[inline]
    fn allows(self, answers: u32) -> bool {
        match self {
            Allowance::PerSecond(limit) => answers < limit,
            Allowance::Unlimited => true,
        }
    }
}

/// Answers a second to one UDP peer, unless told otherwise: more than people and small tools ask for,
/// and few enough that a loop does no harm.
pub const PER_PEER: Allowance = Allowance::PerSecond(1000);

/// Services have ports below this one; from here on Linux gives ports to clients
/// (`ip_local_port_range`), and a client does not answer answers.
pub const CLIENT_PORT_MIN: u16 = 32_768;

/// Datagrams of one peer in one batch from which on it is a load: a loop has few in flight, and sends
/// none before it is answered.
const AHEAD: u32 = 16;

const SECOND_NS: u64 = 1_000_000_000;

/// Peers are told apart by a hash of this many values; peers of equal hash share an allowance. A
/// table without keys cannot be filled up by forged sources.
const PEERS: usize = 256;

/// Counts answers in windows of at least a second. The clock is read only when a limit is reached, and
/// then at most once a batch.
#[derive(Debug)]
pub struct StormGuard {
    unchanged: Allowance,
    per_peer: Allowance,
    unchanged_answers: u32,
    peers: Box<[Peer; PEERS]>,
    window_start_ns: u64,
    /// Number of the batch.
    batch: u32,
    /// Whether the clock was read in this batch.
    is_clock_read: bool,
}

/// What is known of the peers with one hash.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// Answers in this window, or since the peer was last seen to be a load.
    answers: u32,
    /// The batch that it was last seen in, and its datagrams there.
    batch: u32,
    in_batch: u32,
}

impl StormGuard {
    /// A guard that lets `unchanged` frames pass that the transform leaves as they are, and `per_peer`
    /// answers to one source IP address and port below [`CLIENT_PORT_MIN`]; made at `now_ns` by the
    /// clock that [`StormGuard::check`] is given.
    pub fn new(unchanged: Allowance, per_peer: Allowance, now_ns: u64) -> StormGuard {
        StormGuard {
            unchanged,
            per_peer,
            unchanged_answers: 0,
            peers: Box::new([Peer::default(); PEERS]),
            window_start_ns: now_ns,
            batch: 0,
            is_clock_read: false,
        }
    }

    /// A batch begins.
    #[inline]
    pub fn begin_batch(&mut self) {
        self.is_clock_read = false;
        self.batch = self.batch.wrapping_add(1);
    }

    /// Whether the answer to `frame` by `edit` may be sent, and if not, why. `changed` says whether the
    /// transform changes a byte.
    #[inline]
    pub fn check(
        &mut self,
        frame: &[u8],
        edit: &Edit,
        changed: bool,
        now_ns: impl Fn() -> u64,
    ) -> Result<(), DropReason> {
        if !changed {
            if !self.unchanged.allows(self.unchanged_answers) {
                self.renew(&now_ns);
                if !self.unchanged.allows(self.unchanged_answers) {
                    return Err(DropReason::Unchanged);
                }
            }
            self.unchanged_answers = self.unchanged_answers.saturating_add(1);
        }
        if self.per_peer == Allowance::Unlimited {
            return Ok(());
        }
        let Some(place) = service_of(frame, edit) else { return Ok(()) };
        let peer = &mut self.peers[place];
        if peer.batch != self.batch {
            (peer.batch, peer.in_batch) = (self.batch, 0);
        }
        peer.in_batch += 1;
        if peer.in_batch == AHEAD {
            peer.answers = 0;
        }
        if !self.per_peer.allows(peer.answers) {
            // One probe vouches for a whole allowance, so that a load pays for the check seldom.
            if Probe::read(&frame[edit.payload_start..edit.payload_end]).is_some() {
                peer.answers = 0;
                return Ok(());
            }
            self.renew(&now_ns);
            if !self.per_peer.allows(self.peers[place].answers) {
                return Err(DropReason::Storm);
            }
        }
        self.peers[place].answers += 1;
        Ok(())
    }

    /// Begins a new window if the last one is over.
    #[cold]
    fn renew(&mut self, now_ns: &impl Fn() -> u64) {
        if std::mem::replace(&mut self.is_clock_read, true) {
            return;
        }
        let now_ns = now_ns();
        // A clock that was set back ends the window, too.
        if now_ns.wrapping_sub(self.window_start_ns) >= SECOND_NS {
            self.window_start_ns = now_ns;
            self.unchanged_answers = 0;
            self.peers.iter_mut().for_each(|peer| peer.answers = 0);
        }
    }
}

/// The place in the table of the peer that a datagram came from; `None` for all that no service sends.
#[inline]
fn service_of(frame: &[u8], edit: &Edit) -> Option<usize> {
    let udp = edit.udp.as_ref().filter(|udp| udp.view.source_port < CLIENT_PORT_MIN)?;
    let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    let source = &frame[udp.packet_start..][udp.view.source_address()];
    let port = u64::from(udp.view.source_port);
    let key = source.chunks_exact(4).fold(port, |key, part| key.rotate_left(29) ^ word(part));
    Some((key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize)
}
