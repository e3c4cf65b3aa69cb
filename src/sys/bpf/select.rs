//! The XDP program of this crate: it redirects what is wanted to AF_XDP sockets and leaves all else to the
//! kernel.

use std::os::fd::BorrowedFd;

use super::assembly::Condition::{Always, Differs, Equals, Exceeds, HasAny};
use super::assembly::Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use super::assembly::{Assembly, Instruction, Label, Width};
use crate::sys::filter::{ETHER_TYPE_OFFSET, TAG_BYTES};
use crate::units::{TAG_TYPES, TAGS_MAX};

/// Frames that a program takes out of the kernel's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// EtherTypes, looked for behind VLAN tags as well: XDP sees tags in the frame, before the kernel takes
    /// them off.
    pub ether_types: Vec<u16>,
    /// A UDP destination port, over IPv4 or straight behind the header of IPv6, tagged or not.
    /// Fragments are left to the kernel, since only the first one has a port.
    pub udp_port: Option<u16>,
}

/// The kernel's function that tells the tag that a driver took off a frame (since 6.8), as far as the driver has
/// it told.
pub const TAG_FUNCTION: &str = "bpf_xdp_metadata_rx_vlan_tag";

/// What a program returns to have the kernel go on with the frame.
const PASS: i32 = 2;
/// `bpf_map_lookup_elem`.
const MAP_LOOKUP: i32 = 1;
/// `bpf_xdp_adjust_head`.
const ADJUST_HEAD: i32 = 44;
/// `bpf_redirect_map`.
const REDIRECT_MAP: i32 = 51;
/// Offsets in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const RECEIVE_QUEUE: i16 = 16;

const HEADER: i16 = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: i32 = 17;

impl Selection {
    /// The program that redirects each selected frame to the socket of its receive queue in `map`.
    /// Frames of a queue without a socket pass to the stack, and so do all frames if nothing is
    /// selected.
    ///
    /// A tag beside the frame goes back into it, if `tag_function` is the number of [`TAG_FUNCTION`]; the program
    /// must then be bound to the interface.
    ///
    /// Register 6 keeps the context, 2 points to where an untagged frame would begin, 3 to the end
    /// of the data, 5 holds the EtherType.
    pub fn program(&self, map: BorrowedFd<'_>, tag_function: Option<u32>) -> Vec<Instruction> {
        let mut a = Assembly::new();
        let (found, redirect, pass) = (a.label(), a.label(), a.label());
        a.copy(R6, R1).load(Width::Word, R2, R1, DATA).load(Width::Word, R3, R1, DATA_END);
        ether_type(&mut a, pass);
        for _ in 0..TAGS_MAX {
            let tagged = a.label();
            for tpid in TAG_TYPES {
                a.jump(Equals(R5, in_memory(tpid)), tagged);
            }
            a.jump(Always, found);
            a.place(tagged).add(R2, TAG_BYTES.into());
            ether_type(&mut a, pass);
        }
        a.place(found);
        for &wanted in &self.ether_types {
            a.jump(Equals(R5, in_memory(wanted)), redirect);
        }
        if let Some(port) = self.udp_port {
            udp(&mut a, port, redirect, pass);
        }
        a.place(pass).set(R0, PASS).exit();
        // A program may not end in unreachable code, so this comes only if somebody jumps here.
        if !self.ether_types.is_empty() || self.udp_port.is_some() {
            a.place(redirect);
            let untouched = a.label();
            if let Some(function) = tag_function {
                put_tag_back(&mut a, map, function, untouched);
            }
            a.load(Width::Word, R2, R6, RECEIVE_QUEUE).load_map(R1, map);
            // What to return for a queue without a socket stands in the flags (since 5.3).
            a.set(R3, PASS).call(REDIRECT_MAP).exit();
            if tag_function.is_some() {
                a.place(untouched).set(R0, PASS).exit();
            }
        }
        a.finish()
    }
}

