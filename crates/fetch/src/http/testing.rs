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
};

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// What the server answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn ok(body: &[u8]) -> Self {
        Self { status: 200, body: body.to_vec(), ..Self::default() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cut(self, at: usize) -> Self {
        Self { cut: Some(at), ..self }
    }

    /// Serves `body` as a server that knows ranges does.
    pub(crate) fn ranged(seen: &Seen, body: &[u8]) -> Self {
        let from = seen.headers.get("range").and_then(|range| {
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        match from {
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
pub(crate) struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let answer = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &shared, &*answer));
            }
        });
        Self { url, seen, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
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
    if !reply.headers.iter().any(|(name, _)| name == "content-length") {
        head.push(format!("content-length: {}", reply.body.len()));
    }
    head.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let head = head.join("\r\n");
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let _ = stream
        .write_all(format!("{head}\r\n\r\n").as_bytes())
        .and_then(|()| stream.write_all(body));
}
