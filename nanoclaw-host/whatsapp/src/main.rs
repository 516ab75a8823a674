//! The program `nanoclaw-whatsapp`.

fn main() {}
