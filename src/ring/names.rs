//! TX halves by name: the engine and loads have the same.

use crate::names;

names! {
    "TX half",
    /// A TX half by name.
    #[derive(Default)]
    pub enum TxName {
        /// TX ring of a packet socket: one copy, one system call a batch.
        #[default]
        Ring = "ring",
        /// `sendmmsg` out of the memory that the frames were received in, one call a batch.
        Mmsg = "mmsg",
        /// `sendto`, one frame a call.
        Send = "send",
        /// AF_XDP: with the receive half `xsk` the received frame itself is sent, else one copy.
        Xsk = "xsk",
        /// A BPF program copies the frames in the kernel, straight for the driver.
        Bpf = "bpf",
    }
}
