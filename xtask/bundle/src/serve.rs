//! A static file server for viewing the page on this machine only.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use tiny_http::{Header, Request, Response, Server, StatusCode};

/// Serves a folder on a port until it is stopped; 0 takes any free port.
///
/// # Errors
/// If the folder or the port cannot be used.
pub(crate) fn run(folder: &Path, port: &str) -> Result<(), String> {
    if !folder.join("index.html").is_file() {
        return Err(format!("{} has no index.html", folder.display()));
    }
    let server = Server::http(format!("127.0.0.1:{port}"))
        .map_err(|e| format!("port {port} cannot be used: {e}; choose another with --port N"))?;
    println!("http://{}/", server.server_addr());
    for request in server.incoming_requests() {
        // A client that disconnects does not stop the server.
        let _ = answer(folder, request);
    }
    Ok(())
}

fn answer(folder: &Path, request: Request) -> std::io::Result<()> {
    let path = file(folder, request.url());
    let opened = path.and_then(|path| Some((File::open(&path).ok()?, path)));
    let Some((file, path)) = opened else {
        let missing = Response::from_string("not found\n").with_status_code(StatusCode(404));
        return request.respond(missing);
    };
    let response = Response::from_file(file)
        .with_header(header("Content-Type", content_type(&path)))
        .with_header(header("Cache-Control", "no-cache"));
    request.respond(response)
}

/// The file at a URL; `None` outside the folder.
fn file(folder: &Path, url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?.trim_start_matches('/');
    let path = Path::new(if path.is_empty() { "index.html" } else { path });
    let inside = path.components().all(|c| matches!(c, Component::Normal(_)));
    let path = folder.join(path);
    (inside && path.is_file()).then_some(path)
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("md") => "text/markdown; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        Some("webp") => "image/webp",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("plain ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_folder_are_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let found = |url| file(&folder, url);
        assert_eq!(found("/serve.rs"), Some(folder.join("serve.rs")));
        assert_eq!(found("/serve.rs?device=cpu"), Some(folder.join("serve.rs")));
        for url in ["/", "/../Cargo.toml", "/..%2fCargo.toml", "//etc/passwd"] {
            assert_eq!(found(url), None, "{url}");
        }
    }
}
