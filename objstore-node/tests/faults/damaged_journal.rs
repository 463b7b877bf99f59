//! A bit flipped anywhere in the state directory: the start refuses in one line, or what is served
//! is right. Never is something acknowledged silently absent, or something deleted back.
//!
//! `OBJSTORE_FLIPS=all` flips every byte; otherwise a sample of that many.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::disk;
use crate::harness::http::Client;
use crate::harness::server::{Launch, Server};
use crate::harness::{Rng, bytes, eventually, number_from_env};

struct Expected {
    id: String,
    /// None: deleted.
    body: Option<Vec<u8>>,
}

/// Small and large bodies, an overwrite, a delete; the state directory as the process left it.
fn prepare(dir: &Path, end: impl FnOnce(Server, &Launch)) -> (Launch, Vec<Expected>) {
    let launch = Launch::new(dir);
    let server = launch.start();
    let mut client = server.client();
    let mut rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let mut expected = Vec::new();
    for len in [0, 10, 100, 300, 100, 500, 90_000, 100] {
        let id = rng.id();
        let mut body = Some(bytes(rng.next(), len));
        assert!(client.put(&id, body.as_ref().unwrap()).unwrap().is_ok());
        if expected.len() == 2 {
            body = Some(bytes(rng.next(), 150));
            assert!(client.put(&id, body.as_ref().unwrap()).unwrap().is_ok());
        }
        if expected.len() == 4 {
            body = None;
            assert_eq!(client.delete(&id).unwrap().status, 200);
        }
        expected.push(Expected { id, body });
    }
    end(server, &launch);
    (launch, expected)
}

/// None: as it should be, or clearly refused.
fn complaint(client: &mut Client, expected: &Expected) -> Option<String> {
    let id = &expected.id;
    let answer = match client.get(id) {
        Ok(answer) => answer,
        Err(why) => return Some(format!("{id}: {why}")),
    };
    let what = format!("{id}: {} {}", answer.status, answer.text());
    match (&expected.body, answer.status) {
        (_, 502 | 503) => None,
        (Some(body), 200) if !answer.whole => {
            (!body.starts_with(&answer.body)).then(|| format!("{id}: wrong bytes before a cut"))
        }
        (Some(body), 200) => (answer.body != *body).then(|| format!("{id}: wrong bytes")),
        (Some(_), 404) => Some(format!("silently absent: {what}")),
        (None, 404) => {
            (answer.header("x-meta-deleted") != Some("true")).then(|| format!("forgotten: {what}"))
        }
        (None, _) => Some(format!("deleted, and back: {what}")),
        _ => Some(what),
    }
}

/// The list names what is live, or is refused as a whole.
fn list_complaint(client: &mut Client, expected: &[Expected]) -> Option<String> {
    let live = expected.iter().filter(|e| e.body.is_some()).map(|e| e.id.clone()).collect();
    match client.list() {
        Ok(ids) if ids == live => None,
        Ok(ids) => Some(format!("the list has {ids:?}")),
        Err(why) => (!why.starts_with('5')).then_some(why),
    }
}

fn places(state: &Path, rng: &mut Rng) -> Vec<(PathBuf, u64)> {
    let everything = std::env::var("OBJSTORE_FLIPS").is_ok_and(|text| text == "all");
    let count = number_from_env("OBJSTORE_FLIPS").unwrap_or(150) as usize;
    let files = disk::files(state);
    let each = count.div_ceil(files.len());
    let mut all = Vec::new();
    for path in files {
        let content = fs::read(&path).unwrap();
        // What was allocated beforehand holds nothing yet; its first bytes are enough.
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let used = (used + 32).min(content.len()) as u64;
        println!("{} bytes of {}", used, path.display());
        let stride = if everything { 1 } else { (used / each as u64).max(1) };
        let path = path.strip_prefix(state).unwrap().to_owned();
        let first = rng.next() % stride;
        // The heads of manifests hold what fjall asserts instead of checking.
        let is_manifest = path
            .parent()
            .is_some_and(|dir| dir.parent().is_some_and(|dir| dir.ends_with("keyspaces")));
        if is_manifest && stride > 1 {
            all.extend((0..used.min(16)).map(|offset| (path.clone(), offset)));
        }
        all.extend((first..used).step_by(stride as usize).map(|offset| (path.clone(), offset)));
    }
    all
}

fn every_flip_is_refused_or_harmless(end: impl FnOnce(Server, &Launch)) {
    let dir = tempfile::tempdir().unwrap();
    let (template, expected) = prepare(dir.path(), end);
    let mut rng = Rng::from_env("OBJSTORE_FAULT_SEED");
    let places = places(&template.state, &mut rng);
    let (mut refused, mut served, mut wrong) = (0, 0, Vec::new());
    for (path, offset) in &places {
        let copy = tempfile::tempdir().unwrap();
        let launch = Launch::new(copy.path());
        disk::copy_dir(&template.state, &launch.state);
        disk::copy_dir(&template.files, &launch.files);
        disk::flip(&launch.state.join(path), *offset, rng.below(8) as u8);
        let here = format!("{} at {offset}", path.display());
        match launch.try_start() {
            Err(refusal) => {
                refused += 1;
                if refusal.status.code().is_none_or(|code| code == 0) {
                    wrong.push(format!("{here}: ended with {refusal:?}"));
                } else if !refusal.stderr.last().is_some_and(|line| line.starts_with("objstore: "))
                {
                    wrong.push(format!("{here}: no clear error: {refusal:?}"));
                }
            }
            Ok(server) => {
                served += 1;
                let mut client = server.client();
                let complaints = expected.iter().filter_map(|e| complaint(&mut client, e));
                wrong.extend(complaints.map(|what| format!("{here}: {what}")));
                let list = list_complaint(&mut client, &expected);
                wrong.extend(list.map(|what| format!("{here}: {what}")));
            }
        }
    }
    println!("{} flips: {refused} refused, {served} served", places.len());
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}

#[test]
fn a_flip_after_a_kill_is_refused_or_harmless() {
    every_flip_is_refused_or_harmless(|server, _| server.kill());
}

#[test]
fn a_flip_after_a_clean_stop_is_refused_or_harmless() {
    every_flip_is_refused_or_harmless(|server, _| assert!(server.stop().success()));
}

/// Enough small bodies come and go that the log is turned into tables.
#[test]
fn a_flip_in_tables_is_refused_or_harmless() {
    every_flip_is_refused_or_harmless(|server, launch| {
        let mut client = server.client();
        let mut rng = Rng::new(5);
        let ids: Vec<_> = (0..300).map(|_| rng.id()).collect();
        for id in &ids {
            assert!(client.put(id, &bytes(rng.next(), 60_000)).unwrap().is_ok());
        }
        for id in &ids {
            assert_eq!(client.delete(id).unwrap().status, 200);
        }
        eventually("the log is turned into tables", || {
            let files = disk::files(&launch.state);
            let tables =
                files.iter().filter(|path| path.components().any(|c| c.as_os_str() == "tables"));
            match tables.count() {
                0 | 1 => Err(format!("{files:#?}")),
                _ => Ok(()),
            }
        });
        server.kill();
    });
}
