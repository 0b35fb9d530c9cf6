//! Owners as documents show them: `ID` and `DisplayName`.

use std::collections::HashMap;

use cairn_meta::{CanonicalId, Meta};

use crate::identity::{ROOT_DISPLAY_NAME, root_canonical_id};
use crate::s3_error::S3Error;
use crate::xml::XmlWriter;

/// Display names, looked up once per document.
#[derive(Debug, Default)]
pub(super) struct OwnerNames(HashMap<CanonicalId, String>);

impl OwnerNames {
    /// Looks up the names of these owners. Somebody who was deleted has no name but the id.
    pub(super) async fn of(meta: &Meta, owners: &[CanonicalId]) -> Result<Self, S3Error> {
        let mut names = HashMap::new();
        for &owner in owners {
            if names.contains_key(&owner) {
                continue;
            }
            let name = if owner == root_canonical_id() {
                Some(ROOT_DISPLAY_NAME.to_owned())
            } else {
                meta.user_by_canonical_id(owner)
                    .await?
                    .map(|user| user.display_name)
            };
            names.insert(owner, name.unwrap_or_default());
        }
        Ok(Self(names))
    }

    /// Writes `<element><ID/><DisplayName/></element>`.
    pub(super) fn write(&self, xml: &mut XmlWriter, element: &str, owner: CanonicalId) {
        xml.open(element);
        xml.text("ID", &owner.to_string());
        xml.text(
            "DisplayName",
            self.0.get(&owner).map(String::as_str).unwrap_or_default(),
        );
        xml.close(element);
    }
}
