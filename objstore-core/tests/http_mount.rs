//! The public API inside a host's own server: beside the host's routes in hyper, as a tower
//! service, and without any socket at all.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use objstore_core::PublicService;
use support::{Ask, Wire, memory_node, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What a body says when it is asked for its next piece.
type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

type Boxed = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Any body as one type, as hosts with routes of their own do it.
fn boxed<B>(body: B) -> Boxed
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Serves connections one after the other with what `connection` makes of each, until dropped.
async fn listen<F, C>(connection: F) -> SocketAddr
where
    F: Fn(TokioIo<tokio::net::TcpStream>) -> C + Send + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(TokioIo::new(stream)));
        }
    });
    addr
}

/// The host's own handler: one route of its own, the rest is the node's.
async fn host(
    request: Request<Incoming>,
    objects: PublicService,
) -> Result<Response<Boxed>, Box<dyn Error + Send + Sync>> {
    if request.uri().path() == "/hello" {
        return Ok(Response::new(boxed(Full::new(Bytes::from_static(b"from the host")))));
    }
    let response = hyper::service::Service::call(&objects, request).await?;
    Ok(response.map(boxed))
}

#[tokio::test]
async fn the_service_lives_beside_a_hosts_own_route() {
    let node = memory_node(|_| {}).await;
    let objects = node.public_service();
    let addr = listen(move |io| {
        let objects = objects.clone();
        async move {
            let service = service_fn(move |request| host(request, objects.clone()));
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service).await;
        }
    })
    .await;

    let mut wire = Wire::open(addr).await;
    let hello = wire.ask(&Ask::new("GET", "/hello")).await;
    assert_eq!((hello.status, hello.text()), (200, "from the host"));

    for len in [0, 9, 200_000] {
        let id = node.new_id().to_string();
        let body = pattern(len);
        let put =
            wire.ask(&Ask::put(&id).field("X-Meta-Name", "a.txt").chunks(&body, 10_000)).await;
        assert_eq!(put.status, 200, "{put:?}");
        let got = wire.ask(&Ask::get(&id)).await;
        assert_eq!((got.status, got.must("content-length")), (200, len.to_string().as_str()));
        assert_eq!(got.must("content-type"), "text/plain; charset=utf-8");
        assert!(got.body == body);
        // What was put through the host's server is there in process, and the other way round.
        assert_eq!(node.head(id.parse().unwrap()).await.unwrap().size, len as u64);
        node.delete(id.parse().unwrap(), Default::default()).await.unwrap();
        wire.ask(&Ask::get(&id)).await.is_error(404, "deleted");
    }
    wire.ask(&Ask::new("GET", "/nowhere")).await.is_error(404, "no-such-route");
    let again = wire.ask(&Ask::new("GET", "/hello")).await;
    assert_eq!(again.status, 200, "the connection is the host's and goes on");
}

#[tokio::test]
async fn a_hyper_server_takes_the_service_as_it_is() {
    let node = memory_node(|_| {}).await;
    let objects = node.public_service();
    let addr = listen(move |io| {
        let objects = objects.clone();
        async move {
            let _ = http1::Builder::new().serve_connection(io, objects).await;
        }
    })
    .await;
    round_trip(addr, &node.new_id().to_string()).await;
}

#[tokio::test]
async fn a_server_made_for_tower_takes_the_service_too() {
    let node = memory_node(|_| {}).await;
    let objects = node.public_service();
    let addr = listen(move |io| {
        let service = TowerToHyperService::new(objects.clone());
        async move {
            let _ = http1::Builder::new().serve_connection(io, service).await;
        }
    })
    .await;
    round_trip(addr, &node.new_id().to_string()).await;
}

async fn round_trip(addr: SocketAddr, id: &str) {
    let body = pattern(150_000);
    let mut wire = Wire::open(addr).await;
    assert_eq!(wire.ask(&Ask::put(id).body(&body)).await.status, 200);
    assert!(wire.ask(&Ask::get(id)).await.body == body);
    let part = wire.ask(&Ask::get(id).field("Range", "bytes=65530-65545")).await;
    assert_eq!(part.status, 206);
    assert!(part.body == body[65_530..65_546]);
    let bad = wire.ask(&Ask::get("no-id")).await;
    bad.is_error(400, "invalid-id");
}

