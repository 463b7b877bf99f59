#![allow(unsafe_code)] // exports, and texts of the caller's

use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use objstore_client::ClientBuilder;
use objstore_core::config::{
    NamedSettings, SettingError, Shape, address, duration, parse_file, yes_or_no,
};
use objstore_core::{Error, ErrorKind};

use crate::boundary::{call, free, made, text};
use crate::engine::Engine;
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::status::objstore_status;
use crate::types::{objstore_config, objstore_error};

/// What a store is opened with.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) node: NamedSettings,
    pub(crate) in_memory: bool,
    pub(crate) new_node_id: bool,
    pub(crate) lost_files: bool,
    pub(crate) public_addr: Option<String>,
    pub(crate) threads: Option<usize>,
    pub(crate) thread_name: Option<String>,
    pub(crate) connection: Connection,
    /// The first setting that only a node in this process can make something of.
    of_a_node: Option<String>,
    /// The first that only a connection can.
    of_a_connection: Option<String>,
}

/// How to talk to nodes elsewhere; what is not given is as the client has it.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    timeout: Option<Duration>,
    stall_timeout: Option<Duration>,
    answer_timeout: Option<Duration>,
    tries: Option<u32>,
    token: Option<String>,
    ca_file: Option<String>,
}

impl Connection {
    /// Blocks on the file of certificates, where one is named.
    pub(crate) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(stall) = self.stall_timeout {
            builder = builder.stall_timeout(stall);
        }
        if let Some(answer) = self.answer_timeout {
            builder = builder.answer_timeout(answer);
        }
        if let Some(tries) = self.tries {
            builder = builder.tries(tries);
        }
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        if let Some(path) = &self.ca_file {
            let pem = std::fs::read(path)
                .map_err(|e| refused(format!("cannot read the certificates {path}: {e}")))?;
            builder = builder.root_certificates(pem);
        }
        Ok(builder)
    }
}

/// What only concerns the program, which a file shared with it may have.
const OF_THE_PROGRAM: [(&str, Shape); 4] = [
    ("debug", Shape::Flag),
    ("log-format", Shape::One),
    ("shutdown-delay", Shape::One),
    ("drain", Shape::Flag),
];
/// What concerns this library.
const OURS: [(&str, Shape); 6] = [
    ("public-addr", Shape::One),
    ("in-memory", Shape::Flag),
    ("new-node-id", Shape::Flag),
    ("lost-files", Shape::Flag),
    ("threads", Shape::One),
    ("thread-name", Shape::One),
];
/// What concerns a connection to nodes elsewhere.
const OF_A_CONNECTION: [(&str, Shape); 6] = [
    ("timeout", Shape::One),
    ("stall-timeout", Shape::One),
    ("answer-timeout", Shape::One),
    ("tries", Shape::One),
    ("token", Shape::One),
    ("ca-file", Shape::One),
];
/// What concerns every kind of store.
const OF_BOTH: [&str; 2] = ["threads", "thread-name"];
/// More threads, and more tries, than that are a mistake.
const THREADS_MAX: usize = 1024;
const TRIES_MAX: u32 = 100;

fn shape(name: &str) -> Result<Shape, String> {
    let known = || NamedSettings::names().chain(OURS).chain(OF_A_CONNECTION);
    if let Some((_, shape)) = known().chain(OF_THE_PROGRAM).find(|(known, _)| *known == name) {
        return Ok(shape);
    }
    let names: Vec<&str> = known().map(|(name, _)| name).collect();
    Err(format!("unknown setting {name:?}; the known ones are {}", names.join(", ")))
}

