use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use clap::Args;
use futures_util::stream;
use objstore_client::types::{Level, ObjectId, ObjectKey, ObjectName, UserMeta};
use objstore_client::wire::{headers, routes};
use objstore_client::{Body, Error, ErrorKind, Request, Transport};
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
    #[arg(long, value_name = "through|back", value_parser = ["through", "back"])]
    write: Option<String>,
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
    reader: Box<dyn AsyncRead + Send + Unpin>,
    /// None for pipes and devices: those are sent until they end.
    len: Option<u64>,
    name: ObjectName,
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
        node: &Transport,
        file: &Path,
        user_meta: &UserMeta,
    ) -> Result<(String, String), String> {
        let label = match file.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => printable(&file.display().to_string()),
        };
        let source = self.open(file).await.map_err(|why| format!("{label}: {why}"))?;
        let id = match (&self.key, self.id) {
            (Some(_), _) => None,
            (None, Some(id)) => Some(id),
            (None, None) => Some(fresh_id(node).await.map_err(|e| failed(node, &label, &e))?),
        };
        let progress = Progress::new(&label, source.len);
        let body = body(source.reader, source.len, progress.clone());
        let mut request = match (&self.key, id) {
            (Some(key), _) => Request::new("PUT", routes::key(key)),
            (None, id) => Request::new("POST", routes::PUT)
                .header(headers::ID, id.map(|id| id.to_string()).unwrap_or_default())
                .header(headers::LEVEL, self.level.to_string()),
        };
        request = request.body(body);
        if self.key.is_none() && !source.name.is_empty() {
            request = request.header(headers::NAME, source.name.as_str());
        }
        if let Some(write) = &self.write {
            request = request.header(headers::WRITE, write.as_str());
        }
        if !user_meta.is_empty() {
            request = request.header(headers::USER_META, user_meta.to_json());
        }
        let sent = node.send(request).await;
        progress.clear();
        let answer = sent.map_err(|e| failed(node, &label, &e))?;
        let shown = self
            .key
            .as_ref()
            .map_or_else(|| source.name.as_str().to_owned(), |key| printable(key.as_str()));
        // The id that a key has on the node is the node's to say.
        let said = answer.header(headers::ID).unwrap_or_default();
        let id = match id {
            Some(id) => id.to_string(),
            None => printable(&String::from_utf8_lossy(said)),
        };
        Ok((id, shown))
    }

    async fn open(&self, file: &Path) -> Result<Source, String> {
        if file == Path::new("-") {
            let name = self.name.clone().unwrap_or_default();
            return Ok(Source { reader: Box::new(tokio::io::stdin()), len: None, name });
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
        let len = about.is_file().then_some(about.len());
        Ok(Source { reader: Box::new(opened), len, name })
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

async fn fresh_id(node: &Transport) -> Result<ObjectId, Error> {
    let answer = node.send(Request::new("GET", routes::ID)).await?.bytes(1024).await?;
    String::from_utf8_lossy(&answer).trim().parse()
}

/// The bytes of a reader as they are read. One that ends before `len` is an error, so that the
/// node does not wait for the rest; what is added behind `len` meanwhile is not sent.
fn body(reader: Box<dyn AsyncRead + Send + Unpin>, len: Option<u64>, progress: Progress) -> Body {
    let reader = reader.take(len.unwrap_or(u64::MAX));
    let chunks = stream::try_unfold((reader, progress), move |(mut reader, progress)| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = reader.read_buf(&mut chunk).await.map_err(|e| {
            Error::new(ErrorKind::IncompleteBody, "it cannot be read to its end").with_source(e)
        })?;
        if read > 0 {
            progress.add(read);
            Ok(Some((chunk.freeze(), (reader, progress))))
        } else if len.is_some() && reader.limit() > 0 {
            Err(Error::new(ErrorKind::IncompleteBody, "it became shorter while it was sent"))
        } else {
            Ok(None)
        }
    });
    Body::from_stream(chunks, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut() {
        let read = |len| {
            let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(&b"0123456789"[..]);
            body(reader, len, Progress::silent()).collect(100)
        };
        assert_eq!(read(None).await.unwrap(), "0123456789");
        assert_eq!(read(Some(4)).await.unwrap(), "0123");
        assert_eq!(read(Some(11)).await.unwrap_err().kind(), ErrorKind::IncompleteBody);
    }
}
