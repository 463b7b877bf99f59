//! What a cluster of real processes lives through: kill -9 under load, a lost disk, a restart of
//! one node after the other, a partition.
//!
//! At length, which is not for CI:
//! `OBJSTORE_LIFE_ROUNDS=200 cargo test -p objstore-node --no-default-features --test cluster_life restarted -- --nocapture`
//! restarts a node two hundred times, and with `cut_in_two` in place of `restarted` cuts one off so often.
//! `OBJSTORE_LIFE_SEED` repeats what is chosen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::cluster::{acquainted, agreed, expect, id, launch};
use harness::disk::body_files;
use harness::http::{Answer, Client};
use harness::netns::Networks;
use harness::proxy::Proxy;
use harness::server::{Launch, Server};
use harness::{Rng, bytes, eventually, number_from_env};

const INLINE: usize = 5_000;
const IN_FILE: usize = 200_000;

/// How often what comes again and again does so.
fn rounds(default: u64) -> u64 {
    number_from_env("OBJSTORE_LIFE_ROUNDS").unwrap_or(default)
}

/// One put that was acknowledged.
#[derive(Clone, Debug)]
struct Put {
    id: String,
    seed: u64,
    len: usize,
    level: u8,
}

impl Put {
    fn fresh(rng: &mut Rng, level: u8) -> Self {
        let len = *rng.pick(&[0, 1, INLINE, IN_FILE]);
        Self { id: rng.id(), seed: rng.next(), len, level }
    }

    fn send(&self, client: &mut Client) -> std::io::Result<Answer> {
        let level = format!("X-Meta-ConsistencyLevel: {}\r\n", self.level);
        client.put_with(&self.id, &level, &bytes(self.seed, self.len))
    }

    fn is_in(&self, answer: &Answer) -> bool {
        answer.is_ok() && answer.body == bytes(self.seed, self.len)
    }

    /// Whether a node gives it, if need be from the bucket.
    fn read(&self, server: &Server) -> Result<Answer, String> {
        let path = format!("/api/v1/get/{}", self.id);
        let answer = server.client().call("GET", &path, "X-Meta-Fetch: 1\r\n");
        let answer = answer.map_err(|why| format!("{self:?}: {why}"))?;
        if self.is_in(&answer) {
            return Ok(answer);
        }
        Err(format!("{self:?}: {} {} bytes", answer.head.replace("\r\n", " | "), answer.body.len()))
    }
}

fn three(dir: &Path, change: impl Fn(Launch) -> Launch) -> [Server; 3] {
    let a = change(launch(dir, "a", &[])).start();
    let b = change(launch(dir, "b", &[&a.private()])).start();
    let c = change(launch(dir, "c", &[&b.private()])).start();
    acquainted(&[&a, &b, &c]);
    [a, b, c]
}

#[test]
fn a_put_of_level_2_says_that_all_nodes_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let servers = three(dir.path(), |launch| launch);
    let mut rng = Rng::new(1);
    // On a slow machine a node may be late now and then; one that answers before it knows what it
    // was told is so often enough never to be right sixty times in a row.
    eventually("sixty puts in a row are on 3/3 nodes", || {
        let mut client = servers[rng.below(3)].client();
        for _ in 0..60 {
            let put = Put { len: 9, ..Put::fresh(&mut rng, 2) };
            let answer = put.send(&mut client).unwrap();
            assert!(answer.is_ok(), "{answer:?}");
            if answer.header("x-meta-replicas") != Some("3/3") {
                return Err(answer.head);
            }
        }
        Ok(())
    });
}

/// Writes to one node until it is told to stop, or the node is gone.
fn write(server: &Server, rng: &mut Rng, kept: &Mutex<Vec<Put>>, end: &AtomicBool, dies: bool) {
    let mut client = server.client();
    while !end.load(Ordering::SeqCst) {
        let level = rng.below(3) as u8;
        let put = Put::fresh(rng, level);
        match put.send(&mut client) {
            Ok(answer) if answer.is_ok() => kept.lock().unwrap().push(put),
            Ok(answer) if dies && !answer.whole => return,
            Err(_) if dies => return,
            other => panic!("{put:?}: {other:?}"),
        }
    }
}

