use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use objstore_client::Body;
use objstore_client::options::GetOptions;
use objstore_client::types::{ObjectId, ObjectKey, ObjectName};
use tempfile::NamedTempFile;

use super::output::{failed, printable};
use crate::failure::{Failure, describe};
use crate::progress::Progress;
use crate::signals::Signals;

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The object
    #[arg(value_name = "ID", required_unless_present = "key", conflicts_with = "key")]
    id: Option<ObjectId>,
    /// The object under this key in the bucket
    #[arg(long, value_name = "KEY", value_parser = ObjectKey::new)]
    key: Option<ObjectKey>,
    /// Look in the bucket when the node does not know the id
    #[arg(long)]
    fetch: bool,
    /// Write to this file, or into this directory under the object's name; `-` is standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "own_name")]
    output: Option<PathBuf>,
    /// Write to a file of the object's name here
    #[arg(short = 'O', long)]
    own_name: bool,
    #[command(flatten)]
    at: super::At,
}

/// Where a body goes.
enum Target {
    /// Standard output; `checked` when it is a terminal that shall see text only.
    Stdout { checked: bool },
    /// A file that appears under its name once it is whole.
    File { path: PathBuf, replace: bool },
    /// A device or pipe, which cannot be replaced.
    Special(PathBuf),
}

impl Get {
    /// What it is called in messages.
    fn what(&self) -> String {
        match (&self.key, self.id) {
            (Some(key), _) => printable(key.as_str()),
            (None, id) => id.map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        let what = self.what();
        let mut options = GetOptions::default();
        options.fetch = self.fetch;
        let got = match (&self.key, self.id) {
            (Some(key), _) => node.get_key(key, options).await,
            (None, Some(id)) => node.get(id, options).await,
            (None, None) => return Err(Failure::Usage("give the ID of an object".to_owned())),
        };
        let object = got.map_err(|e| Failure::Other(failed(&what, &e)))?;
        let name = &object.meta.name;
        let target = self.target(name)?;
        let label = if name.is_empty() { what } else { name.to_string() };
        let body = object.body;
        let total = body.len();
        let progress = match target {
            Target::Stdout { .. } if std::io::stdout().is_terminal() => Progress::silent(),
            _ => Progress::new(&label, total),
        };
        let written = self.write(body, target, &progress).await;
        progress.clear();
        written
    }

    fn target(&self, name: &ObjectName) -> Result<Target, Failure> {
        let to_stdout = || Target::Stdout { checked: std::io::stdout().is_terminal() };
        let output = match &self.output {
            None if self.own_name => Path::new("./"),
            None => return Ok(to_stdout()),
            Some(path) if path == Path::new("-") => return Ok(Target::Stdout { checked: false }),
            Some(path) => path,
        };
        let about = std::fs::metadata(output);
        let is_dir = about.as_ref().is_ok_and(std::fs::Metadata::is_dir);
        if is_dir || output.as_os_str().as_encoded_bytes().ends_with(b"/") {
            // Somebody else chose this name, so it replaces nothing.
            return Ok(Target::File { path: output.join(file_name(name)?), replace: false });
        }
        match about {
            Ok(about) if !about.is_file() => Ok(Target::Special(output.to_owned())),
            // Through a link, so that the link stays and its file is replaced.
            Ok(_) => {
                let path = output.canonicalize().map_err(|e| refused(output, &e))?;
                Ok(Target::File { path, replace: true })
            }
            Err(_) => Ok(Target::File { path: output.to_owned(), replace: true }),
        }
    }

    async fn write(
        &self,
        mut body: Body,
        target: Target,
        progress: &Progress,
    ) -> Result<(), Failure> {
        match target {
            Target::Stdout { checked } => {
                let mut out = std::io::stdout().lock();
                self.copy(&mut body, &mut out, checked, progress, "what was printed is not all")
                    .await
            }
            Target::Special(path) => {
                let file = OpenOptions::new().write(true).open(&path);
                let mut file = file.map_err(|e| refused(&path, &e))?;
                self.copy(&mut body, &mut file, false, progress, "what was written is not all")
                    .await
            }
            Target::File { path, replace } => {
                // A signal shall not end the process before the temporary file is removed.
                let mut signals = Signals::new()?;
                let mut file = beside(&path)?;
                let kept = "nothing was kept";
                tokio::select! {
                    copied = self.copy(&mut body, file.as_file_mut(), false, progress, kept) => {
                        copied?;
                    }
                    () = signals.next() => {
                        return Err(Failure::Other(format!("interrupted; {kept}")));
                    }
                }
                let named =
                    if replace { file.persist(&path) } else { file.persist_noclobber(&path) };
                named.map(drop).map_err(|e| match e.error.kind() {
                    std::io::ErrorKind::AlreadyExists => Failure::Other(format!(
                        "{} exists; `-o FILE` would replace it",
                        path.display()
                    )),
                    _ => refused(&path, &e.error),
                })
            }
        }
    }

    async fn copy(
        &self,
        body: &mut Body,
        out: &mut impl Write,
        text_only: bool,
        progress: &Progress,
        kept: &str,
    ) -> Result<(), Failure> {
        let mut is_first = true;
        while let Some(chunk) = body.chunk().await {
            let chunk = chunk.map_err(|e| {
                Failure::Other(format!("{}: {}; {kept}", self.what(), describe(&e)))
            })?;
            if text_only && std::mem::take(&mut is_first) && !is_text(&chunk) {
                return Err(Failure::Other(format!(
                    "{} is not text, which may upset a terminal; `-o FILE` saves it, `-o -` prints it all the same",
                    self.what()
                )));
            }
            out.write_all(&chunk).map_err(|e| Failure::printing(&e))?;
            progress.add(chunk.len());
        }
        out.flush().map_err(|e| Failure::printing(&e))
    }
}

/// The last component of an object's name, if a file can be called that.
fn file_name(name: &ObjectName) -> Result<String, Failure> {
    // Names come from every kind of system.
    let last = name.as_str().rsplit(['/', '\\']).next().unwrap_or_default();
    let usable = Path::new(last).file_name() == Some(OsStr::new(last)) && last.len() <= 255;
    if usable {
        Ok(last.to_owned())
    } else {
        Err(Failure::Other(format!(
            "the object's name {:?} is none for a file; give one with -o FILE",
            name.as_str()
        )))
    }
}

/// A temporary file in the directory of `path`, so that renaming it is atomic. It is
/// removed when dropped.
fn beside(path: &Path) -> Result<NamedTempFile<File>, Failure> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".objstore-")
        .suffix(".part")
        // What any program's new file gets, less the umask; not the 600 of a private one.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .map_err(|e| refused(path, &e))
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!("cannot write {}: {error}", path.display()))
}

fn is_text(start: &[u8]) -> bool {
    // Escape sequences are made of control characters, and so is most of what is no text.
    !start.iter().any(|b| *b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r'))
        && !start.contains(&0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_name_never_leads_out_of_the_directory() {
        for (name, file) in [("a.txt", "a.txt"), ("/etc/passwd", "passwd"), ("..\\x", "x")] {
            assert_eq!(file_name(&ObjectName::new(name).unwrap()).unwrap(), file);
        }
        for name in ["", ".", "..", "a/..", "a/", "\\"] {
            assert!(file_name(&ObjectName::new(name).unwrap()).is_err(), "{name}");
        }
    }

    #[test]
    fn text_is_told_from_what_upsets_terminals() {
        assert!(is_text("It works!\r\n\tgrüß".as_bytes()));
        assert!(!is_text(b"\x1b[2J") && !is_text(b"PNG\0") && !is_text(b"\x7fELF"));
    }
}
