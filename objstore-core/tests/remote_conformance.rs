//! One suite for every remote store, and what is special to some.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use objstore_core::env::{DirectoryDisk, Disk, Env};
use objstore_core::remote::{
    DirStore, METADATA_MAX, MemoryRemote, RemoteAttributes, RemoteCondition, RemoteError,
    RemoteErrorKind, RemoteGet, RemoteList, RemotePart, RemoteStore,
};
use objstore_core::testing::{
    BodyFault, CallKind, CountingRemote, FailingRemote, Faults, MemoryDisk, SlowRemote, Steps,
    remote_suite,
};

fn dir_store(disk: Arc<dyn Disk>) -> Arc<DirStore> {
    Arc::new(DirStore::new("test", disk, &Env::default()))
}

#[tokio::test]
async fn memory_remote_conforms() {
    remote_suite(Arc::new(MemoryRemote::new("test")), "suite/").await;
}

#[tokio::test]
async fn dir_store_in_memory_conforms() {
    let disk = Arc::new(MemoryDisk::default());
    remote_suite(dir_store(Arc::<MemoryDisk>::clone(&disk)), "suite/").await;
    assert_eq!(disk.files(), [""; 0], "files are left");
}

#[tokio::test]
async fn dir_store_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(DirectoryDisk::open(dir.path()).unwrap());
    remote_suite(dir_store(disk), "").await;
}

#[tokio::test]
async fn metadata_that_s3_would_not_take_is_refused() {
    for store in [memory_remote(), dir_store(Arc::new(MemoryDisk::default()))] {
        let long = "v".repeat(METADATA_MAX - 3);
        for (name, value) in [
            ("long", long.as_str()),
            ("Upper", "1"),
            ("a b", "1"),
            ("", "1"),
            ("a", "ö"),
            ("a", "\n"),
        ] {
            let mut attributes = RemoteAttributes::default();
            attributes.metadata.insert(name.to_owned(), value.to_owned());
            let put = store.put("k", "x".into(), &attributes, RemoteCondition::None).await;
            assert_eq!(put.unwrap_err().kind(), RemoteErrorKind::Refused, "{name}: {value}");
            assert!(store.begin("k", &attributes).await.is_err(), "{name}: {value}");
            assert_eq!(store.head("k").await.unwrap_err().kind(), RemoteErrorKind::NotFound);
        }
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}

#[tokio::test]
async fn no_key_leads_out_of_the_directory() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("a/b/root");
    let store = dir_store(Arc::new(DirectoryDisk::open(&root).unwrap()));
    let up = |n: usize| "../".repeat(n);
    let mut keys: Vec<String> = [
        ".",
        "..",
        "/",
        "//",
        "../x",
        "../../x",
        "../../../x",
        "/etc/passwd",
        "/../x",
        "a/..",
        "a/../..",
        "a/../../x",
        "./x",
        "./../x",
        "..\\x",
        "%2e%2e/x",
        "%2e%2e%2fx",
        "..%2fx",
        "..;/x",
        "...",
        "....//x",
        "x/",
        "x//",
        "+",
        "a+",
        "a+/x",
        "staging/x",
        "../staging/x",
        "objects",
        "../objects/x",
        "FORMAT",
        "../FORMAT",
        "~",
        "~/x",
        "$HOME/x",
        "\0",
        "a\0/../x",
        "\n",
        "CON",
        "\u{202e}x",
        "\u{ff0e}\u{ff0e}/x",
    ]
    .map(str::to_owned)
    .into();
    keys.extend([up(40) + "x", up(300) + "etc/passwd", "/".repeat(1024), ".".repeat(1024)]);
    keys.push("a".repeat(79) + "/../../../x");
    keys.push("a".repeat(80) + "/../../../x");
    let none = RemoteAttributes::default();
    for key in &keys {
        let put = store.put(key, key.clone().into(), &none, RemoteCondition::None).await;
        put.unwrap_or_else(|e| panic!("{key:?}: {e}"));
        let upload = store.begin(key, &none).await.unwrap();
        store.abort(key, &upload).await.unwrap();
    }
    for key in &keys {
        let object = store.get(key, RemoteGet::default()).await.unwrap();
        assert_eq!(object.body.collect(2000).await.unwrap(), key.as_bytes(), "{key:?}");
    }
    let objects = root.join("objects");
    let files = files_below(outer.path());
    assert_eq!(files.len(), keys.len());
    assert!(files.iter().all(|file| file.starts_with(&objects)), "{files:?}");
    for upload in ["../../x", "..", "", "0123456789abcdef0123456789abcde/", "/etc/passwd"] {
        let part = store.put_part("k", upload, 1, "x".into()).await;
        assert_eq!(part.unwrap_err().kind(), RemoteErrorKind::Refused);
        store.abort("k", upload).await.unwrap();
    }
    for key in ["", &"k".repeat(1025)] {
        let put = store.put(key, "x".into(), &none, RemoteCondition::None).await;
        assert_eq!(put.unwrap_err().kind(), RemoteErrorKind::Refused);
        assert_eq!(store.head(key).await.unwrap_err().kind(), RemoteErrorKind::NotFound);
    }
    assert_eq!(files_below(outer.path()).len(), keys.len());
}

