//! What every answer has, and what every request must have.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
            REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

use super::{Shared, guard::Refusal};

/// What no browser may do with an answer: run, load or send anything but the page's own script, style and questions.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Lets through who is answered, and says in every answer what browsers may do with it.
pub(super) async fn guarded(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let verdict = shared.guard.check(request.method(), request.uri(), request.headers());
    let verdict = verdict
        .and_then(|()| if request.body().is_end_stream() { Ok(()) } else { Err(Refusal::Body) });
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    };
    shared.own.answered(response.status().as_u16());
    protect(response.headers_mut());
    response
}

fn refused(refusal: Refusal) -> Response {
    let mut response = error(refusal.status(), &refusal.to_string());
    let headers = response.headers_mut();
    match refusal {
        Refusal::Token => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"memmgr\""));
        }
        Refusal::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        Refusal::Host | Refusal::Elsewhere | Refusal::Body => {}
    }
    response
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// An answer of one kind of text.
pub(super) fn text(content_type: &'static str, body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(content_type))], body.into()).into_response()
}

/// An answer for programs.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(json) => (status, text("application/json", json)).into_response(),
        Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, &problem.to_string()),
    }
}

/// What went wrong, for programs and people.
pub(super) fn error(status: StatusCode, what: &str) -> Response {
    let body = serde_json::json!({ "error": what }).to_string();
    (status, text("application/json", body)).into_response()
}
