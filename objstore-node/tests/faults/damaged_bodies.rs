//! Body files that rot, shrink, trade places or become something else: 502 or the right bytes,
//! never a wrong one, and nobody else is affected.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::disk;
use crate::harness::http::{Answer, Client};
use crate::harness::server::{Launch, Server};
use crate::harness::{Rng, bytes, eventually, number_from_env};

const LEN: usize = 200_000;

struct Object {
    id: String,
    seed: u64,
    path: PathBuf,
}

/// How a read of a damaged object ended. Wrong bytes are no ending: they fail the test.
#[derive(Debug, PartialEq)]
enum Read {
    Right,
    Refused,
}

impl Object {
    fn put(launch: &Launch, client: &mut Client, rng: &mut Rng) -> Self {
        let before = disk::body_files(&launch.files);
        let (id, seed) = (rng.id(), rng.next());
        assert!(client.put(&id, &bytes(seed, LEN)).unwrap().is_ok());
        let path = eventually("one put, one file", || {
            let mut new = disk::body_files(&launch.files);
            new.retain(|path| !before.contains(path));
            match new.as_slice() {
                [path] => Ok(path.clone()),
                _ => Err(format!("{new:#?}")),
            }
        });
        Self { id, seed, path }
    }

    /// Reads all of it, and a part.
    fn read(&self, client: &mut Client) -> Read {
        let body = bytes(self.seed, LEN);
        let whole = judge(client.get(&self.id), 200, &body);
        let at = 70_000..150_000;
        let range = format!("{}-{}", at.start, at.end - 1);
        let part = judge(client.get_range(&self.id, &range), 206, &body[at]);
        if whole == Read::Right && part == Read::Right { Read::Right } else { Read::Refused }
    }
}

fn judge(answer: io::Result<Answer>, success: u16, right: &[u8]) -> Read {
    // Damage beyond the first unit may be met before the head of the answer has left: then the
    // connection ends with nothing said.
    let Ok(answer) = answer else { return Read::Refused };
    if answer.status == 502 {
        assert!(answer.text().contains("\"corrupt\""), "{}", answer.text());
        return Read::Refused;
    }
    assert_eq!(answer.status, success, "{}", answer.text());
    if answer.whole {
        assert!(answer.body == right, "wrong bytes were sent");
        return Read::Right;
    }
    // Found on the way: the connection is cut, and what was sent before is right.
    assert!(right.starts_with(&answer.body), "wrong bytes were sent before the cut");
    Read::Refused
}

/// Without the memory tier, so that each read goes to the disk.
fn cold(dir: &Path) -> Launch {
    Launch::new(dir).args(["--memory-bytes", "0"])
}

/// A node with some objects; the first is never harmed.
fn node_with(dir: &Path, count: usize) -> (Launch, Server, Object, Vec<Object>) {
    let launch = cold(dir);
    let server = launch.start();
    let mut client = server.client();
    let mut rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let unharmed = Object::put(&launch, &mut client, &mut rng);
    let objects = (0..count).map(|_| Object::put(&launch, &mut client, &mut rng)).collect();
    (launch, server, unharmed, objects)
}

fn flips() -> usize {
    number_from_env("OBJSTORE_FLIPS").map_or(120, |n| n as usize)
}

fn flip_one_bit_each(objects: &[Object], rng: &mut Rng) {
    for object in objects {
        let len = fs::metadata(&object.path).unwrap().len();
        let offset = rng.next() % len;
        disk::flip(&object.path, offset, rng.below(8) as u8);
    }
}

#[test]
fn a_flipped_bit_is_never_sent_while_the_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (_launch, server, unharmed, objects) = node_with(dir.path(), flips());
    let mut client = server.client();
    flip_one_bit_each(&objects, &mut Rng::from_env("OBJSTORE_FAULT_SEED"));
    let refused = objects.iter().filter(|o| o.read(&mut client) == Read::Refused).count();
    println!("{refused} of {} flips were refused", objects.len());
    // Most of a file is body bytes, and each of those is checked when it is read.
    assert!(refused * 4 > objects.len() * 3, "{refused} of {}", objects.len());
    assert_eq!(unharmed.read(&mut client), Read::Right);
    // A new version is a new file.
    let object = &objects[0];
    assert!(client.put(&object.id, b"put again").unwrap().is_ok());
    assert_eq!(client.get(&object.id).unwrap().body, b"put again");
}

#[test]
fn a_flipped_bit_is_never_sent_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (launch, server, unharmed, objects) = node_with(dir.path(), flips());
    server.kill();
    flip_one_bit_each(&objects, &mut Rng::from_env("OBJSTORE_FAULT_SEED"));
    let server = launch.start();
    let mut client = server.client();
    let refused = objects.iter().filter(|o| o.read(&mut client) == Read::Refused).count();
    println!("{refused} of {} flips were refused", objects.len());
    assert!(refused * 4 > objects.len() * 3, "{refused} of {}", objects.len());
    assert_eq!(unharmed.read(&mut client), Read::Right);
}

