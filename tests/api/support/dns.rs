//! A DNS server on loopback with records that a test sets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const A: u16 = 1;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;

const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// The DNS server. It stops when it is dropped.
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    answering: JoinHandle<()>,
}

#[derive(Default)]
struct Zone {
    /// Type and content of each record of a name.
    records: HashMap<String, Vec<(u16, Vec<u8>)>>,
    broken: Vec<String>,
    asked: Vec<String>,
}

impl DnsServer {
    /// A server on a free port of 127.0.0.1 that knows no name.
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0").await
    }

    /// The same on this address.
    pub async fn start_on(address: &str) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let answering = tokio::spawn(answer_all(socket, Arc::clone(&zone)));
        Self {
            address,
            zone,
            answering,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an address to a name.
    pub fn host(&self, name: &str, address: &str) {
        match address.parse().unwrap() {
            IpAddr::V4(address) => self.add(name, A, address.octets().into()),
            IpAddr::V6(address) => self.add(name, AAAA, address.octets().into()),
        }
    }

    /// Adds a TXT record to a name.
    pub fn txt(&self, name: &str, text: &str) {
        let part = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
        self.add(
            name,
            TXT,
            text.as_bytes().chunks(100).flat_map(part).collect(),
        );
    }

    /// Adds an MX record to a name.
    pub fn mx(&self, name: &str, host: &str) {
        let data = [&10_u16.to_be_bytes()[..], &labels(host)].concat();
        self.add(name, MX, data);
    }

    /// Forgets all records of a name.
    pub fn forget(&self, name: &str) {
        self.zone.lock().unwrap().records.remove(name);
    }

    /// Adds an SRV record to a name.
    pub fn srv(&self, name: &str, priority: u16, target: &str, port: u16) {
        let mut data = Vec::new();
        for number in [priority, 0, port] {
            data.extend(number.to_be_bytes());
        }
        data.extend(labels(target));
        self.add(name, SRV, data);
    }

    /// Fails at a name, and at all below it.
    pub fn break_at(&self, name: &str) {
        self.zone.lock().unwrap().broken.push(name.to_owned());
    }

    /// The names that were asked for, by type: `SRV name`.
    pub fn asked(&self) -> Vec<String> {
        self.zone.lock().unwrap().asked.clone()
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) {
        let mut zone = self.zone.lock().unwrap();
        let records = zone.records.entry(name.to_owned()).or_default();
        records.push((kind, data));
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// A name as it stands in records (RFC 1035, section 3.1).
fn labels(name: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}

async fn answer_all(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut query = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        let answer = answer(&query[..length], &mut zone.lock().unwrap());
        socket.send_to(&answer, from).await.unwrap();
    }
}

/// An answer of RFC 1035, section 4.1, without compression but for the name that was asked for.
fn answer(query: &[u8], zone: &mut Zone) -> Vec<u8> {
    const HEADER: usize = 12;
    let mut labels = Vec::new();
    let mut at = HEADER;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[HEADER..at + 5];
    let word = match kind {
        A => "A",
        AAAA => "AAAA",
        MX => "MX",
        TXT => "TXT",
        SRV => "SRV",
        _ => "other",
    };
    zone.asked.push(format!("{word} {name}"));
    let of_name = zone.records.get(&name);
    let broken = zone.broken.iter().any(|broken| name.ends_with(broken));
    let code = match of_name {
        _ if broken => SERVER_FAILURE,
        Some(_) => NO_ERROR,
        None => NO_SUCH_NAME,
    };
    let found: Vec<_> = of_name
        .into_iter()
        .flatten()
        .filter(|(known, _)| *known == kind && !broken)
        .collect();
    let mut answer = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0];
    answer.push(u8::try_from(found.len()).unwrap());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question);
    for (kind, data) in found {
        // The name stands at the start of the question; class IN, time to live 0.
        answer.extend([0xc0, 0x0c]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    answer
}
