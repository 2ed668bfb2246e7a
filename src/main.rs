//! The command `pyr-wgpu`: see the library's `cli` room.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyr_wgpu::cli::main()
}
