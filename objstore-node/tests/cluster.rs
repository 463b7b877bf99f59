//! Real processes that are one cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::cluster::{acquainted, expect, id, launch, peers, said, signal, state};
use harness::eventually;
use harness::server::Server;

#[test]
fn a_killed_node_is_gone_and_one_that_is_stopped_for_a_moment_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).start();
    said(&a, "no additional cluster nodes specified, current node starts solo");
    let b = launch(dir.path(), "b", &[&a.private()]).start();
    said(&b, &format!("joining to cluster [{}]", a.private()));
    let c = launch(dir.path(), "c", &[&b.private()]).start();
    let (ids, servers) = ([id(&a), id(&b), id(&c)], [&a, &b, &c]);
    for server in servers {
        for of in ids.iter().filter(|of| **of != id(server)) {
            expect(server, of, "alive");
        }
    }

    signal(&c, "-STOP");
    expect(&a, &ids[2], "suspect");
    signal(&c, "-CONT");
    expect(&a, &ids[2], "alive");
    let gone = |server: &Server| server.log().iter().any(|line| line.contains("a node is gone"));
    assert!(!gone(&a) && !gone(&b), "{:#?}", a.log());

    c.kill();
    expect(&a, &ids[2], "gone");
    expect(&b, &ids[2], "gone");
    expect(&a, &ids[1], "alive");
}

#[test]
fn a_node_with_a_key_is_refused_by_one_without_and_both_logs_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key").display().to_string();
    let made =
        Command::new(env!("CARGO_BIN_EXE_objstore")).args(["keygen", &key]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let a = launch(dir.path(), "a", &[]).start();
    let b = launch(dir.path(), "b", &[&a.private()])
        .args(["--cluster-key-file", &key])
        .spawn_listening()
        .unwrap();
    said(&a, "it speaks TLS, and there is no cluster key here");
    said(&b, "does not use TLS");
    let c = launch(dir.path(), "c", &[&b.private()]).spawn_listening().unwrap();
    said(&c, "if it has a cluster key, give both nodes the same --cluster-key-file");
    for server in [&b, &c] {
        eventually("it is not ready", || {
            match server.client().call("GET", "/readyz", "").unwrap() {
                answer if answer.status == 503 => Ok(()),
                answer => Err(answer.text()),
            }
        });
    }
}

/// It says so by itself, soon and at the right end, and is not taken for a part of the cluster.
#[test]
fn a_node_with_a_key_that_is_not_accepted_any_more_says_why_and_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ["old", "new"].map(|name| {
        let key = dir.path().join(name).display().to_string();
        let made = Command::new(env!("CARGO_BIN_EXE_objstore")).args(["keygen", &key]).output();
        assert!(made.unwrap().status.success());
        key
    });
    let file = dir.path().join("keys");
    std::fs::copy(&keys[0], &file).unwrap();
    let key = ["--cluster-key-file", file.to_str().unwrap()];
    let a = launch(dir.path(), "a", &[]).args(key).start();
    let b = launch(dir.path(), "b", &[&a.private()]).args(["--cluster-key-file", &keys[0]]);
    {
        let b = b.start();
        acquainted(&[&a, &b]);
        signal(&b, "-TERM");
    }
    std::fs::copy(&keys[1], &file).unwrap();
    said(&a, "other cluster keys are in force");
    let b = b.spawn_listening().unwrap();
    said(&b, "has another cluster key; give both nodes the same --cluster-key-file");
    let answer = b.client().call("GET", "/readyz", "").unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("no node of the cluster lets this one in"), "{}", answer.text());
}

