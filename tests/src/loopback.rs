//! A server on loopback that answers as a test tells it to, faults included.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Connections that a test may make; then the server is gone.
const MOST: usize = 1000;

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `PUT`, ..
    pub method: String,
    /// What follows the host.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What was sent with it.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first byte wanted, if that is said.
    pub fn from(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server answers.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status; 0: none, the connection is closed.
    pub status: u16,
    /// Headers; the length of the body is said unless it is among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Send the body over and over, without saying how long it is, until nobody listens or 1 GiB is sent.
    pub endless: bool,
    /// Send one byte at a time with this pause between them.
    pub drip: Option<Duration>,
}

impl Reply {
    /// The whole body.
    pub fn ok(body: &[u8]) -> Self {
        Self { status: 200, body: body.to_vec(), ..Self::default() }
    }

    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, cut off after so many bytes of the body.
    #[must_use]
    pub fn cut(self, at: usize) -> Self {
        Self { cut: Some(at), ..self }
    }

    /// Serves `body` as a server that knows ranges does.
    pub fn ranged(seen: &Seen, body: &[u8]) -> Self {
        match seen.from() {
            Some(from) if from < body.len() => Self { status: 206, ..Self::ok(&body[from..]) }
                .header(
                    "content-range",
                    &format!("bytes {from}-{}/{}", body.len() - 1, body.len()),
                ),
            _ => Self::ok(body),
        }
    }
}

/// The server; it ends with the value.
#[derive(Debug)]
pub struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each request as `answer` says, which is told its number, from 1.
    pub fn new(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let answer = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok).take(MOST) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &shared, &*answer));
            }
        });
        Self { url, seen, stop, thread: Some(thread) }
    }

    /// The URL of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics with the lock held").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>, answer: &dyn Fn(&Seen, usize) -> Reply) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    // Whoever speaks TLS would wait for an answer to it.
    let mut first = [0];
    if stream.peek(&mut first).is_err() || first == [0x16] {
        return;
    }
    let mut input = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let Some(mut head) = read_head(&mut input) else { return };
    if head[0].starts_with("CONNECT ") {
        // We are a proxy, too, and the other end of every tunnel.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let Some(inner) = read_head(&mut input) else { return };
        head = inner;
    }
    let mut first = head[0].split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: BTreeMap<_, _> = head[1..]
        .iter()
        .filter_map(|line| {
            line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        })
        .collect();
    let Ok(body) = read_body(&mut input, &headers) else { return };
    let request = Seen { method, path, headers, body };
    let number = {
        let mut all = seen.lock().expect("no test panics with the lock held");
        all.push(request.clone());
        all.len()
    };
    let reply = answer(&request, number);
    if reply.status == 0 {
        return;
    }
    let mut head =
        vec![format!("HTTP/1.1 {} Whatever", reply.status), "connection: close".to_owned()];
    let silent = request.method == "HEAD";
    if !reply.endless && !reply.headers.iter().any(|(name, _)| name == "content-length") {
        head.push(format!("content-length: {}", reply.body.len()));
    }
    head.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let head = format!("{}\r\n\r\n", head.join("\r\n"));
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let body = if silent { &[] } else { body };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| send(&mut stream, body, &reply));
}

/// The lines up to the empty one; none if there is no request.
fn read_head(input: &mut impl BufRead) -> Option<Vec<String>> {
    let lines = input.lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then_some(lines)
}

/// What is sent with a request: so many bytes, or chunks.
fn read_body(input: &mut impl BufRead, headers: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_none_or(|encoding| encoding != "chunked") {
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        body.resize(length.unwrap_or(0), 0);
        input.read_exact(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let at = body.len();
        body.resize(at + size, 0);
        input.read_exact(&mut body[at..])?;
        input.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn send(stream: &mut TcpStream, body: &[u8], reply: &Reply) -> io::Result<()> {
    if let Some(pause) = reply.drip {
        for byte in body {
            stream.write_all(&[*byte])?;
            std::thread::sleep(pause);
        }
        return Ok(());
    }
    stream.write_all(body)?;
    let mut sent = body.len();
    while reply.endless && !body.is_empty() && sent < 1 << 30 {
        stream.write_all(body)?;
        sent += body.len();
    }
    Ok(())
}
