//! A client that speaks HTTP/2 over TLS, one connection with many streams.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;

use h2::client::SendRequest;
use http::{HeaderMap, Request};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::authority::Authority;

/// An open connection. It ends when this is dropped.
pub struct Http2 {
    requests: SendRequest<Cursor<Vec<u8>>>,
    authority: String,
    driving: JoinHandle<()>,
}

/// The certificate that a server shows, and the protocol that it chooses of those that are offered.
pub async fn handshake(
    address: SocketAddr,
    name: &str,
    authority: &Authority,
    offered: &[&str],
) -> std::io::Result<(
    CertificateDer<'static>,
    Option<String>,
    tokio_rustls::client::TlsStream<TcpStream>,
)> {
    let mut tls = authority.client();
    tls.alpn_protocols = offered
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().unwrap()[0].clone();
    let chosen = session.alpn_protocol();
    let chosen = chosen.map(|name| String::from_utf8(name.to_vec()).unwrap());
    Ok((certificate, chosen, stream))
}

impl Http2 {
    /// Connects to a server of this name, which must choose HTTP/2.
    pub async fn connect(address: SocketAddr, name: &str, authority: &Authority) -> Self {
        let offered = ["h2", "http/1.1"];
        let (_, chosen, stream) = handshake(address, name, authority, &offered).await.unwrap();
        assert_eq!(chosen.as_deref(), Some("h2"));
        let (requests, connection) = h2::client::Builder::new().handshake(stream).await.unwrap();
        let driving = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            requests,
            authority: format!("{name}:{}", address.port()),
            driving,
        }
    }

    /// Sends a request on a stream of its own; answers status, headers and body.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, HeaderMap, String), h2::Error> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header("content-type", "application/json")
            .body(())
            .unwrap();
        let mut requests = self.requests.clone().ready().await?;
        let (answer, mut sending) = requests.send_request(request, body.is_none())?;
        if let Some(body) = body {
            // A server that has heard enough may answer before the whole body is sent.
            let _ = sending.send_data(Cursor::new(body), true);
        }
        let answer = answer.await?;
        let (parts, mut receiving) = answer.into_parts();
        let mut text = Vec::new();
        while let Some(chunk) = receiving.data().await {
            let chunk = chunk?;
            receiving.flow_control().release_capacity(chunk.len())?;
            text.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(text).unwrap();
        Ok((parts.status.as_u16(), parts.headers, text))
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driving.abort();
    }
}
