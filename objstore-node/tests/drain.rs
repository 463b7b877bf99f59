//! A process that leaves for good, and what only it has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::server::{Launch, Server};
use harness::{bytes, eventually};

fn launch(dir: &Path, name: &str, args: &[&str]) -> Server {
    Launch::new(&dir.join(name)).args(args).start()
}

fn fresh_id(server: &Server) -> String {
    server.client().call("GET", "/api/v1/id", "").unwrap().text().trim().to_owned()
}

#[test]
fn a_drained_node_leaves_its_bodies_with_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let a = launch(dir.path(), "a", &["--drain"]);
    let b = launch(dir.path(), "b", &["-N", &a.private()]);
    eventually("they know each other", || {
        let nodes = a.client().call("GET", "/api/v1/stats", "").unwrap().text();
        if nodes.contains("\"state\":\"alive\"") { Ok(()) } else { Err(nodes) }
    });
    let put: Vec<_> = [9, 70_000, 3_000_000].map(|len| (fresh_id(&a), bytes(7, len))).into();
    for (id, body) in &put {
        assert!(a.client().put(id, body).unwrap().is_ok());
    }
    // Its bucket is a directory of its own, which leaves with it.
    let (level, kept) = (fresh_id(&a), bytes(8, 70_000));
    let fields = "X-Meta-ConsistencyLevel: 1\r\n";
    assert!(a.client().put_with(&level, fields, &kept).unwrap().is_ok());
    // Read through the other, before there is a copy.
    let read = b.client().get(&put[1].0).unwrap();
    assert!(read.is_ok() && read.body == put[1].1);
    assert_eq!(read.header("x-meta-symlink"), Some("true"));
    assert!(Command::new("kill").args(["-TERM", &a.pid().to_string()]).status().unwrap().success());
    eventually("it says what it has done", || {
        let log = a.log();
        let said = log.iter().any(|line| line.contains("bodies handed over to other nodes: 4"));
        if said { Ok(()) } else { Err(format!("{log:#?}")) }
    });
    eventually("it is gone", || match a.client().get(&put[0].0) {
        Err(_) => Ok(()),
        Ok(_) => Err("it answers".to_owned()),
    });
    for (id, body) in put.iter().chain([&(level, kept)]) {
        let read = b.client().get(id).unwrap();
        assert!(read.is_ok() && &read.body == body, "{id}");
    }
}
