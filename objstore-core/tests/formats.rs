//! The directories of a node of format 1, as this release wrote them, are read by every later one.
//!
//! `OBJSTORE_WRITE_FIXTURES=1 cargo test -p objstore-core --test formats` writes them anew; that is
//! only right for a new format, in a directory of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use objstore_core::options::{DeleteOptions, GetOptions, ListOptions, PutOptions};
use objstore_core::types::{Level, ObjectId, ObjectKey, UserMeta};
use objstore_core::{Builder, ErrorKind, Node};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

fn builder(dir: &Path) -> Builder {
    Node::builder().state_dir(dir.join("state")).files_dir(dir.join("files"))
}

fn id(n: u128) -> ObjectId {
    ObjectId::from_parts(1_790_000_000_000, n << 40).unwrap()
}

fn large(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i / 4096) as u8).collect()
}

fn user_meta() -> UserMeta {
    UserMeta::new([("Author", "bób"), ("lang", "en")]).unwrap()
}

fn key() -> ObjectKey {
    ObjectKey::new("dir/größe.txt").unwrap()
}

async fn write(dir: &Path) {
    let node = builder(dir).start().await.unwrap();
    let named = PutOptions::named("größe.txt").unwrap().user_meta(user_meta());
    node.put(id(1), "It works!", named).await.unwrap();
    node.put(id(2), large(150_000), PutOptions::default()).await.unwrap();
    node.put(id(3), "soon gone", PutOptions::default()).await.unwrap();
    node.delete(id(3), DeleteOptions::default()).await.unwrap();
    node.put(id(4), large(70_000), PutOptions::default().level(Level::Full)).await.unwrap();
    node.put(id(5), "", PutOptions::default()).await.unwrap();
    node.shutdown().await.unwrap();
}

/// Copies a directory; logs of the journal lose the zeros they are made long with.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
            continue;
        }
        let mut bytes = std::fs::read(&source).unwrap();
        if source.extension().is_some_and(|e| e == "jnl") {
            bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1));
        }
        std::fs::write(target, bytes).unwrap();
    }
}

#[tokio::test]
async fn directories_of_format_1_are_read() {
    if std::env::var_os("OBJSTORE_WRITE_FIXTURES").is_some() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).await;
        copy(dir.path(), &fixture());
    }
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(), dir.path());
    let node = builder(dir.path()).start().await.unwrap();
    let read = async |n| {
        let object = node.get(id(n), GetOptions::default()).await?;
        object.body.collect(usize::MAX).await
    };
    assert_eq!(read(1).await.unwrap(), "It works!");
    assert_eq!(read(2).await.unwrap(), large(150_000));
    assert_eq!(read(3).await.unwrap_err().kind(), ErrorKind::Deleted);
    assert_eq!(read(4).await.unwrap(), large(70_000));
    assert_eq!(read(5).await.unwrap(), "");
    let meta = node.head(id(1)).await.unwrap();
    assert_eq!((meta.name.as_str(), &meta.user_meta), ("größe.txt", &user_meta()));
    assert_eq!(node.head(id(4)).await.unwrap().consistency, Level::Full);
    let remote = std::fs::read(dir.path().join("state/remote/objects").join(id(4).to_string()));
    assert!(remote.unwrap().starts_with(&large(70_000)));
    assert_eq!(node.list(ListOptions::default()).await.unwrap().len(), 4);
    // And they can be written on.
    node.put(id(3), "back", PutOptions::default()).await.unwrap();
    assert_eq!(node.stats().journal.objects, 5);
    // Keys have a space of their own in the journal, which the first nodes of format 1 did not use.
    node.put_key(&key(), large(70_000), PutOptions::default()).await.unwrap();
    for _ in 0..2 {
        let object = node.get_key(&key(), GetOptions::default()).await.unwrap();
        assert_eq!(object.body.collect(usize::MAX).await.unwrap(), large(70_000));
    }
    node.shutdown().await.unwrap();
    drop(node);
    let node = builder(dir.path()).start().await.unwrap();
    let object = node.get_key(&key(), GetOptions::default()).await.unwrap();
    assert!(!object.meta.is_fetched, "what was cached need not come again");
    assert_eq!(object.body.collect(usize::MAX).await.unwrap(), large(70_000));
    assert_eq!(node.stats().journal.objects, 5);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    for which in ["state", "files"] {
        let dir = tempfile::tempdir().unwrap();
        builder(dir.path()).start().await.unwrap().shutdown().await.unwrap();
        let path = dir.path().join(which).join("FORMAT");
        let newer = std::fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2");
        std::fs::write(&path, newer).unwrap();
        let error = builder(dir.path()).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let message = error.to_string();
        assert!(message.contains("format 2") && message.contains(which), "{message}");
    }
}
