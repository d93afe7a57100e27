//! A server on loopback that answers as a test tells it to, faults included.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
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
    /// What follows the host.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
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
    /// The status.
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
    let mut lines = BufReader::new(stream.try_clone().expect("a socket can be cloned"))
        .lines()
        .map_while(Result::ok);
    let Some(mut first) = lines.next() else { return };
    if first.starts_with("CONNECT ") {
        // We are a proxy, too, and the other end of every tunnel.
        for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let Some(inner) = lines.next() else { return };
        first = inner;
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        })
        .collect();
    let request = Seen { path, headers };
    let number = {
        let mut all = seen.lock().expect("no test panics with the lock held");
        all.push(request.clone());
        all.len()
    };
    let reply = answer(&request, number);
    let mut head =
        vec![format!("HTTP/1.1 {} Whatever", reply.status), "connection: close".to_owned()];
    if !reply.endless && !reply.headers.iter().any(|(name, _)| name == "content-length") {
        head.push(format!("content-length: {}", reply.body.len()));
    }
    head.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let head = format!("{}\r\n\r\n", head.join("\r\n"));
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let _ = stream.write_all(head.as_bytes()).and_then(|()| send(&mut stream, body, &reply));
}

fn send(stream: &mut TcpStream, body: &[u8], reply: &Reply) -> std::io::Result<()> {
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
