//! The command line. Flags of the server processes come from the table of settings; the rest is declared here
//! and in `admin` and `bench`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::builder::{OsStr, Resettable};
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};

use crate::admin::{self, AdminArgs};
use crate::bench::{self, BenchArgs};
use crate::command::CommandError;
use crate::config::{Arity, Process, SETTINGS, Setting, Sources};
use crate::{processes, rebuild};

/// The command that makes metadata anew.
const REBUILD: &str = "rebuild-metadata";
const JSON: &str = "json";

const ABOUT: &str = "Cairn: an S3-compatible, erasure-coded object store";

/// Parses the arguments of this process and does what they say.
///
/// Wrong usage, `--help` and `--version` end the process here, as clap does it (exit codes 2 and 0).
///
/// # Errors
/// The command's failure.
pub fn run() -> Result<(), CommandError> {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("admin", matches)) => {
            admin::run(AdminArgs::from_arg_matches(matches).map_err(|error| usage(&error))?)
        }
        Some(("bench", matches)) => {
            bench::run(BenchArgs::from_arg_matches(matches).map_err(|error| usage(&error))?)
        }
        Some((REBUILD, matches)) => {
            rebuild::run(&sources(Process::Serve, matches)?, matches.get_flag(JSON))
        }
        Some((name, matches)) => match Process::ALL
            .into_iter()
            .find(|process| process.subcommand() == name)
        {
            Some(process) => processes::run(process, &sources(process, matches)?),
            None => Err(CommandError::usage(format!("unknown command `{name}`"))),
        },
        None => Err(CommandError::usage("no command given")),
    }
}

/// The whole command line.
pub fn command() -> Command {
    let mut command = Command::new("cairn")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true);
    for process in Process::ALL {
        command = command.subcommand(process_command(process));
    }
    let command = command
        .subcommand(rebuild_command())
        .subcommand(AdminArgs::augment_args(Command::new("admin")))
        .subcommand(BenchArgs::augment_args(Command::new("bench")));
    without_variables(command, &|variable| {
        std::env::var_os(variable).is_some_and(|value| value.is_empty())
    })
}

/// The same command, its arguments taking nothing from variables that are empty: that is how shells and compose files
/// spell "not set", and how the settings of servers are read.
fn without_variables(command: Command, is_empty: &dyn Fn(&std::ffi::OsStr) -> bool) -> Command {
    let ignore = |arg: Arg| {
        if arg.get_env().is_some_and(is_empty) {
            arg.env(Resettable::<OsStr>::Reset)
        } else {
            arg
        }
    };
    command
        .mut_args(ignore)
        .mut_subcommands(|subcommand| without_variables(subcommand, is_empty))
}

/// The flag of each setting; clap wants names that live as long as the program.
static FLAGS: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| {
    SETTINGS
        .iter()
        .map(|setting| (setting.name, setting.flag()))
        .collect()
});

fn process_command(process: Process) -> Command {
    let about = match process {
        Process::Serve => {
            "Run everything in one process: S3, metadata and one disk per data directory"
        }
        Process::Gateway => "Run a gateway: S3 in front of storage nodes and a metadata service",
        Process::StorageNode => "Run a storage node: its disks, for gateways",
        Process::Meta => "Run the metadata service that gateways share",
    };
    with_settings(Command::new(process.subcommand()).about(about), process)
}

/// It takes the settings of the server whose metadata it makes, so that it can be run with the very same ones.
fn rebuild_command() -> Command {
    let command = Command::new(REBUILD)
        .about("Make lost metadata anew from the disks; takes the settings of `serve`, which must not be running");
    let json = Arg::new(JSON)
        .long(JSON)
        .action(ArgAction::SetTrue)
        .help("Print the report as JSON, with the incomplete objects (at most 100,000 of them)");
    with_settings(command, Process::Serve).arg(json)
}

