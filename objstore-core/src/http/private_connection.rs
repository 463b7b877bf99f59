use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use objstore_client::{Body, Error};
use tokio::io::{AsyncRead, AsyncWrite};

use super::framing::Framing;
use super::intake::Pending;
use super::private::{PrivateService, Sender};
use super::tap::Tap;
use super::{answer, guard};
use crate::journal::NodeId;
use crate::settings::HttpSettings;

/// Answers carry bodies, as with the public API.
const BUFFER: usize = 512 * 1024;
/// Requests are small, and whoever can connect may send one: what one connection holds in memory
/// is twice this, whatever it sends.
const READ_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 100;

/// Who is at the other end of a connection of the private API, as far as the connection tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// This node for certain: its certificate says so.
    Node(NodeId),
    /// Something on this machine, reached at this address.
    Machine(Option<IpAddr>),
    /// Whoever can connect.
    Anyone,
    /// Somebody on this machine who looks after the node, reached at this address.
    Operator(Option<IpAddr>),
}

/// A connection on which the private API is spoken.
pub(crate) struct PrivateConnection {
    pub(crate) service: PrivateService,
    pub(crate) from: From,
}

impl PrivateConnection {
    /// Serves until the connection ends. Once `stop` is ready, what is being answered is still
    /// answered, and nothing after it.
    pub(crate) async fn serve<IO>(self, io: IO, stop: impl Future<Output = ()>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(settings) = self.service.http_settings() else { return };
        let settings = Arc::new(settings);
        let (tap, framing) = Tap::new(io, &settings, READ_MAX);
        let idle = std::time::Duration::from_millis(settings.idle_timeout_ms);
        let service = OnConnection { service: self.service, from: self.from, framing, settings };
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_headers(FIELDS_MAX)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(tap), service);
        let (mut stop, mut stopping) = (pin!(stop), false);
        let ended = loop {
            tokio::select! {
                ended = poll_fn(|cx| Pin::new(&mut connection).poll(cx)) => break ended,
                () = &mut stop, if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of another node ended");
        }
    }
}

#[derive(Clone)]
struct OnConnection {
    service: PrivateService,
    from: From,
    framing: Framing,
    settings: Arc<HttpSettings>,
}

impl OnConnection {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let mut pending = Pending::new(body, &head, &self.settings);
        let mut response = match self.check(&head, &mut pending) {
            Ok(()) => {
                if let From::Node(node) = self.from {
                    head.extensions.insert(Sender(node));
                }
                let request = Request::from_parts(head, pending.take());
                match self.from {
                    From::Operator(_) => self.service.answer_operator(request).await,
                    _ => self.service.answer(request).await,
                }
            }
            Err(error) => answer::error(&error),
        };
        // What is left of a request's body would be taken for the next request's head.
        if !pending.drain().await {
            answer::close(&mut response);
        }
        response
    }

    fn check(
        &self,
        head: &http::request::Parts,
        pending: &mut Pending<Incoming>,
    ) -> Result<(), Error> {
        guard::check(head, Some(&self.framing), pending)?;
        match self.from {
            From::Node(_) => Ok(()),
            From::Anyone => guard::check_direct(head),
            From::Machine(at) | From::Operator(at) => {
                guard::check_direct(head)?;
                guard::check_host_is_here(head, at, &self.settings)
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for OnConnection {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.framing.head_arrived();
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}
