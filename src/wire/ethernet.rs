//! Stub until merge.
/// A VLAN tag as it stands in a frame: protocol identifier and control information, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// Tag protocol identifier.
    pub tpid: u16,
    /// Tag control information.
    pub tci: u16,
}
