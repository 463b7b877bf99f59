//! What real processes that are one cluster say of each other.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::eventually;
use super::server::{Launch, Server};

/// A node with directories of its own below `dir`, that joins through these.
pub fn launch(dir: &Path, name: &str, seeds: &[&str]) -> Launch {
    let launch = Launch::new(&dir.join(name));
    launch.args(seeds.iter().flat_map(|seed| ["-N", *seed]))
}

pub fn id(server: &Server) -> String {
    server.client().call("GET", "/api/v1/ping", "").unwrap().text().trim().to_owned()
}

/// What a node says of the others: id, address and state.
pub fn peers(server: &Server) -> Vec<(String, String, String)> {
    let stats = server.client().call("GET", "/api/v1/stats", "").unwrap();
    let stats: Value = serde_json::from_slice(&stats.body).unwrap();
    let text = |peer: &Value, field: &str| peer[field].as_str().unwrap().to_owned();
    let peers = stats["peers"].as_array().unwrap().iter();
    peers.map(|p| (text(p, "node_id"), text(p, "private_addr"), text(p, "state"))).collect()
}

pub fn state(server: &Server, of: &str) -> String {
    let found = peers(server).into_iter().find(|(id, ..)| id == of);
    found.map_or_else(|| "unknown".to_owned(), |(_, _, state)| state)
}

/// Waits until one node says this of another.
pub fn expect(server: &Server, of: &str, expected: &str) {
    eventually(&format!("{of} is {expected}"), || match state(server, of) {
        state if state == expected => Ok(()),
        state => Err(format!("it is {state}; the log: {:#?}", server.log())),
    });
}

pub fn signal(server: &Server, name: &str) {
    let status = Command::new("kill").args([name, &server.pid().to_string()]).status().unwrap();
    assert!(status.success());
}

pub fn said(server: &Server, what: &str) {
    eventually(&format!("the log says {what:?}"), || {
        let log = server.log();
        if log.iter().any(|line| line.contains(what)) { Ok(()) } else { Err(format!("{log:#?}")) }
    });
}

/// Waits until all of them say that all others are there.
pub fn acquainted(servers: &[&Server]) {
    let ids: Vec<_> = servers.iter().map(|server| id(server)).collect();
    for (server, own) in servers.iter().zip(&ids) {
        for of in ids.iter().filter(|of| *of != own) {
            expect(server, of, "alive");
        }
    }
}

/// All that a journal says of each object, deleted ones too, apart from where the bodies are.
pub fn journal(server: &Server) -> Result<Vec<Value>, String> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map(|last| last["id"].as_str().unwrap().to_owned());
        let after = after.map_or_else(String::new, |id| format!("&after={id}"));
        let path = format!("/api/v1/list?limit=1000&deleted=1{after}");
        let answer = server.client().call("GET", &path, "").map_err(|why| why.to_string())?;
        if !answer.is_ok() {
            return Err(format!("{} {}", answer.status, answer.text()));
        }
        let before = all.len();
        for line in answer.text().lines() {
            let mut object: Value = serde_json::from_str(line).map_err(|why| why.to_string())?;
            let fields = object.as_object_mut().unwrap();
            fields.retain(|name, _| name != "is_symlink" && name != "is_fetched");
            all.push(object);
        }
        if all.len() == before {
            return Ok(all);
        }
    }
}

/// Waits until all of them know the same.
pub fn agreed(servers: &[&Server]) -> Vec<Value> {
    eventually("the journals are equal", || {
        let mut journals = servers.iter().map(|server| journal(server));
        let first = journals.next().unwrap()?;
        for (number, other) in journals.enumerate() {
            let other = other?;
            if other != first {
                let differs = |one: &[Value], two: &[Value]| -> Vec<String> {
                    one.iter().filter(|o| !two.contains(o)).map(Value::to_string).collect()
                };
                let (here, there) = (differs(&first, &other), differs(&other, &first));
                return Err(format!("node 0 has {here:#?}, node {} {there:#?}", number + 1));
            }
        }
        Ok(first)
    })
}
