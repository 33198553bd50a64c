//! The few lines of HTTP/1.1 that a node speaks.
//!
//! By hand, because what makes a node's answers special is what libraries do not let go of: the
//! order and the set of headers, no `Date`, one answer per connection, and 200 for garbage.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The node's own limit on a body, 32 MiB.
pub const BODY_MAX: usize = 32 * 1024 * 1024;

/// The limit of the node's HTTP library on all headers together.
const HEAD_MAX: usize = 8 * 1024;

/// What one read takes.
const READ_BYTES: usize = 16 * 1024;

/// A node waits for a promised body without end; the mock gives up in the end, so that a test
/// that leaks a connection does not keep it for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a closing connection is read on, so that unread bytes do not turn the close into a
/// reset that would take the answer with it.
const LINGER: Duration = Duration::from_millis(200);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Whether it is HTTP/1.0.
    pub is_http_10: bool,
    /// Whether the client asked for the connection to be closed.
    pub close: bool,
    /// `Content-Type`, if any.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why a request cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text that the node puts after `Invalid header: `.
    #[error("{0}")]
    Invalid(&'static str),
    /// Nothing more comes.
    #[error("the connection ended")]
    Ended,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers before `Content-Length`, in order.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How header names are written, and what is added at the end.
    pub dialect: Dialect,
    /// How much of the body is sent before the connection breaks.
    pub cut_at: Option<usize>,
    /// For the `Date` of those who send one, in Unix milliseconds.
    pub date_ms: u64,
}

/// Whose HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Boost Beast's: names as given, no date, the connection closed.
    Beast,
    /// Hyper's: lower-case names, a date, the connection kept.
    Hyper,
}

/// A connection with what was read too far.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection on which nothing has been read.
    pub const fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Reads one request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn read(&mut self) -> Result<Request, ReadError> {
        let head_end = self.read_head().await?;
        let head = Head::parse(&self.buffer[..head_end])?;
        self.buffer.drain(..head_end);
        if head.expects_continue {
            self.write_all(b"HTTP/1.1 100 Continue\r\nServer: nano\r\n\r\n").await?;
        }
        let mut request = head.request;
        request.body = if head.is_chunked {
            self.read_chunks().await?
        } else {
            self.read_exactly(head.content_length).await?
        };
        Ok(request)
    }

    /// Writes an answer; false if the connection has to end now.
    pub async fn write(&mut self, reply: &Reply, request: Option<&Request>) -> bool {
        let is_http_10 = request.is_some_and(|request| request.is_http_10);
        let mut bytes = reply.head(is_http_10).into_bytes();
        let sent = reply.cut_at.unwrap_or(reply.body.len()).min(reply.body.len());
        bytes.extend_from_slice(&reply.body[..sent]);
        let written = self.write_all(&bytes).await.is_ok();
        let keep = reply.dialect == Dialect::Hyper
            && !is_http_10
            && reply.cut_at.is_none()
            && !reply.headers.iter().any(|(name, value)| *name == "Connection" && value == "close")
            && request.is_some_and(|request| !request.close);
        written && keep
    }

    /// Ends the connection so that what was written arrives.
    pub async fn close(mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let mut rest = vec![0; READ_BYTES];
        let drain = async { while matches!(self.stream.read(&mut rest).await, Ok(read) if read > 0) {} };
        // Whether the other side ended or time did, it is over.
        let _: Result<(), _> = timeout(LINGER, drain).await;
    }

    async fn read_head(&mut self) -> Result<usize, ReadError> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(end + 4);
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(ReadError::Invalid("header limit exceeded"));
            }
            self.read_more().await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        while self.buffer.len() < length {
            self.read_more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| ReadError::Invalid("bad chunk"))?;
            if body.len().saturating_add(size) > BODY_MAX {
                return Err(ReadError::Invalid("body limit exceeded"));
            }
            if size == 0 {
                while !self.read_line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.read_exactly(size).await?);
            self.read_line().await?;
        }
    }

    async fn read_line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(ReadError::Invalid("bad chunk"));
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), ReadError> {
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let read = timeout(PATIENCE, self.stream.read(&mut self.buffer[before..])).await;
        let read = match read {
            Ok(Ok(read)) => read,
            Ok(Err(_)) | Err(_) => 0,
        };
        self.buffer.truncate(before + read);
        if read == 0 { Err(ReadError::Ended) } else { Ok(()) }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        match timeout(PATIENCE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReadError::Ended),
        }
    }
}

/// What the lines before the body say.
struct Head {
    request: Request,
    content_length: usize,
    is_chunked: bool,
    expects_continue: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, path, version) = (words.next(), words.next(), words.next());
        let (Some(method), Some(path), Some(version)) = (method, path, version) else {
            return Err(ReadError::Invalid("bad method"));
        };
        let is_http_10 = match version {
            "HTTP/1.1" => false,
            "HTTP/1.0" => true,
            _ => return Err(ReadError::Invalid("bad version")),
        };
        let (method, path) = (method.to_owned(), path.to_owned());
        let request = Request { method, path, is_http_10, ..Request::default() };
        let mut head = Self { request, content_length: 0, is_chunked: false, expects_continue: false };
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(ReadError::Invalid("bad field"))?;
            head.take(&name.to_ascii_lowercase(), value.trim())?;
        }
        Ok(head)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), ReadError> {
        match name {
            "content-length" => {
                self.content_length = value.parse().map_err(|_| ReadError::Invalid("bad Content-Length"))?;
                if self.content_length > BODY_MAX {
                    return Err(ReadError::Invalid("body limit exceeded"));
                }
            }
            "transfer-encoding" => self.is_chunked = value.eq_ignore_ascii_case("chunked"),
            "expect" => self.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "connection" => self.request.close = value.eq_ignore_ascii_case("close"),
            "content-type" => self.request.content_type = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

impl Reply {
    fn head(&self, is_http_10: bool) -> String {
        let version = if is_http_10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let mut head = format!("{version} {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            self.push_header(&mut head, name, value);
        }
        self.push_header(&mut head, "Content-Length", &self.body.len().to_string());
        if self.dialect == Dialect::Hyper {
            self.push_header(&mut head, "Date", &http_date(self.date_ms));
        }
        head.push_str("\r\n");
        head
    }

    fn push_header(&self, head: &mut String, name: &str, value: &str) {
        let name = match self.dialect {
            Dialect::Beast => name.to_owned(),
            Dialect::Hyper => name.to_ascii_lowercase(),
        };
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(head, "{name}: {value}\r\n");
    }
}

/// A time as HTTP writes it: `Sat, 21 Nov 2026 03:22:25 GMT`.
#[must_use]
pub fn http_date(unix_ms: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ms / 1_000;
    let (mut days, clock) = (seconds / 86_400, seconds % 86_400);
    let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or(0)];
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", days + 1, MONTHS[month])
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
