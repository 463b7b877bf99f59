use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use objstore_core::config::{self, NamedSettings, SettingError, address, duration, yes_or_no};

use crate::failure::Failure;
use crate::flags::{SETTINGS, Setting};
use crate::logging::LogFormat;

/// Everything a node's process is told, in the order defaults < config file < environment <
/// flags.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What the node itself wants to know.
    pub(crate) node: objstore_core::Settings,
    /// Where the public API listens, `host:port`.
    pub(crate) public_addr: String,
    /// Whether debug lines are logged.
    pub(crate) debug: bool,
    pub(crate) log_format: LogFormat,
    /// How long to go on serving between the signal and the stop.
    pub(crate) shutdown_delay: Duration,
    /// Whether to hand over what only this node has before it stops.
    pub(crate) drain: bool,
    /// Whether to forget the node ID of the state directory.
    pub(crate) new_node_id: bool,
    /// Whether to do without a files directory that is lost.
    pub(crate) lost_files: bool,
}

impl Settings {
    /// Merges the layers and reads every value. The error names the flag, the variable, or the
    /// file and key that the value came from.
    pub(crate) fn gather(matches: &ArgMatches) -> Result<Self, Failure> {
        let file = match matches.get_one::<OsString>("config").filter(|path| !path.is_empty()) {
            Some(path) => Some(ConfigFile::read(Path::new(path))?),
            None => None,
        };
        let layers = Layers { matches, file };
        let mut node = layers.node()?;
        // Who embeds a node has it listen for others when they say where; the program does anyway.
        node.cluster.private_addr = Some(layers.read("private-addr", address)?);
        Ok(Self {
            node,
            public_addr: layers.read("public-addr", address)?,
            debug: layers.read("debug", debug_level)?,
            log_format: layers.read("log-format", log_format)?,
            shutdown_delay: layers.read("shutdown-delay", duration)?,
            drain: layers.read("drain", yes_or_no)?,
            new_node_id: matches.get_flag("new-node-id"),
            lost_files: matches.get_flag("lost-files"),
        })
    }
}

/// The values that were given, topmost layer first.
struct Layers<'a> {
    matches: &'a ArgMatches,
    file: Option<ConfigFile>,
}

/// The values of one setting and how to call their place in a message.
struct Given {
    values: Vec<OsString>,
    place: String,
}

impl Layers<'_> {
    /// What concerns the node itself; the error names the place that a value came from.
    fn node(&self) -> Result<objstore_core::Settings, Failure> {
        let place = |error: SettingError| match self.given(Setting::named(error.name)) {
            Some(Given { place, .. }) => Failure::Usage(format!("{place}: {}", error.why)),
            None => Failure::Usage(error.to_string()),
        };
        let mut named = NamedSettings::default();
        for (name, _) in NamedSettings::names() {
            if let Some(Given { values, .. }) = self.given(Setting::named(name)) {
                named.set(name, values).map_err(place)?;
            }
        }
        named.settings().map_err(place)
    }

    fn given(&self, setting: &Setting) -> Option<Given> {
        let values = || self.matches.get_many::<OsString>(setting.name);
        let values = || values().into_iter().flatten().cloned().collect::<Vec<_>>();
        match (self.matches.value_source(setting.name), setting.env) {
            (Some(ValueSource::CommandLine), _) => {
                return Some(Given { values: values(), place: format!("--{}", setting.name) });
            }
            // A variable that is set to nothing is how many tools leave one out.
            (Some(ValueSource::EnvVariable), Some(env))
                if values().iter().any(|value| !value.is_empty()) =>
            {
                return Some(Given { values: values(), place: env.to_owned() });
            }
            _ => {}
        }
        let file = self.file.as_ref()?;
        let values = file.values.iter().find(|(name, _)| *name == setting.name)?.1.clone();
        Some(Given { values, place: format!("{}: {}", file.path.display(), setting.name) })
    }

    /// One value, or the default of the table.
    fn read<T>(&self, name: &str, parse: Parse<T>) -> Result<T, Failure> {
        match self.read_if_given(name, parse)? {
            Some(value) => Ok(value),
            None => parse(OsStr::new(Setting::named(name).default))
                .map_err(|why| Failure::Other(format!("the default of --{name}: {why}"))),
        }
    }

    fn read_if_given<T>(&self, name: &str, parse: Parse<T>) -> Result<Option<T>, Failure> {
        Ok(self.read_all(name, parse)?.into_iter().next())
    }

    fn read_all<T>(&self, name: &str, parse: Parse<T>) -> Result<Vec<T>, Failure> {
        let Some(Given { values, place }) = self.given(Setting::named(name)) else {
            return Ok(Vec::new());
        };
        values
            .iter()
            .map(|value| parse(value).map_err(|why| Failure::Usage(format!("{place}: {why}"))))
            .collect()
    }
}

