//! The result, as a table or as JSON for programs.

use cairn_gateway::recovery::{IncompleteObject, RecoveryReport};
use comfy_table::{Table, presets};
use indicatif::HumanBytes;

use super::Rebuilt;
use crate::command::CommandError;
use crate::standard_output;

/// Incomplete objects that the text shows; JSON has all.
const INCOMPLETE_SHOWN_MAX: usize = 20;

const WHAT_NOW: &str = "\
Users and their access keys are not on the disks: root is there with the credentials kept on the disks, create the others
again (cairn admin user create). They get new canonical ids; what they owned keeps the old ones, and root can reach it.
Empty buckets, uploads in progress and what was changed in the metadata alone are gone. Objects that were deleted
shortly before the loss may be back. See \"All metadata are lost\" in docs/operations.md.
Now start cairn serve: it makes the copies of the metadata again and repairs what lacks shards.";

pub(super) fn print(json: bool, rebuilt: &Rebuilt) -> Result<(), CommandError> {
    if json {
        let json = serde_json::to_string_pretty(rebuilt)
            .map_err(|error| CommandError::failed(error.to_string()))?;
        standard_output::print(&json)
    } else {
        standard_output::print(&text(rebuilt))
    }
}

fn text(rebuilt: &Rebuilt) -> String {
    let report = &rebuilt.report;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let rows = [
        ("buckets", report.buckets.len().to_string()),
        ("objects", report.object_count.to_string()),
        ("bytes", HumanBytes(report.object_bytes).to_string()),
        (
            "earlier versions left out",
            report.superseded_count.to_string(),
        ),
        (
            "unfinished uploads left out",
            report.unfinished_upload_count.to_string(),
        ),
        (
            "chunks to repair",
            report.chunks_to_repair_count.to_string(),
        ),
        (
            "unreadable shards",
            report.unreadable_shard_count.to_string(),
        ),
        ("incomplete objects", report.incomplete_count.to_string()),
    ];
    for (what, value) in rows {
        table.add_row([what.to_owned(), value]);
    }
    format!(
        "Rebuilt the metadata in {}\n{table}\n{}\n{WHAT_NOW}",
        rebuilt.metadata.display(),
        incomplete(report)
    )
}

fn incomplete(report: &RecoveryReport) -> String {
    let shown = report.incomplete.iter().take(INCOMPLETE_SHOWN_MAX);
    let mut lines: Vec<String> = shown.map(line).collect();
    if report.incomplete.len() > INCOMPLETE_SHOWN_MAX {
        lines.push("and more, see --json\n".to_owned());
    }
    lines.concat()
}

fn line(object: &IncompleteObject) -> String {
    let earlier = if object.is_earlier_version_there {
        "; an earlier version is there"
    } else {
        ""
    };
    format!(
        "incomplete: {}/{}: {}{earlier}\n",
        object.bucket,
        object.key.escape_debug(),
        object.reason
    )
}
