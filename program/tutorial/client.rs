//! The client: it says its message at an interval and prints what comes back meanwhile.

use std::io::Write;
use std::time::Instant;

use super::ClientOptions;
use super::calls::Calls;
use super::message::Message;
use super::steps::{BUFFER_BYTES, Link, Waited, end_after, say, with_link};
use super::text::escaped;
use crate::error::{Error, Result};
use crate::sys::signal::Interrupt;

/// What the client did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages sent.
    pub sent: u64,
    /// Frames received, answers or not.
    pub received: u64,
    /// Messages received that are ours in upper case.
    pub answers: u64,
    /// Times that `epoll_wait` gave 0.
    pub quiet_waits: u64,
    /// Whether a signal ended it.
    pub interrupted: bool,
}

/// Sends until `interrupt` or until an option's limit is reached; prints to `output` only.
/// That no answer came at all is an error, unless a signal ended it or the message was in upper
/// case already.
pub fn run<C: Calls>(
    calls: &C,
    options: &ClientOptions,
    interrupt: &Interrupt,
    output: &mut dyn Write,
) -> Result<Summary> {
    let summary = with_link(calls, &options.link, |link| {
        let expected = options.message.to_ascii_uppercase();
        let expected = (expected != options.message).then_some(expected);
        let buffer = vec![0; BUFFER_BYTES];
        let end = options.duration.and_then(end_after);
        let summary = Summary::default();
        Talk { link, options, interrupt, expected, buffer, end, summary }.run(output)
    })?;
    let hopeless = options.message == options.message.to_ascii_uppercase();
    if summary.answers == 0 && summary.sent > 0 && !summary.interrupted && !hopeless {
        return Err(Error::Run(format!(
            "sent {} and got no answer\n  is `linerate tutorial server` running at the other end \
             of {} (of lo: on this host), with the same --protocol?",
            if summary.sent == 1 {
                "a message".into()
            } else {
                format!("{} messages", summary.sent)
            },
            options.link.interface,
        )));
    }
    Ok(summary)
}

struct Talk<'run, C: Calls> {
    link: &'run Link<'run, C>,
    options: &'run ClientOptions,
    interrupt: &'run Interrupt,
    /// What an answer says; `None` if upper-casing does not change the message.
    expected: Option<Vec<u8>>,
    buffer: Vec<u8>,
    end: Option<Instant>,
    summary: Summary,
}

