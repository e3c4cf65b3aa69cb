//! Options of `linerate tutorial server` and `client`, and how they end.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::choices::choice;
use super::user::UserArgs;
use super::values::interface_name;
use crate::error::{Result, exit};
use crate::report::text::is_reader_gone;
use crate::sys::packet::SocketType;
use crate::sys::signal::Interrupt;
use crate::tutorial::calls::Kernel;
use crate::tutorial::{
    ClientOptions, Domain, LinkOptions, MESSAGE, Protocol, ServerOptions, client, server,
};
use crate::units::{parse_count, parse_duration, parse_positive_duration};
use crate::wire::ethernet::MacAddress;

/// The plain path, call by call.
#[derive(Debug, Subcommand)]
pub enum TutorialArgs {
    /// Answer each message with the same text in upper case
    ///
    /// Calls socket, bind, epoll_create1 and epoll_ctl; then epoll_wait, recvfrom and sendto for
    /// each message; and close. It prints every received frame. It answers messages only; for all
    /// other frames the line says why: an outgoing copy, text already in upper case (an answer),
    /// another EtherType, another host's frame. Ends on Ctrl-C.
    #[command(after_help = include_str!("help/tutorial-server.txt"))]
    Server(ServerArgs),
    /// Send a message at an interval and print what comes back
    ///
    /// Calls socket, bind, epoll_create1 and epoll_ctl; then sendto for each message, and epoll_wait
    /// and recvfrom until the next one is due; and close. Exit code 1 if no answer came, 130 after
    /// Ctrl-C.
    #[command(after_help = include_str!("help/tutorial-client.txt"))]
    Client(ClientArgs),
}

/// The socket and what it is bound to.
#[derive(Args, Debug)]
pub struct LinkArgs {
    /// Interface to bind to
    #[arg(short, long, value_name = "NAME", default_value = "lo", value_parser = interface_name())]
    interface: String,

    /// First argument of socket(): two names for 17
    #[arg(long, value_parser = choice::<Domain>(), default_value = "af-packet")]
    domain: Domain,

    /// Second argument of socket(): who handles the Ethernet header
    #[arg(long, value_parser = choice::<SocketType>(), default_value = "dgram")]
    socket: SocketType,

    /// Third argument of socket(), and the EtherType of bind()
    #[arg(long, value_parser = choice::<Protocol>(), default_value = "all")]
    protocol: Protocol,

    /// Time-out of each epoll_wait; after it the program checks its limits and waits again
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_positive_duration)]
    timeout: Duration,

    #[command(flatten)]
    user: UserArgs,
}

/// `linerate tutorial server`.
#[derive(Args, Debug)]
pub struct ServerArgs {
    #[command(flatten)]
    link: LinkArgs,

    /// End after COUNT answers (10, 1k); 0: run until Ctrl-C
    #[arg(short = 'n', long, value_name = "COUNT", default_value = "0", value_parser = parse_count)]
    count: u64,

    /// End after this time (5s, 2m); 0: run until Ctrl-C
    #[arg(short, long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    duration: Duration,
}

/// `linerate tutorial client`.
#[derive(Args, Debug)]
pub struct ClientArgs {
    #[command(flatten)]
    link: LinkArgs,

    /// Hardware address to send to
    #[arg(long, value_name = "MAC", default_value = "ff:ff:ff:ff:ff:ff")]
    to: MacAddress,

    /// Text of the message
    #[arg(short, long, value_name = "TEXT", default_value = MESSAGE, value_parser = parse_message)]
    message: String,

    /// Interval of messages
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive_duration)]
    interval: Duration,

    /// End after COUNT messages (10, 1k); 0: run until Ctrl-C
    #[arg(short = 'n', long, value_name = "COUNT", default_value = "8", value_parser = parse_count)]
    count: u64,

    /// End after this time (5s, 2m) even if messages are left; 0: no limit
    #[arg(short, long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    duration: Duration,
}

impl TutorialArgs {
    /// Runs it; the exit code.
    pub fn run(self) -> Result<u8> {
        let interrupt = Interrupt::catch()?;
        let mut output = Output { writer: io::stdout(), interrupt: interrupt.clone(), gone: false };
        match self {
            TutorialArgs::Server(arguments) => {
                arguments.link.user.become_plain()?;
                server::run(&Kernel, &arguments.into(), &interrupt, &mut output)?;
                Ok(exit::OK)
            }
            TutorialArgs::Client(arguments) => {
                arguments.link.user.become_plain()?;
                let summary = client::run(&Kernel, &arguments.into(), &interrupt, &mut output)?;
                let stopped = summary.interrupted && !output.gone;
                Ok(if stopped { exit::INTERRUPTED } else { exit::OK })
            }
        }
    }
}

