//! The client that blocks, on threads of the program and of a runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{self, Read};
use std::time::Duration;

use objstore_client::blocking::Client;
use objstore_client::options::{
    Conditions, DeleteOptions, GetOptions, KeyListOptions, ListOptions, PutOptions, WriteMode,
};
use objstore_client::types::{Level, Message, ObjectKey, Received};
use objstore_client::{Error, ErrorKind};
use objstore_core::{Node, Server};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A node in memory that listens, on a runtime of its own.
struct There {
    node: Node,
    server: Server,
    runtime: Runtime,
}

impl There {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let (node, server) = runtime.block_on(async {
            let node = Node::builder().in_memory().start().await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = node.serve_public(listener).unwrap();
            (node, server)
        });
        Self { node, server, runtime }
    }

    fn client(&self) -> Client {
        Client::connect(&self.server.local_addr().to_string()).unwrap()
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

/// Gives its bytes in pieces of a size that nothing else has, and then fails if it is to.
struct Pieces<'a>(&'a [u8], bool);

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && self.1 {
            return Err(io::Error::other("the disk is gone"));
        }
        let some = self.0.len().min(to.len()).min(7919);
        to[..some].copy_from_slice(&self.0[..some]);
        self.0 = &self.0[some..];
        Ok(some)
    }
}

#[test]
fn every_verb_does_what_it_does_without_blocking() {
    let there = There::start();
    every_verb(&there, &there.client());
}

#[test]
fn it_may_be_called_and_dropped_on_a_thread_of_a_runtime() {
    let there = There::start();
    let other = Runtime::new().unwrap();
    other.block_on(async { every_verb(&there, &there.client()) });
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    single.block_on(async { there.client().new_id().map(|_| ()).unwrap() });
}

#[test]
fn a_body_that_is_sent_cannot_come_from_the_client_that_sends_it() {
    let there = There::start();
    let client = there.client();
    let id = client.new_id().unwrap();
    client.put(id, pattern(3_000_000), PutOptions::default()).unwrap();
    let mut body = client.get(id, GetOptions::default()).unwrap().body;
    let chunks = std::iter::from_fn(move || body.chunk().transpose());
    let stream = objstore_client::Body::from_stream(futures_util::stream::iter(chunks), None);
    let other = client.new_id().unwrap();
    let error = client.put(other, stream, PutOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    // From another client it can.
    let mut body = there.client().get(id, GetOptions::default()).unwrap().body;
    let chunks = std::iter::from_fn(move || body.chunk().transpose());
    let stream = objstore_client::Body::from_stream(futures_util::stream::iter(chunks), None);
    assert_eq!(client.put(other, stream, PutOptions::default()).unwrap().size, 3_000_000);
}

fn every_verb(there: &There, client: &Client) {
    let mut messages = client.subscribe().unwrap();
    assert_eq!(messages.wait_within(Duration::from_millis(1)).unwrap(), None);
    assert_eq!(client.send("hello").unwrap(), 1);
    let hello = Received::Message(Message::new(there.node.id(), "hello".into()));
    assert_eq!(messages.wait().unwrap(), hello);
    client.send("hello").unwrap();
    assert_eq!(messages.wait_within(Duration::from_secs(60)).unwrap(), Some(hello));

    let body = pattern(3_000_000);
    let (id, other) = (client.new_id().unwrap(), client.new_id().unwrap());
    let put = client.put(id, "It works!", PutOptions::named("test.txt").unwrap()).unwrap();
    assert_eq!(client.head(id).unwrap(), put);
    assert_eq!(client.head_fetched(id).unwrap().id, id);
    client
        .put_from(other, Pieces(&body, false), Some(body.len() as u64), PutOptions::default())
        .unwrap();
    let mut read = Vec::new();
    let mut object = client.get(other, GetOptions::default()).unwrap();
    object.body.read_to_end(&mut read).unwrap();
    assert!(read == body);
    assert_eq!(object.body.read(&mut [0; 8]).unwrap(), 0);
    let range = client.get(other, GetOptions::default().range(10..=2_000_009)).unwrap();
    assert_eq!(range.range, 10..2_000_010);
    assert!(range.body.collect(usize::MAX).unwrap() == body[10..2_000_010]);
    let mut begun = client.get(other, GetOptions::default()).unwrap().body;
    begun.read_exact(&mut [0; 3]).unwrap();
    assert!(begun.collect(usize::MAX).unwrap() == body[3..]);

    let create = PutOptions::default().conditions(Conditions::absent());
    let refused = client.put_from(other, Pieces(&body, false), None, create).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PreconditionFailed);
    client.set_level(id, Level::Remote, WriteMode::Default).unwrap();
    assert_eq!(client.list(ListOptions::default()).unwrap().len(), 2);
    assert!(client.delete(id, DeleteOptions::default()).unwrap().is_deleted);
    assert_eq!(client.get(id, GetOptions::default()).unwrap_err().kind(), ErrorKind::Deleted);

    let key = ObjectKey::new("docs/a").unwrap();
    client.put_key_from(&key, Pieces(&body, false), None, PutOptions::default()).unwrap();
    let object = client.get_key(&key, GetOptions::default()).unwrap();
    assert!(object.body.collect(usize::MAX).unwrap() == body);
    client.put_key(&key, "small", PutOptions::default()).unwrap();
    assert_eq!(client.head_key(&key, GetOptions::default()).unwrap().size, 5);
    assert_eq!(client.list_keys(KeyListOptions::default()).unwrap().entries.len(), 2);
    client.delete_key(&key, DeleteOptions::default()).unwrap();

    assert_eq!(client.uploads().unwrap().queued, 0);
    assert_eq!(client.node_id().unwrap().trim(), there.node.id().to_string());
    assert!(client.is_ready().unwrap() && client.version().unwrap().contains("objstore"));
    assert_eq!(client.stats().unwrap().journal.objects, there.node.stats().journal.objects);
}