#[tokio::test]
async fn planted_links_are_not_followed() {
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = dir_store(Arc::new(DirectoryDisk::open(dir.path()).unwrap()));
    let none = RemoteAttributes::default();
    let put = |key: String| {
        let (store, none) = (Arc::clone(&store), none.clone());
        async move { store.put(&key, "new".into(), &none, RemoteCondition::None).await }
    };
    put("good".to_owned()).await.unwrap();
    let secret = outside.path().join("secret");
    std::fs::copy(dir.path().join("objects/good"), &secret).unwrap();
    let before = std::fs::read(&secret).unwrap();
    let objects = dir.path().join("objects");
    std::os::unix::fs::symlink(&secret, objects.join("linked")).unwrap();
    let deep = "d".repeat(80);
    std::os::unix::fs::symlink(outside.path(), objects.join(format!("{deep}+"))).unwrap();

    for key in ["linked".to_owned(), format!("{deep}secret")] {
        let get = store.get(&key, RemoteGet::default()).await;
        assert_ne!(get.unwrap_err().kind(), RemoteErrorKind::NotFound, "{key}");
    }
    assert!(put(format!("{deep}new")).await.is_err());
    assert!(store.delete(&format!("{deep}secret"), RemoteCondition::None).await.is_err());
    let page = store.list(RemoteList::default()).await.unwrap();
    let keys: Vec<_> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["good", "linked"]);
    // A put takes the link's place and leaves alone what it led to; so does a delete.
    put("linked".to_owned()).await.unwrap();
    assert_eq!(store.head("linked").await.unwrap().size, 3);
    std::fs::remove_file(objects.join("good")).unwrap();
    std::os::unix::fs::symlink(&secret, objects.join("good")).unwrap();
    store.delete("good", RemoteCondition::None).await.unwrap();
    assert_eq!(std::fs::read(&secret).unwrap(), before);
    assert_eq!(files_below(outside.path()), [secret]);
}

/// Reads an object; the bytes that came before an error, and whether there was one.
async fn read(store: &DirStore, get: RemoteGet) -> (Vec<u8>, bool) {
    let Ok(mut object) = store.get("k", get).await else { return (Vec::new(), true) };
    let mut bytes = Vec::new();
    while let Some(chunk) = object.body.chunk().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(_) => return (bytes, true),
        }
    }
    (bytes, false)
}

#[tokio::test]
async fn a_damaged_object_is_an_error_and_never_wrong_bytes() {
    for size in [0usize, 1, 70_000, 600_000] {
        let disk = Arc::new(MemoryDisk::default());
        let store = dir_store(Arc::<MemoryDisk>::clone(&disk));
        let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut attributes = RemoteAttributes::default();
        attributes.metadata.insert("name".to_owned(), "a.txt".to_owned());
        let none = RemoteCondition::None;
        store.put("k", body.clone().into(), &attributes, none.clone()).await.unwrap();
        let mut whole = Vec::new();
        disk.damage("objects/k", |bytes| whole = bytes.clone());
        let len = whole.len();
        let mut places: Vec<usize> = (size..len).collect();
        places.extend((0..size).step_by(30_011));
        for at in places {
            for cut in [false, true] {
                disk.damage("objects/k", |bytes| {
                    bytes.clone_from(&whole);
                    if cut { bytes.truncate(at) } else { bytes[at] ^= 0x10 }
                });
                let (bytes, failed) = read(&store, RemoteGet::default()).await;
                assert!(failed, "byte {at} of {len}, cut: {cut}");
                assert!(body.starts_with(&bytes), "byte {at} of {len}, cut: {cut}");
                if size > 10 {
                    let (bytes, failed) = read(&store, RemoteGet::range(3..9)).await;
                    assert!(failed || bytes == body[3..9], "byte {at} of {len}, cut: {cut}");
                }
                if let Ok(head) = store.head("k").await {
                    assert_eq!(head.attributes, attributes);
                }
                // It does not hide the others, is not copied, and can be replaced.
                assert!(store.copy("k", "copy", None, none.clone()).await.is_err());
                let page = store.list(RemoteList::default()).await.unwrap();
                assert_eq!(page.entries.len(), 1);
            }
        }
        assert_eq!(disk.files(), ["objects/k"]);
        store.put("k", "mended".into(), &attributes, none).await.unwrap();
        assert_eq!(read(&store, RemoteGet::default()).await, (b"mended".to_vec(), false));
    }
}

