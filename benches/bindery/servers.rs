//! The two servers that are compared over HTTP, in this process with the same settings: one worker, so that the other
//! core of a small machine is left to the client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use actix_web::{HttpResponse, HttpServer, web};
use bindery::app::{App, Deps, Stop};
use bindery::config::{Config, Listen};
use serde_json::Value;
use tokio::sync::watch;

const WORKERS: usize = 1;

/// The longest body that bare servers read, in bytes.
const BODY: usize = 1 << 20;

/// A server that runs until it is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// This server over the store in a folder, without limits; nothing is logged, because this process has no logger.
    pub fn bindery(folder: &Path) -> Self {
        Self::bindery_with(folder, |_| {})
    }

    /// The same with other settings.
    pub fn bindery_with(folder: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.listen = vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))];
        config.server.workers = WORKERS;
        folder.clone_into(&mut config.store.path);
        config.keys.file = folder.join("signing.key");
        config.keys.secret = folder.join("secret.key");
        config.email.directory = folder.join("outbox");
        config.admin.socket = folder.join("admin.sock");
        config.limits.enabled = false;
        change(&mut config);
        Self::start(async move |ready, stopping| {
            let app = App::build(config, Deps::system()).await.unwrap();
            ready.send(app.local_addr().unwrap()).unwrap();
            app.run(stopping).await.unwrap();
        })
    }

    /// Actix with one handler that answers this JSON on every path, and nothing around it.
    pub fn bare(answer: Value) -> Self {
        Self::serve(answer, |app| {
            app.default_service(web::to(bare));
        })
    }

    fn serve(answer: Value, configure: fn(&mut web::ServiceConfig)) -> Self {
        let answer = web::Data::new(answer);
        Self::start(async move |ready, mut stopping| {
            let server = HttpServer::new(move || {
                actix_web::App::new()
                    .app_data(answer.clone())
                    .app_data(web::PayloadConfig::new(BODY))
                    .configure(configure)
            })
            .disable_signals()
            .workers(WORKERS)
            .bind(("127.0.0.1", 0))
            .unwrap();
            ready.send(server.addrs()[0]).unwrap();
            let server = server.run();
            let handle = server.handle();
            let serving = tokio::spawn(server);
            stopping.wait_for(|stop| *stop != Stop::No).await.unwrap();
            handle.stop(false).await;
            serving.await.unwrap().unwrap();
        })
    }

    /// Actix with one handler that parses a body as lookups have it, and answers this JSON.
    pub fn bare_lookup(answer: Value) -> Self {
        Self::serve(answer, |app| {
            app.default_service(web::to(bare_lookup));
        })
    }

    fn start(
        serve: impl AsyncFnOnce(mpsc::Sender<SocketAddr>, watch::Receiver<Stop>) + Send + 'static,
    ) -> Self {
        let (ready, listening) = mpsc::channel();
        let (stop, stopping) = watch::channel(Stop::No);
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap()
                .block_on(serve(ready, stopping));
        });
        Self {
            address: listening.recv().unwrap(),
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Now);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn bare(answer: web::Data<Value>) -> HttpResponse {
    HttpResponse::Ok().json(&**answer)
}

/// The body of a lookup.
#[derive(serde::Deserialize)]
struct Body {
    addresses: Vec<String>,
    algorithm: String,
    pepper: String,
}

async fn bare_lookup(body: web::Bytes, answer: web::Data<Value>) -> HttpResponse {
    let body: Body = serde_json::from_slice(&body).unwrap();
    std::hint::black_box((body.addresses, body.algorithm, body.pepper));
    HttpResponse::Ok().json(&**answer)
}