/// Whether the one that does not answer has the body is not known, however often it was asked.
#[test]
fn a_body_is_not_lost_while_its_only_holder_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).start();
    let b = launch(dir.path(), "b", &[&a.private()]).start();
    let c = launch(dir.path(), "c", &[&a.private()]).start();
    acquainted(&[&a, &b, &c]);
    // At level 1 it is in the directory of its node too, which is no nearer than the node.
    let [object, stored] = [0, 1].map(|level| {
        let object = a.client().call("GET", "/api/v1/id", "").unwrap().text().trim().to_owned();
        let fields = format!("X-Meta-ConsistencyLevel: {level}\r\n");
        assert!(a.client().put_with(&object, &fields, b"It works!").unwrap().is_ok());
        let known = format!("/api/v1/meta/{object}");
        eventually("c knows it", || match c.client().call("GET", &known, "").unwrap() {
            answer if answer.is_ok() => Ok(()),
            answer => Err(answer.text()),
        });
        object
    });

    signal(&a, "-STOP");
    for object in [&object, &stored, &object] {
        let answer = c.client().get(object).unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    signal(&a, "-CONT");
    eventually("c reads it again", || match c.client().get(&object).unwrap() {
        answer if answer.is_ok() => Ok(()),
        answer => {
            assert_eq!(answer.status, 503, "{}", answer.text());
            Err(answer.text())
        }
    });
}

#[test]
fn a_request_is_found_by_its_id_in_the_logs_of_all_nodes_that_work_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).args(["-d", "1"]).start();
    let b = launch(dir.path(), "b", &[&a.private()]).args(["-d", "1"]).start();
    expect(&a, &id(&b), "alive");
    expect(&b, &id(&a), "alive");
    let object = a.client().call("GET", "/api/v1/id", "").unwrap().text();
    let object = object.trim();
    assert!(a.client().put(object, b"It works!").unwrap().is_ok());
    let path = format!("/api/v1/get/{object}");
    let got = b.client().call("GET", &path, "X-Request-Id: find-me\r\n").unwrap();
    assert_eq!((got.status, got.header("X-Request-Id")), (200, Some("find-me")));
    let said = |server: &Server, message: &str| {
        let is = |line: &String| line.contains(message) && line.contains("find-me");
        harness::eventually("the log has it", || match server.log().into_iter().find(is) {
            Some(line) => Ok(line),
            None => Err(format!("{:#?}", server.log())),
        })
    };
    let line = said(&b, "[DEBUG] request method=GET");
    assert!(line.contains(&path) && line.contains("status=200"), "{line}");
    let line = said(&a, "[DEBUG] private request method=GET");
    assert!(line.contains(object) && line.contains(&id(&b)), "{line}");
}

#[test]
fn a_node_that_is_told_to_stop_says_so_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).start();
    let b = launch(dir.path(), "b", &[&a.private()]).start();
    let left = id(&b);
    expect(&a, &left, "alive");
    assert!(b.stop().success());
    // Nobody has had the time to find out.
    assert_eq!(state(&a, &left), "gone");
}

#[test]
fn a_node_finds_its_cluster_again_without_being_told_where() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).start();
    let b = launch(dir.path(), "b", &[&a.private()]).start();
    let ids = [id(&a), id(&b)];
    expect(&a, &ids[1], "alive");
    assert!(b.stop().success());
    let b = launch(dir.path(), "b", &[]).start();
    assert_eq!(id(&b), ids[1]);
    expect(&a, &ids[1], "alive");
    expect(&b, &ids[0], "alive");

    // All of them at once, at the addresses they had.
    let at = [a.private(), b.private()];
    a.kill();
    b.kill();
    let restart = |name: &str, at: &String| {
        let mut launch = launch(dir.path(), name, &[]);
        launch.private.clone_from(at);
        launch.start()
    };
    let (a, b) = (restart("a", &at[0]), restart("b", &at[1]));
    expect(&a, &ids[1], "alive");
    expect(&b, &ids[0], "alive");
}

/// Two nodes, a and b, and a copy of all that b has.
fn with_a_copy_of_b(dir: &Path) -> [Server; 2] {
    let a = launch(dir, "a", &[]).start();
    let b = launch(dir, "b", &[&a.private()]).start();
    expect(&a, &id(&b), "alive");
    harness::disk::copy_dir(&dir.join("b"), &dir.join("copy"));
    [a, b]
}

