//! The server: it answers each message with the same text in upper case.

use std::io::Write;
use std::time::Instant;

use super::ServerOptions;
use super::calls::Calls;
use super::message::Message;
use super::steps::{BUFFER_BYTES, Link, Waited, end_after, say, with_link};
use super::text::escaped;
use crate::error::Result;
use crate::sys::signal::Interrupt;

/// What the server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames received, answered or not.
    pub received: u64,
    /// Answers sent.
    pub answered: u64,
    /// Times that `epoll_wait` gave 0.
    pub quiet_waits: u64,
    /// Whether a signal ended it.
    pub interrupted: bool,
}

/// Serves until `interrupt` or until an option's limit is reached; prints to `output` only.
pub fn run<C: Calls>(
    calls: &C,
    options: &ServerOptions,
    interrupt: &Interrupt,
    output: &mut dyn Write,
) -> Result<Summary> {
    with_link(calls, &options.link, |link| serve(link, options, interrupt, output))
}

fn serve<C: Calls>(
    link: &Link<'_, C>,
    options: &ServerOptions,
    interrupt: &Interrupt,
    output: &mut dyn Write,
) -> Result<Summary> {
    let end = options.duration.and_then(end_after);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut summary = Summary::default();
    say(output, format_args!("UDP is listening"))?;
    loop {
        if interrupt.caught() {
            say(output, format_args!("Caught sigINT!"))?;
            summary.interrupted = true;
            break;
        }
        let enough = options.count.is_some_and(|count| summary.answered >= count);
        if enough || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        match link.wait(end)? {
            Waited::Ready => {}
            Waited::Quiet => {
                summary.quiet_waits += 1;
                continue;
            }
            Waited::Interrupted => continue,
        }
        let Some(message) = link.receive(&mut buffer)? else { continue };
        summary.received += 1;
        summary.answered += u64::from(answer(link, &message, output)?);
    }
    Ok(summary)
}

