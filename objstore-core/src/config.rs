//! Settings by the names that they have in a config file, as text: what the program `objstore` reads
//! from flags, environment and file, and what hosts in other languages set one by one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::allowed_name;
use crate::remote::{S3Checksums, S3Conditions, S3Settings};
use crate::settings::{FetchPolicy, Settings};

/// What a setting in a config file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A text or a number.
    One,
    /// The same, or true or false for 1 or 0.
    Flag,
    /// The same as [`One`](Self::One), or an array of them.
    Many,
}

/// The names that [`NamedSettings`] knows, in the order of the program's help.
const NAMES: &[(&str, Shape)] = &[
    ("allow-host", Shape::Many),
    ("token-file", Shape::One),
    ("tls-cert", Shape::One),
    ("tls-key", Shape::One),
    ("nodes", Shape::Many),
    ("tag", Shape::One),
    ("private-addr", Shape::One),
    ("advertise-addr", Shape::One),
    ("state-dir", Shape::One),
    ("files-dir", Shape::One),
    ("remote-dir", Shape::One),
    ("max-bytes", Shape::One),
    ("memory-bytes", Shape::One),
    ("bucket", Shape::One),
    ("region", Shape::One),
    ("s3-endpoint", Shape::One),
    ("s3-path-style", Shape::Flag),
    ("s3-prefix", Shape::One),
    ("s3-checksums", Shape::One),
    ("s3-conditions", Shape::One),
    ("fetch", Shape::One),
    ("fetch-prefix", Shape::Many),
    ("write", Shape::One),
    ("key-ttl", Shape::One),
    ("cluster-key-file", Shape::One),
    ("insecure-cluster", Shape::Flag),
    ("debug-addr", Shape::One),
];

/// What says something of a bucket, and nothing without one.
const OF_A_BUCKET: [&str; 6] =
    ["region", "s3-endpoint", "s3-path-style", "s3-prefix", "s3-checksums", "s3-conditions"];

/// Why a setting cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingError {
    /// The name of the setting.
    pub name: &'static str,
    /// What is wrong with it, in one line.
    pub why: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

impl std::error::Error for SettingError {}

/// Settings that were given by name, each as one text or as several.
///
/// What is not given has the default of [`Settings`].
#[derive(Clone, Debug, Default)]
pub struct NamedSettings {
    given: BTreeMap<&'static str, Vec<OsString>>,
}

impl NamedSettings {
    /// The names there are, with what a config file may say for each.
    pub fn names() -> impl Iterator<Item = (&'static str, Shape)> {
        NAMES.iter().copied()
    }

    /// Gives a setting, instead of what was given for it before.
    ///
    /// # Errors
    /// [`SettingError`] when it does not take this; the text says what it takes. Names that are none
    /// of [`Self::names`] are left alone.
    pub fn set(&mut self, name: &str, values: Vec<OsString>) -> Result<(), SettingError> {
        let Some((name, _)) = Self::names().find(|(known, _)| *known == name) else {
            return Ok(());
        };
        let mut alone = Settings::default();
        let mut bucket = S3Settings::bucket("");
        for value in &values {
            apply(&mut alone, &mut bucket, name, value)
                .map_err(|why| SettingError { name, why })?;
        }
        self.given.insert(name, values);
        Ok(())
    }

    /// All that was given, over the defaults.
    ///
    /// # Errors
    /// [`SettingError`] when two settings contradict each other.
    pub fn settings(&self) -> Result<Settings, SettingError> {
        let mut settings = Settings::default();
        let mut bucket = S3Settings::bucket("");
        for (name, values) in &self.given {
            for value in values {
                apply(&mut settings, &mut bucket, name, value)
                    .map_err(|why| SettingError { name, why })?;
            }
        }
        if self.given.contains_key("bucket") {
            if self.given.contains_key("remote-dir") {
                let why = "the remote is a bucket or a directory, and remote-dir is given too; give \
                           one of them";
                return Err(SettingError { name: "bucket", why: why.to_owned() });
            }
            settings.s3 = Some(bucket);
        } else if let Some(name) = OF_A_BUCKET.into_iter().find(|n| self.given.contains_key(n)) {
            let why = "which bucket? the setting bucket names it".to_owned();
            return Err(SettingError { name, why });
        }
        Ok(settings)
    }
}

