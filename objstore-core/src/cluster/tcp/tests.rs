//! Nodes over TCP, and at the other end whoever has a certificate that is not quite right.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream;
use http::Request;
use objstore_client::wire::private::{PROTOCOL, headers, routes};
use objstore_client::{Body, Error, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::TcpNetwork;
use crate::cluster::{ClusterKey, Trust};
use crate::env::{Clock, Env, Network, SystemClock};
use crate::journal::NodeId;
use crate::settings::{ClusterSettings, Settings};
use crate::{Node, Received};

const STRANGER: NodeId = NodeId::from_u128(0x0185_0000_0000_0000_0000_0000_0000_0001);

fn key() -> ClusterKey {
    ClusterKey::generate().unwrap()
}

/// A clock that is off by so many years.
#[derive(Debug)]
struct Off(i64);

impl Clock for Off {
    fn wall_nanos(&self) -> u64 {
        SystemClock.wall_nanos().saturating_add_signed(self.0 * 365 * 24 * 3600 * 1_000_000_000)
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }
}

/// What a node calls others with.
struct Caller {
    network: TcpNetwork,
    trust: Arc<Trust>,
}

impl Caller {
    fn new(keys: &[&ClusterKey], node: NodeId, clock: Arc<dyn Clock>) -> Self {
        let keys = keys.iter().map(|key| (*key).clone()).collect();
        let settings = ClusterSettings { keys, ..ClusterSettings::default() };
        let trust = Arc::new(Trust::new(&settings, node, Arc::clone(&clock)).unwrap());
        Self { network: TcpNetwork::new(Arc::clone(&trust), clock), trust }
    }

    fn with(keys: &[&ClusterKey]) -> Self {
        Self::new(keys, STRANGER, Arc::new(SystemClock))
    }

    async fn call(&self, to: &str, request: Request<Body>) -> Result<(u16, String), Error> {
        let answer = self.network.call(to, request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect(1 << 20).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn ping(&self, to: &str) -> Result<(u16, String), Error> {
        self.call(to, ask("GET", routes::PING, STRANGER).body(Body::default()).unwrap()).await
    }

    async fn refusal(&self, to: &str) -> String {
        let error = self.ping(to).await.unwrap_err();
        // That it is of another cluster, or that it could not be found out.
        assert!(matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Transport), "{error:?}");
        error.to_string()
    }
}

fn ask(method: &str, path: &str, node: NodeId) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(headers::PROTOCOL, PROTOCOL)
        .header(headers::TAG, "default")
        .header(headers::NODE, node.to_string())
        .header(headers::BOOT, 1)
}

async fn node(keys: &[&ClusterKey]) -> (Node, String) {
    node_with(keys, Env::default()).await
}

async fn node_with(keys: &[&ClusterKey], env: Env) -> (Node, String) {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.keys = keys.iter().map(|key| (*key).clone()).collect();
    let node = Node::builder().settings(settings).env(env).in_memory().start().await.unwrap();
    let at = node.private_addr().unwrap();
    (node, at)
}

#[tokio::test]
async fn each_node_derives_the_same_authority() {
    let key = key();
    let (_a, at) = node(&[&key]).await;
    assert_eq!(Caller::with(&[&key]).ping(&at).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_wrong_or_expired_certificate_fails_the_handshake() {
    let (right, wrong) = (key(), key());
    let (a, at) = node(&[&right]).await;
    let mut heard = a.subscribe();
    let why = Caller::with(&[&wrong]).refusal(&at).await;
    assert!(why.contains("another cluster key"), "{why}");
    for years in [-3, 3] {
        let clock = Arc::new(Off(years));
        let why = Caller::new(&[&right], STRANGER, clock).refusal(&at).await;
        assert!(why.contains("are both clocks right?"), "{why}");
    }
    let why = Caller::with(&[]).refusal(&at).await;
    assert!(why.contains("speaks something else"), "{why}");

    // Whoever does not look at the certificate of the other side has to show one all the same.
    let lenient = Caller::with(&[&right, &wrong]);
    assert_eq!(lenient.ping(&at).await.unwrap().0, 200, "the first issues");
    let why = Caller::with(&[&wrong, &right]).refusal(&at).await;
    assert!(why.contains("does not accept this node's cluster key"), "{why}");
    // By a clock that finds the other side's certificate valid and has none that is.
    let half = Caller::new(&[&right], STRANGER, Arc::new(Aged::default()));
    let why = half.refusal(&at).await;
    assert!(why.contains("finds this node's certificate out of its time"), "{why}");

    drop(a);
    assert_eq!(heard.next().await, None::<Received>);
}

/// A clock by which a certificate is made three years ago, and checked now.
#[derive(Debug, Default)]
struct Aged(std::sync::atomic::AtomicBool);

impl Clock for Aged {
    fn wall_nanos(&self) -> u64 {
        let asked_before = self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
        if asked_before { SystemClock.wall_nanos() } else { Off(-3).wall_nanos() }
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }
}

#[tokio::test]
async fn no_certificate_at_all_fails_the_handshake() {
    let (_a, at) = node(&[&key()]).await;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = "localhost".try_into().unwrap();
    let stream = TcpStream::connect(&at).await.unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let _ = stream.write_all(b"GET /private/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut said = Vec::new();
    let refused = stream.read_to_end(&mut said).await.unwrap_err().to_string();
    assert!(said.is_empty() && refused.contains("CertificateRequired"), "{refused}");
}

/// Believes any certificate.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_node_speaks_for_itself_only() {
    let key = key();
    let (a, at) = node(&[&key]).await;
    let mut heard = a.subscribe();
    let caller = Caller::with(&[&key]);
    let message = |node: NodeId| {
        ask("POST", routes::MESSAGE, node).body(Body::from(node.to_string())).unwrap()
    };
    for other in [a.id(), NodeId::from_u128(STRANGER.to_u128() + 1)] {
        assert_eq!(caller.call(&at, message(other)).await.unwrap().0, 403);
    }
    assert_eq!(caller.call(&at, message(STRANGER)).await.unwrap().0, 200);
    let Some(Received::Message(message)) = heard.next().await else { panic!("no message") };
    assert_eq!((message.from, message.payload), (STRANGER, STRANGER.to_string().into()));
}

#[tokio::test]
async fn nothing_is_sent_to_a_node_that_is_not_the_one_meant() {
    let key = key();
    let (_a, at) = node(&[&key]).await;
    let caller = Caller::with(&[&key]);
    let request = ask("POST", routes::MESSAGE, STRANGER)
        .header(headers::TO, NodeId::from_u128(7).to_string())
        .body(Body::from("secret"))
        .unwrap();
    let error = caller.call(&at, request).await.unwrap_err();
    assert_eq!(error.to_string(), "another node is reached at this address by now");
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_broken_one_is_not() {
    let key = key();
    for keys in [&[][..], &[&key][..]] {
        let (a, at) = node(keys).await;
        let caller = Caller::with(keys);
        for _ in 0..3 {
            assert_eq!(caller.ping(&at).await.unwrap().0, 200);
        }
        assert_eq!(caller.network.pool.kept(&at), 1);
        a.shutdown().await.unwrap();
        drop(a);
        // Whether the close has been seen by now or not: no answer, and no endless retry.
        assert!(caller.ping(&at).await.is_err());
        assert_eq!(caller.network.pool.kept(&at), 0);
    }
}

#[tokio::test]
async fn keys_are_exchanged_without_cutting_what_runs() {
    let (old, new) = (key(), key());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let write = |keys: &[&ClusterKey]| {
        let lines: Vec<_> = keys.iter().map(|key| key.to_line()).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
    };
    write(&[&old]);
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.cluster_key_file = Some(file.clone());
    let a = Node::builder().settings(settings).in_memory().start().await.unwrap();
    let at = a.private_addr().unwrap();
    let trust = &a.inner.trust;

    let caller = Caller::with(&[&old]);
    assert_eq!(caller.ping(&at).await.unwrap().0, 200);
    // A request whose body is still on its way while the keys change.
    let (give, rest) = tokio::sync::mpsc::channel(1);
    give.send(Ok("first ".into())).await.unwrap();
    let rest = stream::unfold(rest, |mut rest| async move { Some((rest.recv().await?, rest)) });
    let request =
        ask("POST", routes::MESSAGE, STRANGER).body(Body::from_stream(rest, None)).unwrap();
    let mut heard = a.subscribe();
    let running = caller.call(&at, request);
    let exchange = async {
        // Until the first part has been taken, the request has been sent.
        give.reserve().await.unwrap().send(Ok("second ".into()));
        for broken in ["", "objstore-key-nonsense"] {
            std::fs::write(&file, broken).unwrap();
            assert!(trust.renew().is_err());
            assert_eq!(Caller::with(&[&old]).ping(&at).await.unwrap().0, 200, "nothing changes");
        }
        write(&[&old, &new]);
        trust.renew().unwrap();
        for key in [&old, &new] {
            assert_eq!(Caller::with(&[&old, &new, key]).ping(&at).await.unwrap().0, 200);
        }
        write(&[&new, &old]);
        trust.renew().unwrap();
        assert_eq!(Caller::with(&[&old, &new]).ping(&at).await.unwrap().0, 200);
        assert_eq!(Caller::with(&[&new]).ping(&at).await.unwrap().0, 200);
        write(&[&new]);
        trust.renew().unwrap();
        assert!(Caller::with(&[&old, &new]).ping(&at).await.is_err(), "withdrawn");
        assert_eq!(Caller::with(&[&new]).ping(&at).await.unwrap().0, 200);
        give.reserve().await.unwrap().send(Ok("third".into()));
        drop(give);
    };
    let (answered, ()) = tokio::join!(running, exchange);
    assert_eq!(answered.unwrap().0, 200, "what runs is not cut");
    let Some(Received::Message(message)) = heard.next().await else { panic!("no message") };
    assert_eq!(message.payload, "first second third");
    // And it was the last on connections that were made with the old key.
    assert!(caller.ping(&at).await.is_err());
    assert!(caller.trust.credentials().is_some());
}

/// What answers at an address, byte for byte.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer).await;
        }
    });
    at
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_noise_is_no_answer() {
    let caller = Caller::with(&[]);
    let redirect = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(caller.ping(&answering(redirect).await).await.unwrap().0, 307);
    for (noise, kind) in [
        (&b"SSH-2.0-OpenSSH_9.9\r\n"[..], ErrorKind::Forbidden),
        (b"\x15\x03\x03\x00\x02\x02\x0a", ErrorKind::Forbidden),
        (b"", ErrorKind::Transport),
    ] {
        let at = answering(noise).await;
        assert_eq!(caller.ping(&at).await.unwrap_err().kind(), kind);
    }
    // A body that ends too early is an error, never a short body.
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    assert_eq!(caller.ping(&answering(cut).await).await.unwrap_err().kind(), ErrorKind::Transport);
}
