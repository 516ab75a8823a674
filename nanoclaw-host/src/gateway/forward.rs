//! Answers one request: by the gateway itself, or by the model API.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, combinators::BoxBody};
use hyper::body::Incoming;
use nanoclaw_core::group::GroupFolder;

use super::{
    headers,
    record::{Record, RecordedBody},
    refusal::{Refusal, alive},
    routes::{Route, route},
    upstream::UpstreamClient,
};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// An answer's body, streamed.
pub(super) type Body = BoxBody<Bytes, BoxError>;

/// How much of a refused request is taken in, and for how long, before it is answered. A client that is still sending does
/// not read: without this, it would see a broken connection and not the reason. 32 MiB is the model API's own bound.
const REFUSED_BODY_BYTES: usize = 32 * 1024 * 1024;
const REFUSED_BODY_TIME: Duration = Duration::from_secs(10);

/// Answers `request` of `group`. Always answers: what goes wrong is an answer too.
pub(super) async fn answer(
    upstream: &UpstreamClient,
    group: GroupFolder,
    request: Request<Incoming>,
) -> Response<RecordedBody> {
    let record = Record::new(group, request.method(), request.uri());
    let response = match route(request.method(), request.uri()) {
        Route::Alive => alive(),
        Route::ModelApi(path_and_query) => {
            let path_and_query = path_and_query.to_owned();
            match to_model_api(upstream, &path_and_query, request).await {
                Ok(response) => response,
                Err(refusal) => refusal.into_response(),
            }
        }
        Route::Refused => {
            let target = request.uri().to_string().chars().take(200).collect();
            let refusal = Refusal::NotAllowed { method: request.method().to_string(), target };
            take_in(request.into_body()).await;
            refusal.into_response()
        }
    };
    let (head, body) = response.into_parts();
    let body = record.answered(head.status, body);
    Response::from_parts(head, body)
}

async fn to_model_api(
    upstream: &UpstreamClient,
    path_and_query: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let (head, body) = request.into_parts();
    let Some(credential) = upstream.credential_header() else {
        take_in(body).await;
        return Err(Refusal::NoCredential);
    };
    let mut headers = head.headers;
    headers::to_upstream(&mut headers, credential);
    let response = upstream.send(head.method, path_and_query, headers, body).await?;
    let (mut head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    headers::to_group(&mut head.headers);
    if head.status == StatusCode::UNAUTHORIZED {
        // It is the host's credential that was refused: nothing that the group does again helps.
        head.headers.entry(headers::SHOULD_RETRY).or_insert(HeaderValue::from_static("false"));
    }
    // The hop upstream may have been HTTP/2; the one to the group is not.
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    Ok(Response::from_parts(head, body.map_err(BoxError::from).boxed()))
}

async fn take_in(body: Incoming) {
    let mut body = Limited::new(body, REFUSED_BODY_BYTES);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whether it came to its end or not, the answer is the same.
    let _ = tokio::time::timeout(REFUSED_BODY_TIME, all).await;
}