/// A config file: its values as text, so that they are read like those of the other layers.
#[derive(Debug)]
struct ConfigFile {
    path: PathBuf,
    values: Vec<(&'static str, Vec<OsString>)>,
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::Usage(format!("cannot read the config file {}: {e}", path.display()))
        })?;
        let values = Self::parse(&text)
            .map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
        Ok(Self { path: path.to_owned(), values })
    }

    fn parse(text: &str) -> Result<Vec<(&'static str, Vec<OsString>)>, String> {
        let shape = |key: &str| Self::known(key).map(|setting| setting.shape_in_file());
        let given = config::parse_file(text, shape)?;
        given.into_iter().map(|(key, values)| Ok((Self::known(&key)?.name, values))).collect()
    }

    fn known(key: &str) -> Result<&'static Setting, String> {
        let known = || SETTINGS.iter().filter(|setting| setting.in_file);
        if let Some(setting) = known().find(|setting| setting.name == key) {
            return Ok(setting);
        }
        let names: Vec<&str> = known().map(|setting| setting.name).collect();
        Err(format!("unknown key {key:?}; the known ones are {}", names.join(", ")))
    }
}

type Parse<T> = fn(&OsStr) -> Result<T, String>;

fn debug_level(value: &OsStr) -> Result<bool, String> {
    match value.to_string_lossy().as_ref() {
        "0" => Ok(false),
        "1" => Ok(true),
        other => Err(format!("{other:?} is not a debug level; there are 0 and 1")),
    }
}

fn log_format(value: &OsStr) -> Result<LogFormat, String> {
    match value.to_string_lossy().as_ref() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{other:?} is not a log format; there are text and json")),
    }
}

#[cfg(test)]
mod tests {
    use objstore_core::FetchPolicy;
    use objstore_core::remote::{S3Checksums, S3Conditions, S3Settings};

    use super::*;
    use crate::flags;

    // The environment layer is tested in tests/cli.rs: a test must not change its own.
    fn gather(args: &[&str]) -> Result<Settings, Failure> {
        let args = std::iter::once("objstore").chain(args.iter().copied());
        Settings::gather(&flags::full_command().try_get_matches_from(args).unwrap())
    }

