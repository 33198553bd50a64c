//! The `relay` program.

fn main() -> std::process::ExitCode {
    nano_worker::cli::relay::main()
}
