//! The example `cluster` as a binary, so that a test can start it.

fn main() -> std::process::ExitCode {
    quorate_examples::main()
}