    fn refusal(args: &[&str]) -> String {
        match gather(args) {
            Err(Failure::Usage(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_anything_the_defaults_of_the_table_hold() {
        let settings = gather(&[]).unwrap();
        assert_eq!(settings.public_addr, "127.0.0.1:10999");
        assert_eq!(settings.node.state_dir, Path::new("state/"));
        assert_eq!(settings.node.files_dir, Path::new("files/"));
        assert_eq!(settings.shutdown_delay, Duration::ZERO);
        assert!(!settings.debug);
        let cluster = settings.node.cluster;
        assert_eq!(cluster.private_addr.as_deref(), Some("127.0.0.1:11999"));
        assert_eq!((cluster.tag.as_str(), cluster.nodes.len()), ("default", 0));
    }

    #[test]
    fn nodes_are_given_one_by_one_or_with_commas_with_a_port_or_without() {
        let flags = ["-N", "localhost:11999,b", "--nodes", "[::1]:7", "-T", "blue"];
        let cluster = gather(&flags).unwrap().node.cluster;
        assert_eq!(cluster.nodes, ["localhost:11999", "b", "[::1]:7"]);
        assert_eq!(cluster.tag, "blue");
        assert!(refusal(&["-N", "a/b"]).contains("--nodes: \"a/b\" is not a node"));
        assert!(refusal(&["-T", "a b"]).contains("--tag: \"a b\" is not a tag"));
        assert!(refusal(&["--advertise-addr", "h"]).contains("is not HOST:PORT"));
    }

    #[test]
    fn debug_is_given_as_the_readme_prints_it_and_bare() {
        for args in
            [&["-d", "1"][..], &["-d1"], &["-d"], &["--debug", "1"], &["-d", "--log-format=text"]]
        {
            assert!(gather(args).unwrap().debug, "{args:?}");
        }
        assert!(!gather(&["-d", "0"]).unwrap().debug);
        assert_eq!(refusal(&["-d", "2"]), "--debug: \"2\" is not a debug level; there are 0 and 1");
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("objstore.toml");
        std::fs::write(
            &file,
            "debug = 1\nmax-bytes = \"10G\"\nmemory-bytes = 4096\nallow-host = [\"a\", \"b:80\"]\nstate-dir = \"/s\"\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let settings = gather(&["--config", file, "--max-bytes", "1K"]).unwrap();
        assert!(settings.debug);
        assert_eq!(settings.node.max_bytes, Some(1024));
        assert_eq!(settings.node.memory_bytes, Some(4096));
        assert_eq!(settings.node.http.allow_hosts, ["a", "b:80"]);
        assert_eq!(settings.node.state_dir, Path::new("/s"));
        assert_eq!(settings.node.files_dir, Path::new("files/"));

        let flags = ["--config", file, "--allow-host=c,d", "--allow-host", "e"];
        assert_eq!(gather(&flags).unwrap().node.http.allow_hosts, ["c", "d", "e"]);
    }

    #[test]
    fn a_bucket_is_named_with_all_that_belongs_to_it() {
        let settings = gather(&[]).unwrap().node;
        assert_eq!((settings.s3, settings.fetch), (None, FetchPolicy::OnRequest));
        assert_eq!((settings.uploads.write_back, settings.key_ttl_ms), (false, 10_000));

        let s3 = gather(&["-B", "photos", "-R", "eu-west-1"]).unwrap().node.s3.unwrap();
        let mut expected = S3Settings::bucket("photos");
        expected.region = Some("eu-west-1".to_owned());
        assert_eq!(s3, expected);

        let flags = "-B b --s3-endpoint http://h:1 --s3-path-style --s3-prefix p/ --s3-checksums \
                     when-supported --s3-conditions all --fetch always --fetch-prefix a/,b \
                     --fetch-prefix c --write back --key-ttl 1m";
        let node = gather(&flags.split_whitespace().collect::<Vec<_>>()).unwrap().node;
        let mut expected = S3Settings::bucket("b");
        expected.endpoint = Some("http://h:1".to_owned());
        (expected.path_style, expected.prefix) = (true, "p/".to_owned());
        expected.checksums = S3Checksums::WhenSupported;
        expected.conditions = Some(S3Conditions::All);
        assert_eq!(node.s3, Some(expected));
        assert_eq!(node.fetch, FetchPolicy::Always);
        assert_eq!(node.fetch_prefixes, ["a/", "b", "c"]);
        assert!(node.uploads.write_back);
        assert_eq!(node.key_ttl_ms, 60_000);
    }

    #[test]
    fn a_bucket_is_refused_that_is_none_or_not_alone() {
        for (flags, expected) in [
            ("--s3-path-style", "--s3-path-style: which bucket? the setting bucket names it"),
            ("-R eu-west-1", "--region: which bucket? the setting bucket names it"),
            (
                "-B b --remote-dir d",
                "--bucket: the remote is a bucket or a directory, and remote-dir is given too; give one of them",
            ),
            ("-B b --s3-path-style=2", "--s3-path-style: \"2\" is neither 0 nor 1"),
            ("-B b --s3-conditions some", "\"some\" is not one of none, writes, all"),
            ("-B b --s3-checksums never", "\"never\" is neither when-required nor when-supported"),
            ("--fetch sometimes", "\"sometimes\" is not one of never, on-request, always"),
            ("--write around", "--write: \"around\" is neither through nor back"),
            ("--key-ttl long", "--key-ttl: \"long\" is not a time"),
        ] {
            let line = refusal(&flags.split(' ').collect::<Vec<_>>());
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn a_faulty_file_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("objstore.toml");
        for (content, expected) in [
            ("max-byte = 1", "unknown key \"max-byte\"; the known ones are public-addr, "),
            ("config = \"x\"", "unknown key \"config\""),
            ("nodes = \"a b\"", "nodes: \"a b\" is not a node"),
            ("s3-path-style = 7", "s3-path-style: \"7\" is neither 0 nor 1"),
            ("s3-path-style = 1", "s3-path-style: which bucket?"),
            ("max-bytes = \"x\"", "max-bytes: \"x\" is not a size"),
            ("max-bytes = -1", "max-bytes: \"-1\" is not a size"),
            ("max-bytes = 1.5", "max-bytes: float is not what it takes"),
            ("state-dir = [\"a\"]", "state-dir: array is not what it takes"),
            ("\nstate-dir = ", "line 2: "),
        ] {
            std::fs::write(&file, content).unwrap();
            let line = refusal(&["--config", file.to_str().unwrap()]);
            assert!(line.contains("objstore.toml: ") && line.contains(expected), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
        let missing = dir.path().join("missing");
        assert!(refusal(&["--config", missing.to_str().unwrap()]).contains("No such file"));
    }
}
