//! The trailer of an `aws-chunked` body: `name:value` lines after the last chunk, signed or not.

use crate::auth::ChunkSigner;
use crate::s3_error::{ErrorCode, S3Error};

/// The signature's own line.
const SIGNATURE: &str = "x-amz-trailer-signature";

/// A trailer while its lines arrive.
#[derive(Debug, Default)]
pub(super) struct Trailer {
    fields: Vec<(String, String)>,
    signature: Option<String>,
}

impl Trailer {
    /// Takes one line without its end.
    pub(super) fn push_line(&mut self, line: &[u8]) -> Result<(), S3Error> {
        let line = std::str::from_utf8(line).map_err(|_| malformed())?;
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if self.signature.is_some() || name.is_empty() {
            return Err(malformed());
        }
        if name == SIGNATURE {
            self.signature = Some(value);
        } else if self.fields.iter().any(|(known, _)| *known == name) {
            return Err(malformed());
        } else {
            self.fields.push((name, value));
        }
        Ok(())
    }

    /// Whether an empty line ends the trailer: a signed one goes on until its signature. (Amazon's own
    /// example has an empty line before it.)
    pub(super) fn ends_at_empty_line(&self, is_signed: bool) -> bool {
        !is_signed || self.signature.is_some()
    }

    /// The fields, their signature verified if the body is signed.
    pub(super) fn finish(
        self,
        signer: Option<&mut ChunkSigner>,
    ) -> Result<Vec<(String, String)>, S3Error> {
        match (signer, &self.signature) {
            (None, None) => {}
            (Some(signer), Some(signature)) => {
                let mut sorted: Vec<_> = self.fields.iter().collect();
                sorted.sort_unstable();
                let canonical: String = sorted
                    .iter()
                    .flat_map(|(name, value)| [name.as_str(), ":", value.as_str(), "\n"])
                    .collect();
                signer.verify_trailer(canonical.as_bytes(), signature)?;
            }
            (Some(_), None) | (None, Some(_)) => return Err(malformed()),
        }
        Ok(self.fields)
    }
}

/// 400 `MalformedTrailerError`.
pub(super) fn malformed() -> S3Error {
    ErrorCode::MalformedTrailerError.into()
}