#[test]
fn what_the_reader_does_not_bring_is_not_stored() {
    let there = There::start();
    let client = there.client();
    let (id, body) = (client.new_id().unwrap(), pattern(200_000));
    for len in [None, Some(300_000)] {
        let failed = client.put_from(id, Pieces(&body, true), len, PutOptions::default());
        let failed = failed.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::IncompleteBody, "{failed}");
        let source = std::error::Error::source(&failed).unwrap().to_string();
        assert!(source.contains("the disk is gone"), "{source}");
    }
    let short = client.put_from(id, Pieces(&body, false), Some(300_000), PutOptions::default());
    assert!(short.is_err());
    assert_eq!(client.head(id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_body_of_a_node_that_is_gone_ends_with_an_error() {
    let there = There::start();
    let client = there.client();
    // More than sockets hold.
    let (id, len) = (client.new_id().unwrap(), 150_000_000);
    client.put_from(id, io::repeat(7).take(len), Some(len), PutOptions::default()).unwrap();
    let address = there.server.local_addr().to_string();
    let builder = objstore_client::Client::builder().node(address).tries(1);
    let client = Client::new(builder.build().unwrap()).unwrap();
    let mut object = client.get(id, GetOptions::default()).unwrap();
    object.body.read_exact(&mut [0; 1000]).unwrap();
    there.runtime.block_on(there.server.stop(std::time::Duration::ZERO));
    let (mut more, mut came) = (vec![0; 1 << 20], 1000);
    let error = loop {
        match object.body.read(&mut more) {
            Ok(0) => panic!("all {came} bytes came"),
            Ok(read) => came += read,
            Err(error) => break error,
        }
        assert!(more[0] == 7);
    };
    let error = error.into_inner().unwrap().downcast::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(object.body.read(&mut more).unwrap(), 0, "an error is the end");
    assert_eq!(client.new_id().unwrap_err().kind(), ErrorKind::Transport);
}
