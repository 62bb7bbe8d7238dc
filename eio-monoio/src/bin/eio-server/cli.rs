//! The command line and the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::file;
use crate::options::{self, Opt, Set};
use crate::settings::{Given, Origin};

/// The variable that names the file, as `--config` does.
const CONFIG: &str = "EIO_CONFIG";

/// The command line, the environment and the file together.
pub(crate) struct Sources {
    pub(crate) given: Given,
    /// A line for each value that cannot be read.
    pub(crate) errors: Vec<String>,
    /// Whether the program only checks its options.
    pub(crate) check: bool,
    /// Whether the program only prints a file with all defaults.
    pub(crate) example_config: bool,
    /// Variables named `EIO_...` that no option has.
    pub(crate) unknown: Vec<String>,
}

/// Reads all sources. A flag has the highest rank, then a variable, then the file.
///
/// # Errors
/// The command line is wrong, or is `--help` or `--version`.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Sources, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let (mut errors, mut unknown) = (Vec::new(), Vec::new());
    let mut variables = Given::default();
    let mut config = matches.get_one::<PathBuf>("config").cloned();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("EIO_")) else { continue };
        let option = options::all().find(|option| option.variable() == name);
        match (option, value.to_str()) {
            (Some(option), Some(text)) => {
                variables.add(option.name, text.into(), Origin::Variable(name.into()));
            }
            (Some(_), None) => errors.push(format!("{name}: the value is not UTF-8")),
            (None, _) if name == CONFIG => config = config.or(Some(value.into())),
            (None, _) => unknown.push(name.to_owned()),
        }
    }
    let mut given = Given::default();
    if let Some(config) = config {
        let (file, wrong) = file::read(&config);
        given = file;
        errors.extend(wrong);
    }
    given.extend(variables);
    given.extend(flags(&matches));
    let [check, example_config] = ["check", "example_config"].map(|name| matches.get_flag(name));
    Ok(Sources { given, errors, check, example_config, unknown })
}

fn flags(matches: &ArgMatches) -> Given {
    let mut given = Given::default();
    for option in options::all() {
        if let Some(values) = matches.get_many::<String>(option.name) {
            let values: Vec<_> = values.map(String::as_str).collect();
            given.add(option.name, values.join(","), Origin::Flag(option.flag()));
        }
    }
    given
}

pub(crate) fn command() -> Command {
    let config = Arg::new("config").long("config").value_name("FILE");
    let config = config.value_parser(clap::value_parser!(PathBuf));
    let check = Arg::new("check").long("check").action(ArgAction::SetTrue);
    let example = Arg::new("example_config").long("example-config").action(ArgAction::SetTrue);
    let mut command = Command::new("eio-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An Engine.IO server that echoes or broadcasts every message")
        .after_help(
            "Each option is also a variable (--ping-interval is EIO_PING_INTERVAL) and a key of the file\n\
             (ping_interval = \"25s\"). A flag counts before a variable, and a variable before the file.\n\
             TIME is a number with ms, s, m, h or d; BYTES may have KiB, MiB, GiB, kB, MB, GB; LIST has commas.\n\n\
             Standard output gets one line for each address, `listening on URL ...`, when the server is ready;\n\
             the log is on standard error. SIGTERM and SIGINT drain, SIGHUP reads the TLS files again.\n\n\
             Exit status: 0 after a shutdown, 1 after a failure, 2 if an option is wrong.",
        )
        .next_line_help(true)
        .arg(config.help("A file with options in TOML [env: EIO_CONFIG]"))
        .arg(check.help("Check the options and the TLS files, and end"))
        .arg(example.help("Print a file with the default of every option, and end"));
    for group in options::GROUPS {
        command = command.next_help_heading(group.heading);
        for option in group.options {
            command = command.arg(argument(option));
        }
    }
    command
}

fn argument(option: &'static Opt) -> Arg {
    let Opt { default, range, help, .. } = option;
    let help = format!("{help}.\n[default: {default}] [range: {range}]");
    let argument = Arg::new(option.name).long(option.flag()).value_name(option.placeholder());
    let argument = argument.help(help);
    match option.set {
        Set::List(_) => argument.action(ArgAction::Append),
        // `--share-port` alone is `--share-port=true`.
        Set::Switch(_) => {
            argument.num_args(0..=1).require_equals(true).default_missing_value("true")
        }
        _ => argument.action(ArgAction::Set),
    }
}

#[cfg(test)]
mod tests;
