//! Whether a program needs libraries, read from its ELF header.

use std::{fs::File, io::Read as _, path::Path};

/// What a program needs to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// Nothing but the kernel.
    Static,
    /// A loader and libraries.
    Dynamic,
}

/// Tells whether the program at `path` is static.
///
/// # Errors
/// What is wrong with it, to be read after its path.
pub fn linkage(path: &Path) -> Result<Linkage, String> {
    let mut header = Vec::new();
    // The program headers follow the file header directly in what any linker writes.
    let read = File::open(path).and_then(|file| file.take(16 * 1024).read_to_end(&mut header));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    of_header(&header).ok_or_else(|| "is no program for 64-bit Linux".to_owned())
}

/// Looks for a program header of type `PT_INTERP`, which names the loader (ELF-64 Object File Format, version 1.5).
fn of_header(header: &[u8]) -> Option<Linkage> {
    const PT_INTERP: u32 = 3;
    let is_64_bit_little_endian = header.starts_with(b"\x7fELF\x02\x01");
    if !is_64_bit_little_endian {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(header.get(32..40)?.try_into().ok()?)).ok()?;
    let entry_size = usize::from(u16::from_le_bytes(header.get(54..56)?.try_into().ok()?));
    let entries = usize::from(u16::from_le_bytes(header.get(56..58)?.try_into().ok()?));
    for index in 0..entries {
        let start = table.checked_add(index.checked_mul(entry_size)?)?;
        let kind = u32::from_le_bytes(header.get(start..start.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(Linkage::Dynamic);
        }
    }
    Some(Linkage::Static)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_program_and_a_text_is_not() {
        let linkage_of_this = linkage(&std::env::current_exe().unwrap()).unwrap();
        let expected = if cfg!(target_feature = "crt-static") { Linkage::Static } else { Linkage::Dynamic };
        assert_eq!(linkage_of_this, expected);
        assert!(of_header(b"#!/bin/sh\n").is_none());
        assert!(of_header(b"\x7fELF\x02\x01").is_none());
    }

    #[test]
    fn a_program_without_a_loader_is_static() {
        // A header with one program header of type PT_LOAD right behind it.
        let mut header = vec![0_u8; 64 + 56];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[32] = 64;
        header[54] = 56;
        header[56] = 1;
        header[64] = 1;
        assert_eq!(of_header(&header), Some(Linkage::Static));
        header[64] = 3;
        assert_eq!(of_header(&header), Some(Linkage::Dynamic));
    }
}
