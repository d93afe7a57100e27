//! Format, lints, and what the dependencies may be.

use std::collections::BTreeSet;

use crate::{command::run, metadata};

/// The most packages that the lock may have: a dependency is a debt.
const MAX_PACKAGES: usize = 450;

/// Runs all checks.
pub(crate) fn check() -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"])?;
    dependencies()
}

/// Licences and bans of deny.toml, held by cargo's own metadata: the advisory list needs a network.
fn dependencies() -> Result<(), String> {
    let rules = metadata::rules()?;
    let packages = metadata::packages()?;
    let mut wrong = Vec::new();
    if packages.len() > MAX_PACKAGES {
        wrong.push(format!("{} packages are more than {MAX_PACKAGES}", packages.len()));
    }
    for package in packages {
        let metadata::Package { name, version, license, source } = package;
        if rules.banned.contains(&name) {
            wrong.push(format!("{name} {version} is banned"));
        }
        // Our own have no source.
        if source.is_none() {
            continue;
        }
        let license = license.unwrap_or_default();
        let exception =
            rules.exceptions.iter().any(|(krate, allow)| *krate == name && *allow == license);
        if !exception && !allowed(&license, &rules.allow) {
            wrong.push(format!("{name} {version} has the licence `{license}`"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("deny.toml does not allow:\n  {}", wrong.join("\n  ")))
    }
}

/// Whether an SPDX expression of AND and OR, with parentheses around ORs at most, can be met.
fn allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let parts = split(&expression, " AND ");
    if parts.len() > 1 {
        return parts.iter().all(|part| allowed(part, allow));
    }
    let inner = expression.trim();
    let inner = inner.strip_prefix('(').and_then(|i| i.strip_suffix(')')).unwrap_or(inner);
    inner.split(" OR ").any(|one| allow.contains(one.trim().trim_matches(['(', ')'])))
}

/// Splits outside of parentheses.
fn split(text: &str, at: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if depth == 0 && rest.starts_with(at) {
            parts.push(String::new());
            rest = &rest[at.len()..];
            continue;
        }
        match next {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let allow: BTreeSet<String> =
            ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned).into();
        for good in
            ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"]
        {
            assert!(allowed(good, &allow), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR GPL-3.0) AND MIT"] {
            assert!(!allowed(bad, &allow), "{bad}");
        }
    }
}
