use super::*;
use crate::remote::RemoteErrorKind;

#[tokio::test(start_paused = true)]
async fn a_reply_cut_anywhere_is_gone_on_with() {
    for sixteenth in 0..16u64 {
        for fault in [Fault::Cut, Fault::Short, Fault::Stall] {
            let stage = Stage::new(4 * U);
            let at = usize::try_from(sixteenth * 4 * U / 16 + sixteenth % 3).unwrap();
            stage.script.faults([fault(at)]);
            let fills = stage.start();
            assert_eq!(stage.read(&fills).await.unwrap(), stage.body);
            assert_eq!(stage.script.asked(), [0..4 * U, at as u64..4 * U]);
            assert_eq!(fills.stats().resumed, u64::from(at > 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_breaks_off_for_good_leaves_only_whole_units() {
    let stage = Stage::new(4 * U);
    stage.script.faults([Fault::Short(100_000), Fault::Short(10), Fault::Short(10)]);
    stage.script.faults([Fault::Refuse(RemoteErrorKind::Unavailable)]);
    let fills = stage.start();
    let mut reader = stage.open(&fills).reader(stage.all());
    assert_eq!(reader.next().await.unwrap().unwrap(), stage.slice(0..U));
    assert!(matches!(reader.next().await, Err(FillError::Remote(_))));
    assert_eq!(fills.stats().failures, 1);
    drop(reader);
    stage.script.asked();
    let again = stage.start();
    assert_eq!(stage.read(&again).await.unwrap(), stage.body);
    assert_eq!(stage.script.asked(), [U..4 * U]);
}

#[tokio::test(start_paused = true)]
async fn another_version_is_said_to_be_one_and_nothing_of_the_old_is_kept() {
    for reported in [Fault::OtherTag, Fault::Refuse(RemoteErrorKind::PreconditionFailed)] {
        let stage = Stage::new(12 * U);
        let fills = stage.start();
        let fill = stage.open(&fills);
        read(fill.reader(0..2 * U)).await.unwrap();
        assert_eq!(stage.disk.files().len(), 1);
        stage.script.hold();
        let waiting: Vec<_> =
            (0..3).map(|n| tokio::spawn(read(fill.reader(n * U..(n + 4) * U)))).collect();
        settle().await;
        stage.script.asked();
        stage.script.faults([reported]);
        let error = read(fill.reader(8 * U..9 * U)).await.unwrap_err();
        assert!(matches!(error, FillError::Changed), "{error:?}");
        for reader in waiting {
            assert!(matches!(reader.await.unwrap(), Err(FillError::Changed)));
        }
        settle().await;
        assert_eq!(stage.script.asked(), [8 * U..9 * U]);
        assert!(stage.disk.files().is_empty());
        assert_ne!(Arc::as_ptr(&fill), Arc::as_ptr(&stage.open(&fills)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_something_else_is_refused() {
    for fault in [Fault::OtherRange, Fault::OtherSize, Fault::Longer] {
        let stage = Stage::new(8 * U);
        stage.script.faults([fault; 4]);
        let fill = stage.open(&stage.start());
        let error = read(fill.reader(4 * U..5 * U)).await.unwrap_err();
        assert!(matches!(error, FillError::Remote(_)), "{error:?}");
        assert_eq!(stage.script.asked().len(), 4);
        assert!(stage.disk.files().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_do_not_end_well_and_are_not_kept() {
    let mut stage = Stage::new(8 * U);
    stage.memory = 64 << 20;
    stage.script.faults([Fault::OtherBytes]);
    let fills = stage.start();
    let mut reader = stage.open(&fills).reader(stage.all());
    for _ in 0..7 {
        assert!(reader.next().await.unwrap().is_some());
    }
    assert!(matches!(reader.next().await, Err(FillError::Corrupt)));
    assert!(stage.disk.files().is_empty());
    drop(reader);
    assert_eq!(stage.read(&fills).await.unwrap(), stage.body);
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_noticed_also_when_others_fetched_them_first() {
    let stage = Stage::new(8 * U);
    let fills = stage.start();
    let fill = stage.open(&fills);
    let mut reader = fill.reader(stage.all());
    reader.next().await.unwrap();
    stage.script.faults([Fault::OtherBytes]);
    read(fill.reader(7 * U..8 * U)).await.unwrap();
    assert!(matches!(read(reader).await, Err(FillError::Corrupt)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_verified_once_is_not_doubted_again() {
    let stage = Stage::new(8 * U);
    let fills = stage.start();
    let fill = stage.open(&fills);
    assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
    assert!(!fill.is_unverified());
    assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_all_who_wait_and_the_next_read_asks_again() {
    let stage = Stage::new(4 * U);
    stage.script.faults([Fault::Refuse(RemoteErrorKind::Throttled); 4]);
    let fill = stage.open(&stage.start());
    let readers: Vec<_> = (0..8).map(|_| tokio::spawn(read(fill.reader(stage.all())))).collect();
    for reader in readers {
        let error = reader.await.unwrap().unwrap_err();
        assert!(matches!(&error, FillError::Remote(e) if e.kind() == RemoteErrorKind::Throttled));
    }
    assert_eq!(stage.script.asked().len(), 4);
    assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
}

#[tokio::test(start_paused = true)]
async fn what_the_remote_does_not_have_is_asked_for_once() {
    let stage = Stage::new(4 * U);
    stage.script.faults([Fault::Refuse(RemoteErrorKind::NotFound)]);
    let error = stage.read(&stage.start()).await.unwrap_err();
    assert!(matches!(error, FillError::Remote(e) if e.kind() == RemoteErrorKind::NotFound));
    assert_eq!(stage.script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_ahead_is_asked_for_again_when_it_is_needed() {
    let stage = Stage::new(12 * U);
    let fill = stage.open(&stage.start());
    let mut reader = fill.reader(stage.all());
    reader.next().await.unwrap();
    stage.script.faults([Fault::Refuse(RemoteErrorKind::Forbidden)]);
    let second = reader.next().await.unwrap().unwrap();
    settle().await;
    let rest = read(reader).await.unwrap();
    assert_eq!([second.to_vec(), rest].concat(), stage.slice(U..12 * U));
    assert_eq!(stage.script.asked().iter().filter(|range| range.start == 4 * U).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_tells_who_waits() {
    let stage = Stage::new(4 * U);
    stage.script.hold();
    let fills = stage.start();
    let reader = tokio::spawn(read(stage.open(&fills).reader(stage.all())));
    settle().await;
    let stopping = objstore_client::ErrorKind::Stopping;
    fills.stop(&objstore_client::Error::new(stopping, "stopping"));
    assert!(matches!(reader.await.unwrap(), Err(FillError::Stopping(_))));
}
