use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn many_readers_of_a_cold_object_cause_one_request_for_each_block() {
    let stage = Stage::new(20 * U + 77);
    let fills = stage.start();
    let fill = stage.open(&fills);
    let readers: Vec<_> = (0..64).map(|_| tokio::spawn(read(fill.reader(stage.all())))).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), stage.body);
    }
    let mut asked = stage.script.asked();
    asked.sort_by_key(|range| range.start);
    let blocks = (0..6).map(|block| block * 4 * U..((block + 1) * 4 * U).min(stage.all().end));
    assert_eq!(asked, blocks.collect::<Vec<_>>());
    assert_eq!(fills.stats().requests, 6);
}

#[tokio::test(start_paused = true)]
async fn a_range_asks_for_exactly_the_units_it_touches() {
    let stage = Stage::new(40 * U + 5);
    let fill = stage.open(&stage.start());
    let wanted = 10 * U + 1..12 * U + 1;
    let mut reader = fill.reader(wanted.clone());
    assert_eq!(read_on(&mut reader).await, stage.slice(wanted));
    assert!(reader.took().from_remote);
    assert_eq!(stage.script.asked(), [10 * U..13 * U]);
    let tail = 40 * U + 2..40 * U + 4;
    assert_eq!(read(fill.reader(tail.clone())).await.unwrap(), stage.slice(tail));
    assert_eq!(stage.script.asked(), [40 * U..40 * U + 5]);
    assert!(read(fill.reader(9..9)).await.unwrap().is_empty());
    assert!(stage.script.asked().is_empty());
}

async fn read_on(reader: &mut FillReader) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn what_is_here_is_not_asked_for_again() {
    let stage = Stage::new(16 * U);
    let fill = stage.open(&stage.start());
    read(fill.reader(0..16 * U)).await.unwrap();
    stage.script.asked();
    let mut reader = fill.reader(0..16 * U);
    assert_eq!(read_on(&mut reader).await, stage.body);
    assert!(!reader.took().from_remote);
    assert!(stage.script.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_away_takes_nobody_with_it() {
    let stage = Stage::new(4 * U);
    stage.script.hold();
    let fill = stage.open(&stage.start());
    let mut leader = fill.reader(stage.all());
    let follower = tokio::spawn(read(fill.reader(stage.all())));
    drop(fill);
    stage.script.pace.add_permits(7);
    leader.next().await.unwrap();
    drop(leader);
    settle().await;
    assert!(!follower.is_finished());
    stage.script.pace.add_permits(1000);
    assert_eq!(follower.await.unwrap().unwrap(), stage.body);
    assert_eq!(stage.script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn ranges_that_overlap_share_what_overlaps() {
    let stage = Stage::new(16 * U);
    stage.script.hold();
    let fill = stage.open(&stage.start());
    let first = tokio::spawn(read(fill.reader(2 * U..6 * U)));
    settle().await;
    let second = tokio::spawn(read(fill.reader(4 * U..8 * U)));
    settle().await;
    let third = tokio::spawn(read(fill.reader(0..4 * U)));
    settle().await;
    stage.script.pace.add_permits(1000);
    assert_eq!(first.await.unwrap().unwrap(), stage.slice(2 * U..6 * U));
    assert_eq!(second.await.unwrap().unwrap(), stage.slice(4 * U..8 * U));
    assert_eq!(third.await.unwrap().unwrap(), stage.slice(0..4 * U));
    assert_eq!(stage.script.asked(), [2 * U..6 * U, 0..2 * U, 6 * U..8 * U]);
}

#[tokio::test(start_paused = true)]
async fn a_follower_gets_each_unit_as_it_comes() {
    let stage = Stage::new(4 * U);
    stage.script.hold();
    let fill = stage.open(&stage.start());
    let mut leader = fill.reader(stage.all());
    let mut follower = fill.reader(0..1);
    stage.script.pace.add_permits(7);
    leader.next().await.unwrap();
    assert_eq!(follower.next().await.unwrap().unwrap(), stage.slice(0..1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_holds_nobody_up_and_gets_everything() {
    for memory in [0, 64 << 20] {
        let mut stage = Stage::new(32 * U);
        stage.memory = memory;
        let fill = stage.open(&stage.start());
        let mut slow = fill.reader(stage.all());
        let first = slow.next().await.unwrap().unwrap();
        assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
        let rest = read(slow).await.unwrap();
        assert_eq!([first.to_vec(), rest].concat(), stage.body);
        assert_eq!(stage.script.asked().len(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn the_byte_budget_holds() {
    let mut stage = Stage::new(64 * U);
    stage.settings.budget_bytes = 8 * U;
    *stage.script.delay.lock().unwrap() = Duration::from_millis(1);
    let fills = stage.start();
    let readers: Vec<_> = (0..16u64)
        .map(|n| {
            let mut origin = stage.origin();
            origin.record.stamp.time = n;
            tokio::spawn(read(fills.open(origin).reader(stage.all())))
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), stage.body);
    }
    assert_eq!(stage.script.highest_in_flight(), 8 * U);
}

#[tokio::test(start_paused = true)]
async fn several_requests_go_ahead_of_a_reader_and_no_more() {
    let mut stage = Stage::new(200 * U);
    stage.settings.parallel = 3;
    let fill = stage.open(&stage.start());
    *stage.script.delay.lock().unwrap() = Duration::from_millis(1);
    assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
    // Those that are nearly done come on top.
    let highest = stage.script.highest_in_flight();
    assert!((3 * 4 * U..=6 * 4 * U).contains(&highest), "{highest}");
    assert_eq!(stage.script.asked().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_causes_no_more_than_its_window() {
    let mut stage = Stage::new(200 * U);
    stage.settings.parallel = 2;
    let fill = stage.open(&stage.start());
    let mut reader = fill.reader(stage.all());
    for _ in 0..8 {
        reader.next().await.unwrap();
    }
    settle().await;
    assert!(stage.script.asked().iter().all(|range| range.end <= (8 + 16) * U));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_came_with_the_first_request_is_gone_on_with() {
    let stage = Stage::new(10 * U);
    let fill = stage.open(&stage.start());
    fill.adopt(0..4 * U, stage.script.reply(&(0..4 * U), Some(Fault::Cut(3 * 65_536 + 1))));
    assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
    let asked = stage.script.asked();
    assert!(asked.contains(&(3 * U + 1..4 * U)), "{asked:?}");
    assert!(asked.iter().all(|range| range.start > 3 * U), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_ends_within_a_unit_is_completed() {
    let stage = Stage::new(3 * U);
    let fill = stage.open(&stage.start());
    fill.adopt(0..U + 9, stage.script.reply(&(0..U + 9), None));
    assert_eq!(read(fill.reader(0..U + 9)).await.unwrap(), stage.slice(0..U + 9));
    assert_eq!(stage.script.asked(), [U + 9..2 * U]);
}
