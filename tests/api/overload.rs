//! More requests at once than the server takes.

use std::net::SocketAddr;

use bindery::config::Listen;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::server::{BIND, TestServer};

/// A request whose body is still to come: the server waits for it.
async fn half_a_request(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.client.address()).await.unwrap();
    let head = format!(
        "POST {BIND} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 100");
    stream
}

#[tokio::test]
async fn one_request_too_many_at_once_is_told_to_come_back() {
    let server = TestServer::start_with(|config| {
        config.metrics.listen = Some(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
        config.api.max_requests = 2;
    })
    .await;
    let monitoring = server.monitoring.as_ref().unwrap();
    let mut held = vec![half_a_request(&server).await, half_a_request(&server).await];

    for _ in 0..3 {
        let answer = server.client.get("/_matrix/identity/v2", &[]).await;
        answer.refused(503, "M_UNKNOWN");
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    assert_eq!(monitoring.get("/health/ready", &[]).await.status, 200);
    let text = monitoring.get("/metrics", &[]).await.text;
    assert!(text.contains("bindery_http_overloads_total 3"), "{text}");
    assert!(text.contains("bindery_http_requests_in_flight 2"), "{text}");

    for stream in &mut held {
        stream.write_all(b"{}").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("M_MISSING_PARAMS"), "{answer}");
    }
    server.client.get("/_matrix/identity/v2", &[]).await.ok();
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() {
    let server = TestServer::start_with(|config| config.api.max_requests = 1).await;
    drop(half_a_request(&server).await);
    loop {
        let answer = server.client.get("/_matrix/identity/v2", &[]).await;
        if answer.status == 200 {
            break;
        }
        answer.refused(503, "M_UNKNOWN");
    }
}
