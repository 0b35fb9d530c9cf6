//! The settings as a page of documentation, from the same table that the program reads.

use std::fmt::Write as _;

use super::setting::{Arity, Exposure, Process, Setting};

const INTRODUCTION: &str = "\
# Configuration

Every setting can be given in a TOML file (`--config FILE` or `CAIRN_CONFIG`), in the environment, and as a flag; a flag
beats the environment, which beats the file. Lists are arrays in the file, separated by commas in the environment, and
repeated flags. An unknown key in the file is refused. All problems are reported together, and the process ends with code
2. What is in force is logged at start, with the origin of each value and without secrets. Flags are visible to other
users of the machine: give secrets by file or environment.

```toml
# cairn.toml
data = [\"/mnt/disk1\", \"/mnt/disk2\", \"/mnt/disk3\"]
listen = \"0.0.0.0:9000\"
region = \"eu-west-1\"
```

Sizes are written `64MiB`, `10GB`; durations `250ms`, `30s`, `15m`, `1h`. This page is made from the program's own table.
";

/// What is no process, and has few words of its own; `--help` has all.
const COMMANDS: &str = "
## cairn rebuild-metadata

Takes the settings of `cairn serve`, in the same three ways, and `--json`, which prints the report as JSON with every
incomplete object (at most 100,000). See [operations](operations.md#all-metadata-are-lost).

## cairn admin, cairn bench

| flag | variable | what |
| --- | --- | --- |
| `--endpoint` | `CAIRN_ENDPOINT` | the gateway, for `admin` its `admin_listen` if it has one; default: http://127.0.0.1:9000 |
| `--ca-file` | `CAIRN_CA_FILE` | for https:// endpoints: PEM file with the CA certificates to verify it with; default: this machine's |
| `--region` | `CAIRN_REGION` | the region to sign for; default: us-east-1 |
| `admin --root-access-key`, `bench --access-key` | `CAIRN_ROOT_ACCESS_KEY` | the access key (`bench`: or `AWS_ACCESS_KEY_ID`) |
| `admin --root-secret-key`, `bench --secret-key` | `CAIRN_ROOT_SECRET_KEY` | the secret key (`bench`: or `AWS_SECRET_ACCESS_KEY`) |

`cairn admin … --json` prints JSON.
";

/// The whole page as Markdown.
pub fn documentation() -> String {
    let mut page = INTRODUCTION.to_owned();
    for process in Process::ALL {
        page.push_str(&section(process));
    }
    page.push_str(COMMANDS);
    page
}

fn section(process: Process) -> String {
    let mut text = format!("\n## cairn {}\n", process.subcommand());
    for setting in Setting::of(process) {
        // Writing to a string cannot fail.
        let written = write!(
            text,
            "\n**`{}`** · `--{}` · `{}`{}{}  \n{} Takes {}. Example: `{}`. {}\n",
            setting.name,
            setting.flag(),
            setting.variable(),
            if setting.arity == Arity::Many {
                " · list"
            } else {
                ""
            },
            if setting.exposure == Exposure::Secret {
                " · secret"
            } else {
                ""
            },
            setting.help,
            setting.rule,
            setting.example,
            if setting.default.is_empty() {
                "Must be set.".to_owned()
            } else {
                format!("Default: {}.", setting.default)
            },
        );
        debug_assert!(written.is_ok());
    }
    text
}
