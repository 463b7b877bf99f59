//! `--max-bytes` holds in physical bytes; 507 at the bound; what is deleted can be used again.

use crate::harness::disk;
use crate::harness::http::Client;
use crate::harness::server::Launch;
use crate::harness::{Rng, bytes, eventually};

/// The least a node takes.
const MAX_BYTES: u64 = 128 << 20;
/// Directories, and what a sync of the file system rounds up.
const SLACK: u64 = 2 << 20;

struct Quota {
    launch: Launch,
    client: Client,
    rng: Rng,
    most: u64,
}

impl Quota {
    fn measure(&mut self) {
        let used = disk::usage(&self.launch.state) + disk::usage(&self.launch.files);
        self.most = self.most.max(used);
    }

    /// The most that any measurement found.
    fn assert_within_bound(&self) {
        println!("at most {} bytes on disk", self.most);
        assert!(self.most <= MAX_BYTES + SLACK, "{} bytes of {MAX_BYTES} allowed", self.most);
    }

    /// Fills to the bound; ids and seeds of what was acknowledged.
    fn fill(&mut self, len: usize) -> Vec<(String, u64)> {
        let mut kept = Vec::new();
        let mut broken = 0;
        loop {
            let (id, seed) = (self.rng.id(), self.rng.next());
            match self.client.put(&id, &bytes(seed, len)) {
                Ok(answer) if answer.is_ok() => kept.push((id, seed)),
                Ok(answer) => {
                    assert_eq!(answer.status, 507, "{}", answer.text());
                    self.measure();
                    return kept;
                }
                // Closed upon a body that is not wanted any more.
                Err(why) => {
                    broken += 1;
                    assert!(broken < 100, "never a clear answer: {why}");
                }
            }
            if kept.len() % 16 == 0 {
                self.measure();
            }
        }
    }

    fn check(&mut self, (id, seed): &(String, u64), len: usize) {
        let answer = self.client.get(id).unwrap();
        assert!(answer.is_ok() && answer.body == bytes(*seed, len), "{id} {}", answer.head);
    }
}

fn filled_and_emptied(len: usize) {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path()).args(["--max-bytes", &MAX_BYTES.to_string()]);
    let server = launch.start();
    let rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let mut quota = Quota { launch, client: server.client(), rng, most: 0 };

    let mut first = 0;
    for round in 0..2 {
        let kept = quota.fill(len);
        println!("round {round}: {} bodies of {len} bytes, {} on disk", kept.len(), quota.most);
        if round == 0 {
            first = kept.len();
            assert!(first as u64 * len as u64 > MAX_BYTES / 4, "a quarter at least is for bodies");
        }
        for known in &kept {
            quota.check(known, len);
        }
        for (id, _) in &kept {
            let answer = quota.client.delete(id).unwrap();
            assert_eq!(answer.status, 200, "deletes go on: {}", answer.text());
        }
        quota.measure();
        // All of it comes back: as much as was deleted fits again, given the time to reclaim it.
        let mut again = Vec::new();
        eventually("deleted space is usable again", || {
            again.extend(quota.fill(len));
            if again.len() * 4 >= first * 3 {
                Ok(())
            } else {
                Err(format!("{} bodies fit of {first} before", again.len()))
            }
        });
        for known in &again {
            quota.check(known, len);
        }
        for (id, _) in again {
            assert_eq!(quota.client.delete(&id).unwrap().status, 200);
        }
        eventually("a put succeeds after deletes", || {
            let id = quota.rng.id();
            match quota.client.put(&id, &bytes(1, len)) {
                Ok(answer) if answer.is_ok() => {
                    assert_eq!(quota.client.delete(&id).unwrap().status, 200);
                    Ok(())
                }
                Ok(answer) => Err(answer.text()),
                Err(why) => Err(why.to_string()),
            }
        });
    }
    quota.assert_within_bound();
    assert!(server.stop().success());
}

#[test]
fn bodies_in_files_stay_within_max_bytes_and_their_space_comes_back() {
    filled_and_emptied(1 << 20);
}

#[test]
fn bodies_in_the_journal_stay_within_max_bytes_and_their_space_comes_back() {
    filled_and_emptied(60_000);
}

#[test]
fn overwriting_one_object_for_ever_does_not_fill_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path()).args(["--max-bytes", &MAX_BYTES.to_string()]);
    let server = launch.start();
    let rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let mut quota = Quota { launch, client: server.client(), rng, most: 0 };
    let id = quota.rng.id();
    for len in [60_000, 1 << 20] {
        let rounds = 3 * MAX_BYTES as usize / len;
        for round in 0..rounds {
            let seed = quota.rng.next();
            // A moment in which space is being reclaimed is no fault; one that does not end is.
            eventually("the overwrite is taken", || {
                match quota.client.put(&id, &bytes(seed, len)) {
                    Ok(answer) if answer.is_ok() => Ok(()),
                    Ok(answer) => Err(answer.text()),
                    Err(why) => Err(why.to_string()),
                }
            });
            if round % 64 == 0 {
                quota.measure();
                quota.check(&(id.clone(), seed), len);
            }
        }
    }
    quota.assert_within_bound();
}

#[test]
fn space_deleted_just_before_a_kill_comes_back_after_the_restart() {
    for len in [60_000, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let launch = Launch::new(dir.path()).args(["--max-bytes", &MAX_BYTES.to_string()]);
        let server = launch.start();
        let rng = Rng::from_env("OBJSTORE_FAULT_SEED");
        let mut quota = Quota { launch, client: server.client(), rng, most: 0 };
        let kept = quota.fill(len);
        for (id, _) in &kept {
            assert_eq!(quota.client.delete(id).unwrap().status, 200);
        }
        server.kill();
        let server = quota.launch.start();
        quota.client = server.client();
        quota.measure();
        let mut again = Vec::new();
        eventually("deleted space is usable again", || {
            again.extend(quota.fill(len));
            if again.len() * 4 >= kept.len() * 3 {
                Ok(())
            } else {
                Err(format!("{} bodies fit of {} before", again.len(), kept.len()))
            }
        });
        for known in &again {
            quota.check(known, len);
        }
        quota.assert_within_bound();
    }
}
