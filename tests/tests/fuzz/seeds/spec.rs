//! What is typed to name targets and to set fields.

use super::texts;

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "name" => texts(&["images.web", "a/b#images.*", "spec.ncl#", r#"images."a.b\"c#""#]),
        "set" => texts(&["args.a=4", r#"steps."a=b".c = "x""#, "a=b=c", "images.*=1"]),
        _ => return None,
    })
}
