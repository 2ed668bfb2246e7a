//! The browser page as a folder of static files, and a server for it.
//!
//!     pyr-wgpu-bundle make WASM PAGE MODEL OUT
//!     pyr-wgpu-bundle bind WASM OUT
//!     pyr-wgpu-bundle serve FOLDER PORT
//!
//! `cargo xtask web` runs it. It is a separate program because its libraries take long to build,
//! and `xtask` must start within seconds.

mod bundle;
mod serve;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["make", wasm, page, model, out] => bundle::make(&bundle::Parts {
            wasm: Path::new(wasm),
            page: Path::new(page),
            model: Path::new(model),
            out: Path::new(out),
        }),
        ["bind", wasm, out] => bundle::bind(Path::new(wasm), Path::new(out)),
        ["serve", folder, port] => serve::run(Path::new(folder), port),
        _ => Err("usage: make WASM PAGE MODEL OUT, bind WASM OUT, or serve FOLDER PORT".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
