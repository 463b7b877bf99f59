use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future};
use objstore_client::Client;
use objstore_core::options::{GetOptions, ListOptions};
use objstore_core::remote::{MemoryRemote, RemoteAttributes, RemoteCondition, RemoteStore};
use objstore_core::types::ObjectKey;
use objstore_core::{Keys, Node};

use super::KeyStore;
use super::object_store::multipart::MultipartStore;
use super::object_store::path::Path;
use super::object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, TagSet,
    UpdateVersion, integration,
};
use crate::support::nodes::Nodes;
use crate::support::{Running, node_before, patiently, pattern, stored_in};

const NODES: usize = 3;

fn bucket() -> Arc<MemoryRemote> {
    Arc::new(MemoryRemote::new("bucket"))
}

async fn node(bucket: &Arc<MemoryRemote>) -> KeyStore<Node> {
    node_before(bucket.clone(), |_| {}).await.into()
}

/// A client of a node of its own.
async fn client(bucket: &Arc<MemoryRemote>) -> (Running, KeyStore<Client>) {
    let node = node_before(bucket.clone(), |_| {}).await;
    let running = Running::serve(node, Ipv4Addr::LOCALHOST).await;
    let client = Client::connect(&running.addr.to_string()).unwrap();
    (running, client.into())
}

/// All of that crate's own suite.
async fn passes<K: Keys>(store: &KeyStore<K>) {
    integration::put_get_delete_list(store).await;
    integration::get_opts(store).await;
    integration::list_uses_directories_correctly(store).await;
    integration::list_with_delimiter(store).await;
    integration::list_with_offset_exclusivity(store).await;
    integration::rename_and_copy(store).await;
    integration::copy_if_not_exists(store).await;
    integration::copy_rename_nonexistent_object(store).await;
    integration::stream_get(store).await;
    integration::multipart_race_condition(store, true).await;
    integration::multipart_out_of_order(store).await;
    integration::multipart(store, store).await;
    super::passes_parts(store).await;
    integration::put_opts(store, true).await;
    integration::put_get_attributes(store).await;
    integration::list_paginated(store, store).await;
    let place = Path::from("kept/where it is");
    store.put(&place, "kept".into()).await.unwrap();
    store.rename(&place, &place).await.unwrap();
    assert_eq!(store.get(&place).await.unwrap().bytes().await.unwrap(), "kept");
    let taken = store.rename_if_not_exists(&place, &place).await.unwrap_err();
    assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken}");
    store.delete(&place).await.unwrap();
    let nothing = store.rename(&place, &place).await.unwrap_err();
    assert!(matches!(nothing, Error::NotFound { .. }), "{nothing}");
    let missing = integration::get_nonexistent_object(store, None).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
}

#[tokio::test]
async fn a_node_passes_the_suite() {
    passes(&node(&bucket()).await).await;
}

#[tokio::test]
async fn a_client_passes_the_suite() {
    let (_running, store) = client(&bucket()).await;
    passes(&store).await;
}

/// A server that knows all conditions, and one that copies without any: there copies go through the
/// node.
#[cfg(feature = "s3")]
#[tokio::test]
async fn a_node_before_s3_passes_the_suite() {
    use objstore_core::remote::{S3Conditions, S3Remote, S3Settings};

    use crate::s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

    for conditions in [S3Conditions::All, S3Conditions::Writes] {
        let server = S3Server::start().await;
        let mut settings = S3Settings::bucket(BUCKET);
        settings.conditions = Some(conditions);
        let keys = aws_sdk_s3::config::Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_s3::config::Region::new("us-east-1"))
            .endpoint_url(server.endpoint())
            .force_path_style(true)
            .credentials_provider(keys);
        let client = aws_sdk_s3::Client::from_conf(config.build());
        let remote = S3Remote::with_client(client, settings).unwrap();
        passes::<Node>(&node_before(Arc::new(remote), |_| {}).await.into()).await;
    }
}

