//! What is printed when the store is up: for people, on standard output, once.

use std::net::SocketAddr;

use crate::config::RootCredentials;

/// What there is to say.
#[derive(Debug)]
pub struct Welcome<'a> {
    /// Where S3 is served.
    pub address: SocketAddr,
    /// Whether over HTTPS.
    pub is_tls: bool,
    /// The region clients sign for.
    pub region: &'a str,
    /// How data is coded, on how many disks.
    pub layout: String,
    /// Root's credentials, if they were made just now.
    pub new_root: Option<&'a RootCredentials>,
    /// Root's access key.
    pub access_key: &'a str,
}

impl Welcome<'_> {
    /// The endpoint as clients write it. A server that listens everywhere is reached at this machine too.
    pub fn endpoint(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        format!("{scheme}://{address}")
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let (secret, remark) = match self.new_root {
            Some(root) => (
                format!("export AWS_SECRET_ACCESS_KEY='{}'", root.secret_key.reveal()),
                "These root credentials were made just now and are not shown again. Keep them; a copy is in\n\
                 cairn-secrets.json on several of the disks, readable for the owner of this process alone.\n\n",
            ),
            // A comment, so that what is pasted does not make a secret of it.
            None => (
                "# AWS_SECRET_ACCESS_KEY: as you set it, or as shown at the first start; it is in cairn-secrets.json on \
                 several of the disks"
                    .to_owned(),
                "",
            ),
        };
        format!(
            "Cairn serves S3 at {endpoint}\n{layout}\n\n{remark}\
             export AWS_DEFAULT_REGION={region}\n\
             export AWS_ACCESS_KEY_ID={access_key}\n\
             {secret}\n\
             aws --endpoint-url {endpoint} s3 mb s3://photos\n\
             echo hello | aws --endpoint-url {endpoint} s3 cp - s3://photos/hello.txt\n\
             aws --endpoint-url {endpoint} s3 ls s3://photos/\n",
            endpoint = self.endpoint(),
            layout = self.layout,
            region = self.region,
            access_key = self.access_key,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn new_credentials_are_shown_and_old_ones_are_not() {
        let root = RootCredentials {
            access_key: "cairnabc".to_owned(),
            secret_key: Secret::new("s3cr3t"),
        };
        let mut welcome = Welcome {
            address: "0.0.0.0:9000".parse().unwrap(),
            is_tls: false,
            region: "us-east-1",
            layout: "6 disks, 4+2".to_owned(),
            new_root: Some(&root),
            access_key: &root.access_key,
        };
        let text = welcome.text();
        assert!(
            text.starts_with("Cairn serves S3 at http://127.0.0.1:9000\n"),
            "{text}"
        );
        assert!(text.contains("AWS_SECRET_ACCESS_KEY='s3cr3t'"), "{text}");
        // Clients from before 2023 take no endpoint from the environment, and would ask Amazon.
        let calls = text.matches("aws ").count();
        let named = text.matches("aws --endpoint-url http://127.0.0.1:9000 s3 ");
        assert!(calls > 0 && named.count() == calls, "{text}");
        welcome.new_root = None;
        let text = welcome.text();
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(
            !text.contains("export AWS_SECRET_ACCESS_KEY"),
            "what is pasted sets no secret: {text}"
        );
    }
}
