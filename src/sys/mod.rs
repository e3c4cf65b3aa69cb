//! The only room that names libc or nix: every system call of the crate, typed.
//!
//! Hot-path calls return [`std::io::Result`] and build no text; set-up calls return
//! [`crate::error::Result`] with what was attempted and what to do.

pub mod bpf;
pub mod clock;
pub mod cpu_stat;
pub mod cpus;
pub mod epoll;
pub mod epoll_set;
pub mod ethtool_settings;
pub mod ethtool_statistics;
pub mod failure;
pub mod filter;
pub mod forbidden;
pub mod host;
pub mod interface;
pub mod interface_files;
pub mod irq;
pub mod kick;
pub mod link;
pub mod mapping;
pub mod namespace;
pub mod netdev;
mod netlink;
pub mod numa;
pub mod offload;
pub mod packet;
pub mod packet_sockets;
pub mod privilege;
pub mod queues;
pub mod reading;
pub mod replace;
pub mod rights;
pub mod runner;
pub mod settings;
pub mod signal;
pub mod silent_port;
mod socket;
pub mod softnet;
pub mod stamps;
pub mod streams;
pub mod terminal;
pub mod thread_stat;
pub mod topology;
pub mod xdp;
