//! Disks that lie: no wrong byte is ever sent, everything else stays readable, and nothing that
//! was planted in the directories is followed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::types::{Level, ObjectId};
use objstore_core::{Builder, ErrorKind, Node};

fn builder(dir: &Path) -> Builder {
    Node::builder().state_dir(dir.join("state")).files_dir(dir.join("files"))
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 300 + seed * 13) as u8).collect()
}

fn body_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for fan in std::fs::read_dir(dir.join("files")).unwrap().flatten() {
        if fan.path().is_dir() && fan.file_name() != "staging" {
            files.extend(std::fs::read_dir(fan.path()).unwrap().flatten().map(|f| f.path()));
        }
    }
    files.sort();
    files
}

async fn read(node: &Node, id: ObjectId) -> Result<Vec<u8>, ErrorKind> {
    let object = node.get(id, GetOptions::default()).await.map_err(|e| e.kind())?;
    object.body.collect(usize::MAX).await.map(|b| b.to_vec()).map_err(|e| e.kind())
}

#[tokio::test]
async fn files_that_are_lost_come_from_elsewhere_once_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).start().await.unwrap();
    let mut puts = Vec::new();
    for (seed, level) in [Level::Local, Level::Remote, Level::Full].into_iter().enumerate() {
        for len in [100, 150_000] {
            let (id, body) = (node.new_id(), pattern(len, seed));
            node.put(id, body.clone(), PutOptions::default().level(level)).await.unwrap();
            puts.push((id, level, body));
        }
    }
    node.shutdown().await.unwrap();
    drop(node);
    std::fs::remove_dir_all(dir.path().join("files")).unwrap();
    for _ in 0..2 {
        let refused = builder(dir.path()).start().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        assert!(refused.to_string().contains("start once with lost-files"), "{refused}");
    }
    let node = builder(dir.path()).lost_files().start().await.unwrap();
    let check = async |node: &Node| {
        for (id, level, body) in &puts {
            match (level, body.len()) {
                (Level::Local, 150_000) => {
                    assert_eq!(read(node, *id).await, Err(ErrorKind::BodyLost));
                }
                _ => assert!(read(node, *id).await.unwrap() == *body, "{level:?}"),
            }
        }
    };
    check(&node).await;
    node.shutdown().await.unwrap();
    drop(node);
    // From then on as ever, and saying it again changes nothing.
    for _ in 0..2 {
        let node = builder(dir.path()).lost_files().start().await.unwrap();
        check(&node).await;
        node.shutdown().await.unwrap();
    }
    check(&builder(dir.path()).start().await.unwrap()).await;
}

/// Every 97th bit of a body file, one at a time: the bytes are right or the read fails.
#[tokio::test]
async fn a_flipped_bit_is_never_sent() {
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).memory_bytes(Some(0)).start().await.unwrap();
    let (id, other) = (node.new_id(), node.new_id());
    let body = pattern(150_000, 1);
    node.put(id, body.clone(), PutOptions::default()).await.unwrap();
    node.put(other, pattern(100, 2), PutOptions::default()).await.unwrap();
    let [path] = &body_files(dir.path())[..] else { panic!("one file was expected") };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let bits = file.metadata().unwrap().len() * 8;
    let mut refused = 0;
    for bit in (0..bits).step_by(997) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, bit / 8).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], bit / 8).unwrap();
        match read(&node, id).await {
            Ok(bytes) => assert!(bytes == body, "wrong bytes were sent, bit {bit}"),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Corrupt);
                refused += 1;
            }
        }
        file.write_all_at(&byte, bit / 8).unwrap();
    }
    assert!(refused > 1000, "flips of data were not noticed: {refused}");
    assert_eq!(read(&node, id).await.unwrap(), body);
    assert_eq!(read(&node, other).await.unwrap(), pattern(100, 2));
    assert_eq!(node.stats().bodies.corrupt_reads, refused);
}

#[tokio::test]
async fn a_truncated_or_missing_or_swapped_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).memory_bytes(Some(0)).start().await.unwrap();
    let ids: Vec<_> = (0..4).map(|_| node.new_id()).collect();
    for (n, id) in ids.iter().enumerate() {
        node.put(*id, pattern(100_000, n), PutOptions::default()).await.unwrap();
    }
    node.shutdown().await.unwrap();
    drop(node);
    let path = |id: ObjectId| {
        let files = body_files(dir.path());
        files.into_iter().find(|f| f.to_string_lossy().contains(&id.to_string())).unwrap()
    };
    let file = std::fs::OpenOptions::new().write(true).open(path(ids[0])).unwrap();
    file.set_len(90_000).unwrap();
    std::fs::remove_file(path(ids[1])).unwrap();
    let (a, b, between) = (path(ids[2]), path(ids[3]), dir.path().join("between"));
    std::fs::rename(&a, &between).unwrap();
    std::fs::rename(&b, &a).unwrap();
    std::fs::rename(&between, &b).unwrap();

    let node = builder(dir.path()).memory_bytes(Some(0)).start().await.unwrap();
    for id in &ids {
        assert_eq!(read(&node, *id).await, Err(ErrorKind::Corrupt), "{id}");
        // The way out for the user: put it again.
        node.put(*id, pattern(80_000, 9), PutOptions::default()).await.unwrap();
        assert_eq!(read(&node, *id).await.unwrap(), pattern(80_000, 9));
    }
}

