//! The operator's commands over the socket of a running server.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::server::TestServer;

impl TestServer {
    /// Has a command carried out and answers what it answers.
    pub async fn command(&self, request: Value) -> Value {
        let mut stream = UnixStream::connect(&self.config.admin.socket)
            .await
            .unwrap();
        let call = json!({ "version": 1, "request": request }).to_string() + "\n";
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            let reply: Value = serde_json::from_str(&line).unwrap();
            if !reply["ok"].is_null() {
                return reply["ok"].clone();
            }
            assert!(reply["error"].is_null(), "{reply}");
        }
    }

    /// The outgoing work that there is; only what was given up, if `failed`.
    pub async fn outgoing(&self, failed: bool) -> Vec<Value> {
        let request = json!({ "list": { "failed": failed } });
        let request = json!({ "command": "outbox", "request": request });
        let answer = self.command(request).await;
        answer["outbox"]["items"].as_array().unwrap().clone()
    }

    /// Does what is asked of outgoing work and answers how much it changed.
    pub async fn change_outgoing(&self, request: Value) -> u64 {
        let request = json!({ "command": "outbox", "request": request });
        let answer = self.command(request).await;
        answer["changed"]["rows"].as_u64().unwrap()
    }
}
