use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The most tokens in a file.
const TOKENS_MAX: usize = 1000;
/// A shorter token could be guessed, a longer one is a mistake.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 16..=512;
const NAME_MAX: usize = 64;

/// What a token may do. None of them includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Scope {
    /// Read objects and keys, list them, and read what the node says of itself.
    Read,
    /// Put, delete, and raise levels.
    Write,
    /// What an operator does: give up a node or an upload, try one again.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    pub(in crate::http) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Whoever has a token.
#[derive(Debug)]
pub(in crate::http) struct Holder {
    name: String,
    scopes: Vec<Scope>,
}

impl Holder {
    pub(in crate::http) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::http) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// The tokens in force, by their digests: looking one up takes as long whatever it shares with
/// another.
pub(super) struct Tokens(HashMap<blake3::Hash, Arc<Holder>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values().map(|holder| &holder.name)).finish()
    }
}

impl Tokens {
    /// What a file says: a line for each token with a name for the log, scopes with commas between
    /// them, and the token. Empty lines and those that begin with `#` say nothing.
    pub(super) fn read(texts: &[Vec<u8>]) -> Result<Self, String> {
        let text = texts.first().map(Vec::as_slice).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut tokens = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // Never the line itself: a token in the log is no secret any more.
            let (holder, token) =
                read_line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
            if tokens.insert(digest(token.as_bytes()), Arc::new(holder)).is_some() {
                return Err(format!("line {}: this token was given before", number + 1));
            }
        }
        match tokens.len() {
            0 => Err("there is no token in it; a line is NAME SCOPES TOKEN".to_owned()),
            1..=TOKENS_MAX => Ok(Self(tokens)),
            _ => Err(format!("it has more than {TOKENS_MAX} tokens")),
        }
    }

    pub(super) fn find(&self, token: &[u8]) -> Option<Arc<Holder>> {
        self.0.get(&digest(token)).cloned()
    }
}

fn digest(token: &[u8]) -> blake3::Hash {
    blake3::hash(token)
}

fn read_line(line: &str) -> Result<(Holder, &str), String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, scopes, token] = words.as_slice() else {
        return Err("it is to be NAME SCOPES TOKEN, with spaces between them".to_owned());
    };
    if name.len() > NAME_MAX || name.contains(char::is_control) {
        return Err(format!("the name is longer than {NAME_MAX} bytes"));
    }
    let scopes = scopes.split(',').map(|scope| {
        let known = Scope::ALL.into_iter().find(|known| known.name() == scope);
        known.ok_or_else(|| "the scopes are read, write and admin, with commas".to_owned())
    });
    let scopes = scopes.collect::<Result<Vec<_>, _>>()?;
    // RFC 6750 §2.1, b64token.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !TOKEN_LEN.contains(&token.len()) || !token.bytes().all(is_plain) {
        return Err(format!(
            "the token is to have {} to {} letters, digits and -._~+/=",
            TOKEN_LEN.start(),
            TOKEN_LEN.end()
        ));
    }
    Ok((Holder { name: (*name).to_owned(), scopes }, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tokens, String> {
        Tokens::read(&[text.as_bytes().to_vec()])
    }

    #[test]
    fn a_line_is_a_name_scopes_and_a_token() {
        let tokens =
            read("# who\n\nweb  read,write 0123456789abcdef\nops admin fedcba9876543210\n");
        let tokens = tokens.unwrap();
        let web = tokens.find(b"0123456789abcdef").unwrap();
        assert_eq!(web.name(), "web");
        assert!(web.may(Scope::Read) && web.may(Scope::Write) && !web.may(Scope::Admin));
        assert!(tokens.find(b"0123456789abcdeF").is_none());
        assert_eq!(format!("{tokens:?}").matches("0123").count(), 0);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_and_no_token_is_shown() {
        for (text, why) in [
            ("", "no token"),
            ("# nothing\n", "no token"),
            ("web read", "line 1: it is to be NAME SCOPES TOKEN"),
            ("web read a b", "line 1"),
            ("\nweb reed 0123456789abcdef", "line 2: the scopes are"),
            ("web read short-secret", "line 1: the token is to have 16"),
            ("web read 0123456789ab(def", "line 1: the token is to have 16"),
            ("a read 0123456789abcdef\nb read 0123456789abcdef", "line 2: this token was given"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret") && !error.contains("0123"), "{error}");
        }
        assert!(Tokens::read(&[vec![0xff]]).is_err());
    }
}
