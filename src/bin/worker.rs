//! The `worker` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    nano_worker::cli::worker::main()
}
