//! Assembles the page: its sources unchanged, the program as WebAssembly with its JavaScript
//! half, the model, and `files.json`.
//!
//! `files.json` lists every file with its size, for the progress bar and the offline copy. Its
//! version changes with any file, and it describes the model's network, so that the kernels can be
//! compiled before the model has arrived.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use wasm_bindgen_cli_support::Bindgen;

/// The parts of the page.
pub(crate) struct Parts<'a> {
    /// The compiled bindings.
    pub(crate) wasm: &'a Path,
    /// Folder of the page's sources.
    pub(crate) page: &'a Path,
    /// The checkpoint; the model card is next to it, with the extension `.md`.
    pub(crate) model: &'a Path,
    /// The output folder.
    pub(crate) out: &'a Path,
}

/// Files that are not listed: the list itself, and the service worker, which browsers update
/// themselves.
const UNLISTED: [&str; 2] = ["files.json", "sw.js"];

/// The key of the network's description in a checkpoint's metadata.
const DESCRIPTION: &str = "pyr_wgpu";

/// Assembles the folder from scratch.
///
/// # Errors
/// If something is missing or cannot be written, with its name.
pub(crate) fn make(parts: &Parts) -> Result<(), String> {
    let network = described(parts.model)?;
    let card = parts.model.with_extension("md");
    if parts.out.exists() {
        let removed = std::fs::remove_dir_all(parts.out);
        removed.map_err(|e| format!("{}: {e}", parts.out.display()))?;
    }
    copy_folder(parts.page, parts.out)?;
    let models = parts.out.join("models");
    for file in [parts.model, &card] {
        copy(file, &models.join(file.file_name().unwrap_or_default()))?;
    }
    bind(parts.wasm, parts.out)?;
    let model = parts.model.file_name().unwrap_or_default();
    let list = list(parts.out, &format!("models/{}", model.display()), network)?;
    let path = parts.out.join("files.json");
    std::fs::write(&path, format!("{list:#}\n")).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(())
}

/// Writes a compiled program with its JavaScript half into a folder.
///
/// # Errors
/// If it was not compiled for the browser, or by another version of wasm-bindgen.
pub(crate) fn bind(wasm: &Path, out: &Path) -> Result<(), String> {
    Bindgen::new()
        .input_path(wasm)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .web(true)
        .and_then(|bindgen| bindgen.generate(out))
        .map_err(|e| format!("{}: {e:#}", wasm.display()))
}

/// The checkpoint's description of its network.
fn described(model: &Path) -> Result<Value, String> {
    let error = |what: String| format!("{}: {what}", model.display());
    let bytes = std::fs::read(model).map_err(|e| error(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| error(e.to_string()))?;
    let metadata = header.metadata().as_ref();
    let text = metadata.and_then(|metadata| metadata.get(DESCRIPTION));
    let text = text.ok_or_else(|| error("it does not describe its network".to_owned()))?;
    serde_json::from_str(text).map_err(|e| error(e.to_string()))
}

/// The content of `files.json`.
fn list(out: &Path, model: &str, network: Value) -> Result<Value, String> {
    let mut version = DefaultHasher::new();
    let mut files = Vec::new();
    for path in files_below(out)? {
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let inside = path.strip_prefix(out).unwrap_or(&path);
        let name = inside.to_string_lossy().replace('\\', "/");
        version.write(name.as_bytes());
        version.write(&bytes);
        if !UNLISTED.contains(&name.as_str()) {
            files.push(json!({ "path": name, "bytes": bytes.len() }));
        }
    }
    Ok(json!({
        "version": format!("{:016x}", version.finish()),
        "files": files,
        "model": { "path": model, "network": network },
    }))
}

/// All files below a folder, sorted.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let error = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    for file in files_below(from)? {
        let inside = file.strip_prefix(from).unwrap_or(&file);
        copy(&file, &to.join(inside))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let folder = to.parent().unwrap_or(to);
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    std::fs::copy(from, to).map_err(|e| format!("{}: {e}", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version must change if and only if a file changes.
    #[test]
    fn the_version_follows_the_content() {
        let folder = std::env::temp_dir().join(format!("bundle-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("index.html", "a");
        write("samples/b.webp", "b");
        write("sw.js", "c");
        let first = list(&folder, "m", json!({})).unwrap();
        let paths: Vec<&str> = first["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["path"].as_str().unwrap())
            .collect();
        assert_eq!(paths, ["index.html", "samples/b.webp"]);
        assert_eq!(list(&folder, "m", json!({})).unwrap(), first);
        write("sw.js", "d");
        let second = list(&folder, "m", json!({})).unwrap();
        assert_ne!(second["version"], first["version"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
