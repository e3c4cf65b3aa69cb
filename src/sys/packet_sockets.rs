//! The packet sockets of a network namespace, anybody's, as `/proc/net/packet` lists them.

use super::reading::{Reading, Unreadable, text_of};

const PROC_NET_PACKET: &str = "/proc/thread-self/net/packet";

/// A packet socket, as the kernel lists it (`packet_seq_show` in net/packet/af_packet.c).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ListedSocket {
    /// The EtherType that it receives: 3 is every one, 0 none.
    pub ether_type: u16,
    /// The number of its interface; 0 is every one.
    pub interface: u32,
    /// It receives.
    pub running: bool,
    /// Whose it is.
    pub user: u32,
}

impl ListedSocket {
    /// All in the network namespace of the calling thread. Needs no privilege.
    pub fn list() -> Reading<Vec<ListedSocket>> {
        ListedSocket::parse(&text_of(PROC_NET_PACKET)?)
    }

    /// Whether each frame of the interface costs this socket's filter, at least.
    pub fn sees(&self, interface: u32) -> bool {
        self.running && self.ether_type != 0 && [0, interface].contains(&self.interface)
    }

    fn parse(text: &str) -> Reading<Vec<ListedSocket>> {
        let mut lines = text.lines();
        if !lines.next().is_some_and(|header| header.starts_with("sk")) {
            return Err(Unreadable::because(format!("{PROC_NET_PACKET}: not what it was")));
        }
        let parsed = lines.map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let column = |at: usize, radix| u32::from_str_radix(columns.get(at)?, radix).ok();
            Some(ListedSocket {
                ether_type: column(3, 16)? as u16,
                interface: column(4, 10)?,
                running: column(5, 10)? != 0,
                user: column(7, 10)?,
            })
        });
        Ok(parsed.flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sockets() {
        let text = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
            0000000000000000 3      3    0003   2     1 0      0      34267\n\
            0000000000000000 3      3    88b5   0     0 0      1000   9\n";
        let all = ListedSocket::parse(text).unwrap();
        let one = ListedSocket { ether_type: 3, interface: 2, running: true, user: 0 };
        assert_eq!(
            all,
            [one, ListedSocket { ether_type: 0x88b5, interface: 0, running: false, user: 1000 }]
        );
        assert!(all[0].sees(2) && !all[0].sees(1) && !all[1].sees(2));
        // An empty file is what a container puts over one that it hides.
        assert!(ListedSocket::parse("").is_err());
        assert!(ListedSocket::list().is_ok());
    }
}
