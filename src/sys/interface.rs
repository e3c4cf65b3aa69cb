//! Names of network interfaces. To the kernel they are bytes; here they are text that can be printed.

use std::fmt::Write;

use nix::net::if_::if_indextoname;

/// A name as text: a byte that is no UTF-8 becomes `\xNN` and a backslash two, so that no two names look
/// alike.
pub fn name_text(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text += &chunk.valid().replace('\\', r"\\");
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, r"\x{byte:02x}");
        }
    }
    text
}

/// The name whose text that is. A backslash that begins none of these escapes stands for itself, as in what
/// somebody typed.
pub fn name_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, ..] = *rest {
        let escape = match *rest {
            [b'\\', b'\\', ..] => Some((b'\\', 2)),
            [b'\\', b'x', high, low, ..] => hexadecimal(high, low).map(|byte| (byte, 4)),
            _ => None,
        };
        let (byte, used) = escape.unwrap_or((first, 1));
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte| char::from(byte).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// What a message calls the interface with `index`: its name in the calling thread's network
/// namespace (`SIOCGIFNAME`), or the number where nothing has it any more.
pub fn called(index: u32) -> String {
    match if_indextoname(index) {
        Ok(name) if !name.is_empty() => name_text(name.to_bytes()),
        _ => format!("interface {index}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_name_interfaces_and_give_the_number_of_one_that_is_gone() {
        assert_eq!(called(1), "lo");
        assert_eq!(called(u32::MAX >> 1), "interface 2147483647");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_and_found_again() {
        assert_eq!(name_text(b"eth\xff0\xe2\x82"), r"eth\xff0\xe2\x82");
        assert_eq!(name_text("grün".as_bytes()), "grün");
        assert_eq!(name_text(br"a\xff"), r"a\\xff");
        for typed in [r"a\b", r"\x", r"\xf", r"\x+1", "a\\"] {
            assert_eq!(name_bytes(typed), typed.as_bytes(), "{typed}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_found_again_by_its_text(name: Vec<u8>) {
            prop_assert_eq!(name_bytes(&name_text(&name)), name);
        }
    }
}
