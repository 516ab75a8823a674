//! Answers one request: by the gateway itself, or by whom it goes on to.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Empty, Limited, combinators::BoxBody};
use hyper::body::Incoming;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use super::{
    counts::Counters,
    egress::{allow::Host, plain, resolve::Destination, tunnel::Tunnel},
    headers,
    record::{Record, RecordedBody},
    refusal::{Refusal, alive},
    request_body::RequestBody,
    routes::{Route, route},
    session::Session,
    usage,
    walls::{Wall, stands},
};
use crate::panics::caught;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// An answer's body, streamed.
pub(super) type Body = BoxBody<Bytes, BoxError>;

/// How much of a refused request is taken in, and for how long, before it is answered. A client that is still sending does
/// not read: without this, it would see a broken connection and not the reason. 32 MiB is the model API's own bound.
const REFUSED_BODY_BYTES: usize = 32 * 1024 * 1024;
const REFUSED_BODY_TIME: Duration = Duration::from_secs(10);

/// How long who asks too often waits for the answer that says so: a refusal costs the host something too.
const BEYOND_THE_BOUND: Duration = Duration::from_secs(1);

/// A tunnel's place is free when another one ends; nobody knows when.
const TUNNEL_AGAIN_SECONDS: u64 = 5;
/// More of a refused target than this is not repeated.
const MAX_SHOWN_TARGET: usize = 200;

/// A request's head, and its body until somebody takes it.
struct Asked {
    head: Parts,
    body: Option<Incoming>,
}

/// Answers `request` of the session's group. Always answers: what goes wrong is an answer too, also a fault of ours. A
/// tunnel that comes about is left in `tunnel`, for the connection to become it.
pub(super) async fn answer(
    session: Arc<Session>,
    request: Request<Incoming>,
    tunnel: &Mutex<Option<Tunnel>>,
) -> Response<RecordedBody> {
    caught(try_to_answer(Arc::clone(&session), request, tunnel)).await.unwrap_or_else(|panicked| {
        tracing::error!(group = %session.group, error = %panicked, "the gateway failed to answer a request");
        let (head, body) = Refusal::Failed.into_response().into_parts();
        Response::from_parts(head, RecordedBody::unrecorded(body))
    })
}

