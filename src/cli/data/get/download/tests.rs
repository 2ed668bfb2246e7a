//! Downloads from a local server that behaves well and badly.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

/// The file that is wanted.
fn content() -> Vec<u8> {
    (0..200_000u32)
        .map(|i| (i.wrapping_mul(i) % 251) as u8)
        .collect()
}

/// A request for a path, from a byte on.
struct Asked {
    stream: TcpStream,
    path: String,
    start: Option<usize>,
    /// Number of requests for the path before.
    before: usize,
}

impl Asked {
    /// Sends a status line, headers and the beginning of a body, and closes the connection.
    fn send(mut self, status: &str, headers: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
        // The client may have closed the connection.
        let _ = self.stream.write_all(head.as_bytes());
        let _ = self.stream.write_all(body);
        if self.path == "/silent" {
            thread::sleep(Duration::from_secs(2));
        }
    }

    /// Answers as a good server does, but sends at most so many bytes.
    fn serve(self, content: &[u8], most: usize) {
        let start = self.start.unwrap_or(0);
        let (body, total) = (&content[start..], content.len());
        let length = format!("Content-Length: {}\r\n", body.len());
        let sent = &body[..most.min(body.len())];
        match self.start {
            None => self.send("200 OK", &length, sent),
            Some(_) => {
                let range = format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
                self.send("206 Partial Content", &(length + &range), sent);
            }
        }
    }
}

/// How the server answers a path.
fn answer(mut asked: Asked) {
    let content = content();
    match &*asked.path.clone() {
        "/good" => asked.serve(&content, usize::MAX),
        "/drops" | "/silent" => asked.serve(&content, 70_000),
        "/no-ranges" => {
            asked.start = None;
            let most = 90_000 * (asked.before + 1);
            asked.serve(&content, most);
        }
        "/nothing" => asked.serve(&content, 0),
        "/closes" => {}
        "/truncated" => asked.serve(&content[..150_000], usize::MAX),
        "/longer" => asked.serve(&[&content[..], b"more"].concat(), usize::MAX),
        "/endless" => asked.send("200 OK", "", &content.repeat(3)),
        "/wrong" => {
            asked.start = None;
            asked.serve(&vec![7; content.len()], usize::MAX);
        }
        "/other-range" => asked.send(
            "206 Partial Content",
            "Content-Range: bytes 0-9/10\r\n",
            b"",
        ),
        "/moved" => asked.send("302 Found", "Location: /good\r\n", b""),
        "/circle" => asked.send("302 Found", "Location: /circle\r\n", b""),
        "/busy" if asked.before < 2 => asked.send("503 Service Unavailable", "", b""),
        "/busy" => asked.serve(&content, usize::MAX),
        "/no-part" if asked.start.is_some() => {
            asked.send("416 Range Not Satisfiable", "", b"");
        }
        "/no-part" => asked.serve(&content, usize::MAX),
        _ => asked.send("404 Not Found", "", b""),
    }
}

/// Starts the server; returns its address and the number of requests for each path.
fn server() -> (String, Arc<Mutex<HashMap<String, usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let counts = Arc::new(Mutex::new(HashMap::new()));
    let counted = Arc::clone(&counts);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            let path = first.split(' ').nth(1).unwrap().to_owned();
            let headers = lines
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty());
            let range = headers
                .filter_map(|line| {
                    let line = line.to_lowercase();
                    let start = line.strip_prefix("range: bytes=")?.strip_suffix('-')?;
                    start.parse().ok()
                })
                .last();
            let before = {
                let mut counts: std::sync::MutexGuard<'_, HashMap<String, usize>> =
                    counted.lock().unwrap();
                let count = counts.entry(path.clone()).or_default();
                *count += 1;
                *count - 1
            };
            let asked = Asked {
                stream,
                path,
                start: range,
                before,
            };
            thread::spawn(move || answer(asked));
        }
    });
    (address, counts)
}

const SHA256: &str = "a118c4aa9f3aa3b19fd9369c17325cedc7c8ce33250082ed70fa856d670db8a9";

/// Downloads to `part` from paths of a server.
fn from(server: &str, paths: &[&str], part: &Path) -> Result<(), DownloadError> {
    let addresses: Vec<String> = paths.iter().map(|path| format!("{server}{path}")).collect();
    let wanted = Wanted {
        addresses: &addresses,
        bytes: 200_000,
        sha256: SHA256,
    };
    let patience = Patience {
        silence: Duration::from_millis(300),
        pause: Duration::ZERO,
    };
    let mut last = 0;
    let result = download(&wanted, part, patience, |done| {
        assert!(done <= 200_000);
        last = done;
    });
    let result = result.map(|_| ());
    if result.is_ok() && last > 0 {
        assert_eq!(last, 200_000, "progress");
    }
    result
}

