//! The `zabkeeper` program: a thin shell over the library. See `zabkeeper --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
