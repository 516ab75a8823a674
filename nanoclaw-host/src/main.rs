//! The program `nanoclaw`: so far the helper that the sandbox re-executes it as.

fn main() {
    nanoclaw_host::runtimes::sandbox::helper::enter_if_asked();
}
