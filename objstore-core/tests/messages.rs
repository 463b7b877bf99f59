//! Messages between applications, and what whoever looks after a node can ask of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;

use objstore_core::env::Env;
use objstore_core::options::GetOptions;
use objstore_core::testing::MemoryNetwork;
use objstore_core::wire::messages::Messages as Page;
use objstore_core::{ErrorKind, Message, Node, Received, Settings, Subscription};
use support::{Ask, Wire, patiently, until};

async fn node(network: &MemoryNetwork, seeds: &[&Node]) -> Node {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.debug_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.nodes = seeds.iter().map(|seed| seed.private_addr().unwrap()).collect();
    let mut env = Env::default();
    env.network = Some(Arc::new(network.clone()));
    Node::builder().settings(settings).env(env).in_memory().start().await.unwrap()
}

/// Three nodes, each of which knows the others.
async fn three() -> [Node; 3] {
    let network = MemoryNetwork::new();
    let a = node(&network, &[]).await;
    let b = node(&network, &[&a]).await;
    let c = node(&network, &[&a, &b]).await;
    until("all know all", async || [&a, &b, &c].iter().all(|node| node.peers().len() == 2)).await;
    [a, b, c]
}

async fn next(subscription: &mut Subscription) -> Message {
    match patiently("a message comes", subscription.next()).await {
        Some(Received::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_comes_once_to_every_other_node() {
    let [a, b, c] = three().await;
    let (mut at_a, mut at_b, mut at_c) = (a.subscribe(), b.subscribe(), c.subscribe());
    assert_eq!(a.send("one").await.unwrap(), 2);
    assert_eq!(b.send(vec![0, 255]).await.unwrap(), 2);
    let whole = vec![7; Message::MAX];
    assert_eq!(c.send(whole.clone()).await.unwrap(), 2);
    let too_long = c.send(vec![7; Message::MAX + 1]).await.unwrap_err();
    assert_eq!(too_long.kind(), ErrorKind::TooLarge);

    let came = async |at: &mut Subscription| {
        let (one, two) = (next(at).await, next(at).await);
        [(one.from, one.payload.to_vec()), (two.from, two.payload.to_vec())]
    };
    let (one, two, three) = ((a.id(), b"one".to_vec()), (b.id(), vec![0, 255]), (c.id(), whole));
    assert_eq!(came(&mut at_a).await, [two.clone(), three.clone()]);
    assert_eq!(came(&mut at_b).await, [one.clone(), three]);
    assert_eq!(came(&mut at_c).await, [one, two]);

    // Nothing has come twice, and each ends with its node.
    for (node, mut at) in [(a, at_a), (b, at_b), (c, at_c)] {
        node.shutdown().await.unwrap();
        assert_eq!(node.send("late").await.unwrap_err().kind(), ErrorKind::Stopping);
        drop(node);
        assert_eq!(patiently("it ends", at.next()).await, None);
    }
}

#[tokio::test]
async fn a_slow_subscriber_is_told_what_it_missed() {
    let [a, b, _c] = three().await;
    let mut slow = b.subscribe();
    for number in 0..300_u32 {
        assert_eq!(a.send(number.to_be_bytes().to_vec()).await.unwrap(), 2);
    }
    assert_eq!(slow.next().await, Some(Received::Missed(300 - 256)));
    for number in 300 - 256..300_u32 {
        assert_eq!(next(&mut slow).await.payload, number.to_be_bytes()[..]);
    }
}

#[tokio::test]
async fn a_program_that_embeds_no_node_follows_them_over_http() {
    let [a, b, _c] = three().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = b.serve_public(listener).unwrap();
    let mut wire = Wire::open(server.local_addr()).await;
    let mut get = async |query: &str| {
        let reply = wire.ask(&Ask::new("GET", &format!("/api/v1/messages{query}"))).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_slice::<Page>(&reply.body).unwrap()
    };
    let begin = get("").await;
    assert_eq!((begin.messages.len(), begin.missed, begin.interrupted), (0, 0, false));

    // What came since is told at once, as often as it is asked for.
    assert_eq!(a.send(vec![0, 255]).await.unwrap(), 2);
    let one = [Message::new(a.id(), vec![0, 255].into())];
    for wait in ["", "&wait=5000"] {
        let page = get(&format!("?after={}{wait}", begin.next)).await;
        assert_eq!((page.messages.as_slice(), page.missed), (&one[..], 0));
    }
    // A request that waits is answered when one comes, which may be from anybody over HTTP.
    let next = get(&format!("?after={}", begin.next)).await.next;
    let after = format!("?after={next}&wait=99999999999999999999");
    let sent = async {
        let mut other = Wire::open(server.local_addr()).await;
        let sent = other.ask(&Ask::new("POST", "/api/v1/messages").body(b"deploy")).await;
        assert_eq!((sent.status, sent.body.as_slice()), (200, &b"{\"nodes\":3}\n"[..]));
    };
    let (page, ()) = tokio::join!(get(&after), sent);
    assert_eq!(page.messages, [Message::new(b.id(), "deploy".into())]);

    // Who is too far behind is told so.
    for number in 0..300_u32 {
        assert_eq!(a.send(number.to_be_bytes().to_vec()).await.unwrap(), 2);
    }
    let page = get(&format!("?after={}", page.next)).await;
    assert_eq!((page.messages.len(), page.missed), (256, 300 - 256));
    // A place of another life, and one that is yet to come.
    let of_another = page.next.replace(&b.id().to_string(), &a.id().to_string());
    let other = get(&format!("?after={of_another}&wait=5000")).await;
    assert_eq!((other.interrupted, &other.next), (true, &page.next));
    assert_eq!(get(&format!("?after={}0", page.next)).await.next, page.next);

    for bad in ["after=", "after=1-2-3", "after=x", "wait=", "wait=-1", "wait=1.5"] {
        let mut wire = Wire::open(server.local_addr()).await;
        let reply = wire.ask(&Ask::new("GET", &format!("/api/v1/messages?{bad}"))).await;
        assert_eq!(reply.status, 400, "{bad}: {reply:?}");
    }

    // A node that is about to stop keeps nobody waiting.
    let waiting = format!("?after={}&wait=5000", page.next);
    b.drain();
    assert_eq!(get(&waiting).await.messages, []);
}

#[tokio::test]
async fn an_operator_asks_with_curl_what_a_person_may_ask() {
    let [a, b, c] = three().await;
    let mut wire = Wire::open(a.debug_addr().unwrap()).await;
    let ping = wire.ask(&Ask::new("GET", "/private/v1/ping")).await;
    assert_eq!(ping.body, format!("{}\n", a.id()).into_bytes());
    let nodes = wire.ask(&Ask::new("GET", "/private/v1/nodes")).await;
    let nodes = String::from_utf8(nodes.body).unwrap();
    assert!(nodes.contains(&b.id().to_string()) && nodes.contains(&c.id().to_string()), "{nodes}");

    // A message of the operator's goes to every node, this one included.
    let mut heard = [&a, &b, &c].map(Node::subscribe);
    let sent = wire.ask(&Ask::new("POST", "/private/v1/message").body(b"deploy")).await;
    assert_eq!((sent.status, sent.body.as_slice()), (200, &b"{\"nodes\":3}\n"[..]));
    for at in &mut heard {
        let message = next(at).await;
        assert_eq!((message.from, message.payload), (a.id(), "deploy".into()));
    }
    let long = Ask::new("POST", "/private/v1/message").body(&[0; Message::MAX + 1]);
    assert_eq!(Wire::open(a.debug_addr().unwrap()).await.ask(&long).await.status, 413);

    let id = a.new_id();
    a.put(id, "gone soon", Default::default()).await.unwrap();
    let held = wire.ask(&Ask::new("GET", &format!("/private/v1/get/{id}"))).await;
    assert_eq!((held.status, held.body.as_slice()), (200, &b"gone soon"[..]));
    until("b knows it", async || b.head(id).await.is_ok()).await;
    let elsewhere = Ask::new("GET", &format!("/private/v1/get/{id}"));
    assert_eq!(Wire::open(b.debug_addr().unwrap()).await.ask(&elsewhere).await.status, 404);
    let deleted = wire.ask(&Ask::new("POST", &format!("/private/v1/delete/{id}")).body(b"")).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(a.get(id, GetOptions::default()).await.unwrap_err().kind(), ErrorKind::Deleted);

    // What only a node can say, what nobody can, and what a browser does.
    for path in ["hello", "gossip", "announce", "sync", "put"] {
        let ask = Ask::new("POST", &format!("/private/v1/{path}")).body(b"{}");
        assert_eq!(wire.ask(&ask).await.status, 403, "{path}");
    }
    for (ask, status) in [
        (Ask::new("GET", "/private/v1/nothing"), 404),
        (Ask::new("POST", "/private/v1/ping").body(b""), 405),
        (Ask::new("POST", "/private/v1/delete/..%2f..").body(b""), 400),
        (Ask::new("GET", "/private/v1/ping").host("evil.example"), 403),
        (Ask::new("GET", "/private/v1/ping").field("Origin", "http://localhost"), 403),
        (Ask::new("GET", "/private/v1/ping").field("X-Forwarded-For", "10.0.0.1"), 403),
    ] {
        assert_eq!(wire.ask(&ask).await.status, status, "{ask:?}");
    }
}

#[tokio::test]
async fn the_debug_address_is_loopback_only() {
    for bad in ["0.0.0.0:0", "[::]:0"] {
        let mut settings = Settings::default();
        settings.cluster.debug_addr = Some(bad.to_owned());
        let refused = Node::builder().settings(settings).in_memory().start().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        assert!(refused.to_string().contains("is not loopback"), "{refused}");
    }
}
