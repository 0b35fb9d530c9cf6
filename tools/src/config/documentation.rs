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

/// The whole page as Markdown.
pub fn documentation() -> String {
    let mut page = INTRODUCTION.to_owned();
    for process in Process::ALL {
        page.push_str(&section(process));
    }
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
