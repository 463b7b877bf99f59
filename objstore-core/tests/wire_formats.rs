//! What nodes of protocol 1 tell each other, as this release wrote it, is read by every later one.
//!
//! `OBJSTORE_WRITE_FIXTURES=1 cargo test -p objstore-core --test wire_formats` writes it anew; that
//! is only right for a new protocol, in a directory of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use objstore_client::wire::private::{Forget, Hello, PROTOCOL, Refused};
use serde::Serialize;
use serde::de::DeserializeOwned;

const NODE: &str = "01J0000000000000000000000A";

fn hello() -> Hello {
    let mut refused = Refused::default();
    refused.twin = true;
    refused.why = "another process with this id lives: stop it".to_owned();
    let mut hello = Hello::default();
    hello.protocol = PROTOCOL;
    hello.tag = "größe".to_owned();
    hello.node = NODE.to_owned();
    hello.boot = u32::MAX;
    hello.generation = 7;
    hello.remote = "s3:bucket".to_owned();
    hello.remote_is_private = true;
    hello.addr = "10.0.0.1:11999".to_owned();
    hello.public_addr = "10.0.0.1:11998".to_owned();
    hello.version = "0.1.0".to_owned();
    hello.disk_stats.bytes_all = 1 << 40;
    hello.disk_stats.gb_all = 1024.0;
    hello.now = u64::MAX;
    hello.renew_above = 6;
    hello.refused = Some(refused);
    hello
}

/// The stored bytes say what `value` says, and are what it is written as.
fn keeps<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire-1").join(name);
    let written = serde_json::to_vec(value).unwrap();
    if std::env::var_os("OBJSTORE_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let stored = std::fs::read(&path).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&stored).unwrap(), *value, "{name}");
    assert_eq!(String::from_utf8(stored), String::from_utf8(written), "{name}");
}

#[test]
fn a_hello_of_protocol_1_is_read_and_written_as_it_was() {
    keeps("hello.json", &hello());
}

#[test]
fn giving_up_a_node_is_read_and_written_as_it_was() {
    let mut forget = Forget::default();
    forget.node = NODE.to_owned();
    forget.at = u64::MAX;
    keeps("forget.json", &forget);
}

#[test]
fn a_hello_with_a_field_of_a_later_release_is_understood() {
    let mut later = serde_json::to_value(hello()).unwrap();
    later.as_object_mut().unwrap().insert("of_later".to_owned(), serde_json::json!({"a": 1}));
    assert_eq!(serde_json::from_value::<Hello>(later).unwrap(), hello());
}
