use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::stream;
use objstore_client::options::{PutOptions, WriteMode};
use objstore_client::types::{Level, ObjectId, ObjectKey, ObjectName, UserMeta};
use objstore_client::{Body, Client, Error, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::output::{failed, print, printable};
use crate::failure::{Failure, complain};
use crate::progress::Progress;

/// What is read and sent at once; with the buffers of the connection all of a file that is ever
/// in memory.
const CHUNK: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Files to store; `-`, or none with a pipe, stands for standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Store under this id instead of a fresh one
    #[arg(long, value_name = "ID")]
    id: Option<ObjectId>,
    /// Name of the object, instead of the file's own
    #[arg(long, value_name = "NAME", value_parser = ObjectName::new)]
    name: Option<ObjectName>,
    /// Consistency level: 0 this node, 1 and the bucket, 2 and every node
    #[arg(long, value_name = "0|1|2", default_value = "0", hide_default_value = true)]
    level: Level,
    /// When levels 1 and 2 are acknowledged: through once the bucket has it, back once the node has
    #[arg(long, value_name = "through|back")]
    write: Option<WriteMode>,
    /// Store in the bucket under this key
    #[arg(long, value_name = "KEY", value_parser = ObjectKey::new,
        conflicts_with_all = ["id", "name", "level", "write"])]
    key: Option<ObjectKey>,
    /// User metadata to keep beside it; repeatable
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// Print the ids only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    at: super::At,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is not KEY=VALUE".to_owned()),
    }
}

/// A file or pipe, opened.
struct Source {
    bytes: Input,
    name: ObjectName,
}

enum Input {
    /// Can be sent again, to another node say.
    File { file: Arc<File>, len: u64 },
    /// Or a device: sent until it ends.
    Pipe(Box<dyn AsyncRead + Send + Unpin>),
}

impl Put {
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        if self.files.is_empty() {
            if !stdin_brings_something() {
                return Err(Failure::Usage(
                    "give a FILE to put, or `-` to read standard input".to_owned(),
                ));
            }
            self.files.push(PathBuf::from("-"));
        }
        if self.files.len() > 1 && (self.id.is_some() || self.name.is_some() || self.key.is_some())
        {
            return Err(Failure::Usage("--id, --name and --key are for a single FILE".to_owned()));
        }
        let user_meta = UserMeta::new(self.meta.iter().cloned())
            .map_err(|e| Failure::Usage(format!("--meta: {e}")))?;
        let node = self.at.connect()?;
        let mut all_stored = true;
        for file in &self.files {
            match self.put(&node, file, &user_meta).await {
                Ok((id, _)) if self.quiet => print(&format!("{id}\n")),
                Ok((id, name)) => {
                    print(format!("{id}  {name}").trim_end()).and_then(|()| print("\n"))
                }
                Err(why) => {
                    complain(&why);
                    all_stored = false;
                    Ok(())
                }
            }
            // Whoever stopped reading the ids still wants the files stored.
            .or_else(|failure| {
                if matches!(failure, Failure::Done) { Ok(()) } else { Err(failure) }
            })?;
        }
        if all_stored { Ok(()) } else { Err(Failure::Reported) }
    }

    /// Stores one file. The error is the line to print.
    async fn put(
        &self,
        node: &Client,
        file: &Path,
        user_meta: &UserMeta,
    ) -> Result<(String, String), String> {
        let label = match file.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => printable(&file.display().to_string()),
        };
        let source = self.open(file).await.map_err(|why| format!("{label}: {why}"))?;
        let mut options = PutOptions::default();
        options.user_meta = user_meta.clone();
        let progress = Progress::new(&label, source.bytes.len());
        let body = source.bytes.into_body(progress.clone());
        let put = match &self.key {
            Some(key) => node.put_key(key, body, options).await,
            None => {
                let id = match self.id {
                    Some(id) => id,
                    None => node.new_id().await.map_err(|e| failed(&label, &e))?,
                };
                options.name = source.name.clone();
                options.level = self.level;
                options.write = self.write.unwrap_or_default();
                node.put(id, body, options).await
            }
        };
        progress.clear();
        let meta = put.map_err(|e| failed(&label, &e))?;
        let shown = self
            .key
            .as_ref()
            .map_or_else(|| source.name.as_str().to_owned(), |key| printable(key.as_str()));
        Ok((meta.id.to_string(), shown))
    }

    async fn open(&self, file: &Path) -> Result<Source, String> {
        if file == Path::new("-") {
            let name = self.name.clone().unwrap_or_default();
            let bytes = Input::Pipe(Box::new(tokio::io::stdin()));
            return Ok(Source { bytes, name });
        }
        let opened = tokio::fs::File::open(file).await.map_err(|e| e.to_string())?;
        let about = opened.metadata().await.map_err(|e| e.to_string())?;
        if about.is_dir() {
            return Err("is a directory; put takes files".to_owned());
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => own_name(file)?,
        };
        if !about.is_file() {
            return Ok(Source { bytes: Input::Pipe(Box::new(opened)), name });
        }
        let (file, len) = (Arc::new(opened.into_std().await), about.len());
        Ok(Source { bytes: Input::File { file, len }, name })
    }
}