#[tokio::test]
async fn an_object_file_under_another_name_is_not_that_object() {
    let disk = Arc::new(MemoryDisk::default());
    let store = dir_store(Arc::<MemoryDisk>::clone(&disk));
    let none = RemoteAttributes::default();
    store.put("k", "body".into(), &none, RemoteCondition::None).await.unwrap();
    disk.link("objects/k", "objects/other").unwrap();
    assert_eq!(store.head("other").await.unwrap_err().kind(), RemoteErrorKind::Refused);
}

/// A put is stopped before each of its steps: after a power cut there is the old or the new object,
/// whole, and a start leaves nothing half-written.
#[tokio::test]
async fn a_power_cut_leaves_the_old_object_or_the_new() {
    let none = RemoteAttributes::default();
    let (mut step, mut outcomes) = (0, [0, 0]);
    loop {
        for keep_unsynced in [false, true] {
            let disk = Arc::new(MemoryDisk::with_steps(Steps::count()));
            let store = dir_store(Arc::<MemoryDisk>::clone(&disk));
            store.put("k", "old".into(), &none, RemoteCondition::None).await.unwrap();
            let steps = Steps::stop_before(step, keep_unsynced);
            let disk = Arc::new(disk.after_power_cut(steps.clone()));
            let store = dir_store(Arc::<MemoryDisk>::clone(&disk));
            let put = store.put("k", "newer".into(), &none, RemoteCondition::None).await;
            let disk = Arc::new(disk.after_power_cut(Steps::default()));
            let store = dir_store(Arc::<MemoryDisk>::clone(&disk));
            store.recover().await.unwrap();
            let (bytes, failed) = read(&store, RemoteGet::default()).await;
            assert!(!failed, "step {step}");
            assert!(bytes == b"newer" || (put.is_err() && bytes == b"old"), "step {step}");
            assert_eq!(disk.files(), ["objects/k"], "step {step}");
            outcomes[usize::from(bytes == b"newer")] += 1;
            if !steps.stopped() {
                assert!(outcomes.iter().all(|n| *n > 0));
                return;
            }
        }
        step += 1;
    }
}

#[tokio::test]
async fn uploads_survive_a_restart_and_lost_parts_do_not() {
    let disk = Arc::new(MemoryDisk::default());
    let store = dir_store(Arc::<MemoryDisk>::clone(&disk));
    let none = RemoteAttributes::default();
    let upload = store.begin("k", &none).await.unwrap();
    let etag = store.put_part("k", &upload, 1, "body".into()).await.unwrap();
    for lost in ["new-1", "0123-00001", "stranger"] {
        disk.create(&format!("staging/{lost}")).unwrap();
    }
    let store = dir_store(Arc::<MemoryDisk>::clone(&disk));
    store.recover().await.unwrap();
    assert_eq!(disk.files().len(), 2);
    let parts = [RemotePart { number: 1, etag }];
    let etag = store.complete("k", &upload, &parts, RemoteCondition::None).await.unwrap();
    // As S3 makes it: the MD5 of the parts' MD5s.
    assert_eq!(etag, "980d35430001d8835cd38d70e5845a9f-1");
    assert_eq!(disk.files(), ["objects/k"]);
}

fn memory_remote() -> Arc<dyn RemoteStore> {
    Arc::new(MemoryRemote::new("test"))
}

