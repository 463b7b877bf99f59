//! A full disk: 507, nothing acknowledged that is not kept, old versions whole, reads and deletes
//! work, writable again when space returns, without a restart.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::harness::disk::Tmpfs;
use crate::harness::http::{Client, Framing};
use crate::harness::server::Launch;
use crate::harness::{Rng, bytes, eventually};

struct Known {
    id: String,
    seed: u64,
    len: usize,
}

impl Known {
    fn check(&self, client: &mut Client) {
        let answer = client.get(&self.id).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.whole && answer.body == bytes(self.seed, self.len), "{}", self.id);
    }
}

/// Puts until the node says 507; all that was acknowledged before. Anything but 200 and 507 is a
/// failure, save a connection closed upon a body that is not wanted any more.
fn fill(client: &mut Client, rng: &mut Rng, len: usize) -> Vec<Known> {
    let mut kept = Vec::new();
    let mut broken = 0;
    loop {
        let known = Known { id: rng.id(), seed: rng.next(), len };
        let framing = *rng.pick(&[Framing::Length, Framing::Chunked]);
        match client.put_as(&known.id, "", &bytes(known.seed, len), framing) {
            Ok(answer) if answer.is_ok() => kept.push(known),
            Ok(answer) => {
                assert_eq!(answer.status, 507, "{}", answer.text());
                assert!(answer.text().contains("storage-full"), "{}", answer.text());
                assert_eq!(client.get(&known.id).unwrap().status, 404, "nothing was stored");
                return kept;
            }
            Err(why) => {
                broken += 1;
                assert!(broken < 100, "never a clear answer: {why}");
            }
        }
    }
}

fn put_works_again(client: &mut Client, rng: &mut Rng, len: usize) -> Known {
    let known = Known { id: rng.id(), seed: rng.next(), len };
    eventually("a put succeeds again", || {
        match client.put(&known.id, &bytes(known.seed, known.len)) {
            Ok(answer) if answer.is_ok() => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
            Err(why) => Err(why.to_string()),
        }
    });
    known
}

fn deleted(client: &mut Client, known: &Known) {
    let answer = client.delete(&known.id).unwrap();
    assert_eq!(answer.status, 200, "deletes go on: {}", answer.text());
    assert_eq!(client.get(&known.id).unwrap().status, 404);
}

fn filled_with_bodies_and_emptied_by_deletes(len: usize) {
    let Some(mount) = Tmpfs::mount("size=64m") else { return };
    let mut rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let launch = Launch::new(mount.path());
    let server = launch.start();
    let mut client = server.client();
    let old = Known { id: rng.id(), seed: rng.next(), len };
    assert!(client.put(&old.id, &bytes(old.seed, len)).unwrap().is_ok());

    let mut kept = fill(&mut client, &mut rng, len);
    println!("{} bodies of {len} bytes fit", kept.len());
    assert!(kept.len() * len > 16 << 20, "most of the disk is for bodies: {}", kept.len());
    // An overwrite that does not fit leaves the old version whole.
    for _ in 0..3 {
        let _ = client.put(&old.id, &bytes(rng.next(), 1 << 20));
    }
    let reads = client.get(&old.id).unwrap();
    assert!(reads.whole && reads.body == bytes(old.seed, len), "{} {}", reads.status, reads.head);
    kept.iter().for_each(|known| known.check(&mut client));

    let gone = kept.split_off(kept.len() / 2);
    gone.iter().for_each(|known| deleted(&mut client, known));
    kept.push(put_works_again(&mut client, &mut rng, len));
    kept.iter().for_each(|known| known.check(&mut client));

    server.kill();
    let server = launch.start();
    let mut client = server.client();
    kept.iter().for_each(|known| known.check(&mut client));
    gone.iter().for_each(|known| assert_eq!(client.get(&known.id).unwrap().status, 404));
}

#[test]
fn filled_with_large_bodies_it_is_writable_again_after_deletes() {
    filled_with_bodies_and_emptied_by_deletes(300_000);
}

#[test]
fn filled_with_small_bodies_it_is_writable_again_after_deletes() {
    filled_with_bodies_and_emptied_by_deletes(20_000);
}

#[test]
fn filled_by_somebody_else_it_is_writable_again_when_they_make_room() {
    let Some(mount) = Tmpfs::mount("size=64m") else { return };
    let mut rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let launch = Launch::new(mount.path());
    let server = launch.start();
    let mut client = server.client();
    let mut known: Vec<Known> = Vec::new();
    for len in [100, 20_000, 65_536, 65_537, 300_000] {
        known.push(put_works_again(&mut client, &mut rng, len));
    }

    let filler = mount.path().join("filler");
    for _ in 0..3 {
        fill_up(&filler);
        known.extend(fill(&mut client, &mut rng, 300_000));
        known.extend(fill(&mut client, &mut rng, 20_000));
        known.iter().for_each(|known| known.check(&mut client));
        let gone = known.swap_remove(0);
        deleted(&mut client, &gone);

        std::fs::remove_file(&filler).unwrap();
        known.push(put_works_again(&mut client, &mut rng, 20_000));
        known.push(put_works_again(&mut client, &mut rng, 300_000));
        known.iter().for_each(|known| known.check(&mut client));
    }
    server.kill();
    let server = launch.start();
    known.iter().for_each(|known| known.check(&mut server.client()));
}

/// Takes every byte that is left.
fn fill_up(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}
