//! PEM files: certificates and private keys, read whole and bounded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Largest PEM file that is read: every certificate authority that browsers trust fits four times. A larger file is
/// not one of ours but a mistake.
const FILE_SIZE_BYTES_MAX: u64 = 1 << 20;

/// All certificates of a file; there is at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "certificate";
    let pem = read(path, expected)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(path, expected, error.to_string()))?;
    if certificates.is_empty() {
        return Err(malformed(
            path,
            expected,
            "no CERTIFICATE section".to_owned(),
        ));
    }
    Ok(certificates)
}

/// The first private key of a file.
pub(super) fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let expected = "private key";
    PrivateKeyDer::from_pem_slice(&read(path, expected)?)
        .map_err(|error| malformed(path, expected, error.to_string()))
}

fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_SIZE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_SIZE_BYTES_MAX {
        return Err(malformed(
            path,
            expected,
            format!("it is larger than {FILE_SIZE_BYTES_MAX} bytes"),
        ));
    }
    Ok(bytes)
}

fn malformed(path: &Path, expected: &'static str, detail: String) -> TlsError {
    TlsError::Malformed {
        path: path.to_owned(),
        expected,
        detail,
    }
}