impl Input {
    fn len(&self) -> Option<u64> {
        match self {
            Self::File { len, .. } => Some(*len),
            Self::Pipe(_) => None,
        }
    }

    fn into_body(self, progress: Progress) -> Body {
        match self {
            Self::File { file, len } => {
                let open = move || {
                    progress.restart();
                    of_file(Arc::clone(&file), len, progress.clone())
                };
                Body::restartable(open, Some(len))
            }
            Self::Pipe(reader) => of_pipe(reader, progress),
        }
    }
}

/// Whether standard input is a pipe or a file. Not a terminal, where nobody would know what is
/// waited for, and not the `/dev/null` of a job without input.
fn stdin_brings_something() -> bool {
    rustix::fs::fstat(std::io::stdin()).is_ok_and(|stat| {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        kind.is_fifo() || kind.is_file() || kind.is_socket()
    })
}

fn own_name(file: &Path) -> Result<ObjectName, String> {
    let name = file.file_name().and_then(OsStr::to_str);
    let name = name.ok_or("its name is not UTF-8; give another with --name")?;
    ObjectName::new(name).map_err(|e| format!("{e}; give another with --name"))
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::IncompleteBody, "it cannot be read to its end").with_source(error)
}

/// The bytes of a reader as they are read.
fn of_pipe(reader: Box<dyn AsyncRead + Send + Unpin>, progress: Progress) -> Body {
    let chunks = stream::try_unfold((reader, progress), |(mut reader, progress)| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = reader.read_buf(&mut chunk).await.map_err(unreadable)?;
        progress.add(read);
        Ok((read > 0).then(|| (chunk.freeze(), (reader, progress))))
    });
    Body::from_stream(chunks, None)
}

/// The first `len` bytes of a file, whatever reads from it besides. One that ends before is an
/// error, so that the node does not wait for the rest; what is added behind meanwhile is not sent.
fn of_file(file: Arc<File>, len: u64, progress: Progress) -> Body {
    let chunks = stream::try_unfold((file, 0), move |(file, at)| {
        let progress = progress.clone();
        async move {
            if at == len {
                return Ok(None);
            }
            let reading = Arc::clone(&file);
            let want = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; want];
                let read = reading.read_at(&mut chunk, at)?;
                chunk.truncate(read);
                Ok(chunk)
            });
            let read = read.await.map_err(std::io::Error::other).flatten();
            let chunk = read.map_err(unreadable)?;
            if chunk.is_empty() {
                let shorter = "it became shorter while it was sent";
                return Err(Error::new(ErrorKind::IncompleteBody, shorter));
            }
            progress.add(chunk.len());
            let after = at + chunk.len() as u64;
            Ok(Some((Bytes::from(chunk), (file, after))))
        }
    });
    Body::from_stream(chunks, Some(len))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let file = Arc::new(file);
        let read = |len| of_file(Arc::clone(&file), len, Progress::silent()).collect(100);
        assert_eq!(read(10).await.unwrap(), "0123456789");
        assert_eq!(read(4).await.unwrap(), "0123");
        assert_eq!(read(11).await.unwrap_err().kind(), ErrorKind::IncompleteBody);
    }

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end() {
        let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(&b"0123456789"[..]);
        assert_eq!(of_pipe(reader, Progress::silent()).collect(100).await.unwrap(), "0123456789");
    }
}
