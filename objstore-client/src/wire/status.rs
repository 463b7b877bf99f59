use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The JSON body of every error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// [`ErrorKind::code`].
    pub error: String,
    /// One line that says what to do.
    pub message: String,
}

impl From<&Error> for ErrorBody {
    fn from(error: &Error) -> Self {
        Self { error: error.kind().code().to_owned(), message: error.to_string() }
    }
}

impl ErrorBody {
    /// The error that an answer with this status and body stands for. Bodies that are not ours
    /// (from a proxy, say) become a [`ErrorKind::Transport`] error that quotes the status.
    #[must_use]
    pub fn read(status: u16, body: &[u8], retry_after: Option<Duration>) -> Error {
        let error = match serde_json::from_slice::<Self>(body) {
            Ok(body) => {
                let kind = ErrorKind::from_code(&body.error).unwrap_or(ErrorKind::Transport);
                Error::new(kind, body.message)
            }
            // The answer to a HEAD, or a 304.
            Err(_) if body.is_empty() => {
                let kind = ErrorKind::ALL.iter().copied().find(|kind| kind.status() == status);
                Error::new(
                    kind.unwrap_or(ErrorKind::Transport),
                    format!("the server answered with status {status}"),
                )
            }
            Err(_) => Error::new(
                ErrorKind::Transport,
                format!(
                    "the server answered with status {status}, which objstore would explain; is that address a node's public address?"
                ),
            ),
        };
        match retry_after {
            Some(delay) => error.with_retry_after(delay),
            None => error,
        }
    }
}