#[test]
fn a_node_that_is_killed_under_load_takes_nothing_with_it_but_level_0() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let shared =
        |launch: Launch| launch.args(["--remote-dir".into(), bucket.clone().into_os_string()]);
    let [a, b, c] = three(dir.path(), shared);
    let mut rng = Rng::from_env("OBJSTORE_LIFE_SEED");
    let kept: [Mutex<Vec<Put>>; 3] = Default::default();
    let count = |of: usize| kept[of].lock().unwrap().len();
    let end = AtomicBool::new(false);
    let killed = id(&c);
    let pid = c.pid().to_string();
    let servers = [&a, &b, &c];
    std::thread::scope(|scope| {
        let mut writers = Vec::new();
        for (server, (kept, dies)) in servers.iter().zip(kept.iter().zip([false, false, true])) {
            let (mut rng, end) = (Rng::new(rng.next()), &end);
            writers.push(scope.spawn(move || write(server, &mut rng, kept, end, dies)));
        }
        let until = |what: &str, done: &dyn Fn() -> bool| {
            eventually(what, || {
                if done() {
                    Ok(())
                } else {
                    Err(format!("{}, {}, {}", count(0), count(1), count(2)))
                }
            });
        };
        until("all have written", &|| (0..3).all(|of| count(of) >= 30));
        assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        let (of_a, of_b) = (count(0), count(1));
        until("the others go on", &|| count(0) >= of_a + 20 && count(1) >= of_b + 20);
        end.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().unwrap();
        }
    });
    c.kill();
    let [of_a, of_b, of_c] = kept.map(|kept| kept.into_inner().unwrap());
    println!("acknowledged: {}, {}, {}", of_a.len(), of_b.len(), of_c.len());
    // At once, while the others may not know yet that it is gone, and when they do.
    for round in 0..2 {
        for server in [&a, &b] {
            for put in of_a.iter().chain(&of_b).chain(of_c.iter().filter(|put| put.level > 0)) {
                eventually("what was acknowledged is read", || put.read(server));
            }
            if round == 0 {
                expect(server, &killed, "gone");
            }
        }
    }
    for put in of_c.iter().filter(|put| put.level == 0) {
        let answer = a.client().get(&put.id).unwrap();
        assert!(put.is_in(&answer) || answer.status == 503 || answer.status == 404, "{answer:?}");
    }
    // It finds the others by itself, and brings back what only it had.
    let c = shared(launch(dir.path(), "c", &[])).start();
    acquainted(&[&a, &b, &c]);
    let all = agreed(&[&a, &b, &c]);
    assert!(all.len() >= of_a.len() + of_b.len() + of_c.len(), "{}", all.len());
    for put in of_a.iter().chain(&of_b).chain(&of_c) {
        for server in [&a, &c] {
            put.read(server).unwrap();
        }
    }
}

#[test]
fn a_lost_disk_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    // Each with a directory for a bucket that no other node reads: only copies on nodes count.
    let [a, b, c] = three(dir.path(), |launch| launch);
    let mut rng = Rng::new(3);
    let puts: Vec<_> = (0..24).map(|_| Put::fresh(&mut rng, 2)).collect();
    for put in &puts {
        assert!(put.send(&mut a.client()).unwrap().is_ok());
    }
    let deleted = &puts[0].id;
    assert!(b.client().delete(deleted).unwrap().is_ok());
    agreed(&[&a, &b, &c]);
    let lost = id(&c);
    c.kill();
    std::fs::remove_dir_all(dir.path().join("c")).unwrap();
    let c = launch(dir.path(), "c", &[&a.private()]).start();
    assert_ne!(id(&c), lost);
    agreed(&[&a, &b, &c]);
    for put in &puts[1..] {
        eventually("it has a copy of its own again", || {
            let path = format!("/api/v1/level/{}", put.id);
            let level = "X-Meta-ConsistencyLevel: 2\r\nContent-Length: 0\r\n";
            let answer = a.client().call("POST", &path, level).unwrap();
            match answer.header("x-meta-replicas") {
                Some("3/3") => Ok(()),
                _ => Err(answer.head),
            }
        });
    }
    // The others are no more: it is read from what it synced.
    a.kill();
    b.kill();
    c.kill();
    let c = launch(dir.path(), "c", &[]).start();
    for put in &puts[1..] {
        let answer = put.read(&c).unwrap();
        assert!(answer.header("x-meta-symlink").is_none(), "{answer:?}");
        assert!(answer.header("x-meta-fetched").is_none(), "{answer:?}");
    }
    let answer = c.client().get(deleted).unwrap();
    assert_eq!((answer.status, answer.header("x-meta-deleted")), (404, Some("true")));
}