/// What is kept beside an object comes back; what is not is refused and stores nothing.
async fn keeps_attributes<K: Keys>(store: &KeyStore<K>) {
    let path = Path::from("dir/attributes.txt");
    let kept = Attributes::from_iter([
        (Attribute::ContentType, "text/html; charset=utf-8"),
        (Attribute::ContentEncoding, "gzip"),
        (Attribute::Metadata("test_key".into()), "hello   world"),
    ]);
    store.put_opts(&path, "one".into(), kept.clone().into()).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().attributes, kept);
    let copy = Path::from("copy");
    store.copy(&path, &copy).await.unwrap();
    assert_eq!(store.get(&copy).await.unwrap().attributes, kept);
    let mut upload = store.put_multipart_opts(&copy, kept.clone().into()).await.unwrap();
    upload.put_part("two".into()).await.unwrap();
    upload.complete().await.unwrap();
    let object = store.get(&copy).await.unwrap();
    assert_eq!(object.attributes, kept);
    assert_eq!(object.bytes().await.unwrap(), "two");

    let other = Attributes::from_iter([(Attribute::CacheControl, "max-age=1")]);
    let refused = store.put_opts(&path, "three".into(), other.into()).await.unwrap_err();
    assert!(matches!(refused, Error::NotImplemented { .. }), "{refused}");
    let mut tags = TagSet::default();
    tags.push("a", "b");
    let refused = store.put_opts(&path, "three".into(), tags.into()).await.unwrap_err();
    assert!(matches!(refused, Error::NotImplemented { .. }), "{refused}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
}

#[tokio::test]
async fn content_type_encoding_and_metadata_are_kept() {
    let bucket = bucket();
    keeps_attributes(&node(&bucket).await).await;
    let (_running, store) = client(&bucket).await;
    keeps_attributes(&store).await;
}

/// An upload of parts of any length is there whole or not at all.
async fn uploads_whole<K: Keys>(store: &KeyStore<K>, bucket: &MemoryRemote) {
    let path = Path::from("upload");
    bucket.delete("upload", RemoteCondition::None).await.unwrap();
    let body = pattern(3_000_000);
    let mut upload = store.put_multipart(&path).await.unwrap();
    let mut taken = Vec::new();
    for (index, part) in body.chunks(700_001).enumerate() {
        // Of several pieces, and with nothing in it, too.
        let payload =
            part.chunks(100_000 + index).map(Bytes::copy_from_slice).collect::<PutPayload>();
        taken.push(upload.put_part(payload));
        taken.push(upload.put_part(PutPayload::default()));
    }
    future::try_join_all(taken).await.unwrap();
    assert_eq!(stored_in(bucket, "upload").await, None);
    let put = upload.complete().await.unwrap();
    assert_eq!(stored_in(bucket, "upload").await.as_ref(), Some(&body));
    assert_eq!(store.head(&path).await.unwrap().e_tag, put.e_tag);
    upload.abort().await.unwrap();

    let mut aborted = store.put_multipart(&path).await.unwrap();
    aborted.put_part(vec![1; 1_000_000].into()).await.unwrap();
    aborted.abort().await.unwrap();
    let late = aborted.put_part("late".into()).await.unwrap_err();
    assert!(matches!(late, Error::Generic { .. }), "{late}");
    let mut dropped = store.put_multipart(&path).await.unwrap();
    dropped.put_part(vec![2; 1_000_000].into()).await.unwrap();
    drop(dropped);
    assert_eq!(stored_in(bucket, "upload").await.as_ref(), Some(&body));
    // Of one that is refused the parts are told of the end, and why.
    let mut refused = store.put_multipart(&Path::from("01JDK1ZZZZZZZZZZZZZZZZZZZZ")).await.unwrap();
    let _ = refused.put_part("x".into()).await;
    let error = refused.complete().await.unwrap_err();
    assert!(matches!(error, Error::Generic { .. }), "{error}");
}

#[tokio::test]
async fn an_upload_is_there_whole_or_not_at_all() {
    let bucket = bucket();
    // One that is not let go of would leave no room for the next.
    let one = node_before(bucket.clone(), |settings| settings.max_uploads = 1).await;
    let running = Running::serve(one.clone(), Ipv4Addr::LOCALHOST).await;
    let store = KeyStore::new(one);
    patiently("the uploads end", uploads_whole(&store, &bucket)).await;
    let client = KeyStore::new(Client::connect(&running.addr.to_string()).unwrap());
    patiently("the uploads end", uploads_whole(&client, &bucket)).await;
}

