use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use objstore_core::config;

use crate::commands;
use crate::failure::Failure;

/// One setting of a node: the only place where its names, default and meaning are written down.
/// `--help`, the config file, [`crate::config`] and the test of README's table all read this.
pub(crate) struct Setting {
    /// The flag without its dashes, and the key in the config file.
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) env: Option<&'static str>,
    /// The default as one would write it; empty when it is described in `meaning` instead.
    pub(crate) default: &'static str,
    pub(crate) value: &'static str,
    pub(crate) group: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) shape: Shape,
    /// Whether the config file may hold it.
    pub(crate) in_file: bool,
}

/// How often, and with what, a setting may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Once, with a value.
    One,
    /// Once, with a value that may be left out and then is this one.
    OptionalValue(&'static str),
    /// Many times, or with commas.
    Many,
    /// Without a value.
    Switch,
}

const SERVING: &str = "Serving";
const STORAGE: &str = "Storage";
const BUCKET: &str = "Bucket";
const CLUSTER: &str = "Cluster";
const OPERATION: &str = "Operation";

/// What a setting is unless its row says otherwise.
const SETTING: Setting = Setting {
    name: "",
    short: None,
    env: None,
    default: "",
    value: "",
    group: OPERATION,
    meaning: "",
    shape: Shape::One,
    in_file: true,
};