/// Reads one value of a setting; of those that take many, one more.
fn apply(
    node: &mut Settings,
    s3: &mut S3Settings,
    name: &str,
    value: &OsStr,
) -> Result<(), String> {
    match name {
        "allow-host" => node.http.allow_hosts.push(host_or_origin(value)?),
        "nodes" => node.cluster.nodes.push(seed(value)?),
        "tag" => node.cluster.tag = tag(value)?,
        "private-addr" => node.cluster.private_addr = Some(address(value)?),
        "advertise-addr" => node.cluster.advertise_addr = Some(address_for_others(value)?),
        "state-dir" => node.state_dir = path(value)?,
        "files-dir" => node.files_dir = path(value)?,
        "token-file" => node.http.token_file = Some(path(value)?),
        "tls-cert" => node.http.tls_cert = Some(path(value)?),
        "tls-key" => node.http.tls_key = Some(path(value)?),
        "remote-dir" => node.remote_dir = Some(path(value)?),
        "max-bytes" => node.max_bytes = Some(size(value)?).filter(|bytes| *bytes > 0),
        "memory-bytes" => node.memory_bytes = Some(size(value)?),
        "bucket" => s3.bucket = owned(value)?,
        "region" => s3.region = Some(owned(value)?),
        "s3-endpoint" => s3.endpoint = Some(owned(value)?),
        "s3-path-style" => s3.path_style = yes_or_no(value)?,
        "s3-prefix" => s3.prefix = owned(value)?,
        "s3-checksums" => s3.checksums = checksums(value)?,
        "s3-conditions" => s3.conditions = Some(conditions(value)?),
        "fetch" => node.fetch = fetch(value)?,
        "fetch-prefix" => node.fetch_prefixes.push(any(value)?),
        "write" => node.uploads.write_back = write_back(value)?,
        "key-ttl" => node.key_ttl_ms = milliseconds(value)?,
        "cluster-key-file" => node.cluster.cluster_key_file = Some(path(value)?),
        "insecure-cluster" => node.cluster.insecure = yes_or_no(value)?,
        "debug-addr" => node.cluster.debug_addr = Some(address(value)?),
        // Only names of the table get here.
        _ => {}
    }
    Ok(())
}

/// The settings of a config file (TOML), in the order of their names, as text. `shape` says which
/// there are, or what to tell about one that is not.
///
/// # Errors
/// One line that says what is wrong, with its key or line.
pub fn parse_file(
    content: &str,
    shape: impl Fn(&str) -> Result<Shape, String>,
) -> Result<Vec<(String, Vec<OsString>)>, String> {
    // toml prints a picture of several lines; its message alone is one.
    let table: toml::Table = content.parse().map_err(|e: toml::de::Error| {
        let before = e.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("line {line}: {}", e.message().replace('\n', " "))
    })?;
    let entry = |(key, value): (String, toml::Value)| {
        let shape = shape(&key)?;
        let values = match value {
            toml::Value::Array(values) if shape == Shape::Many => values,
            value => vec![value],
        };
        let values = values.into_iter().map(|value| match value {
            toml::Value::String(text) => Ok(text.into()),
            toml::Value::Integer(number) => Ok(number.to_string().into()),
            toml::Value::Boolean(is) if shape == Shape::Flag => Ok(u8::from(is).to_string().into()),
            other => Err(format!("{key}: {} is not what it takes", other.type_str())),
        });
        let values = values.collect::<Result<Vec<_>, String>>()?;
        Ok((key, values))
    };
    table.into_iter().map(entry).collect()
}

fn text(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| format!("{value:?} is not UTF-8"))
}

fn any(value: &OsStr) -> Result<String, String> {
    text(value).map(ToOwned::to_owned)
}

fn owned(value: &OsStr) -> Result<String, String> {
    match text(value)? {
        "" => Err("a value is missing".to_owned()),
        value => Ok(value.to_owned()),
    }
}

fn path(value: &OsStr) -> Result<PathBuf, String> {
    if value.is_empty() { Err("a path is missing".to_owned()) } else { Ok(value.into()) }
}

/// `HOST:PORT`. Only the shape; whether it can be listened on is found out by listening.
///
/// # Errors
/// What is wrong, in one line.
pub fn address(value: &OsStr) -> Result<String, String> {
    let value = text(value)?;
    match value.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(value.to_owned())
        }
        _ => Err(format!("{value:?} is not HOST:PORT, such as 127.0.0.1:10999")),
    }
}

/// A host, or the origin of a page.
fn host_or_origin(value: &OsStr) -> Result<String, String> {
    let host = text(value)?.trim();
    match host.split_once("://") {
        Some(("http" | "https", _)) | None if allowed_name(host).is_some() => Ok(host.to_owned()),
        _ => Err(format!("{host:?} is not a host, such as cache.example.org")),
    }
}

