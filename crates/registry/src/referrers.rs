//! What refers to an image, such as signatures: the registry's own list, or a tag that stands in for one.

use std::collections::BTreeMap;

use reimage_castore::Sha256;
use reimage_http::{Method, header};
use reimage_oci::{Blob, Descriptor, INDEX, Index};

use crate::{
    Found, Registry, RegistryError, Repository,
    auth::{Access, scope},
    registry::Call,
    repository::{MAX_DOCUMENT, Name, nothing},
};

/// Pages of a list that are read.
const PAGES: usize = 100;
/// How often an entry is written that others overwrite.
const TRIES: usize = 5;

impl Repository<'_> {
    /// The manifests that name `subject` as what they are about, in the registry's order.
    pub fn referrers(&self, subject: Sha256) -> Result<Vec<Descriptor>, RegistryError> {
        let host = self.own();
        let what = format!("what refers to `{}@{subject}`", self.path);
        let scopes = [scope(&self.scoped(&host), Access::Pull)];
        let mut at = format!("referrers/{subject}");
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let call = Call::new(Method::GET, &at, &what, &scopes);
            let page = self.registry.retrying(|| {
                let answer = self.registry.send(&host, self, &call, &mut nothing)?;
                match answer.status.as_u16() {
                    200 => {}
                    // A registry that knows of no such list answers as if there were none.
                    400 | 404 | 405 => return Ok(None),
                    _ => return Err(Registry::refused(&host, &what, answer).into()),
                }
                let next = answer.header(&header::LINK).and_then(next_page);
                let next = next.and_then(|next| reimage_http::join(&answer.url, next));
                Ok(Some((answer.read(MAX_DOCUMENT).map_err(RegistryError::Io)?, next)))
            })?;
            let Some((bytes, next)) = page else { return self.tagged_referrers(subject) };
            found.extend(Index::parse(Sha256::of(&bytes), &bytes)?.manifests);
            let Some(next) = next else { break };
            at = next;
        }
        Ok(found)
    }

    /// Puts a manifest there that refers to `subject`; a registry without a list of its own gets an entry in a tag.
    pub fn refer(&self, document: &Found, subject: Sha256) -> Result<(), RegistryError> {
        if self.put_document(document, None)? {
            return Ok(());
        }
        let entry = &document.descriptor;
        // Others may write the same tag at the same time: whoever finds his entry gone writes it again.
        for _ in 0..TRIES {
            let mut manifests = self.tagged_referrers(subject)?;
            if manifests.iter().any(|there| there.digest == entry.digest) {
                return Ok(());
            }
            manifests.push(entry.clone());
            let index = Index {
                schema_version: 2,
                media_type: Some(INDEX.into()),
                manifests,
                annotations: BTreeMap::new(),
            };
            let Blob { descriptor, bytes } = index.to_blob();
            self.put(&Found { descriptor, bytes }, Some(&fallback(subject)))?;
        }
        Err(RegistryError::Protocol {
            host: self.name.clone(),
            why: format!("the tag `{}` does not keep what is written to it", fallback(subject)),
        })
    }

    fn tagged_referrers(&self, subject: Sha256) -> Result<Vec<Descriptor>, RegistryError> {
        let found = self.own_manifest(Name::Tag(&fallback(subject)), Access::Pull)?;
        let Some(Found { descriptor, bytes }) = found else { return Ok(Vec::new()) };
        Ok(Index::parse(descriptor.digest, &bytes)?.manifests)
    }
}

/// The tag that stands in for the list.
fn fallback(subject: Sha256) -> String {
    format!("sha256-{}", subject.hex())
}

/// `<URL>; rel="next"`
fn next_page(link: &str) -> Option<&str> {
    let (url, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        assert_eq!(next_page("</v2/a?n=1>; rel=\"next\""), Some("/v2/a?n=1"));
        assert_eq!(next_page("</v2/a>; rel=prev"), None);
        assert_eq!(next_page("nonsense"), None);
    }
}
