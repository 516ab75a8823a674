//! The hello: process 1 of a container asks the gateway whether it is there before it starts its command.
//!
//! A container whose gateway is not healthy would run an agent that can reach nothing, and blame its messages for it. So
//! `agent-runner init` sends [`HELLO`] through the very socket that the command will use, and when nobody answers as
//! [`says_alive`] has it within its patience, the command is not started and init ends with [`NO_GATEWAY_CODE`].

/// The code with which process 1 ends when the gateway did not answer its hello; the command was not started then. Beside
/// [`FENCED_CODE`](super::fence::FENCED_CODE).
pub const NO_GATEWAY_CODE: u8 = 80;

/// What is sent.
pub const HELLO: &[u8] = b"HEAD / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";

/// The header by which a gateway marks answers that are its own.
pub const MARK: &str = "x-nanoclaw-gateway";

/// The most bytes of an answer that are looked at.
pub const ANSWER_BYTES: usize = 4096;

/// Whether `head`, an answer to [`HELLO`], is that of a gateway that is there.
#[must_use]
pub fn says_alive(head: &[u8]) -> bool {
    let Ok(head) = std::str::from_utf8(head) else { return false };
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let marked = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case(MARK) && value.trim() == "alive");
    status.split(' ').nth(1) == Some("200") && marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gateway_that_is_there_says_so() {
        assert!(says_alive(b"HTTP/1.1 200 OK\r\nX-NanoClaw-Gateway: alive\r\ncontent-length: 0\r\n\r\n"));
        for head in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 403 Forbidden\r\nx-nanoclaw-gateway: alive\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx-nanoclaw-gateway: not-allowed\r\n\r\n",
            b"\xff\xfe",
        ] {
            assert!(!says_alive(head), "{}", head.escape_ascii());
        }
    }
}
