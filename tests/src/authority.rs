//! A certificate authority made for one test, and the certificates that it issues.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Issues certificates; its own is in a file.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// Where a certificate and its key are.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// PEM of the certificate.
    pub certificate: PathBuf,
    /// PEM of the private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, its certificate in `directory/NAME.pem`.
    #[must_use]
    pub fn new(name: &str, directory: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// The PEM file with the authority's own certificate.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A certificate for `host` with a key of its own, in `directory/NAME.{cert,key}.pem`; what is there is replaced.
    pub fn issue(&self, host: &str, directory: &Path, name: &str) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            certificate: directory.join(format!("{name}.cert.pem")),
            key: directory.join(format!("{name}.key.pem")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

impl CertificateFiles {
    /// The flags with which a process serves with them.
    pub fn arguments(&self) -> [String; 4] {
        [
            "--tls-cert".to_owned(),
            self.certificate.display().to_string(),
            "--tls-key".to_owned(),
            self.key.display().to_string(),
        ]
    }
}
