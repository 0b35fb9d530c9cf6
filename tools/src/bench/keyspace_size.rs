//! How many objects an earlier run left in a bucket.

use crate::s3_client::{ClientError, Connection};

use super::operation::Keyspace;

/// Counts the objects of a keyspace by listing it.
///
/// # Errors
/// Those of the requests, and answers without what a listing must have.
pub(super) async fn count(
    connection: &mut Connection,
    keyspace: &Keyspace,
) -> Result<u64, ClientError> {
    let mut total = 0;
    let mut token: Option<String> = None;
    loop {
        let page = connection
            .call(keyspace.list_page(token.as_deref()))
            .await?;
        let text = String::from_utf8_lossy(&page);
        total += element(&text, "KeyCount")
            .and_then(|count| count.parse::<u64>().ok())
            .ok_or_else(|| ClientError::Wrong("a listing without KeyCount".to_owned()))?;
        token = element(&text, "NextContinuationToken").map(|token| token.replace("&amp;", "&"));
        if token.is_none() {
            return Ok(total);
        }
    }
}

/// The text of the first element of that name. Enough for numbers and tokens of a document of known shape.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_or_absent() {
        let page = "<ListBucketResult><KeyCount>12</KeyCount></ListBucketResult>";
        assert_eq!(
            (
                element(page, "KeyCount"),
                element(page, "NextContinuationToken")
            ),
            (Some("12"), None)
        );
    }
}
