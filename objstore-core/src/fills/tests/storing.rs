use super::*;
use crate::env::DirectoryDisk;

#[tokio::test(start_paused = true)]
async fn a_restart_finds_what_was_stored() {
    let stage = Stage::new(20 * U + 9);
    let some = 6 * U..9 * U;
    read(stage.open(&stage.start()).reader(some.clone())).await.unwrap();
    stage.script.asked();
    let fills = stage.start();
    let mut reader = stage.open(&fills).reader(some.clone());
    assert_eq!(reader.next().await.unwrap().unwrap(), stage.slice(6 * U..7 * U));
    assert!(!reader.took().from_remote);
    assert!(stage.script.asked().is_empty());
    assert_eq!(stage.read(&fills).await.unwrap(), stage.body);
    let asked = stage.script.asked();
    assert!(asked.iter().all(|range| range.end <= some.start || range.start >= some.end));
    assert_eq!(stage.read(&stage.start()).await.unwrap(), stage.body);
    assert!(stage.script.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_read_again_without_another_thread() {
    let stage = Stage::new(20 * U);
    let fills = stage.start();
    stage.read(&fills).await.unwrap();
    settle().await;
    let (jobs, asked) = (stage.blocking.0.load(Ordering::Relaxed), stage.script.asked());
    assert!(jobs > 0 && !asked.is_empty());
    for some in [0..1, 3 * U + 7..5 * U, 19 * U..20 * U] {
        let reader = stage.open(&fills).reader(some.clone());
        assert_eq!(read(reader).await.unwrap(), stage.slice(some));
    }
    assert_eq!(stage.blocking.0.load(Ordering::Relaxed), jobs);
    assert!(stage.script.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_is_not_read_from_a_file_that_is_still_open() {
    let stage = Stage::new(8 * U);
    let fills = stage.start();
    stage.read(&fills).await.unwrap();
    settle().await;
    stage.script.asked();
    fills.parts.files.remove(&[stage.origin().version()]).unwrap();
    assert_eq!(stage.read(&fills).await.unwrap(), stage.body);
    let asked: u64 = stage.script.asked().iter().map(|range| range.end - range.start).sum();
    assert_eq!(asked, 8 * U);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_fetched_again() {
    let stage = Stage::new(8 * U);
    stage.read(&stage.start()).await.unwrap();
    stage.script.asked();
    let files = stage.disk.files();
    let [path] = files.as_slice() else { panic!("{files:?}") };
    for (at, unit) in [(32 * 1024, 0), (32 * 1024 + 8 * 65_536 - 1, 7)] {
        stage.disk.damage(path, |bytes| bytes[at] ^= 4);
        assert_eq!(stage.read(&stage.start()).await.unwrap(), stage.body);
        assert_eq!(stage.script.asked(), [unit * U..(unit + 1) * U]);
        assert_eq!(stage.read(&stage.start()).await.unwrap(), stage.body);
        assert!(stage.script.asked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_short_is_fetched_again() {
    for len in [0, 100, 32 * 1024 + 65_536 + 1, 32 * 1024 + 8 * 65_536 + 60] {
        let stage = Stage::new(8 * U);
        stage.read(&stage.start()).await.unwrap();
        stage.disk.damage(&stage.disk.files()[0], |bytes| bytes.truncate(len));
        assert_eq!(stage.read(&stage.start()).await.unwrap(), stage.body);
        stage.script.asked();
        assert_eq!(stage.read(&stage.start()).await.unwrap(), stage.body);
        assert!(stage.script.asked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_it_is_served_all_the_same() {
    for memory in [0, 64 << 20] {
        let mut stage = Stage::new(40 * U + 3);
        stage.max_bytes = Some(10 * U);
        stage.memory = memory;
        let fills = stage.start();
        let fill = stage.open(&fills);
        let readers: Vec<_> =
            (0..4).map(|_| tokio::spawn(read(fill.reader(stage.all())))).collect();
        for reader in readers {
            assert_eq!(reader.await.unwrap().unwrap(), stage.body);
        }
        assert!(fills.stats().stored_bytes <= 10 * U);
        let used = fills.parts.usage.physical();
        assert!(used > 0 && used <= 10 * U);
        drop(fill);
        settle().await;
        assert_eq!(fills.parts.usage.physical(), used, "it is on the disk still");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_file_is_not_made_again_by_a_fill_that_runs() {
    for stored_before in [true, false] {
        let stage = Stage::new(8 * U);
        let fills = stage.start();
        let fill = stage.open(&fills);
        if stored_before {
            read(fill.reader(0..U)).await.unwrap();
        }
        stage.script.hold();
        let reader = tokio::spawn(read(fill.reader(stage.all())));
        settle().await;
        fills.parts.files.remove(&[stage.origin().version()]).unwrap();
        stage.script.pace.add_permits(1000);
        assert_eq!(reader.await.unwrap().unwrap(), stage.body);
        settle().await;
        assert!(stage.disk.files().is_empty());
        // Who opens it now wants it again.
        drop(fill);
        assert_eq!(stage.read(&fills).await.unwrap(), stage.body);
        assert_eq!(stage.disk.files().len(), 1);
    }
}

/// The same on a real disk and with several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_what_was_fetched() {
    let stage = Stage::new(100 * U + 1);
    let dir = tempfile::tempdir().unwrap();
    for asked in [26, 0] {
        let disk = Arc::new(DirectoryDisk::open(dir.path()).unwrap());
        let (janitor, _) = Janitor::new();
        let fills = Arc::new(Fills::new(
            Parts {
                remote: Arc::<Script>::clone(&stage.script),
                files: Arc::new(FileStore::new(disk, Arc::new(OsEntropy), janitor)),
                tier: Arc::new(Tier::new(1 << 20)),
                buffers: Arc::<Buffers>::default(),
                usage: Arc::new(Usage::new(None, 0, Default::default())),
                blocking: Arc::new(crate::env::TokioBlocking::default()),
                entropy: Arc::new(OsEntropy),
            },
            &stage.settings,
        ));
        let readers: Vec<_> =
            (0..16).map(|_| tokio::spawn(read(stage.open(&fills).reader(stage.all())))).collect();
        for reader in readers {
            assert_eq!(reader.await.unwrap().unwrap(), stage.body);
        }
        assert_eq!(stage.script.asked().len(), asked);
    }
}