/// Every setting of a node, in the order of `--help`.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        name: "public-addr",
        env: Some("NET_PUBLIC_ADDR"),
        default: "127.0.0.1:10999",
        value: "HOST:PORT",
        group: SERVING,
        meaning: "Listen address of the public HTTP API; port 0 takes a free one",
        ..SETTING
    },
    Setting {
        name: "allow-host",
        env: Some("NET_ALLOW_HOST"),
        value: "HOST",
        group: SERVING,
        meaning: "Further Host or Origin that a loopback listener answers to; repeatable, or with commas",
        shape: Shape::Many,
        ..SETTING
    },
    Setting {
        name: "nodes",
        short: Some('N'),
        env: Some("APP_CLUSTER_NODES"),
        value: "HOST:PORT",
        group: CLUSTER,
        meaning: "Nodes to find the cluster through, port 11999 unless given; repeatable, or with commas",
        shape: Shape::Many,
        ..SETTING
    },
    Setting {
        name: "tag",
        short: Some('T'),
        env: Some("APP_CLUSTER_TAGNAME"),
        default: "default",
        value: "NAME",
        group: CLUSTER,
        meaning: "Name of the cluster; nodes of another are refused",
        ..SETTING
    },
    Setting {
        name: "private-addr",
        env: Some("NET_PRIVATE_ADDR"),
        default: "127.0.0.1:11999",
        value: "HOST:PORT",
        group: CLUSTER,
        meaning: "Listen address for the other nodes; port 0 takes a free one",
        ..SETTING
    },
    Setting {
        name: "advertise-addr",
        env: Some("NET_ADVERTISE_ADDR"),
        value: "HOST:PORT",
        group: CLUSTER,
        meaning: "Where the other nodes reach this one, when that is not where it listens",
        ..SETTING
    },
    Setting {
        name: "state-dir",
        env: Some("APP_STATE_DIR"),
        default: "state/",
        value: "DIR",
        group: STORAGE,
        meaning: "Directory of the journal and the node's identity",
        ..SETTING
    },
    Setting {
        name: "files-dir",
        env: Some("APP_FILES_DIR"),
        default: "files/",
        value: "DIR",
        group: STORAGE,
        meaning: "Directory of the bodies",
        ..SETTING
    },
    Setting {
        name: "remote-dir",
        env: Some("APP_REMOTE_DIR"),
        value: "DIR",
        group: STORAGE,
        meaning: "Directory that stands in for the bucket; `remote` in the state directory when not given",
        ..SETTING
    },
    Setting {
        name: "max-bytes",
        env: Some("APP_MAX_BYTES"),
        value: "SIZE",
        group: STORAGE,
        meaning: "Most bytes of disk to use, at least 128M; without it, or with 0, the disk is the limit",
        ..SETTING
    },
    Setting {
        name: "memory-bytes",
        env: Some("APP_MEMORY_BYTES"),
        value: "SIZE",
        group: STORAGE,
        meaning: "Most bytes of memory for hot bodies, 0 for none; without it an eighth of memory, 256M at most",
        ..SETTING
    },
    Setting {
        name: "bucket",
        short: Some('B'),
        env: Some("S3_BUCKET_NAME"),
        value: "NAME",
        group: BUCKET,
        meaning: "S3 bucket behind the node, instead of a directory",
        ..SETTING
    },
    Setting {
        name: "region",
        short: Some('R'),
        env: Some("S3_REGION_NAME"),
        value: "REGION",
        group: BUCKET,
        meaning: "Region of the bucket; without it that of the AWS SDK, with an endpoint us-east-1",
        ..SETTING
    },
    Setting {
        name: "s3-endpoint",
        env: Some("S3_ENDPOINT"),
        value: "URL",
        group: BUCKET,
        meaning: "Server that is not AWS, http://host:port",
        ..SETTING
    },
    Setting {
        name: "s3-path-style",
        env: Some("S3_PATH_STYLE"),
        default: "0",
        value: "0|1",
        group: BUCKET,
        meaning: "Bucket in the path instead of the host name, as most servers that are not AWS want it",
        shape: Shape::OptionalValue("1"),
        ..SETTING
    },
    Setting {
        name: "s3-prefix",
        env: Some("S3_PREFIX"),
        value: "TEXT",
        group: BUCKET,
        meaning: "What stands before every key, as it is: a directory needs its `/`",
        ..SETTING
    },
    Setting {
        name: "s3-checksums",
        env: Some("S3_CHECKSUMS"),
        default: "when-required",
        value: "when-required|when-supported",
        group: BUCKET,
        meaning: "When to send checksums beyond the signature",
        ..SETTING
    },
    Setting {
        name: "s3-conditions",
        env: Some("S3_CONDITIONS"),
        value: "none|writes|all",
        group: BUCKET,
        meaning: "Which changes the server makes on condition; without it all, with an endpoint writes",
        ..SETTING
    },
    Setting {
        name: "fetch",
        env: Some("APP_FETCH"),
        default: "on-request",
        value: "never|on-request|always",
        group: BUCKET,
        meaning: "When to look in the bucket for an id that is unknown here; on request is X-Meta-Fetch",
        ..SETTING
    },
    Setting {
        name: "fetch-prefix",
        env: Some("APP_FETCH_PREFIX"),
        value: "PREFIX",
        group: BUCKET,
        meaning: "Keys that may be asked for through a listener beyond loopback; repeatable, or with commas",
        shape: Shape::Many,
        ..SETTING
    },
    Setting {
        name: "write",
        env: Some("APP_WRITE"),
        default: "through",
        value: "through|back",
        group: BUCKET,
        meaning: "When levels 1 and 2 are acknowledged: once the bucket has them, or once this disk has",
        ..SETTING
    },
    Setting {
        name: "key-ttl",
        env: Some("APP_KEY_TTL"),
        default: "10s",
        value: "TIME",
        group: BUCKET,
        meaning: "How long what is here of a key is served without asking the bucket",
        ..SETTING
    },
    Setting {
        name: "token-file",
        env: Some("APP_TOKEN_FILE"),
        value: "FILE",
        meaning: "Tokens that requests need, a line each: NAME SCOPES TOKEN (read,write,admin); read again when it changes",
        ..SETTING
    },
    Setting {
        name: "tls-cert",
        env: Some("NET_TLS_CERT"),
        value: "FILE",
        meaning: "Certificate of the public listener (PEM, its authorities behind it); read again when it changes",
        ..SETTING
    },
    Setting {
        name: "tls-key",
        env: Some("NET_TLS_KEY"),
        value: "FILE",
        meaning: "The private key of --tls-cert, PEM",
        ..SETTING
    },
    Setting {
        name: "cluster-key-file",
        env: Some("APP_CLUSTER_KEY_FILE"),
        value: "FILE",
        group: CLUSTER,
        meaning: "Keys that the nodes share, one a line, from `objstore keygen`; read again when it changes",
        ..SETTING
    },
    Setting {
        name: "insecure-cluster",
        env: Some("APP_INSECURE_CLUSTER"),
        default: "0",
        value: "0|1",
        group: CLUSTER,
        meaning: "Without a key, let nodes on other machines in too: whoever can connect may do everything",
        shape: Shape::OptionalValue("1"),
        ..SETTING
    },
    Setting {
        name: "debug-addr",
        env: Some("NET_DEBUG_ADDR"),
        value: "HOST:PORT",
        group: CLUSTER,
        meaning: "Address on loopback where the private API is answered in the clear, to be asked with curl",
        ..SETTING
    },
    Setting {
        name: "debug",
        short: Some('d'),
        env: Some("APP_DEBUG_LEVEL"),
        default: "0",
        value: "0|1",
        meaning: "Debug level; 1 logs a line for each request",
        shape: Shape::OptionalValue("1"),
        ..SETTING
    },
    Setting {
        name: "log-format",
        env: Some("APP_LOG_FORMAT"),
        default: "text",
        value: "text|json",
        meaning: "Format of the log lines on standard error",
        ..SETTING
    },
    Setting {
        name: "shutdown-delay",
        env: Some("APP_SHUTDOWN_DELAY"),
        default: "0s",
        value: "TIME",
        meaning: "On SIGTERM go on serving this long with /readyz at 503, such as 500ms, 5s, 1m",
        ..SETTING
    },
    Setting {
        name: "drain",
        env: Some("APP_DRAIN"),
        value: "0|1",
        group: CLUSTER,
        shape: Shape::OptionalValue("1"),
        default: "0",
        meaning: "On SIGTERM hand what the bucket does not have to the other nodes before the end",
        ..SETTING
    },
    Setting {
        name: "config",
        env: Some("APP_CONFIG"),
        value: "FILE",
        meaning: "TOML file with these settings, named as the flags; flags and environment come first",
        in_file: false,
        ..SETTING
    },
    Setting {
        name: "new-node-id",
        // In the environment or the file it would hold for every start, not for this one.
        meaning: "Take a new node ID, when the state directory is a copy of another node's",
        shape: Shape::Switch,
        in_file: false,
        ..SETTING
    },
    Setting {
        name: "lost-files",
        meaning: "Start without the bodies of a files directory that is lost; what others have comes from there",
        shape: Shape::Switch,
        in_file: false,
        ..SETTING
    },
];

