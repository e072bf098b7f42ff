//! A client that costs little, because it shares the machine with what it measures: one thread over all connections, with
//! requests made beforehand. It writes one request into each connection, then reads them in turn and at once writes the
//! next one into each.
//!
//! What only the processor limits is asked by a client that never sleeps. Over loopback it is the server that wakes who
//! sleeps for its answer, which no server does for clients on other machines; and only the slower of two servers would
//! have to, since the faster one always finds the client at work.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
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
    /// How many requests were sent.
    pub sent: usize,
}

impl<'a> Load<'a> {
    /// Connects as a client that never sleeps.
    pub fn awake(address: SocketAddr, connections: usize, requests: &'a [Vec<u8>]) -> Self {
        Self::connect(address, connections, requests, true)
    }

    /// Connects as a client that sleeps until an answer comes: where the server waits for the disk, or does other work that
    /// is measured, the processor is left to it.
    pub fn asleep(address: SocketAddr, connections: usize, requests: &'a [Vec<u8>]) -> Self {
        Self::connect(address, connections, requests, false)
    }

    fn connect(
        address: SocketAddr,
        connections: usize,
        requests: &'a [Vec<u8>],
        awake: bool,
    ) -> Self {
        let connect = |_| {
            let connection = Connection::open(address);
            connection.stream.set_nonblocking(awake).unwrap();
            connection
        };
        Self {
            connections: (0..connections).map(connect).collect(),
            requests: requests.iter().cycle(),
            sent: 0,
        }
    }

    /// Requests answered in a second, over about this time.
    pub fn run(&mut self, time: Duration) -> f64 {
        let Self {
            connections,
            requests,
            sent,
        } = self;
        for (connection, request) in connections.iter_mut().zip(&mut *requests) {
            connection.send(request);
        }
        let started = Instant::now();
        let mut answered = 0;
        while started.elapsed() < time {
            for connection in &mut *connections {
                if connection.receive().is_some() {
                    answered += 1;
                    connection.send(requests.next().unwrap());
                }
            }
        }
        let took = started.elapsed();
        *sent += answered + connections.len();
        for connection in connections {
            connection.wait();
        }
        per_second(answered, took)
    }
}

/// The body that a request is answered with.
pub fn answer(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut connection = Connection::open(address);
    connection.send(request);
    let body = connection.wait();
    connection.buffer[body].to_vec()
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    /// How much of the answer is in the buffer.
    filled: usize,
    asked: Instant,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: vec![0; 256 * 1024].into(),
            filled: 0,
            asked: Instant::now(),
        }
    }

    fn send(&mut self, mut request: &[u8]) {
        self.filled = 0;
        self.asked = Instant::now();
        while !request.is_empty() {
            match self.stream.write(request) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.hurry(),
                written => request = &request[written.unwrap()..],
            }
        }
    }

    /// Reads one answer, which must be a success, and tells where in the buffer its body stands; none if more is to come.
    fn receive(&mut self) -> Option<Range<usize>> {
        let read = match self.stream.read(&mut self.buffer[self.filled..]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.hurry();
                return None;
            }
            read => read.unwrap(),
        };
        assert!(read > 0, "the server closed the connection");
        self.filled += read;
        let filled = self.filled;
        let body = body(&self.buffer[..filled])?;
        if filled < body.end {
            return None;
        }
        assert!(
            self.buffer.starts_with(b"HTTP/1.1 200 "),
            "the server refused: {}",
            String::from_utf8_lossy(&self.buffer[..filled])
        );
        assert_eq!(filled, body.end, "more than one answer came");
        Some(body)
    }

    fn wait(&mut self) -> Range<usize> {
        loop {
            if let Some(body) = self.receive() {
                return body;
            }
        }
    }

    fn hurry(&self) {
        assert!(
            self.asked.elapsed() < PATIENCE,
            "the server does not answer"
        );
    }
}

/// Where the body stands, once the head is complete.
fn body(answer: &[u8]) -> Option<Range<usize>> {
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