impl Settings {
    fn set(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        let one = || values.first().map_or("", String::as_str);
        let time = || duration(one().as_ref()).map(Some).map_err(|why| format!("{name}: {why}"));
        let flag = || yes_or_no(one().as_ref()).map_err(|why| format!("{name}: {why}"));
        shape(name)?;
        match name {
            "in-memory" => self.in_memory = flag()?,
            "new-node-id" => self.new_node_id = flag()?,
            "lost-files" => self.lost_files = flag()?,
            "public-addr" => {
                let address = address(one().as_ref()).map_err(|why| format!("{name}: {why}"))?;
                self.public_addr = Some(address);
            }
            "threads" => {
                let threads = one().parse().ok().filter(|n| (1..=THREADS_MAX).contains(n));
                self.threads = Some(threads.ok_or_else(|| {
                    format!("{name}: {:?} is not a number from 1 to {THREADS_MAX}", one())
                })?);
            }
            "thread-name" => {
                if one().is_empty() || one().len() > 15 {
                    return Err(format!("{name}: {:?} does not have 1 to 15 bytes", one()));
                }
                self.thread_name = Some(one().to_owned());
            }
            "timeout" => self.connection.timeout = time()?,
            "stall-timeout" => self.connection.stall_timeout = time()?,
            "answer-timeout" => self.connection.answer_timeout = time()?,
            "token" => self.connection.token = Some(one().to_owned()),
            "ca-file" => self.connection.ca_file = Some(one().to_owned()),
            "tries" => {
                let tries = one().parse().ok().filter(|n| (1..=TRIES_MAX).contains(n));
                self.connection.tries = Some(tries.ok_or_else(|| {
                    format!("{name}: {:?} is not a number from 1 to {TRIES_MAX}", one())
                })?);
            }
            _ => {
                let values = values.iter().map(Into::into).collect();
                self.node.set(name, values).map_err(|e: SettingError| e.to_string())?;
            }
        }
        if OF_A_CONNECTION.iter().any(|(known, _)| *known == name) {
            self.of_a_connection.get_or_insert_with(|| name.to_owned());
        } else if !OF_BOTH.contains(&name) {
            self.of_a_node.get_or_insert_with(|| name.to_owned());
        }
        Ok(())
    }

    /// Refuses what a node in this process can make nothing of.
    pub(crate) fn no_connection(&self) -> Result<(), Failure> {
        self.of_a_connection.as_ref().map_or(Ok(()), |name| {
            Err(refused(format!("{name} is a setting of objstore_connect(), not of a node")))
        })
    }

    /// Refuses what only a node in this process can make something of.
    pub(crate) fn only_a_connection(&self) -> Result<(), Failure> {
        self.of_a_node.as_ref().map_or(Ok(()), |name| {
            Err(refused(format!("{name} is a setting of a node, not of objstore_connect()")))
        })
    }

    /// The threads that these ask for.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, Failure> {
        let name = self.thread_name.as_deref().unwrap_or("objstore");
        Engine::start(self.threads, name).map(Arc::new)
    }
}

/// Settings that a caller is still collecting.
#[derive(Default)]
pub(crate) struct Config(Mutex<Settings>);

impl Config {
    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle for Config {
    type Opaque = objstore_config;
}

pub(crate) fn refused(why: String) -> Failure {
    Error::new(ErrorKind::Configuration, why).into()
}

/// Settings, all at their defaults.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_config_new() -> *mut objstore_config {
    made(|| Ok(Config::default()))
}