impl Setting {
    /// What the config file may say for it.
    pub(crate) fn shape_in_file(&self) -> config::Shape {
        match self.shape {
            Shape::One | Shape::Switch => config::Shape::One,
            Shape::OptionalValue("1") => config::Shape::Flag,
            Shape::OptionalValue(_) => config::Shape::One,
            Shape::Many => config::Shape::Many,
        }
    }

    /// The row of this setting, which must exist.
    pub(crate) fn named(name: &str) -> &'static Self {
        SETTINGS.iter().find(|setting| setting.name == name).unwrap_or(&SETTING)
    }

    fn arg(&self) -> Arg {
        let mut help = self.meaning.to_owned();
        if !self.default.is_empty() {
            help = format!("{help} [default: {}]", self.default);
        }
        if let Some(env) = self.env {
            help = format!("{help} (${env})");
        }
        let mut arg = Arg::new(self.name).long(self.name).help(help).help_heading(self.group);
        if let Some(short) = self.short {
            arg = arg.short(short);
        }
        if let Some(env) = self.env {
            arg = arg.env(env).hide_env(true);
        }
        if self.shape == Shape::Switch {
            return arg.action(ArgAction::SetTrue);
        }
        // Values stay as they were given; `config` reads those of the file in the same way.
        arg = arg.value_name(self.value).value_parser(ValueParser::os_string());
        match self.shape {
            Shape::OptionalValue(missing) => arg.num_args(0..=1).default_missing_value(missing),
            Shape::Many => arg.action(ArgAction::Append).value_delimiter(','),
            Shape::One | Shape::Switch => arg,
        }
    }
}