#[tokio::test]
async fn counting_remote_conforms_and_counts() {
    let remote = Arc::new(CountingRemote::new(memory_remote()));
    remote_suite(Arc::<CountingRemote>::clone(&remote), "suite/").await;
    assert_eq!(remote.gets_under_way(), 0);
    remote.reset();
    let none = RemoteAttributes::default();
    remote.put("k", vec![1; 1000].into(), &none, RemoteCondition::None).await.unwrap();
    let first = remote.get("k", RemoteGet::default()).await.unwrap();
    let second = remote.get("k", RemoteGet::range(10..30)).await.unwrap();
    assert!(remote.get("absent", RemoteGet::default()).await.is_err());
    assert_eq!(remote.gets_under_way(), 2);
    drop(first);
    assert_eq!(second.body.collect(100).await.unwrap().len(), 20);
    let third = remote.get("k", RemoteGet::default()).await.unwrap();
    assert_eq!(third.body.collect(2000).await.unwrap().len(), 1000);
    assert_eq!((remote.most_gets_at_a_time(), remote.gets_under_way()), (2, 0));
    assert_eq!((remote.calls(CallKind::Put), remote.calls(CallKind::Get)), (1, 4));
    assert_eq!((remote.all_calls(), remote.bytes_in(), remote.bytes_out()), (5, 1000, 1020));
    assert_eq!(remote.gets()[1], ("k".to_owned(), Some(10..30)));
    assert_eq!(remote.gets()[2], ("absent".to_owned(), None));
}

#[tokio::test(start_paused = true)]
async fn slow_remote_conforms_and_is_slow() {
    let delay = Duration::from_millis(20);
    let remote = Arc::new(SlowRemote::new(memory_remote(), delay, 100_000));
    remote_suite(Arc::<SlowRemote>::clone(&remote), "suite/").await;
    let none = RemoteAttributes::default();
    let timed = async |work: &mut (dyn Future<Output = ()> + Unpin)| {
        let began = tokio::time::Instant::now();
        work.await;
        began.elapsed().as_millis()
    };
    let mut put = Box::pin(async {
        remote.put("k", vec![1; 100_000].into(), &none, RemoteCondition::None).await.unwrap();
    });
    assert!((1015..1100).contains(&timed(&mut put).await));
    let mut head = Box::pin(async { drop(remote.head("k").await.unwrap()) });
    assert!((20..25).contains(&timed(&mut head).await));
    let mut get = Box::pin(async {
        let object = remote.get("k", RemoteGet::range(0..50_000)).await.unwrap();
        assert_eq!(object.body.collect(50_000).await.unwrap().len(), 50_000);
    });
    assert!((515..600).contains(&timed(&mut get).await));
}

#[tokio::test]
async fn failing_remote_conforms_while_nothing_fails() {
    remote_suite(Arc::new(FailingRemote::new(memory_remote(), Faults::default())), "suite/").await;
}

#[tokio::test]
async fn failing_remote_fails_as_told() {
    let store = memory_remote();
    let unavailable = || RemoteError::new(RemoteErrorKind::Unavailable, "told to");
    let faults = Faults::default()
        .before(move |call| (call.key == "before").then(unavailable))
        .after(move |call| (call.kind == CallKind::Put && call.key == "after").then(unavailable))
        .body(|call| {
            Some(match call.get.range.as_ref()?.start {
                1 => BodyFault::CutAfter(10),
                2 => BodyFault::EndAfter(10),
                3 => BodyFault::StallAfter(10),
                4 => BodyFault::ETag("other".to_owned()),
                5 => BodyFault::Range(0..7),
                6 => BodyFault::CutAfter(0),
                _ => return None,
            })
        });
    let remote = FailingRemote::new(Arc::clone(&store), faults);
    let none = RemoteAttributes::default();
    for (key, made) in [("before", false), ("after", true), ("k", true)] {
        let put = remote.put(key, vec![7; 100].into(), &none, RemoteCondition::None).await;
        assert_eq!(put.is_ok(), key == "k");
        assert_eq!(store.head(key).await.is_ok(), made, "{key}");
    }
    let get = |start: u64| {
        let remote = &remote;
        async move {
            let mut object = remote.get("k", RemoteGet::range(start..100)).await.unwrap();
            let mut len = 0;
            let end = loop {
                let next = object.body.chunk();
                match tokio::time::timeout(Duration::from_millis(50), next).await {
                    Err(_) => break "stall",
                    Ok(None) => break "end",
                    Ok(Some(Err(_))) => break "error",
                    Ok(Some(Ok(chunk))) => len += chunk.len(),
                }
            };
            (len, end, object.head.etag == "other", object.range)
        }
    };
    assert_eq!(get(0).await, (100, "end", false, 0..100));
    assert_eq!(get(1).await, (10, "error", false, 1..100));
    assert_eq!(get(2).await, (10, "end", false, 2..100));
    assert_eq!(get(3).await, (10, "stall", false, 3..100));
    assert_eq!(get(4).await, (96, "end", true, 4..100));
    assert_eq!(get(5).await, (95, "end", false, 0..7));
    assert_eq!(get(6).await, (0, "error", false, 6..100));
}