/// Puts a tag that lies beside the frame into it, so that the frame is as it was on the wire.
fn put_tag_back(a: &mut Assembly, map: BorrowedFd<'_>, function: u32, untouched: Label) {
    // Places on the stack, below its end.
    const QUEUE: i16 = -8;
    const TPID: i16 = -4;
    const TCI: i16 = -2;
    let as_it_is = a.label();
    // Only if a socket takes it: for the stack the tag stays beside the frame, whatever is put into it.
    a.load(Width::Word, R0, R6, RECEIVE_QUEUE).store(Width::Word, R10, QUEUE, R0);
    a.load_map(R1, map).copy(R2, R10).add(R2, QUEUE.into()).call(MAP_LOOKUP);
    a.jump(Equals(R0, 0), untouched);
    a.set(R0, 0).store(Width::Word, R10, TPID, R0);
    a.copy(R1, R6).copy(R2, R10).add(R2, TPID.into()).copy(R3, R10).add(R3, TCI.into());
    // Anything but 0: there is none, or the driver does not tell.
    a.call_kernel(function).jump(Differs(R0, 0), as_it_is);
    // Both addresses move to the front.
    a.load(Width::Word, R2, R6, DATA).load(Width::Word, R3, R6, DATA_END);
    within(a, HEADER, untouched);
    for (kept, at) in [R7, R8, R9].into_iter().zip([0, 4, 8]) {
        a.load(Width::Word, kept, R2, at);
    }
    a.copy(R1, R6).set(R2, -i32::from(TAG_BYTES)).call(ADJUST_HEAD);
    a.jump(Differs(R0, 0), untouched);
    a.load(Width::Word, R2, R6, DATA).load(Width::Word, R3, R6, DATA_END);
    within(a, HEADER + i16::from(TAG_BYTES), untouched);
    for (kept, at) in [R7, R8, R9].into_iter().zip([0, 4, 8]) {
        a.store(Width::Word, R2, at, kept);
    }
    // Of the two the identifier comes in network order, the control information in the machine's.
    a.load(Width::Half, R0, R10, TPID).store(Width::Half, R2, ETHER_TYPE_OFFSET.into(), R0);
    a.load(Width::Half, R0, R10, TCI).to_network_order(R0).store(Width::Half, R2, HEADER, R0);
    a.place(as_it_is);
}

/// Loads the EtherType at register 2, if the data reaches so far.
fn ether_type(a: &mut Assembly, pass: Label) {
    within(a, HEADER, pass);
    a.load(Width::Half, R5, R2, ETHER_TYPE_OFFSET.into());
}

/// Passes the frame unless it has `bytes` bytes from register 2 on.
fn within(a: &mut Assembly, bytes: i16, pass: Label) {
    a.copy(R4, R2).add(R4, bytes.into()).jump(Exceeds(R4, R3), pass);
}

fn udp(a: &mut Assembly, port: u16, redirect: Label, pass: Label) {
    const IPV4_BYTES: i16 = 20;
    const IPV6_BYTES: i16 = 40;
    let v6 = a.label();
    a.jump(Equals(R5, in_memory(IPV6)), v6);
    a.jump(Differs(R5, in_memory(IPV4)), pass);
    within(a, HEADER + IPV4_BYTES, pass);
    a.load(Width::Byte, R0, R2, HEADER + 9).jump(Differs(R0, UDP), pass);
    // More fragments, or an offset.
    a.load(Width::Half, R0, R2, HEADER + 6).jump(HasAny(R0, in_memory(0x3fff)), pass);
    // The header's length in 32-bit words stands in the low half of its first byte.
    a.load(Width::Byte, R0, R2, HEADER).and(R0, 0x0f).shift_left(R0, 2);
    a.set(R4, IPV4_BYTES.into()).jump(Exceeds(R4, R0), pass).add_register(R2, R0);
    within(a, HEADER + 4, pass);
    a.load(Width::Half, R0, R2, HEADER + 2).jump(Equals(R0, in_memory(port)), redirect);
    a.jump(Always, pass);
    a.place(v6);
    within(a, HEADER + IPV6_BYTES + 4, pass);
    a.load(Width::Byte, R0, R2, HEADER + 6).jump(Differs(R0, UDP), pass);
    a.load(Width::Half, R0, R2, HEADER + IPV6_BYTES + 2);
    a.jump(Equals(R0, in_memory(port)), redirect);
}

/// A big-endian field of two bytes as a load of this machine sees it.
fn in_memory(number: u16) -> i32 {
    u16::from_ne_bytes(number.to_be_bytes()).into()
}

#[cfg(test)]
mod tests;