/// Parts that come through several nodes, in any order and again, and what is left of them.
async fn makes_one_of_parts<K: Keys>(stores: &[KeyStore<K>], node: &Node) {
    let path = Path::from("parts");
    let id = stores[0].create_multipart(&path).await.unwrap();
    let other = stores[0].create_multipart(&path).await.unwrap();
    let mut parts = Vec::new();
    for (index, text) in [(2, "three"), (0, "zero"), (1, "two "), (0, "one ")] {
        let store = &stores[index % stores.len()];
        parts.push(store.put_part(&path, &id, index, text.into()).await.unwrap());
    }
    stores[0].put_part(&path, &other, 0, "of the other".into()).await.unwrap();
    let [three, zero, two, one] = parts.try_into().unwrap();
    // The first was put again since.
    let stale = vec![zero, two.clone(), three.clone()];
    let refused = stores[0].complete_multipart(&path, &id, stale).await.unwrap_err();
    assert!(refused.to_string().contains("put again"), "{refused}");
    assert!(matches!(stores[0].head(&path).await, Err(Error::NotFound { .. })));
    let elsewhere = stores[0].abort_multipart(&Path::from("elsewhere"), &id).await.unwrap_err();
    assert!(matches!(elsewhere, Error::NotFound { .. }), "{elsewhere}");

    let put = stores[0].complete_multipart(&path, &id, vec![one, two, three]).await.unwrap();
    let object = stores[0].get(&path).await.unwrap();
    assert_eq!(object.meta.e_tag, put.e_tag);
    assert_eq!(object.bytes().await.unwrap(), "one two three");
    let left = node.list(ListOptions::default()).await.unwrap();
    assert_eq!(left.len(), 2, "the other upload and its part: {left:?}");
    stores[0].abort_multipart(&path, &other).await.unwrap();
    assert_eq!(node.list(ListOptions::default()).await.unwrap(), []);
    for id in [id, other] {
        let late = stores[0].put_part(&path, &id, 0, "late".into()).await.unwrap_err();
        assert!(matches!(late, Error::NotFound { .. }), "{late}");
    }
    stores[0].delete(&path).await.unwrap();
}

#[tokio::test]
async fn parts_are_put_by_themselves_and_made_one_object() {
    let bucket = bucket();
    let nodes = Nodes::start(2, |_| bucket.clone(), |_| {}).await;
    let stores = [KeyStore::new(nodes[0].clone()), KeyStore::new(nodes[1].clone())];
    patiently("parts through nodes", makes_one_of_parts(&stores, &nodes[0])).await;
    let running = Running::serve(nodes[0].clone(), Ipv4Addr::LOCALHOST).await;
    let client = KeyStore::new(Client::connect(&running.addr.to_string()).unwrap());
    patiently("parts through a client", makes_one_of_parts(&[client], &nodes[0])).await;
}

/// Whether trying again may help.
fn may_help(error: &Error) -> bool {
    let Error::Generic { source, .. } = error else { return false };
    source.downcast_ref::<objstore_core::Error>().is_some_and(|e| e.kind().is_retryable())
}

#[tokio::test]
async fn an_upload_whose_parts_do_not_come_is_given_up() {
    let bucket = bucket();
    let one = node_before(bucket.clone(), |settings| {
        (settings.max_uploads, settings.http.body_timeout_ms) = (1, 100);
    });
    let running = Running::serve(one.await, Ipv4Addr::LOCALHOST).await;
    let client = KeyStore::new(Client::connect(&running.addr.to_string()).unwrap());
    let mut idle = client.put_multipart(&Path::from("idle")).await.unwrap();
    // More than the connection holds: the node has taken some of it.
    idle.put_part(vec![1; 32 << 20].into()).await.unwrap();
    // Waits for the place that the other has.
    let store = KeyStore::new(running.node.clone());
    patiently("the other is given up", store.put(&Path::from("next"), "x".into())).await.unwrap();
    let error = idle.complete().await.unwrap_err();
    assert!(may_help(&error), "{error}");
    assert_eq!(stored_in(&*bucket, "idle").await, None);
}

#[tokio::test]
async fn keys_without_a_path_are_left_out_or_told_of() {
    let bucket = bucket();
    let (none, plain) = (RemoteCondition::None, RemoteAttributes::default());
    for key in ["dir/", "dir/a", "dir/sub/", "dir/sub/b"] {
        bucket.put(key, "x".into(), &plain, none.clone()).await.unwrap();
    }
    let store = node(&bucket).await;
    let dir = Path::from("dir");
    let all: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(all.iter().map(|m| m.location.as_ref()).collect::<Vec<_>>(), ["dir/a", "dir/sub/b"]);
    let listed = store.list_with_delimiter(Some(&dir)).await.unwrap();
    assert_eq!(listed.objects.len(), 1);
    assert_eq!(listed.common_prefixes, [Path::from("dir/sub")]);
    // What is listed is what is read.
    let head = store.head(&all[0].location).await.unwrap();
    assert_eq!((head.size, &head.e_tag), (1, &all[0].e_tag));

    bucket.put("dir//c", "x".into(), &plain, none).await.unwrap();
    let all: Vec<_> = store.list(Some(&dir)).collect().await;
    assert_eq!(all.iter().filter(|entry| entry.is_err()).count(), 1);
    assert!(store.list_with_delimiter(Some(&dir)).await.is_err());
}

