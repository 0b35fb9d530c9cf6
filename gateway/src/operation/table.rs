//! The table of S3's operations: all 116 of Amazon's current API model, implemented or not.
//!
//! Routing, authorization actions, metric labels and the README's support table all come from these
//! rows, so that none of them can disagree. A row reads: name, method, what is addressed, the query
//! parameters and headers that tell it from others at the same place, the action that authorizes it,
//! and whether Cairn has it. Of two rows that distinguish nothing (Amazon kept the older names of
//! lifecycle and notification requests in its model) the first one here wins.

use super::{Addressing, HeaderMatch, Method, OperationSpec, QueryMatch, Support};
use QueryMatch::{Is, Present};

macro_rules! operations {
    ($($name:ident $method:ident $addressing:ident [$($query:expr),*] [$($header:expr),*] $action:literal $support:expr;)+) => {
        /// An operation of the S3 API. What each does is in the Amazon S3 API reference under the same name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Operation {
            $(#[doc = concat!("`", stringify!($name), "`")] $name,)+
        }

        impl Operation {
            /// Every operation, in table order.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)+];

            /// The row of this operation.
            pub const fn spec(self) -> &'static OperationSpec {
                match self {
                    $(Operation::$name => {
                        const SPEC: &OperationSpec = &OperationSpec {
                            operation: Operation::$name,
                            name: stringify!($name),
                            method: Method::$method,
                            addressing: Addressing::$addressing,
                            query: &[$($query),*],
                            headers: &[$($header),*],
                            action: concat!("s3:", $action),
                            support: $support,
                        };
                        SPEC
                    })+
                }
            }
        }

        /// All rows.
        pub(super) static TABLE: &[&OperationSpec] = &[$(Operation::$name.spec(),)+];
    };
}

const YES: Support = Support::Implemented;

const fn no(feature: &'static str) -> Support {
    Support::NotImplemented { feature }
}

/// The header that makes a PUT a copy.
const COPY: HeaderMatch = HeaderMatch::Present("x-amz-copy-source");
/// Directory buckets are listed at the same place as ordinary ones; what differs is the service the request is signed for.
const SIGNED_FOR_S3EXPRESS: HeaderMatch =
    HeaderMatch::Contains("authorization", "/s3express/aws4_request");
const OBJECT_LAMBDA: HeaderMatch = HeaderMatch::Present("x-amz-request-route");