#[test]
fn files_that_are_lost_are_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let with_bucket = |launch: Launch| launch.args(["--remote-dir".as_ref(), bucket.as_os_str()]);
    let [a, b, c] = three(dir.path(), with_bucket);
    let mut rng = Rng::new(4);
    let puts: Vec<_> = (0..3)
        .flat_map(|level| [INLINE, IN_FILE].map(|len| (level, len)))
        .map(|(level, len)| Put { id: rng.id(), seed: rng.next(), len, level })
        .collect();
    for put in &puts {
        assert!(put.send(&mut c.client()).unwrap().is_ok());
    }
    agreed(&[&a, &b, &c]);
    let who = id(&c);
    c.kill();
    std::fs::remove_dir_all(dir.path().join("c/files")).unwrap();
    let launch = with_bucket(launch(dir.path(), "c", &[&a.private()]));
    let refused = launch.try_start().err().expect("the disk may not be mounted");
    let why = refused.stderr.concat();
    assert!(why.contains("start once with lost-files"), "{refused:?}");
    let c = launch.args(["--lost-files"]).start();
    assert_eq!(id(&c), who);
    for put in &puts {
        if (put.level, put.len) == (0, IN_FILE) {
            let answer = c.client().get(&put.id).unwrap();
            assert_eq!(answer.status, 404, "{answer:?}");
            assert!(answer.text().contains("body-lost"), "{answer:?}");
        } else {
            put.read(&c).unwrap();
        }
    }
    let copied = puts.iter().find(|put| (put.level, put.len) == (2, IN_FILE)).unwrap();
    eventually("it has a copy of its own again", || {
        match body_files(&dir.path().join("c/files")).len() {
            1.. => Ok(()),
            _ => Err(format!("{:#?}", c.log())),
        }
    });
    a.kill();
    b.kill();
    std::fs::remove_dir_all(&bucket).unwrap();
    copied.read(&c).unwrap();
}

#[test]
fn one_node_after_the_other_is_restarted_and_no_request_fails() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("bucket");
    let with = |launch: Launch| {
        launch
            .args(["--remote-dir".into(), bucket.clone().into_os_string()])
            .args(["--shutdown-delay", "1s"])
    };
    let [a, b, c] = three(dir.path(), with);
    let proxy = Proxy::before(&[a.addr, b.addr, c.addr]);
    let end = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let seeds = Rng::from_env("OBJSTORE_LIFE_SEED").next();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let (proxy, end, served) = (&proxy, &end, &served);
                scope.spawn(move || {
                    let mut rng = Rng::new(seeds + n);
                    let mut puts: Vec<Put> = Vec::new();
                    while !end.load(Ordering::SeqCst) {
                        // A connection for each request, so that any node may get it.
                        let mut client = Client::new(proxy.addr);
                        let is_put = puts.len() < 5 || rng.below(3) == 0;
                        if is_put {
                            let put = Put::fresh(&mut rng, 2);
                            let answer = put.send(&mut client);
                            assert!(
                                answer.as_ref().is_ok_and(Answer::is_ok),
                                "{put:?}: {answer:?}"
                            );
                            puts.push(put);
                        } else {
                            let put = rng.pick(&puts);
                            let answer = client.get(&put.id).unwrap();
                            assert!(put.is_in(&answer), "{put:?}: {}", answer.head);
                        }
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                    puts
                })
            })
            .collect();
        let mut more = 0;
        let mut go_on = || {
            more = served.load(Ordering::SeqCst) + 30;
            eventually("requests are served", || match served.load(Ordering::SeqCst) {
                n if n >= more || clients.iter().any(|client| client.is_finished()) => Ok(()),
                n => Err(format!("{n} of {more}")),
            });
        };
        let mut servers = vec![(a, "a"), (b, "b"), (c, "c")];
        for _ in 0..rounds(3) {
            go_on();
            let (server, name) = servers.remove(0);
            let old = server.addr;
            assert!(server.stop().success());
            go_on();
            // Where it listens now is another place; the proxy is told, the other nodes are not.
            let server = with(launch(dir.path(), name, &[])).start();
            servers.push((server, name));
            acquainted(&servers.iter().map(|(server, _)| server).collect::<Vec<_>>());
            proxy.replace(old, servers[2].0.addr);
            // Who failed says why when it is joined.
            if clients.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        go_on();
        end.store(true, Ordering::SeqCst);
        let puts: Vec<_> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
        agreed(&servers.iter().map(|(server, _)| server).collect::<Vec<_>>());
        for put in &puts {
            put.read(&servers[0].0).unwrap();
        }
        println!("{} requests", served.load(Ordering::SeqCst));
    });
}