#[tokio::test]
async fn thousands_of_keys_are_listed_page_by_page() {
    let bucket = bucket();
    let (none, plain) = (RemoteCondition::None, RemoteAttributes::default());
    for number in 0..2500 {
        bucket.put(&format!("n/{number:04}"), "x".into(), &plain, none.clone()).await.unwrap();
    }
    let (_running, store) = client(&bucket).await;
    assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 2500);
    let after = store.list_with_offset(Some(&Path::from("n")), &Path::from("n/0999"));
    assert_eq!(after.try_collect::<Vec<_>>().await.unwrap().len(), 1500);
    let listed = store.list_with_delimiter(Some(&Path::from("n"))).await.unwrap();
    assert_eq!(listed.objects.len(), 2500);
}

async fn three_nodes(bucket: &Arc<MemoryRemote>) -> (Nodes, Vec<KeyStore<Node>>) {
    let nodes = Nodes::start(NODES, |_| bucket.clone(), |_| {}).await;
    let stores = (0..NODES).map(|node| KeyStore::new(nodes[node].clone())).collect();
    (nodes, stores)
}

#[tokio::test(start_paused = true)]
async fn of_racing_creates_from_three_nodes_one_wins() {
    let bucket = bucket();
    let (_nodes, stores) = three_nodes(&bucket).await;
    for round in 0..48 {
        let path = Path::from(format!("race/{round}"));
        // Some in one put, some too long for that.
        let body = |node: usize| format!("{node}").repeat(if round % 2 == 0 { 9 } else { 100_000 });
        let creates = stores
            .iter()
            .enumerate()
            .map(|(node, store)| store.put_opts(&path, body(node).into(), PutMode::Create.into()));
        let mut winner = None;
        for (node, created) in future::join_all(creates).await.into_iter().enumerate() {
            match created {
                Ok(put) => assert!(winner.replace((node, put)).is_none(), "two won {path}"),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let (winner, put) = winner.expect("one wins");
        for store in &stores {
            let object = store.get(&path).await.unwrap();
            assert_eq!(object.meta.e_tag, put.e_tag);
            assert_eq!(object.bytes().await.unwrap(), body(winner));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn updates_from_three_nodes_lose_nothing() {
    const EACH: usize = 16;
    let bucket = bucket();
    let (_nodes, stores) = three_nodes(&bucket).await;
    let path = Path::from("counter");
    stores[0].put(&path, "0".into()).await.unwrap();
    let count = |store: KeyStore<Node>| {
        let path = path.clone();
        async move {
            let mut done = 0;
            while done < EACH {
                let object = match store.get(&path).await {
                    // It changed each time that it was to be read.
                    Err(error) if may_help(&error) => continue,
                    object => object.unwrap(),
                };
                let version = UpdateVersion { e_tag: object.meta.e_tag.clone(), version: None };
                let body = object.bytes().await.unwrap();
                let number: usize = std::str::from_utf8(&body).unwrap().parse().unwrap();
                let next = (number + 1).to_string();
                match store.put_opts(&path, next.into(), PutMode::Update(version).into()).await {
                    Ok(_) => done += 1,
                    Err(Error::Precondition { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    future::join_all(stores.iter().cloned().map(count)).await;
    let counted = stored_in(&*bucket, "counter").await.unwrap();
    assert_eq!(counted, (NODES * EACH).to_string().as_bytes());
}

/// A copy is created on one node only too.
#[tokio::test(start_paused = true)]
async fn of_racing_copies_from_three_nodes_one_wins() {
    let bucket = bucket();
    let (nodes, stores) = three_nodes(&bucket).await;
    for (node, store) in stores.iter().enumerate() {
        store.put(&Path::from(format!("from/{node}")), format!("{node}").into()).await.unwrap();
    }
    for round in 0..16 {
        let to = Path::from(format!("to/{round}"));
        let from: Vec<_> = (0..NODES).map(|node| Path::from(format!("from/{node}"))).collect();
        let copies = stores.iter().zip(&from).map(|(s, from)| s.copy_if_not_exists(from, &to));
        let copied = future::join_all(copies).await;
        let winner = copied.iter().position(Result::is_ok).expect("one wins");
        for lost in copied.iter().enumerate().filter(|(node, _)| *node != winner) {
            assert!(matches!(lost.1, Err(Error::AlreadyExists { .. })), "{lost:?}");
        }
        let key = ObjectKey::new(to.as_ref()).unwrap();
        let object = nodes[(winner + 1) % NODES].get_key(&key, GetOptions::default()).await;
        let body = object.unwrap().body.collect(10).await.unwrap();
        assert_eq!(body, winner.to_string());
    }
}