fn host(value: &OsStr) -> Result<String, String> {
    let value = text(value)?.trim();
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if value.is_empty() || value.contains(bad) {
        return Err(format!("{value:?} is not a host, such as cache.example.org"));
    }
    Ok(value.to_owned())
}

/// A node of the cluster, with a port or without.
fn seed(value: &OsStr) -> Result<String, String> {
    let no_node = || format!("{value:?} is not a node, such as cache-1.example.org:11999");
    let seed = host(value).map_err(|_| no_node())?;
    let (name, port) = match seed.rsplit_once(':') {
        Some(parts) if seed.parse::<Ipv6Addr>().is_err() && !seed.ends_with(']') => parts,
        _ => (&*seed, "1"),
    };
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    if name.is_empty() || !is_port { Err(no_node()) } else { Ok(seed) }
}

/// An address at which others reach this node.
fn address_for_others(value: &OsStr) -> Result<String, String> {
    let address = address(value)?;
    if address.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(0_u16)) {
        return Err(format!("{address:?} has port 0, at which nobody is reached"));
    }
    Ok(address)
}

fn tag(value: &OsStr) -> Result<String, String> {
    let value = text(value)?;
    if value.is_empty() || value.len() > 64 || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{value:?} is not a tag: up to 64 characters of ASCII without spaces"));
    }
    Ok(value.to_owned())
}

/// 0 or false, 1 or true.
///
/// # Errors
/// What is wrong, in one line.
pub fn yes_or_no(value: &OsStr) -> Result<bool, String> {
    match text(value)? {
        "0" | "false" => Ok(false),
        "1" | "true" => Ok(true),
        other => Err(format!("{other:?} is neither 0 nor 1")),
    }
}

fn checksums(value: &OsStr) -> Result<S3Checksums, String> {
    match text(value)? {
        "when-required" => Ok(S3Checksums::WhenRequired),
        "when-supported" => Ok(S3Checksums::WhenSupported),
        other => Err(format!("{other:?} is neither when-required nor when-supported")),
    }
}

fn conditions(value: &OsStr) -> Result<S3Conditions, String> {
    match text(value)? {
        "none" => Ok(S3Conditions::None),
        "writes" => Ok(S3Conditions::Writes),
        "all" => Ok(S3Conditions::All),
        other => Err(format!("{other:?} is not one of none, writes, all")),
    }
}

fn fetch(value: &OsStr) -> Result<FetchPolicy, String> {
    match text(value)? {
        "never" => Ok(FetchPolicy::Never),
        "on-request" => Ok(FetchPolicy::OnRequest),
        "always" => Ok(FetchPolicy::Always),
        other => Err(format!("{other:?} is not one of never, on-request, always")),
    }
}

fn write_back(value: &OsStr) -> Result<bool, String> {
    match text(value)? {
        "through" => Ok(false),
        "back" => Ok(true),
        other => Err(format!("{other:?} is neither through nor back")),
    }
}

/// Bytes, with a suffix as coreutils read it: K and KiB are 1024, KB is 1000, and so on to T.
fn size(value: &OsStr) -> Result<u64, String> {
    let value = text(value)?.trim();
    let (number, suffix) = split_unit(value);
    let lower = suffix.to_ascii_lowercase();
    let (letter, base) = match lower.strip_suffix("ib") {
        Some(letter) => (letter, 1024_u64),
        None => lower.strip_suffix('b').map_or((lower.as_str(), 1024), |letter| (letter, 1000)),
    };
    let power = match letter {
        // "10b" is bytes; "10ib" is nothing.
        "" if lower != "ib" => Some(0),
        "k" => Some(1),
        "m" => Some(2),
        "g" => Some(3),
        "t" => Some(4),
        _ => None,
    };
    let bytes =
        power.and_then(|power| number.parse::<u64>().ok()?.checked_mul(base.checked_pow(power)?));
    bytes.ok_or_else(|| format!("{value:?} is not a size, such as 4096, 64K, 512MiB or 2TB"))
}

