//! Who may do what: the one decision of that kind in the gateway.
//!
//! A pure function from (principal, action, resource) to a decision with its reason. It is asked after
//! authentication and before the body is read; for a copy once more about the source. Today's rule is
//! short: a bucket and what is in it belong to the bucket's owner, and root may do everything. Users'
//! policies, bucket policies and ACLs will be further inputs of this function, never further functions.

use std::fmt;

use crate::auth::Principal;

/// What is acted on, as far as the decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The service: listing one's own buckets.
    Service,
    /// A bucket that does not exist yet, or is not known to: creating one.
    NewBucket,
    /// A bucket or anything in it.
    Bucket {
        /// The canonical id of the bucket's owner.
        owner: &'a str,
    },
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// 403 `AccessDenied`; the reason is for the log, never for the client.
    Deny {
        /// Why.
        reason: DenyReason,
    },
}

/// Why something was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// Nobody signed, and nothing here is public.
    Anonymous,
    /// The bucket is somebody else's.
    NotTheOwner,
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DenyReason::Anonymous => "the request is not signed and nothing here is public",
            DenyReason::NotTheOwner => "the bucket belongs to somebody else",
        })
    }
}

/// Decides whether `principal` may perform `action` (such as `s3:GetObject`) on `resource`.
///
/// The action does not matter to today's rule; it is part of the question so that every caller already asks
/// it in full.
pub fn authorize(principal: &Principal, action: &'static str, resource: Resource<'_>) -> Decision {
    debug_assert!(action.starts_with("s3:"), "not an action of S3: {action}");
    match (principal, resource) {
        (Principal::Anonymous, _) => Decision::Deny {
            reason: DenyReason::Anonymous,
        },
        (Principal::Root { .. }, _)
        | (Principal::User { .. }, Resource::Service | Resource::NewBucket) => Decision::Allow,
        (Principal::User { canonical_id, .. }, Resource::Bucket { owner }) => {
            if canonical_id.as_ref() == owner {
                Decision::Allow
            } else {
                Decision::Deny {
                    reason: DenyReason::NotTheOwner,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED_ANONYMOUS: Decision = Decision::Deny {
        reason: DenyReason::Anonymous,
    };
    const DENIED_FOREIGN: Decision = Decision::Deny {
        reason: DenyReason::NotTheOwner,
    };

    #[test]
    fn the_whole_truth_table() {
        let root = Principal::Root {
            canonical_id: "root".into(),
        };
        let alice = Principal::User {
            canonical_id: "alice".into(),
            name: "Alice".into(),
        };
        let alices = Resource::Bucket { owner: "alice" };
        let bobs = Resource::Bucket { owner: "bob" };
        for (principal, resource, expected) in [
            (&root, Resource::Service, Decision::Allow),
            (&root, Resource::NewBucket, Decision::Allow),
            (&root, bobs, Decision::Allow),
            (&alice, Resource::Service, Decision::Allow),
            (&alice, Resource::NewBucket, Decision::Allow),
            (&alice, alices, Decision::Allow),
            (&alice, bobs, DENIED_FOREIGN),
            (&Principal::Anonymous, Resource::Service, DENIED_ANONYMOUS),
            (&Principal::Anonymous, Resource::NewBucket, DENIED_ANONYMOUS),
            (&Principal::Anonymous, alices, DENIED_ANONYMOUS),
        ] {
            assert_eq!(
                authorize(principal, "s3:GetObject", resource),
                expected,
                "{principal:?} {resource:?}"
            );
        }
    }
}
