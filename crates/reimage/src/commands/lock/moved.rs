//! What moved in a lock, for people and for programs.

use reimage_build::LockChange;
use reimage_castore::Sha256;
use serde_json::{Value, json};

use crate::ui::{Style, count, short};

/// What moved, a line each; packages below their request.
pub(super) fn lines(changes: &[LockChange], style: Style) -> Vec<String> {
    let (added, moved, gone) = (style.good("+"), style.warning("~"), style.error("-"));
    let mut lines = Vec::new();
    let mut under = None;
    for change in changes {
        match change {
            LockChange::HttpAdded { url, .. } => lines.push(format!("{added} {url}")),
            LockChange::HttpMoved { url, old, new } => {
                let digest = |sha256: &dyn ToString| short(&sha256.to_string()).to_owned();
                lines.push(format!("{moved} {url}"));
                lines.push(format!("    {} → {}", digest(&old.sha256), digest(&new.sha256)));
            }
            LockChange::HttpRemoved { url } => lines.push(format!("{gone} {url}")),
            LockChange::OciAdded { image, .. } => lines.push(format!("{added} {image}")),
            LockChange::OciMoved { image, old, new } => {
                let digest = |digest: &Sha256| short(&digest.to_string()).to_owned();
                lines.push(format!("{moved} {image}"));
                lines.push(format!("    {} → {}", digest(old), digest(new)));
            }
            LockChange::OciSkeleton { image } => lines.push(format!("{moved} {image}: skeleton")),
            LockChange::OciRemoved { image } => lines.push(format!("{gone} {image}")),
            LockChange::DebianAdded { request, packages } => {
                let packages = count(*packages, "package");
                lines.push(format!("{added} {request}: {packages}"));
            }
            LockChange::DebianRemoved { request } => lines.push(format!("{gone} {request}")),
            LockChange::Package { request, name, old, new } => {
                if under != Some(request) {
                    lines.push(format!("{moved} {request}"));
                    under = Some(request);
                }
                lines.push(match (old, new) {
                    (Some(old), Some(new)) => format!("    {name} {old} → {new}"),
                    (None, Some(new)) => format!("  {added} {name} {new}"),
                    (Some(old), None) => format!("  {gone} {name} {old}"),
                    (None, None) => continue,
                });
            }
        }
    }
    lines
}

/// The same for programs.
pub(super) fn value(change: &LockChange) -> Value {
    match change {
        LockChange::HttpAdded { url, new } => {
            json!({ "change": "http-added", "url": url, "new": new.sha256 })
        }
        LockChange::HttpMoved { url, old, new } => {
            json!({ "change": "http-moved", "url": url, "old": old.sha256, "new": new.sha256 })
        }
        LockChange::HttpRemoved { url } => json!({ "change": "http-removed", "url": url }),
        LockChange::OciAdded { image, new } => {
            json!({ "change": "oci-added", "image": image, "new": new })
        }
        LockChange::OciMoved { image, old, new } => {
            json!({ "change": "oci-moved", "image": image, "old": old, "new": new })
        }
        LockChange::OciSkeleton { image } => json!({ "change": "oci-skeleton", "image": image }),
        LockChange::OciRemoved { image } => json!({ "change": "oci-removed", "image": image }),
        LockChange::DebianAdded { request, packages } => {
            json!({ "change": "debian-added", "request": request, "packages": packages })
        }
        LockChange::DebianRemoved { request } => {
            json!({ "change": "debian-removed", "request": request })
        }
        LockChange::Package { request, name, old, new } => json!({
            "change": "package", "request": request, "name": name, "old": old, "new": new,
        }),
    }
}

#[cfg(test)]
mod tests {
    use reimage_plan::HttpPin;

    use super::*;

    #[test]
    fn packages_below_their_request() {
        let request = "bookworm: curl".to_owned();
        let package = |name: &str, old: Option<&str>, new: Option<&str>| LockChange::Package {
            request: request.clone(),
            name: name.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let pin = |content: &str| HttpPin { sha256: Sha256::of(content.as_bytes()), size: 1 };
        let changes = [
            LockChange::HttpAdded { url: "http://x/a".into(), new: pin("a") },
            LockChange::HttpMoved { url: "http://x/b".into(), old: pin("a"), new: pin("b") },
            LockChange::HttpRemoved { url: "http://x/c".into() },
            package("curl", Some("1"), Some("2")),
            package("libold", Some("1"), None),
            package("libnew", None, Some("3")),
            LockChange::DebianAdded { request: "trixie: jq".into(), packages: 1 },
            LockChange::DebianRemoved { request: "trixie: yq".into() },
        ];
        assert_eq!(
            lines(&changes, Style::new(false)),
            [
                "+ http://x/a",
                "~ http://x/b",
                "    ca978112ca1b → 3e23e8160039",
                "- http://x/c",
                "~ bookworm: curl",
                "    curl 1 → 2",
                "  - libold 1",
                "  + libnew 3",
                "+ trixie: jq: 1 package",
                "- trixie: yq",
            ]
        );
    }
}
