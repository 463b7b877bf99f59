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
const OURS: [(&str, Shape); 5] = [
    ("public-addr", Shape::One),
    ("in-memory", Shape::Flag),
    ("new-node-id", Shape::Flag),
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

fn refused(why: String) -> Failure {
    Error::new(ErrorKind::Configuration, why).into()
}

/// Settings, all at their defaults.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_config_new() -> *mut objstore_config {
    made(|| Ok(Config::default()))
}

/// Sets one setting, instead of what it was. The names are the keys of the config file of the program
/// objstore (see README): state-dir, files-dir, max-bytes, memory-bytes, bucket, nodes, tag,
/// private-addr and so on; their values are written as there, "10G", "5s". Of those that take many,
/// values are separated by commas. Besides these:
///
/// - in-memory: "1" keeps everything in memory; no file and no socket is opened
/// - public-addr: where objstore_serve() listens, "host:port"; port 0 takes a free one
/// - threads: how many threads work for the store, 1 to 1024; by default one for each core
/// - thread-name: what they are called, up to 15 bytes; by default "objstore"
/// - new-node-id: "1" takes a new node id, for directories that were copied from another node's
///
/// objstore_connect() takes threads, thread-name and what it says itself, and none of the others.
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
