//! [`Settings`]: the checked values of all options, from the default, the file, the environment and the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use eio_monoio::{Config, ConfigError, Cookie, PerMessageDeflate, Tls};
use tracing::Level;

use crate::listen::Listen;
use crate::log::Format;
use crate::options;

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Echo,
    Broadcast,
}

/// The values of all options.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Listen,
    pub(crate) admin: Option<Listen>,
    pub(crate) mode: Mode,
    pub(crate) log_level: Level,
    pub(crate) log_format: Format,
    pub(crate) access_log: bool,
    pub(crate) tls: TlsFiles,
    pub(crate) config: Config,
    /// The path of Engine.IO, which `config` has too.
    pub(crate) path: String,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) per_message_deflate: Option<PerMessageDeflate>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            admin: None,
            mode: Mode::Echo,
            log_level: Level::INFO,
            log_format: Format::Text,
            access_log: false,
            tls: TlsFiles::default(),
            // A separate process handles signals, and drains its sessions if a balancer is in front of it.
            config: Config::new().handle_signals(true).drain_on_signal(true),
            path: "/engine.io/".into(),
            cookie: None,
            per_message_deflate: None,
        }
    }
}

impl Settings {
    /// Whether the two addresses cannot both be listened on.
    fn admin_is_listen(&self) -> bool {
        match &self.admin {
            // The service manager divides its sockets by name.
            None | Some(Listen::Inherited) => false,
            Some(admin) => *admin == self.listen && !admin.has_free_port(),
        }
    }
}

/// The options of TLS, of which some need others.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_authorities: Option<PathBuf>,
    pub(crate) allow_anonymous: Option<bool>,
    pub(crate) handshake_timeout: Option<Duration>,
}

impl TlsFiles {
    /// `None` without TLS.
    ///
    /// # Errors
    /// The option that needs another one.
    fn tls(&self) -> Result<Option<Tls>, (&'static str, &'static str)> {
        let needs_certificate = [
            ("tls.key", self.key.is_some()),
            ("tls.client_authorities", self.client_authorities.is_some()),
            ("tls.handshake_timeout", self.handshake_timeout.is_some()),
        ];
        if self.allow_anonymous.is_some() && self.client_authorities.is_none() {
            return Err(("tls.allow_anonymous_clients", "needs tls_client_ca"));
        }
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => return Err(("tls.certificate", "needs tls_key")),
            (None, _) => {
                let given = needs_certificate.into_iter().find(|(_, given)| *given);
                return given.map_or(Ok(None), |(option, _)| Err((option, "needs tls_cert")));
            }
        };
        let mut tls = Tls::new(certificate, key);
        if let Some(file) = &self.client_authorities {
            tls = tls.client_authorities(file);
        }
        if let Some(allow) = self.allow_anonymous {
            tls = tls.allow_anonymous_clients(allow);
        }
        if let Some(timeout) = self.handshake_timeout {
            tls = tls.handshake_timeout(timeout);
        }
        Ok(Some(tls))
    }
}

/// Where the value of an option is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(String),
    Variable(String),
    Line { file: PathBuf, line: usize },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::Line { file, line } => write!(f, "{}:{line}", file.display()),
        }
    }
}

/// The values that were given, by the names of their options.
#[derive(Debug, Default)]
pub(crate) struct Given(BTreeMap<&'static str, (String, Origin)>);

impl Given {
    /// Adds a value, which replaces one of an earlier source.
    pub(crate) fn add(&mut self, name: &'static str, text: String, origin: Origin) {
        self.0.insert(name, (text, origin));
    }

    /// Adds all values of a source with a higher rank.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Checks all values, and the TLS files. `errors` are those of values that could not be read.
    ///
    /// # Errors
    /// A line for each option that is wrong, after `errors`.
    pub(crate) fn check(
        &self,
        mut errors: Vec<String>,
    ) -> Result<(Settings, Option<Tls>), Vec<String>> {
        let mut wrong = BTreeSet::new();
        // Each round leaves out one more option that is wrong, so that all of them are reported.
        loop {
            let (settings, tls) = match self.build(&wrong) {
                Ok(built) => built,
                Err((name, problem)) => {
                    errors.push(self.line(name, &problem));
                    wrong.insert(name);
                    continue;
                }
            };
            if settings.admin_is_listen() {
                errors.push(self.line("admin", "is the address of listen"));
                wrong.insert("admin");
                continue;
            }
            let checked = settings.config.check();
            let checked = checked.and_then(|()| tls.as_ref().map_or(Ok(()), Tls::check));
            let Err(error) = checked else {
                return if errors.is_empty() { Ok((settings, tls)) } else { Err(errors) };
            };
            let parts = self.parts_of(&error, &wrong);
            if parts.is_empty() {
                errors.push(error.to_string());
                return Err(errors);
            }
            let problem = error.to_string();
            let problem = problem.split_once(": ").map_or(&*problem, |(_, problem)| problem);
            errors.extend(parts.iter().map(|name| self.line(name, problem)));
            wrong.extend(parts);
        }
    }

    /// Applies the values, except those of options in `without`, in the order of the options.
    fn build(
        &self,
        without: &BTreeSet<&'static str>,
    ) -> Result<(Settings, Option<Tls>), (&'static str, String)> {
        let mut settings = Settings::default();
        // An option that needs another one which is wrong is not reported.
        let is_part_of_wrong =
            |part_of: &str| without.iter().any(|name| *name == part_of || group(part_of, name));
        for option in options::all() {
            let Some((text, _)) = self.0.get(option.name) else { continue };
            if !without.contains(option.name) && !is_part_of_wrong(option.part_of) {
                option.apply(&mut settings, text).map_err(|problem| (option.name, problem))?;
            }
        }
        let tls = settings.tls.tls().map_err(|(part_of, problem)| {
            let option = options::all().find(|option| option.part_of == part_of);
            (option.map_or("tls_cert", |option| option.name), problem.to_owned())
        })?;
        let config = std::mem::take(&mut settings.config);
        let config = match &settings.cookie {
            Some(cookie) => config.cookie(cookie.clone()),
            None => config,
        };
        settings.config = match &settings.per_message_deflate {
            Some(deflate) => config.per_message_deflate(deflate.clone()),
            None => config,
        };
        Ok((settings, tls))
    }

    /// The given options that the library's option of an error consists of.
    fn parts_of(&self, error: &ConfigError, wrong: &BTreeSet<&str>) -> Vec<&'static str> {
        let given = options::all().filter(|option| self.0.contains_key(option.name));
        given
            .filter(|option| option.part_of == error.option() && !wrong.contains(option.name))
            .map(|option| option.name)
            .collect()
    }

    /// The line about a wrong value: its source, the option, the value, the problem and the range.
    fn line(&self, name: &str, problem: &str) -> String {
        let (text, origin) = match self.0.get(name) {
            Some((text, origin)) => (text.as_str(), origin.to_string()),
            None => ("", String::new()),
        };
        let range = options::find(name).map_or("", |option| option.range);
        if problem.contains(" is outside ") {
            return format!("{origin}: {name} = {text:?}: {problem}");
        }
        format!("{origin}: {name} = {text:?}: {problem} (range: {range})")
    }
}

/// Whether an option named `name` is of the files of TLS, as `part_of` is: they are wrong together.
fn group(part_of: &str, name: &str) -> bool {
    part_of.starts_with("tls.") && name.starts_with("tls_")
}
