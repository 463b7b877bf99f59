//! The directories of a node: who may use them, which format they have, whose they are.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use objstore_client::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::env::{Entropy, make_private_dir, sync_directory};
use crate::journal::NodeId;
use crate::settings::Settings;

/// The format this program writes, and the newest it reads.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "lock";
const JOURNAL: &str = "journal";
/// The remote of a node that was not given another.
const EMBEDDED: &str = "embedded";

/// Two directories, locked for this process until dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) node: NodeId,
    pub(crate) state: PathBuf,
    pub(crate) files: PathBuf,
    /// The directory that stands where a bucket would; none when there is one.
    pub(crate) remote: Option<PathBuf>,
    /// The files directory says that it is this node's.
    files_known: bool,
    locks: [File; 2],
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // Said aloud, because a child that the host forks at this moment has the files open too
        // until it executes its program.
        for lock in &self.locks {
            let _ = lock.unlock();
        }
    }
}

/// What a directory says about itself, as JSON in its file `FORMAT`.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format: u32,
    node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    /// The node id before the last change of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<String>,
}

impl StateDir {
    /// Locks and checks the directories of the settings, making what is not there yet. `bucket` is
    /// the identity of the bucket, if there is one. Blocks.
    pub(crate) fn open(
        settings: &Settings,
        bucket: Option<String>,
        entropy: &dyn Entropy,
        now_ms: u64,
        new_node_id: bool,
    ) -> Result<Self, Error> {
        let (state, state_lock) = lock(&settings.state_dir, "state", "state-dir")?;
        if settings.files_dir.canonicalize().is_ok_and(|files| files == state) {
            return Err(configuration(format!(
                "{} is given for both state-dir and files-dir; give two directories",
                state.display()
            )));
        }
        let (files, files_lock) = lock(&settings.files_dir, "files", "files-dir")?;
        let (remote, remote_name) = match (bucket, &settings.remote_dir) {
            (Some(bucket), _) => (None, bucket),
            (None, None) => (Some(state.join("remote")), EMBEDDED.to_owned()),
            (None, Some(dir)) => {
                let dir = absolute(dir)?;
                let name = dir.to_string_lossy().into_owned();
                (Some(dir), name)
            }
        };

        let old_state = Identity::read(&state)?;
        let old_files = Identity::read(&files)?;
        if let (Some(state_id), Some(files_id)) = (&old_state, &old_files)
            && state_id.node != files_id.node
            // A change of the id that was cut short left them different.
            && state_id.former.as_ref() != Some(&files_id.node)
        {
            return Err(configuration(format!(
                "{} and {} belong to different nodes; state-dir and files-dir must be given together",
                state.display(),
                files.display()
            )));
        }
        if old_state.is_none() && old_files.is_some() {
            return Err(configuration(format!(
                "{} holds the bodies of a node whose state is not in {}; give the right state-dir, or another files-dir",
                files.display(),
                state.display()
            )));
        }
        if let Some(made_with) = old_state.as_ref().and_then(|id| id.remote.as_ref())
            && *made_with != remote_name
        {
            return Err(configuration(format!(
                "{} was made with {}, not with {}; give the one it was made with, or another state-dir",
                state.display(),
                remote_told(made_with),
                remote_told(&remote_name),
            )));
        }

        let node = match &old_state {
            Some(id) if !new_node_id => id.node.parse::<NodeId>().ok().ok_or_else(|| {
                configuration(format!("{} holds no node id", state.join(FORMAT_FILE).display()))
            })?,
            _ => NodeId::from_u128((u128::from(now_ms) << 80) | (entropy.random() >> 48)),
        };
        if old_state.is_none() || new_node_id {
            let former = old_state.as_ref().map(|id| id.node.clone());
            Identity { format: FORMAT, node: node.to_string(), remote: Some(remote_name), former }
                .write(&state)?;
        }
        let files_known = old_files.is_some_and(|id| id.node == node.to_string());
        if files_known && !state.join(JOURNAL).exists() {
            return Err(configuration(format!(
                "{} has no journal any more; restore it from a backup, or start with other directories",
                state.display()
            )));
        }
        if let Some(remote) = &remote {
            claim_remote(remote, node, files_known)?;
        }
        Ok(Self { node, state, files, remote, files_known, locks: [state_lock, files_lock] })
    }