/// Sets one setting, instead of what it was. The names are also the keys of the config file of the
/// program objstore. Sizes are bytes, or "10G" (K, M, G, T are powers of 1024, KB and so on of 1000);
/// times "500ms", "5s", "1m"; yes and no "1" and "0"; of those that take many, values are separated by
/// commas. Whether a value fits the others, and whether a directory can be used, is told by
/// objstore_open_node().
///
/// Where the node keeps what it has:
/// - state-dir: directory of the journal and the node's identity; "state" of the current directory
/// - files-dir: directory of the bodies; "files" of the current directory, wherever state-dir is
/// - in-memory: "1" keeps everything in memory: the directories are not touched
/// - max-bytes: most bytes of disk to use, at least 128M, of which the journal keeps up to 64M for
///   itself; by default, or with 0, the disk is the limit
/// - memory-bytes: most bytes of memory for hot bodies, 0 for none; an eighth of memory, 256M at most
/// - new-node-id: "1" takes a new node id, for directories that were copied from another node's
/// - lost-files: "1" starts with an empty files-dir in place of one that is lost; what other nodes or
///   the bucket have comes from there
///
/// Directories that are not there are made, with all above them, for the owner alone.
///
/// The bucket behind it, and how levels 1 and 2 and keys go there:
/// - bucket: name of the S3 bucket; without it a directory of this machine stands in for one
/// - remote-dir: that directory; "remote" in state-dir
/// - region: of the bucket; that of the AWS SDK's own settings, with s3-endpoint us-east-1
/// - s3-endpoint: a server that is not AWS, "http://host:port"
/// - s3-path-style: "1" has the bucket in the path, as most servers that are not AWS want it
/// - s3-prefix: what stands before every key; a directory needs its "/"
/// - s3-checksums: "when-required" (the default) or "when-supported"
/// - s3-conditions: which changes the server makes on condition: "none", "writes" (the default with
///   s3-endpoint), "all" (without)
/// - fetch: when to look there for an id that is unknown here: "never", "on-request" (the default,
///   objstore_get_options_set_fetch()), "always"
/// - fetch-prefix: keys that may be asked for through a listener beyond loopback; many
/// - write: when levels 1 and 2 are acknowledged: "through", once the bucket has them (the default),
///   "back", once this disk has
/// - key-ttl: how long what is here of a key is served without asking the bucket; "10s"
///
/// Credentials are found as the AWS SDK finds them: environment, files in ~/.aws, role.
///
/// The cluster, of which a node has a part that has a private-addr:
/// - private-addr: where to listen for the other nodes, "host:port"; port 0 takes a free one
/// - nodes: nodes to find the cluster through, "host" or "host:port", port 11999 unless given; many
/// - tag: name of the cluster; nodes of another are refused; "default"
/// - advertise-addr: where the others reach this node, when that is not where it listens
/// - cluster-key-file: keys that the nodes share, one a line, of "objstore keygen"
/// - insecure-cluster: "1" lets nodes on other machines in without a key
/// - debug-addr: address on loopback where the private API is answered in the clear
///
/// Its public HTTP API, once objstore_serve() is called:
/// - public-addr: where it listens, "host:port"; port 0 takes a free one; "127.0.0.1:10999"
/// - allow-host: further names (Host, Origin) that a listener on loopback answers to; many
/// - token-file: tokens that requests need, a line each: NAME SCOPES TOKEN
/// - tls-cert, tls-key: certificate and private key, PEM files
///
/// Every kind of store:
/// - threads: how many threads work for it, 1 to 1024; one for each core
/// - thread-name: what they are called, up to 15 bytes; "objstore"
///
/// objstore_connect() takes these two and what it says itself, and none of the others.
///
/// OBJSTORE_CONFIGURATION when there is no such setting or it does not take this.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_config_set(
    config: *mut objstore_config,
    name: *const c_char,
    value: *const c_char,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let config = handles::get::<Config>(config)?;
        // SAFETY: the header asks for texts.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        let values: Vec<String> = match shape(name).map_err(refused)? {
            Shape::Many => value.split(',').map(ToOwned::to_owned).collect(),
            Shape::One | Shape::Flag => vec![value.to_owned()],
        };
        if OF_THE_PROGRAM.iter().any(|(known, _)| *known == name) {
            return Err(refused(format!(
                "{name} is a setting of the program objstore, not of this"
            )));
        }
        config.settings().set(name, &values).map_err(refused)
    })
}

/// Takes over what a config file (TOML) says, the same that the program objstore reads. What only
/// concerns that program (debug, log-format, shutdown-delay, drain) has no effect.
///
/// OBJSTORE_CONFIGURATION when it cannot be read or says something that cannot be; nothing is taken
/// over then. Blocks on the disk.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_config_load(
    config: *mut objstore_config,
    path: *const c_char,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let config = handles::get::<Config>(config)?;
        // SAFETY: the header asks for a text.
        let path = unsafe { text(path, "path") }?;
        let content = std::fs::read_to_string(path)
            .map_err(|e| refused(format!("cannot read the config file {path}: {e}")))?;
        let place = |why: String| refused(format!("{path}: {why}"));
        let mut settings = config.settings().clone();
        for (name, values) in parse_file(&content, shape).map_err(place)? {
            let values: Vec<String> =
                values.iter().map(|value| value.to_string_lossy().into_owned()).collect();
            if !OF_THE_PROGRAM.iter().any(|(known, _)| *known == name) {
                settings.set(&name, &values).map_err(place)?;
            }
        }
        *config.settings() = settings;
        Ok(())
    })
}

/// Frees settings; null is fine. Stores that were opened with them are none the wiser.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_config_free(config: *mut objstore_config) -> objstore_status {
    free::<Config>(config)
}
