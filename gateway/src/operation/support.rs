//! The table of operations as documentation: what the README shows and tests compare with Amazon's model.

use super::table::TABLE;
use super::{Addressing, HeaderMatch, QueryMatch, Support};

/// One operation, as the support table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupportRow {
    /// The name in the Amazon S3 API reference.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// What is addressed.
    pub addressing: Addressing,
    /// The query parameters that distinguish it.
    pub query: &'static [QueryMatch],
    /// The headers that distinguish it.
    pub headers: &'static [HeaderMatch],
    /// The action that authorizes it.
    pub action: &'static str,
    /// `None` if implemented, else the feature that is missing.
    pub missing_feature: Option<&'static str>,
}

/// All operations in table order.
pub fn support_table() -> impl Iterator<Item = SupportRow> {
    TABLE.iter().map(|spec| SupportRow {
        name: spec.name,
        method: spec.method.as_str(),
        addressing: spec.addressing,
        query: spec.query,
        headers: spec.headers,
        action: spec.action,
        missing_feature: match spec.support {
            Support::Implemented => None,
            Support::NotImplemented { feature } => Some(feature),
        },
    })
}

/// The support table as Markdown: what works, then what does not, by feature.
pub fn support_markdown() -> String {
    let implemented: Vec<_> = support_table()
        .filter(|row| row.missing_feature.is_none())
        .map(|row| row.name)
        .collect();
    let mut features: Vec<_> = support_table()
        .filter_map(|row| row.missing_feature)
        .collect();
    features.sort_unstable();
    features.dedup();

    let mut text = String::from("| feature | operations | support |\n| --- | --- | --- |\n");
    let mut push_row = |feature: &str, names: &[&str], support: &str| {
        text.extend([
            "| ",
            feature,
            " | ",
            &names.join(", "),
            " | ",
            support,
            " |\n",
        ]);
    };
    push_row("buckets, objects, multipart uploads", &implemented, "yes");
    for feature in features {
        let names: Vec<_> = support_table()
            .filter(|row| row.missing_feature == Some(feature))
            .map(|row| row.name)
            .collect();
        push_row(feature, &names, "501 `NotImplemented`");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 116 is the number of operations in Amazon's model of November 2026 (botocore 1.44.5).
    #[test]
    fn the_table_has_every_operation_once() {
        let mut names: Vec<_> = support_table().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 116);
        assert_eq!(support_table().count(), 116);
    }

    #[test]
    fn what_is_implemented_is_written_down_here_once_more() {
        let implemented: Vec<_> = support_table()
            .filter(|row| row.missing_feature.is_none())
            .map(|row| row.name)
            .collect();
        insta::assert_snapshot!(implemented.join("\n"), @r#"
AbortMultipartUpload
CompleteMultipartUpload
CopyObject
CreateBucket
CreateMultipartUpload
DeleteBucket
DeleteObject
DeleteObjects
GetBucketLocation
GetBucketVersioning
GetObject
GetObjectAttributes
HeadBucket
HeadObject
ListBuckets
ListMultipartUploads
ListObjects
ListObjectsV2
ListParts
PutObject
UploadPart
UploadPartCopy
"#);
    }

    #[test]
    fn the_markdown_names_every_operation() {
        let text = support_markdown();
        for row in support_table() {
            assert!(text.contains(row.name), "{}", row.name);
        }
    }
}