/// With the default memory tier the bytes may come from there; they are never wrong.
#[test]
fn a_flipped_bit_is_never_sent_from_a_warm_node() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    let server = launch.start();
    let mut client = server.client();
    let mut rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let objects: Vec<_> = (0..20).map(|_| Object::put(&launch, &mut client, &mut rng)).collect();
    objects.iter().for_each(|object| assert_eq!(object.read(&mut client), Read::Right));
    flip_one_bit_each(&objects, &mut rng);
    for object in &objects {
        println!("{:?}", object.read(&mut client));
    }
}

/// Each file is harmed by its own function under a running node, which is then restarted. Nobody
/// else is affected, and the harmed ones can be deleted and put anew.
fn harmed(harm: &[&dyn Fn(&Path)]) {
    let dir = tempfile::tempdir().unwrap();
    let (launch, server, unharmed, objects) = node_with(dir.path(), harm.len());
    for (object, harm) in objects.iter().zip(harm) {
        harm(&object.path);
    }
    refused_once_restarted(&launch, server, &objects, &unharmed);
    let server = launch.start();
    let mut client = server.client();
    for object in &objects {
        let answer = client.delete(&object.id).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(client.get(&object.id).unwrap().status, 404);
        let body = bytes(!object.seed, LEN);
        let answer = client.put(&object.id, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(client.get(&object.id).unwrap().body == body);
    }
    assert_eq!(unharmed.read(&mut client), Read::Right);
}

/// A running node may still have the right file open, and then its bytes are right.
fn refused_once_restarted(launch: &Launch, running: Server, harmed: &[Object], unharmed: &Object) {
    let mut client = running.client();
    for object in harmed {
        println!("{}: {:?}", object.path.display(), object.read(&mut client));
    }
    assert_eq!(unharmed.read(&mut client), Read::Right);
    running.kill();
    let restarted = launch.start();
    let mut client = restarted.client();
    for object in harmed {
        assert_eq!(object.read(&mut client), Read::Refused, "{}", object.path.display());
    }
    assert_eq!(unharmed.read(&mut client), Read::Right);
}

fn cut_to(path: &Path, len: impl Fn(u64) -> u64) {
    let old = fs::metadata(path).unwrap().len();
    fs::File::options().write(true).open(path).unwrap().set_len(len(old)).unwrap();
}

#[test]
fn a_truncated_file_is_refused() {
    harmed(&[
        &|path| cut_to(path, |_| 0),
        &|path| cut_to(path, |_| 1),
        &|path| cut_to(path, |len| len / 2),
        &|path| cut_to(path, |len| len / 2 + 1),
        // What remains of the file ends before the last byte of the body in any layout.
        &|path| cut_to(path, |len| len - (len - LEN as u64) - 1),
    ]);
}

#[test]
fn a_vanished_file_is_refused() {
    harmed(&[&|path| fs::remove_file(path).unwrap()]);
}

#[test]
fn two_swapped_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (launch, server, unharmed, objects) = node_with(dir.path(), 2);
    let aside = dir.path().join("aside");
    fs::rename(&objects[0].path, &aside).unwrap();
    fs::rename(&objects[1].path, &objects[0].path).unwrap();
    fs::rename(&aside, &objects[1].path).unwrap();
    refused_once_restarted(&launch, server, &objects, &unharmed);
}

#[test]
fn an_older_version_put_back_under_the_new_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (launch, server, unharmed, objects) = node_with(dir.path(), 1);
    let old = fs::read(&objects[0].path).unwrap();
    let mut client = server.client();
    let body = bytes(4711, LEN);
    assert!(client.put(&objects[0].id, &body).unwrap().is_ok());
    let new = disk::body_files(&launch.files);
    let new = new.iter().find(|path| **path != objects[0].path && **path != unharmed.path).unwrap();
    fs::write(new, old).unwrap();
    assert_eq!(judge(client.get(&objects[0].id), 200, &body), Read::Refused);
    assert_eq!(unharmed.read(&mut client), Read::Right);
}

#[test]
fn a_planted_link_pipe_or_directory_is_refused_and_its_target_left_alone() {
    let targets = tempfile::tempdir().unwrap();
    let secret = targets.path().join("secret");
    fs::write(&secret, vec![b's'; 2 * LEN]).unwrap();
    let inside = targets.path().join("a-directory");
    fs::create_dir(&inside).unwrap();
    let replace = |path: &Path, by: &dyn Fn(&Path)| {
        fs::remove_file(path).unwrap();
        by(path);
    };
    harmed(&[
        &|path| replace(path, &|path| symlink(&secret, path).unwrap()),
        &|path| replace(path, &|path| symlink(&inside, path).unwrap()),
        &|path| replace(path, &|path| symlink("/dev/zero", path).unwrap()),
        &|path| {
            replace(path, &|path| {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            });
        },
        &|path| replace(path, &|path| fs::create_dir(path).unwrap()),
    ]);
    assert_eq!(fs::read(&secret).unwrap(), vec![b's'; 2 * LEN]);
    assert!(inside.is_dir());
}

/// A good copy of the file behind a link is refused too: what is planted is not followed.
#[test]
fn a_link_to_the_right_bytes_is_not_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    harmed(&[&|path| {
        fs::copy(path, &moved).unwrap();
        fs::remove_file(path).unwrap();
        symlink(&moved, path).unwrap();
    }]);
    assert!(moved.is_file());
}
