//! Bytes that nobody can foresee, for names that must be unique.

/// That many of them.
pub(crate) fn random_bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    let read = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    read.expect("the kernel has random bytes for whoever asks for a few");
    bytes
}

/// That many bytes in hexadecimal digits, two for each, as a part of names.
pub(crate) fn random_hex<const COUNT: usize>() -> String {
    hex(random_bytes::<COUNT>())
}

/// Bytes in lower-case hexadecimal digits.
pub(crate) fn hex<const COUNT: usize>(bytes: [u8; COUNT]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