impl From<LinkArgs> for LinkOptions {
    fn from(arguments: LinkArgs) -> LinkOptions {
        LinkOptions {
            interface: arguments.interface,
            domain: arguments.domain,
            kind: arguments.socket,
            protocol: arguments.protocol,
            timeout: arguments.timeout,
        }
    }
}

impl From<ServerArgs> for ServerOptions {
    fn from(arguments: ServerArgs) -> ServerOptions {
        ServerOptions {
            link: arguments.link.into(),
            count: limit(arguments.count),
            duration: limit(arguments.duration),
        }
    }
}

impl From<ClientArgs> for ClientOptions {
    fn from(arguments: ClientArgs) -> ClientOptions {
        ClientOptions {
            link: arguments.link.into(),
            to: arguments.to.0,
            message: arguments.message.into_bytes(),
            interval: arguments.interval,
            count: limit(arguments.count),
            duration: limit(arguments.duration),
        }
    }
}

/// A typed limit; 0 means no limit.
fn limit<T: Default + PartialEq>(typed: T) -> Option<T> {
    (typed != T::default()).then_some(typed)
}

/// A message as typed: not empty, for the kernel takes an empty one and delivers it to nobody
/// (`packet_rcv` keeps as many bytes as the filter says, and 0 means none of the frame).
fn parse_message(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() {
        return Err("an empty message is delivered to nobody".to_string());
    }
    Ok(text.to_string())
}

/// Standard output that ends the run, without an error, when its reader has gone (`| head`), and serves on
/// when it takes no text for another reason, which is said at the end.
struct Output<W> {
    writer: W,
    interrupt: Interrupt,
    gone: bool,
}

impl<W: Write> Output<W> {
    fn unless_gone<T>(&mut self, result: io::Result<T>, otherwise: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                if is_reader_gone(error) {
                    self.gone = true;
                    self.interrupt.raise();
                }
                Ok(otherwise)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.writer.write(bytes);
        self.unless_gone(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush();
        self.unless_gone(result, ())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::tutorial::BROADCAST;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        tutorial: TutorialArgs,
    }

    fn client(words: &[&str]) -> std::result::Result<ClientOptions, clap::Error> {
        let line = Line::try_parse_from(["linerate", "client"].iter().chain(words))?;
        match line.tutorial {
            TutorialArgs::Client(arguments) => Ok(arguments.into()),
            TutorialArgs::Server(_) => unreachable!("the word was client"),
        }
    }

    #[test]
    fn defaults_on_the_command_line_are_those_of_the_library() {
        let (typed, default) = (client(&[]).unwrap(), ClientOptions::default());
        assert_eq!(format!("{typed:?}"), format!("{default:?}"));
        assert_eq!(typed.to, BROADCAST);
        let line = Line::try_parse_from(["linerate", "server"]).unwrap();
        let TutorialArgs::Server(arguments) = line.tutorial else { panic!("the word was server") };
        let (typed, default) = (ServerOptions::from(arguments), ServerOptions::default());
        assert_eq!(format!("{typed:?}"), format!("{default:?}"));
    }

    #[test]
    fn options_mean_what_they_say_and_zero_is_no_limit() {
        let options = client(&[
            "-i",
            "veth0",
            "--to",
            "02-00-00-00-00-0A",
            "--domain",
            "pf-packet",
            "--socket",
            "raw",
            "--protocol",
            "udp",
            "-n",
            "0",
            "-d",
            "2s",
            "-m",
            "hi",
        ])
        .unwrap();
        assert_eq!(options.to, [2, 0, 0, 0, 0, 10]);
        assert_eq!(options.link.interface, "veth0");
        assert_eq!((options.link.domain, options.link.protocol), (Domain::PfPacket, Protocol::Udp));
        assert_eq!(options.link.kind, SocketType::Raw);
        assert_eq!((options.count, options.duration), (None, Some(Duration::from_secs(2))));
        assert_eq!(options.message, b"hi");
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            ["--to", "02:00:00:00:00"],
            ["--to", "02:00:00:00:00:01:02"],
            ["--to", "02:00:00:00:00:+1"],
            ["--message", ""],
            ["--protocol", "tcp"],
            ["--socket", "stream"],
            ["--timeout", "0s"],
            ["--interval", "0"],
            ["-n", "-1"],
        ] {
            assert!(client(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_ends_the_run_without_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let interrupt = Interrupt::default();
        let mut output = Output { writer: Closed, interrupt: interrupt.clone(), gone: false };
        output.write_all(b"a line\n").unwrap();
        assert!(output.gone && interrupt.caught());
    }
}