async fn try_to_answer(
    session: Arc<Session>,
    mut request: Request<Incoming>,
    tunnel: &Mutex<Option<Tunnel>>,
) -> Response<RecordedBody> {
    let mut record = Record::new(Arc::clone(&session), request.method(), request.uri());
    let upgrade = (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let (method, uri) = (head.method.clone(), head.uri.clone());
    let mut asked = Asked { head, body: Some(body) };
    let route = route(&method, &uri, &session.policy.allow);
    let (state, most) = (&session.state, session.policy.limits.requests_a_minute);
    if route == Route::Alive {
        record.is_not_told();
        if state.questions.take(most, Instant::now()).is_err() {
            tokio::time::sleep(BEYOND_THE_BOUND).await;
        }
    } else {
        Counters::add(&state.counters.requests, 1);
        if let Err(refusal) = state.rate.take(most, Instant::now()) {
            record.is_one_of_many(state.untold.one_more(Instant::now()));
            tokio::time::sleep(BEYOND_THE_BOUND).await;
            return refused(refusal, asked.body, record).await;
        }
    }
    let answered = match route {
        Route::Alive => Ok(alive()),
        Route::ModelApi(path_and_query) if session.policy.model_api => {
            in_time(&session, to_model_api(&session, path_and_query, &mut asked, &mut record)).await
        }
        Route::Further { name, path_and_query } => {
            in_time(&session, to_further(&session, (name, path_and_query), &mut asked, &mut record)).await
        }
        Route::PlainHttp(host, port) => {
            in_time(&session, to_plain_host(&session, (&host, port), &mut asked, &mut record)).await
        }
        Route::Tunnel(host, port) => match (open_tunnel(&session, (&host, port), &mut record).await, upgrade) {
            (Ok((far, place)), Some(upgrade)) => {
                let opened = Tunnel::new(upgrade, far, (host, port), &session, record, place);
                *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
                return Response::new(RecordedBody::unrecorded(Empty::new().map_err(|never| match never {}).boxed()));
            }
            (Ok(_), None) => Err(Refusal::BadTarget { reason: "the connection cannot become a tunnel" }),
            (Err(refusal), _) => Err(refusal),
        },
        Route::BadTarget(reason) => Err(Refusal::BadTarget { reason }),
        Route::ModelApi(_) | Route::Refused => {
            let target = uri.to_string().chars().take(MAX_SHOWN_TARGET).collect();
            Err(Refusal::NotAllowed { method: method.to_string(), target })
        }
    };
    match answered {
        Ok(response) => finished(response, record),
        Err(refusal) => refused(refusal, asked.body, record).await,
    }
}

fn finished(response: Response<Body>, record: Record) -> Response<RecordedBody> {
    let (head, body) = response.into_parts();
    let body = record.answered(head.status, body);
    Response::from_parts(head, body)
}

async fn refused(refusal: Refusal, body: Option<Incoming>, mut record: Record) -> Response<RecordedBody> {
    record.refused(&refusal);
    if let Some(body) = body {
        take_in(body).await;
    }
    finished(refusal.into_response(), record)
}

/// The head of an answer has as long as a request may take in all; the rest of the time is its body's.
async fn in_time(
    session: &Session,
    answered: impl Future<Output = Result<Response<Body>, Refusal>>,
) -> Result<Response<Body>, Refusal> {
    tokio::time::timeout(session.policy.limits.request_time, answered).await.unwrap_or(Err(Refusal::TooSlow))
}

async fn to_model_api(
    session: &Session,
    path_and_query: &str,
    asked: &mut Asked,
    record: &mut Record,
) -> Result<Response<Body>, Refusal> {
    let upstream = &session.shared.upstream;
    record.allowed_by("model_api");
    let credential = upstream.credential_header().ok_or(Refusal::NoCredential)?;
    let body = RequestBody::take(&mut asked.body, session)?;
    let mut headers = std::mem::take(&mut asked.head.headers);
    headers::to_upstream(&mut headers, Some(credential));
    // Tokens are counted as they stream by, which a compressed answer would hide.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let response = upstream.send(asked.head.method.clone(), path_and_query, headers, body).await?;
    let mut response = to_group(response);
    if let Some(form) = form(response.headers()) {
        record.counts_tokens(form);
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        // It is the host's credential that was refused: nothing that the group does again helps.
        response.headers_mut().entry(headers::SHOULD_RETRY).or_insert(HeaderValue::from_static("false"));
    }
    Ok(response)
}

async fn to_further(
    session: &Session,
    (name, path_and_query): (&str, &str),
    asked: &mut Asked,
    record: &mut Record,
) -> Result<Response<Body>, Refusal> {
    let may_ask = session.policy.upstreams.iter().any(|own| own == name);
    let further = session
        .shared
        .further
        .get(name)
        .filter(|_| may_ask)
        .ok_or_else(|| Refusal::NoUpstream { name: name.chars().take(MAX_SHOWN_TARGET).collect() })?;
    record.asks_for(&further.host, further.port);
    let target = further.target(&asked.head.method, path_and_query)?;
    record.allowed_by(format_args!("upstream {name}"));
    let body = RequestBody::take(&mut asked.body, session)?;
    let headers = std::mem::take(&mut asked.head.headers);
    Ok(to_group(further.send(asked.head.method.clone(), target, headers, body).await?))
}

async fn to_plain_host(
    session: &Session,
    (host, port): (&Host, u16),
    asked: &mut Asked,
    record: &mut Record,
) -> Result<Response<Body>, Refusal> {
    let far = reach(session, (host, port), record).await?;
    let body = RequestBody::take(&mut asked.body, session)?;
    plain::send(session, far, (host, port), asked.head.clone(), body).await
}

async fn open_tunnel(
    session: &Session,
    target: (&Host, u16),
    record: &mut Record,
) -> Result<(TcpStream, OwnedSemaphorePermit), Refusal> {
    let limits = &session.policy.limits;
    let place = Arc::clone(&session.tunnels).try_acquire_owned().map_err(|_| Refusal::TooMany {
        what: "tunnels at a time",
        most: limits.tunnels as u64,
        again_in: TUNNEL_AGAIN_SECONDS,
    })?;
    Ok((reach(session, target, record).await?, place))
}

/// A connection to a host that the group may reach.
async fn reach(session: &Session, (host, port): (&Host, u16), record: &mut Record) -> Result<TcpStream, Refusal> {
    record.asks_for(host, port);
    let policy = &session.policy;
    let rule = match policy.allow.rule(host, port) {
        Some(rule) => rule.to_string(),
        None if !stands(Wall::AllowList) => "a wall that is missing".to_owned(),
        None => {
            return Err(Refusal::HostNotAllowed {
                host: format!("{host}:{port}"),
                place: policy.allowed_in.clone().unwrap_or_else(|| "[gateway]".to_owned()),
            });
        }
    };
    let resolver = &session.shared.resolver;
    let destination = Destination::find(resolver, &policy.private, host, port).await?;
    let far = destination.connect(resolver, host, port).await?;
    record.allowed_by(rule);
    Ok(far)
}

/// An upstream's answer as the group gets it.
fn to_group(response: reqwest::Response) -> Response<Body> {
    let (mut head, body) = Response::<reqwest::Body>::from(response).into_parts();
    headers::to_group(&mut head.headers);
    // The hop upstream may have been HTTP/2; the one to the group is not.
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    Response::from_parts(head, body.map_err(BoxError::from).boxed())
}

/// How tokens stand in an answer with these headers, if they can be read.
fn form(headers: &HeaderMap) -> Option<usage::Form> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return None;
    }
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    if kind.starts_with("text/event-stream") {
        Some(usage::Form::Events)
    } else {
        kind.starts_with("application/json").then_some(usage::Form::Object)
    }
}

async fn take_in(body: Incoming) {
    let mut body = Limited::new(body, REFUSED_BODY_BYTES);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whether it came to its end or not, the answer is the same.
    let _ = tokio::time::timeout(REFUSED_BODY_TIME, all).await;
}