/// The command line of a node, without the client's verbs.
fn command() -> Command {
    Command::new("objstore")
        .version(env!("OBJSTORE_VERSION"))
        .override_usage(
            "objstore [OPTIONS]             serve a node\n       \
             objstore <COMMAND> [ARGS]...   talk to a running node",
        )
        .subcommand_help_heading("Commands for a running node")
        .after_help(EXAMPLES)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .args(SETTINGS.iter().map(Setting::arg))
}

const EXAMPLES: &str = "\
Examples:
  objstore -d 1                                        serve, with a line for each request
  objstore --public-addr 0.0.0.0:80 --max-bytes 500G   serve other machines too
  objstore -B photos -R eu-west-1                      serve in front of an S3 bucket
  objstore -N cache-1.example.org -B photos            join a cluster through one of its nodes
  objstore put photo.jpg                               prints the new object's id
  tar c dir | objstore put --name dir.tar              store what a pipe brings
  objstore get 01BRNMMS1DK3CBD4ZZM2TQ8C5B -o copy.jpg
  curl http://127.0.0.1:10999/api/v1/id                everything is plain HTTP, too";

/// The whole command line, verbs included.
pub(crate) fn full_command() -> Command {
    // Behind the verbs, because their own description would take its place.
    commands::add_to(command())
        .about("A near cache for cloud object storage. Without a command, serves a node.")
}

/// Reads the command line. Help and version are printed here.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<ArgMatches, Failure> {
    full_command().try_get_matches_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => Failure::Done,
            Err(io) => Failure::printing(&io),
        },
        _ => Failure::Usage(one_line(&error)),
    })
}

/// What clap has to say, on one line: its first paragraph and its tip.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = paragraphs.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    let tip = paragraphs.find(|p| p.starts_with("tip: ")).map(|p| format!("; {p}"));
    format!("{first}{}; see 'objstore --help'", tip.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &[&str]) -> String {
        let args = std::iter::once("objstore").chain(args.iter().copied()).map(OsString::from);
        match parse(args) {
            Err(Failure::Usage(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault_with_the_command_line() {
        full_command().debug_assert();
    }

    #[test]
    fn usage_errors_are_one_line() {
        for args in [
            &["--nonsense"][..],
            &["--publik-addr", "x"],
            &["rm"],
            &["get"],
            &["get", "x"],
            &["-d", "1", "ls"],
            &["put", "--level", "3", "x"],
            &["extra"],
        ] {
            let line = refusal(args);
            assert!(!line.contains('\n') && !line.starts_with("error"), "{line:?}");
        }
    }

    #[test]
    fn help_is_short_and_names_every_setting() {
        let help = full_command().term_width(100).render_help().to_string();
        for setting in SETTINGS {
            assert!(help.contains(&format!("--{}", setting.name)), "{}", setting.name);
            if let Some(env) = setting.env {
                assert!(help.contains(&format!("${env}")), "{env}");
            }
        }
        assert!(help.lines().count() <= 115, "{help}");
    }

    /// README's rows are `| flag | environment | default | meaning |`, the first three in
    /// backquotes where they are not empty.
    #[test]
    fn readme_has_a_row_for_every_setting() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(readme).unwrap_or_default();
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let rows: Vec<String> = readme.lines().map(squeeze).collect();
        let missing: Vec<String> =
            SETTINGS.iter().map(row).filter(|row| !rows.contains(&squeeze(row))).collect();
        assert!(missing.is_empty(), "README.md lacks these rows:\n{}", missing.join("\n"));
    }

    fn row(setting: &Setting) -> String {
        let code = |text: &str| match text {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        let short = setting.short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let flag = format!("--{} {}", setting.name, setting.value.replace('|', "\\|"));
        format!(
            "| {short}`{}` | {} | {} | {} |",
            flag.trim(),
            code(setting.env.unwrap_or_default()),
            code(setting.default),
            setting.meaning
        )
    }
}
