//! What a start refuses: exit code 2, and one line that says what and where.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::disk::{self, Tmpfs};
use crate::harness::server::{Launch, Refusal};

fn refused(launch: &Launch) -> String {
    match launch.try_start() {
        Ok(_) => panic!("it started"),
        Err(Refusal { status, stderr }) => {
            assert_eq!(status.code(), Some(2), "{stderr:#?}");
            let [line] = stderr.as_slice() else { panic!("not one line: {stderr:#?}") };
            println!("{line}");
            line.clone()
        }
    }
}

#[test]
fn a_second_process_on_the_same_directories_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    let first = launch.start();
    let mut client = first.client();
    let id = "01BRNMMS1DK3CBD4ZZM2TQ8C5B";
    assert!(client.put(id, b"first").unwrap().is_ok());

    let line = refused(&launch);
    assert!(line.contains("state-dir") && line.contains("files-dir"), "{line}");
    refused(&launch.clone().files_in(dir.path().join("others")));
    refused(&launch.clone().state_in(dir.path().join("other")));

    assert_eq!(client.get(id).unwrap().body, b"first");
    assert!(client.put(id, b"still first").unwrap().is_ok());
    assert!(first.stop().success());
    let again = launch.start();
    assert_eq!(again.client().get(id).unwrap().body, b"still first");
}

#[test]
fn a_killed_process_leaves_no_lock_behind() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    launch.start().kill();
    launch.start().kill();
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    let id = "01BRNMMS1DK3CBD4ZZM2TQ8C5B";
    let server = launch.start();
    assert!(server.client().put(id, b"old format").unwrap().is_ok());
    assert!(server.stop().success());

    let marks = format_marks(dir.path());
    assert!(!marks.is_empty(), "no FORMAT file in {:#?}", disk::files(dir.path()));
    for mark in marks {
        let old = fs::read_to_string(&mark).unwrap();
        let newer = old.replacen("\"format\":1", "\"format\":99", 1);
        assert_ne!(newer, old, "{} names its format", mark.display());
        fs::write(&mark, newer).unwrap();
        let before = disk::files(dir.path());
        let line = refused(&launch);
        assert!(line.contains("newer") || line.contains("99"), "{line}");
        assert_eq!(disk::files(dir.path()), before, "a refused start changes nothing");
        fs::write(&mark, old).unwrap();
    }
    let server = launch.start();
    assert_eq!(server.client().get(id).unwrap().body, b"old format");
}

fn format_marks(dir: &Path) -> Vec<PathBuf> {
    let is_mark =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("format"));
    disk::files(dir).into_iter().filter(is_mark).collect()
}

#[test]
fn an_empty_files_directory_for_a_journal_that_has_files_is_refused_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    let id = "01BRNMMS1DK3CBD4ZZM2TQ8C5B";
    let server = launch.start();
    assert!(server.client().put(id, &[7; 100_000]).unwrap().is_ok());
    assert!(server.stop().success());
    let elsewhere = launch.clone().files_in(dir.path().join("empty"));
    for _ in 0..2 {
        refused(&elsewhere);
    }
    assert_eq!(launch.start().client().get(id).unwrap().body, [7; 100_000]);
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "in the way").unwrap();
    let launch = Launch::new(dir.path());
    for below in [file.clone(), file.join("below")] {
        let line = refused(&launch.clone().state_in(below.clone()));
        assert!(line.contains("a-file"), "says where: {line}");
        let line = refused(&launch.clone().files_in(below));
        assert!(line.contains("a-file"), "says where: {line}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "in the way");
}

#[test]
fn a_read_only_file_system_is_refused() {
    let Some(mount) = Tmpfs::mount("size=1m,ro") else { return };
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    for directory in [mount.path().to_owned(), mount.path().join("below")] {
        refused(&launch.clone().state_in(directory.clone()));
        refused(&launch.clone().files_in(directory));
    }
}

#[test]
fn a_full_file_system_at_the_first_start_is_refused_in_one_line() {
    let Some(mount) = Tmpfs::mount("size=64k") else { return };
    let launch = Launch::new(mount.path());
    match launch.try_start() {
        Ok(server) => {
            let answer = server.client().put("01BRNMMS1DK3CBD4ZZM2TQ8C5B", &[1; 60_000]).unwrap();
            assert_eq!(answer.status, 507, "{}", answer.text());
        }
        Err(refusal) => {
            assert!(!refusal.status.success(), "{refusal:?}");
            assert!(refusal.status.code().is_some(), "an exit, not a signal: {refusal:?}");
            assert_eq!(refusal.stderr.len(), 1, "{refusal:?}");
        }
    }
}