/// Seconds, or with a unit: ms, s, m, h.
///
/// # Errors
/// What is wrong, in one line.
pub fn duration(value: &OsStr) -> Result<Duration, String> {
    let value = text(value)?.trim();
    let (number, unit) = split_unit(value);
    let milliseconds = match unit {
        "ms" => Some(1_u64),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    milliseconds
        .and_then(|unit| number.parse::<u64>().ok()?.checked_mul(unit))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{value:?} is not a time, such as 500ms, 5s or 1m"))
}

fn milliseconds(value: &OsStr) -> Result<u64, String> {
    let time = duration(value)?;
    u64::try_from(time.as_millis()).map_err(|_| format!("{time:?} is too long"))
}

fn split_unit(value: &str) -> (&str, &str) {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(given: &[(&str, &[&str])]) -> Result<Settings, SettingError> {
        let mut named = NamedSettings::default();
        for (name, values) in given {
            named.set(name, values.iter().map(OsString::from).collect())?;
        }
        named.settings()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(named(&[]), Ok(Settings::default()));
    }

    #[test]
    fn every_name_reaches_its_setting() {
        let plain = Settings::default();
        let value = |name| match name {
            "max-bytes" | "memory-bytes" => "1G",
            "s3-path-style" | "insecure-cluster" => "1",
            "s3-checksums" => "when-supported",
            "s3-conditions" => "all",
            "fetch" => "never",
            "write" => "back",
            "key-ttl" => "1m",
            "private-addr" | "advertise-addr" | "debug-addr" => "h:1",
            _ => "x",
        };
        for (name, _) in NamedSettings::names() {
            let mut named = NamedSettings::default();
            let of_a_bucket = OF_A_BUCKET.contains(&name);
            if of_a_bucket {
                named.set("bucket", vec!["b".into()]).unwrap();
            }
            let without = if of_a_bucket { named.settings().unwrap() } else { plain.clone() };
            named.set(name, vec![value(name).into()]).unwrap();
            assert_ne!(named.settings().unwrap(), without, "{name}");
        }
    }

    #[test]
    fn a_value_given_again_replaces_and_a_faulty_one_changes_nothing() {
        let mut named = NamedSettings::default();
        named.set("nodes", vec!["a".into(), "b".into()]).unwrap();
        named.set("nodes", vec!["c".into()]).unwrap();
        let error = named.set("nodes", vec!["a/b".into()]).unwrap_err();
        assert!(error.to_string().starts_with("nodes: \"a/b\" is not a node"), "{error}");
        assert_eq!(named.settings().unwrap().cluster.nodes, ["c"]);
    }

    #[test]
    fn sizes_times_and_addresses_are_read_or_refused() {
        let sizes = [
            ("0", 0),
            ("4096", 4096),
            ("10b", 10),
            ("64K", 65_536),
            ("64 KiB", 65_536),
            ("1kb", 1000),
            ("2GB", 2_000_000_000),
            ("1t", 1 << 40),
        ];
        for (given, expected) in sizes {
            assert_eq!(size(OsStr::new(given)), Ok(expected), "{given}");
        }
        for given in ["", "K", "-1", "1.5G", "10X", "10ib", "10KK", "99999999T", "1e3"] {
            assert!(size(OsStr::new(given)).is_err(), "{given}");
        }
        for (given, expected) in
            [("0", 0), ("5s", 5000), ("2", 2000), ("500ms", 500), ("1m", 60_000)]
        {
            assert_eq!(duration(OsStr::new(given)), Ok(Duration::from_millis(expected)), "{given}");
        }
        for given in ["", "s", "-5s", "5 parsecs", "99999999999999999999s"] {
            assert!(duration(OsStr::new(given)).is_err(), "{given}");
        }
        for given in ["", "localhost", ":80", "1.2.3.4:", "h:99999"] {
            assert!(address(OsStr::new(given)).is_err(), "{given}");
        }
        assert!(address(OsStr::new("[::1]:80")).is_ok());
        for given in ["a.b", "a.b:80", "https://a.b:8443", "::1", "[::1]:80"] {
            assert_eq!(host_or_origin(OsStr::new(given)).as_deref(), Ok(given));
        }
        for given in ["", "ftp://a", "*", "*.example", ":80", "https://x:99999", "a b", "a/b"] {
            assert!(host_or_origin(OsStr::new(given)).is_err(), "{given}");
        }
        assert!(address_for_others(OsStr::new("10.0.0.1:0")).is_err());
        for given in ["", ":80", "h:99999", "h:0", "h:", "h:x", "[::1]:0", "a b"] {
            assert!(seed(OsStr::new(given)).is_err(), "{given}");
        }
        for given in ["h", "h:1", "10.0.0.1:11999", "::1", "[::1]", "[::1]:80"] {
            assert_eq!(seed(OsStr::new(given)).as_deref(), Ok(given));
        }
    }
}