operations! {
    AbortMultipartUpload Delete Object [Present("uploadId")] [] "AbortMultipartUpload" YES;
    CompleteMultipartUpload Post Object [Present("uploadId")] [] "PutObject" YES;
    CopyObject Put Object [] [COPY] "PutObject" YES;
    CreateBucket Put Bucket [] [] "CreateBucket" YES;
    CreateBucketMetadataConfiguration Post Bucket [Present("metadataConfiguration")] [] "CreateBucketMetadataTableConfiguration" no("metadata tables");
    CreateBucketMetadataTableConfiguration Post Bucket [Present("metadataTable")] [] "CreateBucketMetadataTableConfiguration" no("metadata tables");
    CreateMultipartUpload Post Object [Present("uploads")] [] "PutObject" YES;
    CreateSession Get Bucket [Present("session")] [] "CreateSession" no("directory buckets");
    DeleteBucket Delete Bucket [] [] "DeleteBucket" YES;
    DeleteBucketAnalyticsConfiguration Delete Bucket [Present("analytics"), Present("id")] [] "PutAnalyticsConfiguration" no("storage analytics");
    DeleteBucketCors Delete Bucket [Present("cors")] [] "PutBucketCORS" no("cross-origin resource sharing");
    DeleteBucketEncryption Delete Bucket [Present("encryption")] [] "PutEncryptionConfiguration" no("server-side encryption");
    DeleteBucketIntelligentTieringConfiguration Delete Bucket [Present("intelligent-tiering"), Present("id")] [] "PutIntelligentTieringConfiguration" no("storage tiers");
    DeleteBucketInventoryConfiguration Delete Bucket [Present("inventory"), Present("id")] [] "PutInventoryConfiguration" no("inventory reports");
    DeleteBucketLifecycle Delete Bucket [Present("lifecycle")] [] "PutLifecycleConfiguration" no("lifecycle rules");
    DeleteBucketMetadataConfiguration Delete Bucket [Present("metadataConfiguration")] [] "DeleteBucketMetadataTableConfiguration" no("metadata tables");
    DeleteBucketMetadataTableConfiguration Delete Bucket [Present("metadataTable")] [] "DeleteBucketMetadataTableConfiguration" no("metadata tables");
    DeleteBucketMetricsConfiguration Delete Bucket [Present("metrics"), Present("id")] [] "PutMetricsConfiguration" no("request metrics configuration");
    DeleteBucketOwnershipControls Delete Bucket [Present("ownershipControls")] [] "PutBucketOwnershipControls" no("access control lists");
    DeleteBucketPolicy Delete Bucket [Present("policy")] [] "DeleteBucketPolicy" no("bucket policies");
    DeleteBucketReplication Delete Bucket [Present("replication")] [] "PutReplicationConfiguration" no("replication");
    DeleteBucketTagging Delete Bucket [Present("tagging")] [] "PutBucketTagging" no("tagging requests");
    DeleteBucketWebsite Delete Bucket [Present("website")] [] "DeleteBucketWebsite" no("website hosting");
    DeleteObject Delete Object [] [] "DeleteObject" YES;
    DeleteObjectAnnotation Delete Object [Present("annotation")] [] "DeleteObjectAnnotation" no("object annotations");
    DeleteObjectTagging Delete Object [Present("tagging")] [] "DeleteObjectTagging" no("tagging requests");
    DeleteObjects Post Bucket [Present("delete")] [] "DeleteObject" YES;
    DeletePublicAccessBlock Delete Bucket [Present("publicAccessBlock")] [] "PutBucketPublicAccessBlock" no("bucket policies");
    GetBucketAbac Get Bucket [Present("abac")] [] "GetBucketAbac" no("attribute-based access control");
    GetBucketAccelerateConfiguration Get Bucket [Present("accelerate")] [] "GetAccelerateConfiguration" no("transfer acceleration");
    GetBucketAcl Get Bucket [Present("acl")] [] "GetBucketAcl" no("access control lists");
    GetBucketAnalyticsConfiguration Get Bucket [Present("analytics"), Present("id")] [] "GetAnalyticsConfiguration" no("storage analytics");
    GetBucketCors Get Bucket [Present("cors")] [] "GetBucketCORS" no("cross-origin resource sharing");
    GetBucketEncryption Get Bucket [Present("encryption")] [] "GetEncryptionConfiguration" no("server-side encryption");
    GetBucketIntelligentTieringConfiguration Get Bucket [Present("intelligent-tiering"), Present("id")] [] "GetIntelligentTieringConfiguration" no("storage tiers");
    GetBucketInventoryConfiguration Get Bucket [Present("inventory"), Present("id")] [] "GetInventoryConfiguration" no("inventory reports");
    GetBucketLifecycleConfiguration Get Bucket [Present("lifecycle")] [] "GetLifecycleConfiguration" no("lifecycle rules");
    GetBucketLifecycle Get Bucket [Present("lifecycle")] [] "GetLifecycleConfiguration" no("lifecycle rules");
    GetBucketLocation Get Bucket [Present("location")] [] "GetBucketLocation" YES;
    GetBucketLogging Get Bucket [Present("logging")] [] "GetBucketLogging" no("access logging");
    GetBucketMetadataConfiguration Get Bucket [Present("metadataConfiguration")] [] "GetBucketMetadataTableConfiguration" no("metadata tables");
    GetBucketMetadataTableConfiguration Get Bucket [Present("metadataTable")] [] "GetBucketMetadataTableConfiguration" no("metadata tables");
    GetBucketMetricsConfiguration Get Bucket [Present("metrics"), Present("id")] [] "GetMetricsConfiguration" no("request metrics configuration");
    GetBucketNotificationConfiguration Get Bucket [Present("notification")] [] "GetBucketNotification" no("event notifications");
    GetBucketNotification Get Bucket [Present("notification")] [] "GetBucketNotification" no("event notifications");
    GetBucketOwnershipControls Get Bucket [Present("ownershipControls")] [] "GetBucketOwnershipControls" no("access control lists");
    GetBucketPolicy Get Bucket [Present("policy")] [] "GetBucketPolicy" no("bucket policies");
    GetBucketPolicyStatus Get Bucket [Present("policyStatus")] [] "GetBucketPolicyStatus" no("bucket policies");
    GetBucketReplication Get Bucket [Present("replication")] [] "GetReplicationConfiguration" no("replication");
    GetBucketRequestPayment Get Bucket [Present("requestPayment")] [] "GetBucketRequestPayment" no("requester pays");
    GetBucketTagging Get Bucket [Present("tagging")] [] "GetBucketTagging" no("tagging requests");
    GetBucketVersioning Get Bucket [Present("versioning")] [] "GetBucketVersioning" YES;
    GetBucketWebsite Get Bucket [Present("website")] [] "GetBucketWebsite" no("website hosting");
    GetObject Get Object [] [] "GetObject" YES;
    GetObjectAcl Get Object [Present("acl")] [] "GetObjectAcl" no("access control lists");
    GetObjectAnnotation Get Object [Present("annotation"), Present("annotationName")] [] "GetObjectAnnotation" no("object annotations");
    GetObjectAttributes Get Object [Present("attributes")] [] "GetObjectAttributes" YES;
    GetObjectLegalHold Get Object [Present("legal-hold")] [] "GetObjectLegalHold" no("object lock");
    GetObjectLockConfiguration Get Bucket [Present("object-lock")] [] "GetBucketObjectLockConfiguration" no("object lock");
    GetObjectRetention Get Object [Present("retention")] [] "GetObjectRetention" no("object lock");
    GetObjectTagging Get Object [Present("tagging")] [] "GetObjectTagging" no("tagging requests");
    GetObjectTorrent Get Object [Present("torrent")] [] "GetObjectTorrent" no("torrents");
    GetPublicAccessBlock Get Bucket [Present("publicAccessBlock")] [] "GetBucketPublicAccessBlock" no("bucket policies");
    HeadBucket Head Bucket [] [] "ListBucket" YES;
    HeadObject Head Object [] [] "GetObject" YES;
    ListBucketAnalyticsConfigurations Get Bucket [Present("analytics")] [] "GetAnalyticsConfiguration" no("storage analytics");
    ListBucketIntelligentTieringConfigurations Get Bucket [Present("intelligent-tiering")] [] "GetIntelligentTieringConfiguration" no("storage tiers");
    ListBucketInventoryConfigurations Get Bucket [Present("inventory")] [] "GetInventoryConfiguration" no("inventory reports");
    ListBucketMetricsConfigurations Get Bucket [Present("metrics")] [] "GetMetricsConfiguration" no("request metrics configuration");
    ListBuckets Get Service [] [] "ListAllMyBuckets" YES;
    ListDirectoryBuckets Get Service [] [SIGNED_FOR_S3EXPRESS] "ListAllMyDirectoryBuckets" no("directory buckets");
    ListMultipartUploads Get Bucket [Present("uploads")] [] "ListBucketMultipartUploads" YES;
    ListObjectAnnotations Get Object [Present("annotation")] [] "ListObjectAnnotations" no("object annotations");
    ListObjectVersions Get Bucket [Present("versions")] [] "ListBucketVersions" no("versioning requests");
    ListObjects Get Bucket [] [] "ListBucket" YES;
    ListObjectsV2 Get Bucket [Is("list-type", "2")] [] "ListBucket" YES;
    ListParts Get Object [Present("uploadId")] [] "ListMultipartUploadParts" YES;
    PutBucketAbac Put Bucket [Present("abac")] [] "PutBucketAbac" no("attribute-based access control");
    PutBucketAccelerateConfiguration Put Bucket [Present("accelerate")] [] "PutAccelerateConfiguration" no("transfer acceleration");
    PutBucketAcl Put Bucket [Present("acl")] [] "PutBucketAcl" no("access control lists");
    PutBucketAnalyticsConfiguration Put Bucket [Present("analytics"), Present("id")] [] "PutAnalyticsConfiguration" no("storage analytics");
    PutBucketCors Put Bucket [Present("cors")] [] "PutBucketCORS" no("cross-origin resource sharing");
    PutBucketEncryption Put Bucket [Present("encryption")] [] "PutEncryptionConfiguration" no("server-side encryption");
    PutBucketIntelligentTieringConfiguration Put Bucket [Present("intelligent-tiering"), Present("id")] [] "PutIntelligentTieringConfiguration" no("storage tiers");
    PutBucketInventoryConfiguration Put Bucket [Present("inventory"), Present("id")] [] "PutInventoryConfiguration" no("inventory reports");
    PutBucketLifecycleConfiguration Put Bucket [Present("lifecycle")] [] "PutLifecycleConfiguration" no("lifecycle rules");
    PutBucketLifecycle Put Bucket [Present("lifecycle")] [] "PutLifecycleConfiguration" no("lifecycle rules");
    PutBucketLogging Put Bucket [Present("logging")] [] "PutBucketLogging" no("access logging");
    PutBucketMetricsConfiguration Put Bucket [Present("metrics"), Present("id")] [] "PutMetricsConfiguration" no("request metrics configuration");
    PutBucketNotificationConfiguration Put Bucket [Present("notification")] [] "PutBucketNotification" no("event notifications");
    PutBucketNotification Put Bucket [Present("notification")] [] "PutBucketNotification" no("event notifications");
    PutBucketOwnershipControls Put Bucket [Present("ownershipControls")] [] "PutBucketOwnershipControls" no("access control lists");
    PutBucketPolicy Put Bucket [Present("policy")] [] "PutBucketPolicy" no("bucket policies");
    PutBucketReplication Put Bucket [Present("replication")] [] "PutReplicationConfiguration" no("replication");
    PutBucketRequestPayment Put Bucket [Present("requestPayment")] [] "PutBucketRequestPayment" no("requester pays");
    PutBucketTagging Put Bucket [Present("tagging")] [] "PutBucketTagging" no("tagging requests");
    PutBucketVersioning Put Bucket [Present("versioning")] [] "PutBucketVersioning" no("versioning requests");
    PutBucketWebsite Put Bucket [Present("website")] [] "PutBucketWebsite" no("website hosting");
    PutObject Put Object [] [] "PutObject" YES;
    PutObjectAcl Put Object [Present("acl")] [] "PutObjectAcl" no("access control lists");
    PutObjectAnnotation Put Object [Present("annotation")] [] "PutObjectAnnotation" no("object annotations");
    PutObjectLegalHold Put Object [Present("legal-hold")] [] "PutObjectLegalHold" no("object lock");
    PutObjectLockConfiguration Put Bucket [Present("object-lock")] [] "PutBucketObjectLockConfiguration" no("object lock");
    PutObjectRetention Put Object [Present("retention")] [] "PutObjectRetention" no("object lock");
    PutObjectTagging Put Object [Present("tagging")] [] "PutObjectTagging" no("tagging requests");
    PutPublicAccessBlock Put Bucket [Present("publicAccessBlock")] [] "PutBucketPublicAccessBlock" no("bucket policies");
    RenameObject Put Object [Present("renameObject")] [] "RenameObject" no("directory buckets");
    RestoreObject Post Object [Present("restore")] [] "RestoreObject" no("storage tiers");
    SelectObjectContent Post Object [Present("select"), Is("select-type", "2")] [] "GetObject" no("queries on objects");
    UpdateBucketMetadataAnnotationTableConfiguration Put Bucket [Present("metadataAnnotationTable")] [] "UpdateBucketMetadataAnnotationTableConfiguration" no("metadata tables");
    UpdateBucketMetadataInventoryTableConfiguration Put Bucket [Present("metadataInventoryTable")] [] "UpdateBucketMetadataInventoryTableConfiguration" no("metadata tables");
    UpdateBucketMetadataJournalTableConfiguration Put Bucket [Present("metadataJournalTable")] [] "UpdateBucketMetadataJournalTableConfiguration" no("metadata tables");
    UpdateObjectEncryption Put Object [Present("encryption")] [] "UpdateObjectEncryption" no("server-side encryption");
    UploadPart Put Object [Present("partNumber"), Present("uploadId")] [] "PutObject" YES;
    UploadPartCopy Put Object [Present("partNumber"), Present("uploadId")] [COPY] "PutObject" YES;
    WriteGetObjectResponse Post Bucket [] [OBJECT_LAMBDA] "WriteGetObjectResponse" no("object lambdas");
}
