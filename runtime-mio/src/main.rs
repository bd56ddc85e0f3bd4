//! The `zabkeeper` program: a thin shell over the library. See `zabkeeper --help`.

// They panic when nobody reads what is printed; `cli::output` has what does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
