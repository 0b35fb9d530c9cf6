//! Identities that are bytes and nothing else. Those that the metadata give are random; of the others it is decided
//! elsewhere what the bytes are.

use std::fmt;

use cairn_rpc::random::random_bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::InvalidName;

/// Gives a byte-array newtype its text (lower-case hex), its JSON form (the text) and its binary form (the bytes).
macro_rules! hex_identity {
    ($name:ident, $len:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| {
                    InvalidName(concat!(
                        stringify!($name),
                        " must be ",
                        stringify!($len),
                        " bytes in hex"
                    ))
                })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?
                        .parse()
                        .map_err(de::Error::custom)
                } else {
                    Ok(Self(<[u8; $len]>::deserialize(deserializer)?))
                }
            }
        }
    };
}
pub(super) use hex_identity;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        hex_identity!($name, $len);
    };
}

macro_rules! random_identity {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        identity!($(#[$doc])* $name, $len);

        impl $name {
            /// A new one.
            pub(crate) fn random() -> Self {
                Self(random_bytes())
            }
        }
    };
}

random_identity!(
    /// Names one bucket from creation to deletion; a bucket created again under the same name has another id.
    BucketId, 8
);
random_identity!(
    /// Tells two writes apart that are otherwise equal, so that an equal record is the same write, and so that a
    /// writer whose commit had an unknown outcome can recognize its own record.
    WriteId, 8
);
identity!(
    /// Names the bytes of one PUT or one part: all their chunks and shards carry it. Never reused. It begins with the time
    /// of the write (6 bytes, big-endian milliseconds), by which leftovers are known to be old; the rest is random.
    DataId, 16
);
identity!(
    /// Names one disk for its whole life.
    DiskId, 16
);
identity!(
    /// Names one cluster: disks and metadata of different clusters refuse each other.
    ClusterId, 16
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_binary_forms_round_trip() {
        let id = DataId([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(
            serde_json::from_str::<DataId>(&format!("\"{id}\"")).unwrap(),
            id
        );
        assert_eq!(postcard::to_stdvec(&id).unwrap(), [0xab; 16]);
        assert!("ab".parse::<DataId>().is_err());
    }
}