#[test]
fn a_copied_state_directory_is_refused_while_its_twin_lives() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = with_a_copy_of_b(dir.path());
    let twin = id(&b);
    // Its remote is a directory below the state directory, as that of the other.
    let refused =
        launch(dir.path(), "copy", &[&a.private()]).try_start().err().expect("it is refused");
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
    let line = refused.stderr.last().unwrap();
    for part in [&*twin, &*b.private(), "--new-node-id"] {
        assert!(line.contains(part), "{line}");
    }
    said(&a, &format!("node {twin} runs at {}", b.private()));
    assert_eq!(state(&a, &twin), "alive");
    let renewed = launch(dir.path(), "copy", &[&a.private()]).args(["--new-node-id"]).start();
    expect(&a, &id(&renewed), "alive");
}

#[test]
fn a_copy_is_not_let_in_while_its_twin_may_live() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = with_a_copy_of_b(dir.path());
    let twin = id(&b);
    signal(&b, "-STOP");
    let mut copy = launch(dir.path(), "copy", &[&a.private()]).spawn_listening().unwrap();
    said(&a, "has not been given up yet");
    assert!(peers(&a).iter().all(|(_, addr, _)| *addr == b.private()), "{:?}", peers(&a));
    signal(&b, "-CONT");
    // It answers again, and so it is the copy that has to end.
    assert!(!copy.wait().success());
    expect(&a, &twin, "alive");
    assert!(peers(&a).iter().all(|(_, addr, _)| *addr == b.private()), "{:?}", peers(&a));
}

#[test]
fn a_node_of_another_tag_is_refused_and_both_logs_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).start();
    let b =
        launch(dir.path(), "b", &[&a.private()]).args(["-T", "blue"]).spawn_listening().unwrap();
    for server in [&a, &b] {
        said(server, "the tag of the one who is asked is \"default\", that of the asker \"blue\"");
        assert_eq!(peers(server), []);
    }
}

#[test]
fn a_member_that_will_not_come_back_is_forgotten_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).start();
    let b = launch(dir.path(), "b", &[&a.private()]).start();
    let lost = id(&b);
    expect(&a, &lost, "alive");
    let forget = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_objstore"));
        command.args(["forget", &lost, "--node", &a.addr.to_string()]).output().unwrap()
    };
    let refused = forget();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop it first"));
    b.kill();
    expect(&a, &lost, "gone");
    assert!(forget().status.success());
    assert_eq!(state(&a, &lost), "forgotten");
}

#[test]
fn what_a_node_advertises_is_an_address_that_others_reach() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &[]).start();
    let mut everywhere = launch(dir.path(), "b", &[&a.private()]);
    everywhere.private = "0.0.0.0:0".to_owned();
    let b = everywhere.start();
    let told = b.private();
    assert!(!told.starts_with("0.0.0.0"), "{told}");
    expect(&a, &id(&b), "alive");

    let mut named = launch(dir.path(), "c", &[&a.private()]);
    // Free until now, as far as can be told.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    named.private = format!("127.0.0.1:{port}");
    let c = named.args(["--advertise-addr".to_owned(), format!("localhost:{port}")]).start();
    let of = id(&c);
    expect(&b, &of, "alive");
    let (_, addr, _) = peers(&b).into_iter().find(|(id, ..)| *id == of).unwrap();
    assert_eq!(addr, format!("localhost:{port}"));

    for wrong in ["0.0.0.0:7", "[::]:7"] {
        let refused = launch(dir.path(), "d", &[]).args(["--advertise-addr", wrong]).try_start();
        let refused = refused.err().expect("it is refused");
        assert_eq!(refused.status.code(), Some(2));
        assert!(refused.stderr.last().unwrap().contains("--advertise-addr"), "{refused:#?}");
    }
}
