//! A client that costs little, because it shares the machine with what it measures: one thread over all connections, with
//! blocking sockets and requests made beforehand. It writes one request into each connection, then reads them in turn and
//! at once writes the next one into each. That is two system calls a request, and no waiting for readiness.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::report::per_second;

/// How long an answer may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes of a `GET`.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// The bytes of a `POST` of JSON.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A request with one more header line, which ends in CRLF.
pub fn with_header(request: Vec<u8>, line: &str) -> Vec<u8> {
    let request = String::from_utf8(request).unwrap();
    let (first, rest) = request.split_once("\r\n").unwrap();
    format!("{first}\r\n{line}{rest}").into_bytes()
}

/// Kept connections to one server, each with a request under way while [`Load::run`] runs.
pub struct Load<'a> {
    connections: Vec<Connection>,
    requests: std::iter::Cycle<std::slice::Iter<'a, Vec<u8>>>,
}

impl<'a> Load<'a> {
    /// Connects.
    pub fn connect(address: SocketAddr, connections: usize, requests: &'a [Vec<u8>]) -> Self {
        let connections = (0..connections).map(|_| Connection::open(address));
        Self {
            connections: connections.collect(),
            requests: requests.iter().cycle(),
        }
    }

    /// Requests answered in a second, over about this time.
    pub fn run(&mut self, time: Duration) -> f64 {
        let Self {
            connections,
            requests,
        } = self;
        for (connection, request) in connections.iter_mut().zip(&mut *requests) {
            connection.send(request);
        }
        let started = Instant::now();
        let mut answered = 0;
        while started.elapsed() < time {
            for (connection, request) in connections.iter_mut().zip(&mut *requests) {
                connection.receive();
                connection.send(request);
            }
            answered += connections.len();
        }
        let took = started.elapsed();
        for connection in connections {
            connection.receive();
        }
        per_second(answered, took)
    }
}

/// The body that a request is answered with.
pub fn answer(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut connection = Connection::open(address);
    connection.send(request);
    let body = connection.receive();
    connection.buffer[body].to_vec()
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: vec![0; 256 * 1024].into(),
        }
    }

    fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap();
    }

    /// Reads one answer, which must be a success, and tells where in the buffer its body stands.
    fn receive(&mut self) -> std::ops::Range<usize> {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let Some(body) = body(&self.buffer[..filled]) else {
                continue;
            };
            if filled >= body.end {
                assert!(
                    self.buffer.starts_with(b"HTTP/1.1 200 "),
                    "the server refused: {}",
                    String::from_utf8_lossy(&self.buffer[..filled])
                );
                assert_eq!(filled, body.end, "more than one answer came");
                return body;
            }
        }
    }
}

/// Where the body stands, once the head is complete.
fn body(answer: &[u8]) -> Option<std::ops::Range<usize>> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let place = answer[..head]
        .windows(LENGTH.len())
        .position(|name| name.eq_ignore_ascii_case(LENGTH))
        .expect("a content-length");
    let length = answer[place + LENGTH.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    Some(head..head + length)
}
