//! The identity that a cluster of several processes writes on its disks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::ClusterConfig;

/// The configured identity, or the one that follows from the cluster secret: so that no process has to ask another
/// for it, and a disk of another cluster is refused.
pub(crate) fn cluster_id(cluster: &ClusterConfig, configured: Option<[u8; 16]>) -> [u8; 16] {
    if let Some(configured) = configured {
        return configured;
    }
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(cluster.secret.reveal().as_bytes())
        .expect("any key length fits");
    mac.update(b"cairn cluster id v1");
    let mut id = [0; 16];
    id.iter_mut()
        .zip(mac.finalize().into_bytes())
        .for_each(|(to, from)| *to = from);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_identity_follows_from_the_secret_and_does_not_show_it() {
        let cluster = |secret: &str| ClusterConfig {
            secret: Secret::new(secret),
        };
        let one = cluster_id(&cluster("one one one one one one one one"), None);
        assert_eq!(hex::encode(one).len(), 32);
        assert_ne!(
            one,
            cluster_id(&cluster("two two two two two two two two"), None)
        );
        assert_eq!(cluster_id(&cluster("any"), Some([7; 16])), [7; 16]);
    }
}
