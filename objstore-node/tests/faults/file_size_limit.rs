//! Writes refused beyond a file size, set and lifted while the node runs: a cheap stand-in for a
//! disk that fails some writes and not others.

use std::process::Command;

use crate::harness::server::{Launch, Server};
use crate::harness::{Rng, bytes, disk, eventually};

fn limit(server: &Server, bytes: &str) {
    let status = Command::new("prlimit")
        .args([format!("--pid={}", server.pid()), format!("--fsize={bytes}:unlimited")])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn writes_beyond_a_file_size_limit_are_not_acknowledged_and_work_again_when_it_is_lifted() {
    if !disk::have("prlimit") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The signal that comes with the limit would end the process; the error is what is tried.
    let launch = Launch::new(dir.path()).wrapped(["sh", "-c", r#"trap "" XFSZ; exec "$@""#, "sh"]);
    let server = launch.start();
    let mut client = server.client();
    let mut rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let mut kept = Vec::new();
    for round in 0..3 {
        for len in [100, 60_000, 300_000] {
            let (id, body) = (rng.id(), bytes(rng.next(), len));
            eventually("a put works", || match client.put(&id, &body) {
                Ok(answer) if answer.is_ok() => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(why) => Err(why.to_string()),
            });
            kept.push((id, body));
        }
        // Each file is at its limit at once, or when it has grown a little.
        limit(&server, ["1", "100000", "400000"][round]);
        for len in [100, 60_000, 300_000].repeat(5) {
            let (id, body) = (rng.id(), bytes(rng.next(), len));
            match client.put(&id, &body) {
                Ok(answer) if answer.is_ok() => kept.push((id, body)),
                Ok(answer) => assert!(
                    matches!(answer.status, 503 | 507),
                    "{} {}",
                    answer.status,
                    answer.text()
                ),
                // Closed upon a body that is not wanted any more.
                Err(_) => {}
            }
        }
        for (id, body) in &kept {
            let answer = client.get(id).unwrap();
            assert!(answer.is_ok() && answer.body == *body, "{}", answer.head);
        }
        limit(&server, "unlimited");
    }
    server.kill();
    let server = launch.start();
    for (id, body) in &kept {
        let answer = server.client().get(id).unwrap();
        assert!(answer.is_ok() && answer.body == *body, "{}", answer.head);
    }
}
