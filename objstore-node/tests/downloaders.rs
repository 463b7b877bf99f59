//! The downloaders that people have, against the built binary: what they go on with, or fetch in many
//! ranges at once, is the same body.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::server::{Launch, Server};
use harness::{bytes, disk, ulid_text};

const LEN: usize = 40_000_007;

/// A node that has one object, its address, and its body; and a place to download to.
struct Stored {
    _server: Server,
    url: String,
    body: Vec<u8>,
    dir: tempfile::TempDir,
}

fn stored() -> Stored {
    let dir = tempfile::tempdir().unwrap();
    let server = Launch::new(dir.path()).start();
    let (id, body) = (ulid_text(1_700_000_000_000 << 80 | 7), bytes(7, LEN));
    assert!(server.client().put(&id, &body).unwrap().is_ok());
    let url = format!("http://{}/api/v1/get/{id}", server.addr);
    Stored { _server: server, url, body, dir }
}

impl Stored {
    /// Runs a downloader on a file that has this much of the body already.
    fn download(&self, program: &str, args: &[&str], has: usize) {
        if !disk::have(program) {
            println!("skipped: there is no {program}");
            return;
        }
        let file = self.dir.path().join("file");
        std::fs::write(&file, &self.body[..has]).unwrap();
        let ran = Command::new(program)
            .args(args)
            .arg(&self.url)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{program}: {ran:?}");
        assert!(std::fs::read(&file).unwrap() == self.body, "{program} has other bytes");
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn curl_and_wget_go_on_where_they_were() {
    let stored = stored();
    for has in [0, 1, LEN / 3, LEN - 1] {
        stored.download("curl", &["-sSf", "-C", "-", "-o", "file"], has);
        stored.download("wget", &["-q", "-c", "-O", "file"], has);
    }
}

#[test]
fn aria2_fetches_sixteen_ranges_at_once() {
    let stored = stored();
    let file = Path::new("file");
    // It goes by a file of its own to know what is missing, so it begins with nothing.
    let out = format!("--out={}", file.display());
    stored.download(
        "aria2c",
        &["-q", "-x16", "-s16", "-k1M", "--allow-overwrite=true", "--no-conf", &out],
        0,
    );
}
