//! Bytes that nobody can foresee, for names that must be unique.

/// That many of them.
pub(crate) fn random_bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    let read = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    read.expect("the kernel has random bytes for whoever asks for a few");
    bytes
}