    /// Where the journal is.
    pub(crate) fn journal(&self) -> PathBuf {
        self.state.join(JOURNAL)
    }

    /// Whether the journal knows of `file_bytes` in files, and the files directory is nobody's.
    pub(crate) fn lacks_files(&self, file_bytes: u64) -> bool {
        !self.files_known && file_bytes > 0 && !self.files.join(FORMAT_FILE).exists()
    }

    /// What to say where that is not meant to be so.
    pub(crate) fn no_files(&self) -> Error {
        configuration(format!(
            "{} holds no bodies, but the journal in {} knows of some; give the right files-dir, or if its disk is lost start once with lost-files, and what other nodes or the bucket have comes from there",
            self.files.display(),
            self.state.display()
        ))
    }

    /// Makes the files directory this node's, once it is clear that no other was meant.
    pub(crate) fn claim_files(&self) -> Result<(), Error> {
        if self.files_known {
            return Ok(());
        }
        Identity { format: FORMAT, node: self.node.to_string(), remote: None, former: None }
            .write(&self.files)
    }
}

impl Identity {
    fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FORMAT_FILE);
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| {
                configuration(format!("{} cannot be read", path.display())).with_source(e)
            })?,
        };
        // The number first: whatever else a newer format says may mean something else.
        #[derive(Deserialize)]
        struct Number {
            format: u32,
        }
        let damaged = |e| {
            configuration(format!("{} is damaged; restore it from a backup", path.display()))
                .with_source(e)
        };
        let Number { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format > FORMAT {
            return Err(configuration(format!(
                "{} has format {format}, this program knows formats up to {FORMAT}; use a newer objstore",
                dir.display()
            )));
        }
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    fn write(&self, dir: &Path) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            // Of a name that no other node takes which starts before the same remote directory.
            let new = dir.join(format!("{FORMAT_FILE}.{}.new", self.node));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
            serde_json::to_writer(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&new, dir.join(FORMAT_FILE))?;
            sync_directory(dir)
        };
        write().map_err(|e| {
            configuration(format!("{} cannot be written", dir.display())).with_source(e)
        })
    }
}

/// Makes a directory the remote of this node, or finds that it is.
fn claim_remote(remote: &Path, node: NodeId, made_before: bool) -> Result<(), Error> {
    // A disk that is not mounted must not pass for an empty remote.
    if made_before && Identity::read(remote)?.is_none() {
        return Err(configuration(format!(
            "{} is not the remote directory that this node made; is its disk mounted?",
            remote.display()
        )));
    }
    make_private_dir(remote).map_err(|e| unusable(remote, "remote", "remote-dir", e))?;
    if Identity::read(remote)?.is_none() {
        Identity { format: FORMAT, node: node.to_string(), remote: None, former: None }
            .write(remote)?;
    }
    Ok(())
}

fn lock(dir: &Path, what: &str, setting: &str) -> Result<(PathBuf, File), Error> {
    let prepare = || -> io::Result<(PathBuf, File)> {
        make_private_dir(dir)?;
        let dir = dir.canonicalize()?;
        let path = dir.join(LOCK_FILE);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok((dir, file))
    };
    let (path, file) = prepare().map_err(|e| unusable(dir, what, setting, e))?;
    match file.try_lock() {
        Ok(()) => Ok((path, file)),
        Err(TryLockError::WouldBlock) => Err(configuration(format!(
            "the {what} directory {} is in use by another node, of this process or another; give each node directories of its own (state-dir and files-dir)",
            path.display()
        ))),
        Err(TryLockError::Error(e)) => Err(unusable(dir, what, setting, e)),
    }
}

/// A remote as a person gives it.
fn remote_told(name: &str) -> String {
    match name {
        EMBEDDED => "the directory remote inside it (neither bucket nor remote-dir)".to_owned(),
        dir if dir.starts_with('/') => format!("the remote {dir} (remote-dir)"),
        bucket => format!("the remote {bucket} (bucket)"),
    }
}

fn absolute(dir: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(dir).map_err(|e| unusable(dir, "remote", "remote-dir", e))
}

fn unusable(dir: &Path, what: &str, setting: &str, error: io::Error) -> Error {
    configuration(format!(
        "the {what} directory {} cannot be used ({error}); give another ({setting})",
        dir.display()
    ))
    .with_source(error)
}

pub(crate) fn configuration(message: String) -> Error {
    Error::new(ErrorKind::Configuration, message)
}
