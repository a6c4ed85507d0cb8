//! A replicated key-value store on this machine, for Redis clients: `cargo run --release --example cluster`.

fn main() -> std::process::ExitCode {
    quorate_examples::main()
}