#[tokio::test]
async fn a_host_may_serve_http_without_opening_a_socket() {
    let node = memory_node(|_| {}).await;
    let objects = node.public_service();
    let (client, server) = tokio::io::duplex(4096);
    let serving = tokio::spawn(async move {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(server), objects).await;
    });
    let id = node.new_id().to_string();
    let body = pattern(300_000);
    let mut requests = Ask::put(&id).body(&body).bytes();
    requests.extend_from_slice(&Ask::get(&id).field("Connection", "close").bytes());
    let (mut read, mut write) = tokio::io::split(client);
    let mut answers = Vec::new();
    let (sent, received) = tokio::join!(write.write_all(&requests), read.read_to_end(&mut answers));
    sent.unwrap();
    received.unwrap();
    serving.await.unwrap();
    let text = String::from_utf8_lossy(&answers);
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{}", &text[..500]);
    assert!(answers.ends_with(&body));
}

/// One request to the service, called as tower calls it.
async fn called<B>(service: &PublicService, request: Request<B>) -> (Response<()>, Bytes)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let request = request.map(boxed);
    let mut service = service.clone();
    std::future::poll_fn(|cx| {
        tower_service::Service::<Request<Boxed>>::poll_ready(&mut service, cx)
    })
    .await
    .unwrap_or_else(|_| panic!("the service is ready"));
    let response = tower_service::Service::<Request<Boxed>>::call(&mut service, request)
        .await
        .unwrap_or_else(|_| panic!("the service answers"));
    let (parts, body) = response.into_parts();
    let bytes = boxed(body).collect().await.expect("a whole body").to_bytes();
    (Response::from_parts(parts, ()), bytes)
}