impl<C: Calls> Talk<'_, C> {
    fn run(mut self, output: &mut dyn Write) -> Result<Summary> {
        while !self.is_over() {
            self.link.send(&self.options.message, self.options.to)?;
            self.summary.sent += 1;
            say(output, format_args!("Sentbuffer : {}", escaped(&self.options.message)))?;
            self.listen(output)?;
        }
        if self.interrupt.caught() {
            say(output, format_args!("Caught sigINT!"))?;
            self.summary.interrupted = true;
        }
        Ok(self.summary)
    }

    fn is_over(&self) -> bool {
        self.interrupt.caught()
            || self.has_sent_all()
            || self.end.is_some_and(|end| Instant::now() >= end)
    }

    fn has_sent_all(&self) -> bool {
        self.options.count.is_some_and(|count| self.summary.sent >= count)
    }

    /// Prints what comes until the next message is due; after the last one, only until every
    /// message is answered.
    fn listen(&mut self, output: &mut dyn Write) -> Result<()> {
        let next = end_after(self.options.interval);
        let until = [self.end, next].into_iter().flatten().min();
        while !self.interrupt.caught() && until.is_none_or(|until| Instant::now() < until) {
            if self.has_sent_all() && self.summary.answers >= self.summary.sent {
                break;
            }
            match self.link.wait(until)? {
                Waited::Ready => self.receive(output)?,
                Waited::Quiet => self.summary.quiet_waits += 1,
                Waited::Interrupted => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, output: &mut dyn Write) -> Result<()> {
        let Some(message) = self.link.receive(&mut self.buffer)? else { return Ok(()) };
        self.summary.received += 1;
        let text = escaped(message.payload);
        if let Some(silence) = message.foreign(self.link.interface, self.link.ethertype) {
            return say(output, format_args!("Received : {text}   [{silence}]"));
        }
        if is_answer(&message, self.expected.as_deref()) {
            self.summary.answers += 1;
            return say(output, format_args!("Received : {text}"));
        }
        say(output, format_args!("Received : {text}   [no answer to ours]"))
    }
}

fn is_answer(message: &Message<'_>, expected: Option<&[u8]>) -> bool {
    expected.is_some_and(|expected| message.says(expected))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::packet::OUTGOING;
    use crate::tutorial::explain::Call;
    use crate::tutorial::tests::fake::Fake;
    use crate::tutorial::{BROADCAST, MESSAGE};

    fn once() -> ClientOptions {
        ClientOptions { count: Some(1), interval: Duration::from_secs(5), ..Default::default() }
    }

    fn talk_with(fake: &Fake, options: &ClientOptions) -> (Result<Summary>, String) {
        let mut output = Vec::new();
        let result = run(fake, options, &fake.interrupt, &mut output);
        fake.assert_all_closed();
        (result, String::from_utf8(output).unwrap())
    }

    #[test]
    fn it_says_its_message_and_prints_what_comes_back() {
        let fake = Fake::with_messages(&[b"hello server!"]);
        fake.push(b"HELLO SERVER!", |from| from.packet_type = OUTGOING);
        fake.push(b"HELLO SERVER!\0\0\0\0\0", |_| {});
        let (summary, output) = talk_with(&fake, &once());
        assert_eq!(
            output,
            "Sentbuffer : hello server!\n\
             Received : hello server!   [no answer to ours]\n\
             Received : HELLO SERVER!   [an outgoing copy]\n\
             Received : HELLO SERVER!\\0{5}\n"
        );
        let expected =
            Summary { sent: 1, received: 3, answers: 1, quiet_waits: 0, interrupted: false };
        assert_eq!(summary.unwrap(), expected);
        let sent = fake.sent.take();
        assert_eq!((&sent[0].0[..], sent[0].1.mac), (MESSAGE.as_bytes(), BROADCAST));
    }

    #[test]
    fn silence_is_an_error_that_says_what_to_look_at() {
        let mut fake = Fake::with_messages(&[]);
        fake.interrupt_when_quiet = false;
        let interval = Duration::from_millis(2);
        let options = ClientOptions { count: Some(3), interval, ..Default::default() };
        let error = talk_with(&fake, &options).0.unwrap_err();
        assert!(error.to_string().starts_with("sent 3 messages and got no answer\n"), "{error}");
        assert_eq!(error.exit_code(), 1);

        let message = b"HELLO".to_vec();
        let upper = ClientOptions { message, ..options };
        assert_eq!(talk_with(&fake, &upper).0.unwrap().answers, 0);
    }

    #[test]
    fn a_signal_ends_it_and_is_said() {
        let fake = Fake::with_messages(&[]);
        let (summary, output) = talk_with(&fake, &ClientOptions::default());
        assert!(summary.unwrap().interrupted);
        assert_eq!(output, "Sentbuffer : hello server!\nCaught sigINT!\n");
    }

    #[test]
    fn a_message_too_long_for_the_interface_is_said() {
        let fake = Fake::with_messages(&[]);
        fake.fail(Call::Send, 90);
        let text = talk_with(&fake, &once()).0.unwrap_err().to_string();
        assert!(text.contains("send through lo (sendto): EMSGSIZE"), "{text}");
        assert!(text.contains("MTU"), "{text}");
    }

    #[test]
    fn a_full_send_buffer_ends_it() {
        let fake = Fake::with_messages(&[]);
        fake.fail(Call::Send, 11);
        let text = talk_with(&fake, &once()).0.unwrap_err().to_string();
        assert!(text.contains("send buffer is full"), "{text}");
    }
}
