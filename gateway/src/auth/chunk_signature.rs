//! Signatures inside a streamed body: each chunk signs itself and the signature before it, from the seed in the
//! request's head to the trailer. See "Signature calculations for the Authorization header: transferring
//! payload in multiple chunks" in the Amazon S3 API reference.

use sha2::{Digest, Sha256};

use super::signing_key::SigningKey;
use crate::s3_error::{ErrorCode, S3Error};

/// SHA-256 of nothing: in place of the headers that a chunk does not have.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Verifies the chain of signatures of one streamed body.
#[derive(Debug, Clone)]
pub struct ChunkSigner {
    key: SigningKey,
    amz_date: String,
    scope: String,
    /// The signature before: that of the head, or of the last chunk.
    previous: String,
}

impl ChunkSigner {
    /// `seed` is the verified signature of the request's head.
    pub(super) fn new(key: SigningKey, amz_date: &str, scope: &str, seed: String) -> ChunkSigner {
        ChunkSigner {
            key,
            amz_date: amz_date.to_owned(),
            scope: scope.to_owned(),
            previous: seed,
        }
    }

    /// Verifies a chunk by the SHA-256 of its data, and makes its signature the one the next chunk signs.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`: nothing of the body may be used.
    pub fn verify_chunk(&mut self, chunk_sha256: [u8; 32], provided: &str) -> Result<(), S3Error> {
        let hash = hex::encode(chunk_sha256);
        let string_to_sign = [
            "AWS4-HMAC-SHA256-PAYLOAD",
            &self.amz_date,
            &self.scope,
            &self.previous,
            EMPTY_SHA256,
            &hash,
        ]
        .join("\n");
        self.verify(string_to_sign, provided)
    }

    /// Verifies the trailer: `canonical_headers` is each as `name:value\n`.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`: nothing of the body may be used.
    pub fn verify_trailer(
        &mut self,
        canonical_headers: &[u8],
        provided: &str,
    ) -> Result<(), S3Error> {
        let hash = hex::encode(Sha256::digest(canonical_headers));
        let string_to_sign = [
            "AWS4-HMAC-SHA256-TRAILER",
            &self.amz_date,
            &self.scope,
            &self.previous,
            &hash,
        ]
        .join("\n");
        self.verify(string_to_sign, provided)
    }

    fn verify(&mut self, string_to_sign: String, provided: &str) -> Result<(), S3Error> {
        let expected = self.key.sign(&string_to_sign);
        if !expected.matches(provided) {
            return Err(S3Error::of(ErrorCode::SignatureDoesNotMatch)
                .with("StringToSign", string_to_sign)
                .with("SignatureProvided", provided)
                .closing());
        }
        self.previous = expected.into_verified();
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::Secret;
    use super::*;

    impl ChunkSigner {
        /// A signer for tests of the body decoder, with Amazon's example credentials.
        pub(crate) fn example(seed: &str) -> ChunkSigner {
            let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
            let key = SigningKey::derive(&secret, 1_369_353_600_000, "us-east-1", "s3");
            ChunkSigner::new(
                key,
                "20130524T000000Z",
                "20130524/us-east-1/s3/aws4_request",
                seed.to_owned(),
            )
        }

        /// Signs a chunk as a client would.
        pub(crate) fn sign_chunk(&mut self, data: &[u8]) -> String {
            let hash = hex::encode(Sha256::digest(data));
            let text = [
                "AWS4-HMAC-SHA256-PAYLOAD",
                &self.amz_date,
                &self.scope,
                &self.previous,
                EMPTY_SHA256,
                &hash,
            ];
            self.previous = self.key.sign(&text.join("\n")).into_verified();
            self.previous.clone()
        }

        /// Signs a trailer as a client would.
        pub(crate) fn sign_trailer(&mut self, canonical_headers: &[u8]) -> String {
            let hash = hex::encode(Sha256::digest(canonical_headers));
            let text = [
                "AWS4-HMAC-SHA256-TRAILER",
                &self.amz_date,
                &self.scope,
                &self.previous,
                &hash,
            ];
            self.key.sign(&text.join("\n")).into_verified()
        }
    }

    /// The documentation's example: 66,560 bytes of `a` in chunks of 65,536, 1,024 and 0 bytes.
    #[test]
    fn amazons_example_of_chunks_verifies() {
        let mut signer = ChunkSigner::example(
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        );
        let sha256 = |size| <[u8; 32]>::from(Sha256::digest(vec![b'a'; size]));
        signer
            .verify_chunk(
                sha256(65536),
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            )
            .unwrap();
        signer
            .verify_chunk(
                sha256(1024),
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            )
            .unwrap();
        signer
            .verify_chunk(
                sha256(0),
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            )
            .unwrap();
    }

    /// The documentation's example with a trailing CRC32C.
    #[test]
    fn amazons_example_of_a_trailer_verifies() {
        let mut signer = ChunkSigner::example(
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        );
        let sha256 = |size| <[u8; 32]>::from(Sha256::digest(vec![b'a'; size]));
        signer
            .verify_chunk(
                sha256(65536),
                "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            )
            .unwrap();
        signer
            .verify_chunk(
                sha256(1024),
                "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            )
            .unwrap();
        signer
            .verify_chunk(
                sha256(0),
                "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
            )
            .unwrap();
        signer
            .verify_trailer(
                b"x-amz-checksum-crc32c:sOO8/Q==\n",
                "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
            )
            .unwrap();
    }

    #[test]
    fn a_changed_chunk_is_refused_and_the_connection_closed() {
        let mut signer = ChunkSigner::example(
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        );
        let error = signer
            .verify_chunk(
                [0; 32],
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            )
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::SignatureDoesNotMatch);
        assert!(error.must_close());
    }
}
