//! The `buyer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    nano_worker::cli::buyer::main().into()
}
