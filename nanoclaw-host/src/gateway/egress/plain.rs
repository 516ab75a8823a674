//! Plain HTTP through the proxy: `GET http://host/path`. The request goes on as it came, but for what concerns the
//! connection; redirects are the client's.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Uri, header, request::Parts};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::allow::Host;
use crate::gateway::{
    forward::{Body, BoxError},
    headers,
    refusal::Refusal,
    request_body::{RequestBody, Trouble},
    session::Session,
};

/// The port of `http://` that names none.
pub(in crate::gateway) const HTTP_PORT: u16 = 80;

/// Sends `request` to the host at the other end of `far` and returns when the head of the answer is there.
pub(in crate::gateway) async fn send(
    session: &Session,
    far: TcpStream,
    (host, port): (&Host, u16),
    mut head: Parts,
    (body, trouble): (RequestBody, Trouble),
) -> Result<Response<Body>, Refusal> {
    let failed = |reason: String| Refusal::HostUnreachable { host: format!("{host}:{port}"), reason };
    let path = head.uri.path_and_query().map_or("/", |both| both.as_str());
    // OPTIONS of a whole server has no path.
    head.uri = path.parse::<Uri>().map_err(|_| Refusal::BadTarget { reason: "its path cannot be read" })?;
    headers::to_plain_host(&mut head.headers);
    let named = if port == HTTP_PORT { host.to_string() } else { format!("{host}:{port}") };
    let named = named.parse().map_err(|_| Refusal::BadTarget { reason: "it is no host name" })?;
    head.headers.insert(header::HOST, named);
    head.version = http::Version::HTTP_11;
    head.extensions.clear();

    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(far)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    // Its errors come by the sender and the body too.
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let sent = timeout(session.policy.limits.idle, sender.send_request(Request::from_parts(head, body))).await;
    let response = match sent {
        Ok(response) => response.map_err(|error| trouble.or(|| failed(error.to_string())))?,
        Err(_) => return Err(Refusal::Silent { host: format!("{host}:{port}") }),
    };
    let (mut head, body) = response.into_parts();
    headers::remove_hop_by_hop(&mut head.headers);
    head.headers.remove(headers::GATEWAY);
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    Ok(Response::from_parts(head, Owning { body, _connection: connection }.boxed()))
}

/// A body together with the connection that it comes by, which ends with it.
struct Owning {
    body: Incoming,
    _connection: AbortOnDropHandle<()>,
}

impl http_body::Body for Owning {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
