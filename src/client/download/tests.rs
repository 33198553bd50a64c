//! What servers can send, and what is on the disk afterwards.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const TEXT: &str = "the result";

/// A server that answers every connection with these bytes and leaves it open if there are none.
async fn server(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let target = String::from_utf8_lossy(&request[..read]).split(' ').nth(1).unwrap_or("").to_owned();
            let answer = if target == "/moved" { ok(TEXT) } else { answer.clone() };
            drop(stream.write_all(answer.as_bytes()).await);
            if answer.is_empty() {
                open.push(stream);
            }
        }
    });
    format!("http://{address}/result")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Without a length, as a stream whose end is the connection's.
fn endless(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}")
}

fn moved(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {to}\r\n\r\n")
}

/// What came of it, and all that is in the directory.
async fn fetched(answer: String) -> (Result<(), DownloadError>, Vec<(String, String)>) {
    let dir = tempfile::tempdir().unwrap();
    let (url, sha256) = (server(answer).await, hex::encode(Sha256::digest(TEXT)));
    let wanted = Wanted { url: &url, bytes: TEXT.len() as u64, sha256: &sha256 };
    let bounds = Bounds { bytes_max: 1_000, time: Duration::from_secs(1) };
    let ended = download(wanted, bounds, &dir.path().join("out"), [7; 8]).await;
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
    });
    (ended, files.collect())
}

#[tokio::test]
async fn what_has_the_hash_is_there_whole() {
    for answer in [ok(TEXT), endless(TEXT), moved("/moved")] {
        let (ended, files) = fetched(answer).await;
        ended.unwrap();
        assert_eq!(files, [("out".to_owned(), TEXT.to_owned())]);
    }
}

#[tokio::test]
async fn everything_else_leaves_nothing() {
    let long = "x".repeat(100_000);
    for (answer, expected) in [
        (ok("the resuld"), "SHA-256"),
        (ok("the"), "there are 3 bytes, and not the 10"),
        (endless("the"), "there are 3 bytes"),
        (ok(&long), "100000 bytes or more"),
        (endless(&long), "bytes or more"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "status 404"),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n".to_owned(), "status 206"),
        (moved("https://example.org/r"), "elsewhere"),
        // Another port is another host.
        (moved("http://127.0.0.1:1/r"), "elsewhere"),
        (moved("/result"), "elsewhere"),
        ("half of nothing\r\n\r\n".to_owned(), "cannot be reached"),
        (String::new(), "after 1 s"),
    ] {
        let (ended, files) = fetched(answer.clone()).await;
        let said = ended.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert_eq!(files, [], "{said}");
    }
}

#[tokio::test]
async fn what_is_not_to_be_asked_for_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let bounds = Bounds { bytes_max: 5, time: Duration::from_secs(1) };
    for url in
        ["http://example.org/r", "ftp://127.0.0.1/r", "file:///etc/passwd", "r", "https://a:b@example.org/r"]
    {
        let wanted = Wanted { url, bytes: 1, sha256: "" };
        let refused = download(wanted, bounds, &out, [7; 8]).await;
        assert!(matches!(refused, Err(DownloadError::Address(_))), "{url}: {refused:?}");
    }
    let wanted = Wanted { url: "https://example.org/r", bytes: 6, sha256: "" };
    let refused = download(wanted, bounds, &out, [7; 8]).await;
    assert!(matches!(refused, Err(DownloadError::TooLarge { bytes: 6, max: 5 })), "{refused:?}");
    fs::write(&out, "mine").unwrap();
    let refused = download(Wanted { bytes: 5, ..wanted }, bounds, &out, [7; 8]).await;
    assert!(matches!(refused, Err(DownloadError::Exists(_))), "{refused:?}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    assert!(address("http://localhost:8080/r").is_ok() && address("https://example.org").is_ok());
}
