//! The kernel's type information (BTF, `Documentation/bpf/btf.rst`), as far as it takes to find a function that
//! programs may call.

use std::io;

/// Where the kernel gives its own; readable by everybody, missing without CONFIG_DEBUG_INFO_BTF or sysfs.
const FILE: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_FUNC`.
const FUNCTION: u32 = 12;

/// The number by which programs call the kernel's function `name`; `None` if this kernel has no such function.
pub fn kernel_function(name: &str) -> io::Result<Option<u32>> {
    Ok(function(&std::fs::read(FILE)?, name))
}

/// Looks it up. What contradicts itself has no function.
fn function(bytes: &[u8], name: &str) -> Option<u32> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
    let offset = |at: usize| word(at).map(|word| word as usize);
    let magic = bytes.first_chunk().map(|magic| u16::from_ne_bytes(*magic));
    if magic != Some(MAGIC) {
        return None;
    }
    // struct btf_header: after magic, version and flags its own length, then where types and strings are.
    let header_bytes = offset(4)?;
    let (mut at, type_bytes) = (header_bytes + offset(8)?, offset(12)?);
    let (end, names) = (at + type_bytes, header_bytes + offset(16)?);
    let is_named = |name_at: usize| {
        let rest = bytes.get(names + name_at..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    };
    // Type 0 is void and not in the list.
    for number in 1.. {
        if at >= end {
            return None;
        }
        // struct btf_type: name, kind with the number of members, and a size or type.
        let info = word(at + 4)?;
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == FUNCTION && is_named(offset(at)?) {
            return Some(number);
        }
        at += 12
            + match kind {
                // Integers, variables, declaration tags.
                1 | 14 | 17 => 4,
                // Arrays.
                3 => 12,
                // Structures, unions, sections, 64-bit enumerations.
                4 | 5 | 15 | 19 => 12 * members,
                // Enumerations, prototypes.
                6 | 13 => 8 * members,
                _ => 0,
            };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer, a structure of one member, and two functions.
    fn example() -> Vec<u8> {
        let strings = b"\0first\0first_longer\0";
        let types: [u32; 17] = [
            1,
            1 << 24,
            4,
            32, // an integer that is called as the first function is
            0,
            4 << 24 | 1,
            4,
            0,
            1,
            0, // a structure
            7,
            12 << 24,
            1, // first_longer
            1,
            12 << 24,
            1, // first
            0,
        ];
        let types: Vec<u8> = types[..16].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let words = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn a_function_is_found_by_its_whole_name() {
        let bytes = example();
        assert_eq!(function(&bytes, "first"), Some(4));
        assert_eq!(function(&bytes, "first_longer"), Some(3));
        assert_eq!(function(&bytes, "longer"), None);
        for length in 0..bytes.len() {
            let _ = function(&bytes[..length], "first");
        }
        assert_eq!(function(&[0; 64], ""), None);
    }

    #[test]
    fn this_kernels_own_are_readable_or_missing() {
        if let Ok(found) = kernel_function("bpf_xdp_metadata_rx_hash") {
            assert_ne!(found, Some(0));
        }
    }
}
