use std::error::Error as _;
use std::io::{ErrorKind as IoKind, Write};
use std::process::ExitCode;

use objstore_client::{Error, ErrorKind};

/// Why the process ends before it would have, and with which exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 2: the command line, the environment, the config file or a directory it names
    /// does not work. One line.
    Usage(String),
    /// Exit code 1: anything else. One line.
    Other(String),
    /// Exit code 1: every line has been printed already.
    Reported,
    /// Exit code 0: there is nothing left to do, or nobody left to print for.
    Done,
}

impl Failure {
    /// Prints the one line and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                complain(&message);
                ExitCode::from(2)
            }
            Self::Other(message) => {
                complain(&message);
                ExitCode::FAILURE
            }
            Self::Reported => ExitCode::FAILURE,
            Self::Done => ExitCode::SUCCESS,
        }
    }

    /// A failure to write to standard output. Whoever closed a pipe has read what they wanted.
    pub(crate) fn printing(error: &std::io::Error) -> Self {
        if error.kind() == IoKind::BrokenPipe {
            Self::Done
        } else {
            Self::Other(format!("cannot write to standard output: {error}"))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let line = describe(&error);
        if error.kind() == ErrorKind::Configuration { Self::Usage(line) } else { Self::Other(line) }
    }
}

/// Prints `objstore: MESSAGE` on standard error; a closed one is no reason to panic.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "objstore: {message}");
}

/// The error's own line, and the innermost reason for kinds where that is the operator's to fix.
pub(crate) fn describe(error: &Error) -> String {
    let mut innermost = error.source();
    while let Some(below) = innermost.and_then(|e| e.source()) {
        innermost = Some(below);
    }
    let own = matches!(
        error.kind(),
        ErrorKind::Configuration | ErrorKind::Transport | ErrorKind::IncompleteBody
    );
    let line = match innermost {
        Some(reason) if own && !error.to_string().contains(&reason.to_string()) => {
            format!("{error} ({reason})")
        }
        _ => error.to_string(),
    };
    line.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_the_reason_an_operator_can_fix() {
        let io = std::io::Error::other("Permission denied");
        let error = Error::new(ErrorKind::Configuration, "cannot open state/").with_source(io);
        assert_eq!(describe(&error), "cannot open state/ (Permission denied)");
        assert!(matches!(Failure::from(error), Failure::Usage(_)));

        let inside = std::io::Error::other("backend text");
        let error = Error::new(ErrorKind::Internal, "a fault").with_source(inside);
        assert_eq!(describe(&error), "a fault");
        assert!(matches!(Failure::from(error), Failure::Other(_)));
    }
}