#[test]
fn a_cluster_that_was_cut_in_two_agrees_when_it_is_whole_again() {
    let Some(networks) = Networks::of(3) else {
        println!("skipped: this kernel, or this user, makes no network namespaces");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("cluster.key");
    let objstore = || std::process::Command::new(env!("CARGO_BIN_EXE_objstore"));
    assert!(objstore().arg("keygen").arg(&key).status().unwrap().success());
    let start = |n: usize, seeds: &[&str]| {
        let mut launch = launch(dir.path(), ["a", "b", "c"][n], seeds)
            .args(["--cluster-key-file".into(), key.clone().into_os_string()])
            .wrapped(networks.wrapper(n));
        launch.private = format!("{}:11999", networks.addr(n));
        launch.public = format!("{}:10999", networks.addr(n));
        launch.start()
    };
    let a = start(0, &[]);
    let b = start(1, &[&a.private()]);
    let c = start(2, &[&b.private()]);
    acquainted(&[&a, &b, &c]);
    let servers = [a, b, c];
    let ids = servers.each_ref().map(id);
    let mut rng = Rng::from_env("OBJSTORE_LIFE_SEED");
    let mut model = Model::new();
    for _ in 0..4 {
        let put = Put::fresh(&mut rng, 0);
        change(&mut model, &servers[0], &put.id.clone(), Some(put));
    }
    let all = servers.each_ref();
    for round in 0..rounds(2) {
        agreed(&all);
        let before: Vec<_> = model.keys().cloned().collect();
        let cut = rng.below(3);
        let rest: Vec<_> = (0..3).filter(|n| *n != cut).collect();
        networks.cut(cut);
        // Every second time nobody notices before it is over.
        let is_noticed = round.is_multiple_of(2);
        for other in rest.iter().filter(|_| is_noticed) {
            expect(&servers[*other], &ids[cut], "gone");
            expect(&servers[cut], &ids[*other], "gone");
        }
        // Both sides accept, each what the other does not hear of.
        let mut fresh = Vec::new();
        for (here, there) in [(rest[0], cut), (cut, rest[1])] {
            let put = Put::fresh(&mut rng, 0);
            fresh.push(put.id.clone());
            change(&mut model, &servers[here], &put.id.clone(), Some(put));
            if is_noticed {
                assert_eq!(
                    servers[there].client().get(&fresh[fresh.len() - 1]).unwrap().status,
                    404
                );
            }
        }
        // What was there before is changed on one side, or on both one after the other.
        let mut touched = Vec::new();
        for _ in 0..6 {
            let id = rng.pick(&before).clone();
            let mut sides = [*rng.pick(&rest), cut];
            sides.rotate_left(rng.below(2));
            let mut own = Vec::new();
            for side in &sides[rng.below(2)..] {
                let put = Put { id: id.clone(), ..Put::fresh(&mut rng, 0) };
                let put = (rng.below(3) > 0).then_some(put);
                change(&mut model, &servers[*side], &id, put.clone());
                own.push((*side, put));
            }
            // Each side goes on to read what it wrote itself.
            for (side, put) in &own {
                check(&servers[*side], &id, put).unwrap();
            }
            touched.push(id);
        }

        networks.heal(cut);
        acquainted(&all);
        assert_eq!(agreed(&all).len(), model.len());
        for (server, id) in
            all.iter().flat_map(|s| fresh.iter().chain(&touched).map(move |id| (s, id)))
        {
            eventually("both sides' changes are there", || check(server, id, &model[id]));
        }
    }
    agreed(&all);
    for (server, (id, expected)) in all.iter().flat_map(|s| model.iter().map(move |of| (s, of))) {
        eventually("nothing was lost, and nothing came back", || check(server, id, expected));
    }
    println!("{} partitions, {} objects", rounds(2), model.len());
}

/// What the last change to each object has left: none where it was a delete.
type Model = BTreeMap<String, Option<Put>>;

/// Puts or deletes an object, and notes that it was acknowledged.
fn change(model: &mut Model, server: &Server, id: &str, put: Option<Put>) {
    let mut client = server.client();
    let answer = match &put {
        Some(put) => put.send(&mut client).unwrap(),
        // What is deleted as far as this node knows is not deleted once more.
        None if check(server, id, &None).is_ok() => return,
        None => client.delete(id).unwrap(),
    };
    assert!(answer.is_ok(), "{put:?}: {answer:?}");
    // A node reads what it wrote itself.
    check(server, id, &put).unwrap();
    model.insert(id.to_owned(), put);
}

/// Whether a node gives what there should be.
fn check(server: &Server, id: &str, expected: &Option<Put>) -> Result<(), String> {
    if let Some(put) = expected {
        return put.read(server).map(drop);
    }
    let answer = server.client().get(id).map_err(|why| why.to_string())?;
    match (answer.status, answer.header("x-meta-deleted")) {
        (404, Some("true")) => Ok(()),
        _ => Err(format!("{id} was deleted: {}", answer.head)),
    }
}
