//! What lies in the directories, seen from outside.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Regular files below, in order of path. What vanishes meanwhile is left out.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(dir, &mut |path, meta| {
        if meta.is_file() {
            found.push(path.to_owned());
        }
    });
    found.sort();
    found
}

/// Files that hold a body or part of one. Everything below the directory of bodies counts, save
/// what is there once and for all and says by its name what it is.
pub fn body_files(dir: &Path) -> Vec<PathBuf> {
    let fixed = ["FORMAT", "LOCK", "RESERVE"];
    let is_fixed = |path: &PathBuf| {
        path.file_name().is_some_and(|name| fixed.iter().any(|f| name.eq_ignore_ascii_case(f)))
    };
    files(dir).into_iter().filter(|path| !is_fixed(path)).collect()
}

/// Bytes of disk that a directory takes, itself included, as `du` counts them.
pub fn usage(dir: &Path) -> u64 {
    let mut blocks = fs::symlink_metadata(dir).map_or(0, |meta| meta.blocks());
    walk(dir, &mut |_, meta| blocks += meta.blocks());
    blocks * 512
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        visit(&path, &meta);
        if meta.is_dir() {
            walk(&path, visit);
        }
    }
}

/// Flips one bit in place: the file keeps its inode, as on a rotting disk.
pub fn flip(path: &Path, offset: u64, bit: u8) {
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ (1 << bit)]).unwrap();
}

/// A copy of a whole directory; holes stay holes.
pub fn copy_dir(from: &Path, to: &Path) {
    let status =
        Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

/// Whether a program is there to be called; says so when it is not.
pub fn have(program: &str) -> bool {
    let found = Command::new(program).arg("-V").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// A small file system of its own, gone when dropped.
pub struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// None, with a line that says so, where mounting is not permitted.
    pub fn mount(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "objstore-test"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(out) if out.status.success() => Some(Self(dir)),
            Ok(out) => {
                println!("skipped: no tmpfs: {}", String::from_utf8_lossy(&out.stderr).trim());
                None
            }
            Err(why) => {
                println!("skipped: no tmpfs: {why}");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