/// Prints `message` and answers it if it is one to answer; whether it was.
fn answer<C: Calls>(
    link: &Link<'_, C>,
    message: &Message<'_>,
    output: &mut dyn Write,
) -> Result<bool> {
    let text = escaped(message.payload);
    let answer = match message.foreign(link.interface, link.ethertype) {
        Some(silence) => Err(silence),
        None => message.answer(),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(silence) => {
            say(output, format_args!("Received: {text}   [not answered: {silence}]"))?;
            return Ok(false);
        }
    };
    say(output, format_args!("Received: {text}"))?;
    let sent = link.try_send(&answer, message.from.mac)?;
    let fate = if sent { "" } else { "   [lost: the send buffer is full]" };
    say(output, format_args!("sending message = {}{fate}", escaped(&answer)))?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::packet::{OUTGOING, SocketType};
    use crate::tutorial::explain::Call;
    use crate::tutorial::tests::fake::{Fake, INTERFACE, SENDER};
    use crate::tutorial::{Domain, LinkOptions, Protocol};

    fn serve_with(fake: &Fake, options: &ServerOptions) -> (Result<Summary>, String) {
        let mut output = Vec::new();
        let result = run(fake, options, &fake.interrupt, &mut output);
        fake.assert_all_closed();
        (result, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_message_is_answered_in_upper_case_to_its_sender() {
        let fake = Fake::with_messages(&[b"hello server!"]);
        let (summary, output) = serve_with(&fake, &ServerOptions::default());
        assert_eq!(
            output,
            "UDP is listening\nReceived: hello server!\nsending message = HELLO SERVER!\n\
             Caught sigINT!\n"
        );
        let expected = Summary { received: 1, answered: 1, quiet_waits: 1, interrupted: true };
        assert_eq!(summary.unwrap(), expected);
        let sent = fake.sent.take();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, b"HELLO SERVER!");
        assert_eq!((sent[0].1.mac, sent[0].1.protocol), (SENDER, 0x88b5));
        assert_eq!(sent[0].1.interface, INTERFACE);
    }

    #[test]
    fn the_calls_are_made_in_the_order_of_the_tutorial() {
        let fake = Fake::with_messages(&[b"hello server!"]);
        serve_with(&fake, &ServerOptions::default()).0.unwrap();
        let expected = [
            Call::Socket,
            Call::Bind,
            Call::EpollCreate,
            Call::EpollControl,
            Call::EpollWait,
            Call::Receive,
            Call::Send,
            Call::EpollWait,
            Call::Close,
            Call::Close,
        ];
        assert_eq!(*fake.made.borrow(), expected);
    }

    #[test]
    fn domain_and_protocol_reach_the_socket_and_the_bind_decides() {
        let cases = [
            (Domain::AfPacket, Protocol::All, 0x0003, 0x0003),
            (Domain::PfPacket, Protocol::All, 0x0003, 0x0003),
            (Domain::PfPacket, Protocol::Pae, 0x888e, 0x888e),
            (Domain::PfPacket, Protocol::Udp, u16::from_be(17), 0x0003),
        ];
        for (domain, protocol, at_socket, at_bind) in cases {
            let fake = Fake::with_messages(&[]);
            let link = LinkOptions { domain, protocol, ..LinkOptions::default() };
            serve_with(&fake, &ServerOptions { link, ..ServerOptions::default() }).0.unwrap();
            assert_eq!(fake.subscribed.take(), [at_socket, at_bind], "{protocol:?}");
        }
    }

    #[test]
    fn a_raw_socket_gets_a_header_and_gives_one() {
        let mut fake = Fake::with_messages(&[]);
        fake.mac = [2, 0, 0, 0, 0, 9];
        fake.push(b"DDDDDDSSSSSS\x88\xb5hi", |_| {});
        let link = LinkOptions { kind: SocketType::Raw, ..LinkOptions::default() };
        serve_with(&fake, &ServerOptions { link, ..ServerOptions::default() }).0.unwrap();
        let mut expected = SENDER.to_vec();
        expected.extend_from_slice(&fake.mac);
        expected.extend_from_slice(b"\x88\xb5HI");
        assert_eq!(fake.sent.take()[0].0, expected);
    }

    #[test]
    fn copies_answers_and_foreign_frames_are_printed_but_not_answered() {
        let fake = Fake::with_messages(&[b"HELLO SERVER!"]);
        fake.push(b"hello server!", |from| from.packet_type = OUTGOING);
        fake.push(b"\x1b[31mred\xff", |from| from.protocol = 0x0800);
        let (summary, output) = serve_with(&fake, &ServerOptions::default());
        assert_eq!(
            output,
            "UDP is listening\n\
             Received: HELLO SERVER!   [not answered: upper-case already]\n\
             Received: hello server!   [not answered: an outgoing copy]\n\
             Received: \\u{1b}[31mred\\xff   [not answered: EtherType 0x0800]\n\
             Caught sigINT!\n"
        );
        assert_eq!(summary.unwrap().answered, 0);
        assert!(fake.sent.take().is_empty());
    }

    #[test]
    fn count_and_duration_end_it_without_a_signal() {
        let fake = Fake::with_messages(&[b"a", b"b", b"c"]);
        let options = ServerOptions { count: Some(2), ..ServerOptions::default() };
        let (summary, output) = serve_with(&fake, &options);
        assert_eq!((summary.unwrap().answered, output.contains("sigINT")), (2, false));

        let mut fake = Fake::with_messages(&[]);
        fake.interrupt_when_quiet = false;
        let duration = Some(Duration::from_millis(5));
        let options = ServerOptions { duration, ..ServerOptions::default() };
        let summary = serve_with(&fake, &options).0.unwrap();
        assert!(summary.quiet_waits > 0 && !summary.interrupted, "{summary:?}");
    }

    #[test]
    fn a_full_send_buffer_loses_the_answer_and_says_so() {
        let fake = Fake::with_messages(&[b"hi"]);
        fake.fail(Call::Send, 11);
        let (summary, output) = serve_with(&fake, &ServerOptions::default());
        assert!(output.contains("sending message = HI   [lost: the send buffer is full]\n"));
        assert_eq!(summary.unwrap().answered, 0);
    }

    #[test]
    fn signals_and_false_alarms_do_not_end_it() {
        for (call, code) in [(Call::EpollWait, 4), (Call::Receive, 4), (Call::Receive, 11)] {
            let fake = Fake::with_messages(&[b"hi"]);
            fake.fail(call, code);
            assert_eq!(serve_with(&fake, &ServerOptions::default()).0.unwrap().answered, 1);
        }
    }
}
