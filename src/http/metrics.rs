//! What monitoring sees, on a listener of its own: nothing here is ever served to clients.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, HttpResponseBuilder, web};

use super::places::Places;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::services::health::Health;

/// Everything that monitoring is served from.
#[derive(Clone)]
pub struct Monitoring {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The places of requests that are being answered.
    pub places: Arc<Places>,
    /// The state of the server.
    pub health: Arc<Health>,
}

/// Puts the routes of monitoring into an application.
pub fn configure_monitoring(app: &mut web::ServiceConfig, monitoring: &Monitoring) {
    app.app_data(web::Data::from(monitoring.metrics.clone()))
        .app_data(web::Data::from(monitoring.places.clone()))
        .app_data(web::Data::from(monitoring.health.clone()))
        .route("/metrics", web::get().to(metrics))
        .route("/health/live", web::get().to(live))
        .route("/health/ready", web::get().to(ready));
}

/// `GET /metrics`: the text that Prometheus reads.
async fn metrics(
    metrics: web::Data<Metrics>,
    places: web::Data<Places>,
    health: web::Data<Health>,
) -> HttpResponse {
    metrics.in_flight(places.taken());
    // Looking at the store's files blocks.
    let text = web::block(move || {
        // The rest is worth seeing, above all when the store's files cannot be looked at.
        match health.figures() {
            Ok(figures) => metrics.store(&figures),
            Err(error) => log::error!("the store's files could not be looked at: {error}"),
        }
        match health.outbox() {
            Ok(figures) => metrics.outbox(&figures),
            Err(error) => log::error!("outgoing work could not be counted: {error}"),
        }
        metrics.text()
    });
    match text.await {
        Ok(Ok(text)) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Ok(Err(error)) => failed(&error.to_string()),
        Err(error) => failed(&error.to_string()),
    }
}

/// `GET /health/live`: the process answers.
async fn live() -> HttpResponse {
    said(HttpResponse::Ok(), "live")
}

/// `GET /health/ready`: 200 while requests can be served, otherwise 503 and why not.
async fn ready(health: web::Data<Health>) -> HttpResponse {
    match health.ready().await {
        Ok(()) => said(HttpResponse::Ok(), "ready"),
        Err(error) => said(HttpResponse::ServiceUnavailable(), &error.to_string()),
    }
}

fn said(mut answer: HttpResponseBuilder, text: &str) -> HttpResponse {
    answer
        .content_type(ContentType::plaintext())
        .body(format!("{text}\n"))
}

fn failed(reason: &str) -> HttpResponse {
    log::error!("the metrics could not be written: {reason}");
    said(
        HttpResponse::InternalServerError(),
        "the metrics could not be written",
    )
}