fn with_settings(command: Command, process: Process) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("CAIRN_CONFIG")
        .help("TOML file with settings; environment and flags take precedence");
    command.arg(config).args(Setting::of(process).map(arg))
}

fn arg(setting: &'static Setting) -> Arg {
    let action = match setting.arity {
        Arity::One => ArgAction::Set,
        Arity::Many => ArgAction::Append,
    };
    let default = if setting.default.is_empty() {
        String::new()
    } else {
        format!(" [default: {}]", setting.default)
    };
    Arg::new(setting.name)
        .long(FLAGS.get(setting.name).map_or(setting.name, String::as_str))
        .value_name("VALUE")
        .action(action)
        .help(format!(
            "{}{default} [env: {}]",
            setting.help,
            setting.variable()
        ))
}

/// File, environment and flags as they are.
fn sources(process: Process, matches: &ArgMatches) -> Result<Sources, CommandError> {
    let flags = Setting::of(process).filter_map(|setting| {
        let values = matches.get_many::<String>(setting.name)?;
        Some((setting.name.to_owned(), values.cloned().collect()))
    });
    let file = matches
        .get_one::<String>("config")
        .map(|path| read(Path::new(path)))
        .transpose()?;
    Ok(Sources {
        file,
        environment: environment(std::env::vars_os())?,
        flags: flags.collect(),
    })
}

/// The variables that are text; one of ours that is not is refused, since passed over it would count as not set.
fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, CommandError> {
    let mut texts = BTreeMap::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                texts.insert(name, value);
            }
            Err(_) if name.starts_with("CAIRN_") => {
                let refusal = format!("the variable {name} is not valid UTF-8: set it anew");
                return Err(CommandError::usage(refusal));
            }
            Err(_) => {}
        }
    }
    Ok(texts)
}

fn read(path: &Path) -> Result<(PathBuf, String), CommandError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_owned(), text)),
        Err(error) => Err(CommandError::usage(format!(
            "the configuration file {} cannot be read: {error}",
            path.display()
        ))),
    }
}

fn usage(error: &clap::Error) -> CommandError {
    CommandError::usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn arguments_of_all_commands_forget_empty_variables_alone() {
        let arg = |name: &'static str| Arg::new(name).long(name).env(name);
        let command = Command::new("outer")
            .arg(arg("A"))
            .subcommand(Command::new("inner").arg(arg("B")).arg(arg("C")));
        let command = without_variables(command, &|name| name != "C");
        let inner = command.find_subcommand("inner").unwrap();
        let variables: Vec<_> = command
            .get_arguments()
            .chain(inner.get_arguments())
            .filter_map(Arg::get_env)
            .collect();
        assert_eq!(variables, ["C"]);
    }

    #[test]
    fn a_variable_of_ours_that_is_no_text_is_refused_and_others_do_not_matter() {
        let broken = || OsString::from_vec(vec![b'/', 0xff]);
        let variables = |name: &str| {
            let set = [
                ("CAIRN_REGION".into(), "eu".into()),
                (name.into(), broken()),
            ];
            environment(set.into_iter().chain([(broken(), "any".into())]))
        };
        let others = variables("PATH").unwrap();
        assert_eq!(
            others.into_iter().collect::<Vec<_>>(),
            [("CAIRN_REGION".to_owned(), "eu".to_owned())]
        );
        let refusal = variables("CAIRN_META").unwrap_err();
        assert_eq!(refusal.exit_code(), 2);
        assert!(refusal.to_string().contains("CAIRN_META"), "{refusal}");
    }

    #[test]
    fn flags_become_sources() {
        let matches = command()
            .try_get_matches_from([
                "cairn", "serve", "--data", "/a", "--data", "/b", "--region", "eu",
            ])
            .unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        let sources = sources(Process::Serve, matches).unwrap();
        assert_eq!(sources.flags["data"], ["/a", "/b"]);
        assert_eq!(sources.flags["region"], ["eu"]);
        assert!(!sources.flags.contains_key("listen"));
    }
}
