//! Received bytes as text that is safe to print.

use std::fmt::Write;

/// Trailing zero bytes from which on they are counted instead of printed one by one: Ethernet
/// pads a short payload to 46 bytes with them.
const PADDING_BYTES_MIN: usize = 4;

/// `bytes`, all of them and no more, as one line of printable text.
///
/// Control characters, invisible ones and backslashes are escaped as in a Rust string, bytes that
/// are no UTF-8 as `\xNN`, and four or more trailing zero bytes as `\0{33}`: a zero and how many.
pub fn escaped(bytes: &[u8]) -> String {
    let text_bytes = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let zeros = bytes.len() - text_bytes;
    let shown = if zeros < PADDING_BYTES_MIN { bytes } else { &bytes[..text_bytes] };
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\'' | '"' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if zeros >= PADDING_BYTES_MIN {
        let _ = write!(text, "\\0{{{zeros}}}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(escaped(b"hello server!"), "hello server!");
        assert_eq!(escaped("grüße, \"you\" 'there'".as_bytes()), "grüße, \"you\" 'there'");
        assert_eq!(escaped(b""), "");
    }

    #[test]
    fn what_could_command_a_terminal_is_escaped() {
        assert_eq!(escaped(b"\x1b[2J\r\n\x07"), r"\u{1b}[2J\r\n\u{7}");
        assert_eq!(
            escaped("\u{9b}31m \u{202e}abc \u{200b}".as_bytes()),
            r"\u{9b}31m \u{202e}abc \u{200b}"
        );
        assert_eq!(escaped(br"\n"), r"\\n");
    }

    #[test]
    fn what_is_no_utf8_is_shown_as_hexadecimal() {
        assert_eq!(escaped(b"a\xff\xc3(b\xe2\x82"), r"a\xff\xc3(b\xe2\x82");
    }

    #[test]
    fn zeros_do_not_end_the_text_and_padding_is_counted() {
        assert_eq!(escaped(b"a\0b"), r"a\0b");
        assert_eq!(escaped(b"a\0\0\0"), r"a\0\0\0");
        let mut padded = b"hi".to_vec();
        padded.resize(46, 0);
        assert_eq!(escaped(&padded), r"hi\0{44}");
        assert_eq!(escaped(&[0; 5]), r"\0{5}");
    }
}
