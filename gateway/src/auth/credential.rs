//! The credential of a signature: `access-key/20130524/us-east-1/s3/aws4_request`.

/// A parsed credential, borrowing from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credential<'a> {
    /// The whole text.
    pub(super) text: &'a str,
    /// The access key.
    pub(super) access_key: &'a str,
    /// The day, eight digits.
    pub(super) date: &'a str,
    /// The region.
    pub(super) region: &'a str,
    /// The service.
    pub(super) service: &'a str,
    /// Everything after the access key: what goes into the string to sign.
    pub(super) scope: &'a str,
}

/// Longer credentials are refused unread: no key of ours is longer than 128 characters.
const CREDENTIAL_SIZE_MAX: usize = 512;

impl<'a> Credential<'a> {
    /// Parses a credential; `None` if it is not five non-empty parts that end in `aws4_request`.
    pub(super) fn parse(text: &'a str) -> Option<Credential<'a>> {
        if text.len() > CREDENTIAL_SIZE_MAX {
            return None;
        }
        let (access_key, scope) = text.split_once('/')?;
        let mut parts = scope.split('/');
        let (date, region, service) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next() == Some("aws4_request") && parts.next().is_none();
        let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        let has_all = !access_key.is_empty() && !region.is_empty() && !service.is_empty();
        (is_whole && is_date && has_all).then_some(Credential {
            text,
            access_key,
            date,
            region,
            service,
            scope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_five_parts() {
        let credential = Credential::parse("AKIA/20130524/us-east-1/s3/aws4_request").unwrap();
        assert_eq!(credential.access_key, "AKIA");
        assert_eq!(credential.date, "20130524");
        assert_eq!(credential.region, "us-east-1");
        assert_eq!(credential.service, "s3");
        assert_eq!(credential.scope, "20130524/us-east-1/s3/aws4_request");
        for bad in [
            "",
            "AKIA",
            "AKIA/20130524/us-east-1/s3",
            "AKIA/20130524/us-east-1/s3/aws4_request/x",
            "AKIA/2013-05-24/us-east-1/s3/aws4_request",
            "/20130524/us-east-1/s3/aws4_request",
            "AKIA/20130524//s3/aws4_request",
            "AKIA/20130524/us-east-1/s3/aws3_request",
        ] {
            assert_eq!(Credential::parse(bad), None, "{bad}");
        }
    }
}