#[tokio::test]
async fn the_service_can_be_called_like_any_tower_service() {
    let node = memory_node(|_| {}).await;
    let service = node.public_service();
    let id = node.new_id().to_string();

    let request = Request::get("/api/v1/id").header("Host", "localhost");
    let (parts, bytes) = called(&service, request.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!((parts.status(), bytes.trim_ascii().len()), (StatusCode::OK, 26));

    let put = Request::put("/api/v1/put")
        .header("Host", "localhost")
        .header("X-Meta-ID", &id)
        .header("X-Meta-Name", "größe.txt".as_bytes());
    let body = Full::new(Bytes::from_static(b"It works!"));
    let (parts, bytes) = called(&service, put.body(body).unwrap()).await;
    assert_eq!((parts.status(), bytes.len()), (StatusCode::OK, 0));

    let get = Request::get(format!("/api/v1/get/{id}"))
        .header("Host", "localhost")
        .header("Range", "bytes=3-");
    let (parts, bytes) = called(&service, get.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(parts.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(parts.headers()["content-range"], "bytes 3-8/9");
    assert_eq!(parts.headers()["x-meta-name"].as_bytes(), "größe.txt".as_bytes());
    assert_eq!(bytes, "works!");

    let head = Request::head(format!("/api/v1/get/{id}")).header("Host", "localhost");
    let (parts, bytes) = called(&service, head.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(parts.headers()["content-length"], "9");
    assert!(bytes.is_empty());

    let bad = Request::get("/api/v1/get/no-id").header("Host", "localhost");
    let (parts, bytes) = called(&service, bad.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(parts.status(), StatusCode::BAD_REQUEST);
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["error"], "invalid-id");
}

/// A get that is answered, and of whose body nothing has been read yet.
async fn opened(service: &PublicService, id: &str, range: Option<&str>) -> Response<Boxed> {
    let mut get = Request::get(format!("/api/v1/get/{id}")).header("Host", "localhost");
    if let Some(range) = range {
        get = get.header("Range", range);
    }
    let request = get.body(boxed(Empty::<Bytes>::new())).unwrap();
    let response = tower_service::Service::call(&mut service.clone(), request).await;
    response.unwrap_or_else(|_| panic!("the service answers")).map(boxed)
}

#[tokio::test]
async fn an_answer_held_while_its_object_changes_is_still_whole() {
    // The memory tier holds a part of the body, as it does of what is read now and then.
    let node = memory_node(|settings| settings.memory_bytes = Some(1 << 20)).await;
    let service = node.public_service();
    let old = pattern(8 << 20);
    for warm in [None, Some("bytes=0-9"), Some("bytes=7000000-7000009")] {
        for change in ["overwrite", "delete"] {
            let id = node.new_id();
            let body = objstore_core::Body::from(old.clone());
            node.put(id, body, Default::default()).await.unwrap();
            let text = id.to_string();
            if let Some(range) = warm {
                let response = opened(&service, &text, Some(range)).await;
                response.into_body().collect().await.expect("ten bytes");
            }
            let whole = opened(&service, &text, None).await;
            let end = opened(&service, &text, Some("bytes=7000000-")).await;
            if change == "overwrite" {
                node.put(id, "new", Default::default()).await.unwrap();
            } else {
                node.delete(id, Default::default()).await.unwrap();
            }
            for (response, expected) in [(whole, &old[..]), (end, &old[7_000_000..])] {
                let status = response.status();
                let bytes = response.into_body().collect().await;
                let bytes = bytes.unwrap_or_else(|e| {
                    panic!("{status} after {change}, warmed by {warm:?}, broke off: {e}")
                });
                assert!(bytes.to_bytes() == expected, "other bytes after {change}");
            }
        }
    }
}

#[tokio::test]
async fn parts_held_while_their_object_changes_are_still_whole() {
    let node = memory_node(|settings| settings.memory_bytes = Some(1 << 20)).await;
    let service = node.public_service();
    let old = pattern(8 << 20);
    let id = node.new_id();
    node.put(id, objstore_core::Body::from(old.clone()), Default::default()).await.unwrap();
    let response = opened(&service, &id.to_string(), Some("bytes=0-99,7000000-7999999")).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    node.put(id, "new", Default::default()).await.unwrap();
    let bytes = response.into_body().collect().await;
    let bytes = bytes.unwrap_or_else(|e| panic!("the parts broke off: {e}")).to_bytes();
    assert!(support::find(&bytes, &old[7_000_000..8_000_000]).is_some(), "other bytes");
}

/// A body that breaks off in the middle, as one from a host's own client may.
struct Broken(Option<Bytes>);

impl Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled<std::io::Error> {
        Poll::Ready(Some(match self.0.take() {
            Some(bytes) => Ok(Frame::data(bytes)),
            None => Err(std::io::ErrorKind::ConnectionReset.into()),
        }))
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let node = memory_node(|_| {}).await;
    let service = node.public_service();
    for len in [10, 200_000] {
        let id = node.new_id();
        let put = Request::put("/api/v1/put")
            .header("Host", "localhost")
            .header("X-Meta-ID", id.to_string())
            .body(Broken(Some(Bytes::from(pattern(len)))))
            .unwrap();
        let (parts, bytes) = called(&service, put).await;
        assert_eq!(parts.status(), StatusCode::BAD_REQUEST);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["error"], "incomplete-body");
        assert!(support::journal(&node).await.is_empty());
    }
}

/// A body that says when its first piece has been taken, and then has nothing to give.
struct Stalled {
    piece: Option<Bytes>,
    taken: Option<oneshot::Sender<()>>,
}

impl Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled<Infallible> {
        if let Some(piece) = self.piece.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(taken) = self.taken.take() {
            let _ = taken.send(());
        }
        Poll::Pending
    }
}

#[tokio::test]
async fn a_request_dropped_half_way_stores_nothing() {
    let node = memory_node(|_| {}).await;
    let service = node.public_service();
    for len in [10, 200_000] {
        let id = node.new_id();
        let (taken, was_taken) = oneshot::channel();
        let body = Stalled { piece: Some(Bytes::from(pattern(len))), taken: Some(taken) };
        let put = Request::put("/api/v1/put")
            .header("Host", "localhost")
            .header("X-Meta-ID", id.to_string());
        let mut call = Box::pin(called(&service, put.body(body).unwrap()));
        tokio::select! {
            biased;
            _ = &mut call => panic!("a put cannot end before its body"),
            taken = was_taken => taken.unwrap(),
        }
        drop(call);
        assert!(node.head(id).await.is_err(), "what was dropped half way is not there");
        // The id is as free as before.
        let put = Request::put("/api/v1/put")
            .header("Host", "localhost")
            .header("X-Meta-ID", id.to_string())
            .header("If-None-Match", "*");
        let body = Full::new(Bytes::from_static(b"second try"));
        let (parts, _) = called(&service, put.body(body).unwrap()).await;
        assert_eq!(parts.status(), StatusCode::OK);
        assert_eq!(node.head(id).await.unwrap().size, 10);
    }
}
