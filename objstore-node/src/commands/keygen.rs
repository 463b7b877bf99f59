use std::fs::OpenOptions;
use std::io::{ErrorKind as IoKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use objstore_core::ClusterKey;

use super::output::print;
use crate::failure::Failure;

/// `objstore keygen`: a new cluster key, to a file that nobody else may read or to standard output.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// File to make, readable by its owner only; without it, or with -, the key is printed. One that is there
    /// is left alone
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Keygen {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let key = ClusterKey::generate()?;
        let line = format!("{}\n", key.to_line());
        let Some(path) = self.file.filter(|path| path.as_os_str() != "-") else {
            return print(&line);
        };
        let failed = |e: std::io::Error| {
            let path = path.display();
            match e.kind() {
                IoKind::AlreadyExists => {
                    Failure::Usage(format!("keygen: {path} exists; name another, or move it away"))
                }
                _ => Failure::Usage(format!("keygen: {path}: {e}")),
            }
        };
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).to_owned();
        let mut file = options.open(&path).map_err(failed)?;
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }
}