#[tokio::test]
async fn what_is_planted_in_place_of_a_body_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, pattern(100_000, 5)).unwrap();
    type Plant = fn(&Path, &Path);
    let plants: [Plant; 3] = [
        |path, secret| symlink(secret, path).unwrap(),
        |path, _| std::fs::create_dir(path).unwrap(),
        |path, _| {
            let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        },
    ];
    let node = builder(dir.path()).memory_bytes(Some(0)).start().await.unwrap();
    for plant in plants {
        let id = node.new_id();
        node.put(id, pattern(100_000, 1), PutOptions::default()).await.unwrap();
        let files = body_files(dir.path());
        let path = files.iter().find(|f| f.to_string_lossy().contains(&id.to_string())).unwrap();
        std::fs::remove_file(path).unwrap();
        plant(path, &secret);
        assert_eq!(read(&node, id).await, Err(ErrorKind::Corrupt));
        assert_eq!(std::fs::read(&secret).unwrap(), pattern(100_000, 5), "the target was touched");
        if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }.unwrap();
    }
}

/// A change of any single byte of the journal's log makes the node refuse to start, or loses
/// nothing.
#[tokio::test]
async fn a_damaged_journal_never_forgets_silently() {
    let (dir, ids, log) = small_journal().await;
    damage_each_byte(dir.path(), &ids, &log).await;
}

/// The same of a log that is no longer written to, as a busy node leaves them when it is killed.
/// The newest log is whole here, so that nothing is missing at its end.
#[tokio::test]
async fn a_damaged_older_log_never_forgets_silently() {
    let (dir, ids, log) = small_journal().await;
    let all = std::fs::read(&log).unwrap();
    // Behind the end of a batch another begins.
    let last = all.windows(5).rposition(|bytes| bytes == b"FJL\x03\x01").unwrap() + 4;
    let newest = log.with_file_name("1.jnl");
    assert!(log != newest);
    std::fs::write(&newest, &all[last..]).unwrap();
    std::fs::write(&log, [&all[..last], &vec![0; all.len() - last]].concat()).unwrap();
    damage_each_byte(dir.path(), &ids, &log).await;
}

/// A stopped node with six small objects, and its log.
async fn small_journal() -> (tempfile::TempDir, Vec<ObjectId>, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).start().await.unwrap();
    let ids: Vec<_> = (0..6).map(|_| node.new_id()).collect();
    for (n, id) in ids.iter().enumerate() {
        node.put(*id, pattern(40 + n, n), PutOptions::default()).await.unwrap();
    }
    node.shutdown().await.unwrap();
    drop(node);
    let log = std::fs::read_dir(dir.path().join("state/journal"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .find(|f| f.extension().is_some_and(|e| e == "jnl"))
        .unwrap();
    (dir, ids, log)
}

fn copied(from: &Path, to: &Path) {
    let mut cp = std::process::Command::new("cp");
    assert!(cp.args(["-a", "--sparse=always"]).arg(from).arg(to).status().unwrap().success());
}

/// Starts the node with each 13th byte of the log changed, one at a time.
async fn damage_each_byte(dir: &Path, ids: &[ObjectId], log: &Path) {
    let original = std::fs::read(log).unwrap();
    let written = original.iter().rposition(|b| *b != 0).unwrap() + 1;
    assert!(written > 1000);
    let pristine = tempfile::tempdir().unwrap();
    copied(&dir.join("state"), pristine.path());
    let (mut refused, mut served) = (0, 0);
    for offset in (0..written).step_by(13) {
        std::fs::remove_dir_all(dir.join("state")).unwrap();
        copied(&pristine.path().join("state"), dir);
        let set = |byte: u8| {
            let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
            file.write_all_at(&[byte], offset as u64).unwrap();
        };
        set(original[offset] ^ 0x41);
        match builder(dir).start().await {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "offset {offset}: {error:?}");
                refused += 1;
                // Refusing changed nothing: undone, the damage is gone.
                set(original[offset]);
                let log_now = std::fs::read(log).unwrap();
                assert!(
                    log_now[..written] == original[..written],
                    "the log was changed, offset {offset}"
                );
            }
            Ok(node) => {
                served += 1;
                for (n, id) in ids.iter().enumerate() {
                    match read(&node, *id).await {
                        Ok(bytes) => assert_eq!(bytes, pattern(40 + n, n), "offset {offset}"),
                        Err(kind) => assert_eq!(kind, ErrorKind::Corrupt, "offset {offset}: {id}"),
                    }
                }
                node.shutdown().await.unwrap();
            }
        }
    }
    assert!(refused > served, "{refused} refused, {served} served");
    // Whole, it opens, and holds everything.
    std::fs::remove_dir_all(dir.join("state")).unwrap();
    copied(&pristine.path().join("state"), dir);
    let node = builder(dir).start().await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(read(&node, *id).await.unwrap(), pattern(40 + n, n));
    }
}