#[test]
fn bad_servers_are_survived() {
    let (server, counts) = server();
    let directory = tempfile::tempdir().unwrap();
    let part = directory.path().join("file.part");
    let requests = |path: &str| counts.lock().unwrap().get(path).copied().unwrap_or(0);
    let all: [(&[&str], &str, usize); 9] = [
        (&["/good"], "/good", 1),
        (&["/drops"], "/drops", 3),
        (&["/silent"], "/silent", 3),
        (&["/no-ranges"], "/no-ranges", 3),
        (&["/busy"], "/busy", 3),
        (&["/moved"], "/moved", 1),
        (
            &[
                "/gone",
                "/wrong",
                "/truncated",
                "/longer",
                "/circle",
                "/moved",
            ],
            "/wrong",
            1,
        ),
        (&["/nothing", "/closes", "/good"], "/nothing", 3),
        // What was received is kept for the next address.
        (&["/endless"], "/endless", 1),
    ];
    for (paths, path, expected) in all {
        let _ = fs::remove_file(&part);
        let before = requests(path);
        let result = from(&server, paths, &part);
        if path == "/endless" {
            // The first 200,000 bytes are right.
            result.unwrap();
        } else {
            result.unwrap_or_else(|error| panic!("{paths:?}: {error:?}"));
        }
        assert_eq!(fs::read(&part).unwrap(), content(), "{paths:?}");
        assert_eq!(requests(path) - before, expected, "{paths:?}");
    }
}

#[test]
fn an_interrupted_download_continues() {
    let (server, counts) = server();
    let directory = tempfile::tempdir().unwrap();
    let part = directory.path().join("file.part");
    let content = content();
    let starts: [(&[u8], &str, usize); 5] = [
        (&content[..123_456], "/good", 1),
        (&content, "/good", 0),
        // Other bytes, or too many: everything is fetched again.
        (&[9; 1000], "/good", 2),
        (&[9; 200_000], "/good", 1),
        (&[9; 300_000], "/good", 1),
    ];
    for (start, path, expected) in starts {
        fs::write(&part, start).unwrap();
        let before = counts.lock().unwrap().get(path).copied().unwrap_or(0);
        from(&server, &[path], &part).unwrap();
        let after = counts.lock().unwrap().get(path).copied().unwrap_or(0);
        assert_eq!(fs::read(&part).unwrap(), content);
        assert_eq!(after - before, expected, "{} bytes", start.len());
    }
}

#[test]
fn every_address_says_why_it_failed() {
    let (server, _) = server();
    let directory = tempfile::tempdir().unwrap();
    let part = directory.path().join("file.part");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let fails = |server: &str, path: &str| match from(server, &[path], &part) {
        Err(DownloadError::Addresses(reasons)) => reasons.concat(),
        other => panic!("{path}: {other:?}"),
    };
    for (path, expected) in [
        ("/gone", "404"),
        ("/truncated", "150000 bytes, not 200000"),
        ("/longer", "200004 bytes, not 200000"),
        ("/wrong", "SHA-256"),
        ("/circle", "redirect"),
        ("/nothing", "after 0 of 200000 bytes"),
    ] {
        let _ = fs::remove_file(&part);
        let reason = fails(&server, path);
        assert!(
            reason.contains(path) && reason.contains(expected),
            "{reason}"
        );
    }
    assert!(fails(&nobody, "/good").to_lowercase().contains("refused"));
    fs::write(&part, &content()[..10]).unwrap();
    assert!(fails(&server, "/other-range").contains("from 10 on"));
    assert!(fails(&server, "/no-part").contains("416"));
    assert!(fails(&server, "/endless").contains("how long"));
    assert_eq!(fs::read(&part).unwrap(), content()[..10], "bytes are kept");

    // Two processes do not write to one file.
    let held = File::open(&part).unwrap();
    held.lock().unwrap();
    assert!(matches!(
        from(&server, &["/good"], &part),
        Err(DownloadError::Busy)
    ));
    let missing = directory.path().join("missing/file.part");
    assert!(matches!(
        from(&server, &["/good"], &missing),
        Err(DownloadError::File(_))
    ));
}
