//! Who a step runs as: a name of the root's own /etc/passwd, or numbers.

use thiserror::Error;

/// A user that cannot be.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub(crate) enum UserError {
    /// A name that the root does not know.
    #[error("There is no user `{name}` in the /etc/passwd of the root")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A group that the root does not know.
    #[error("There is no group `{name}` in the /etc/group of the root")]
    UnknownGroup {
        /// The name.
        name: String,
    },
}

/// Numbers of a user, and where it is at home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Groups of which it is a member besides.
    pub(crate) groups: Vec<u32>,
    /// The home of its passwd entry, else `/`.
    pub(crate) home: String,
}

/// Finds `user` (`NAME`, `UID`, `UID:GID`, `NAME:GROUP`) in the texts of /etc/passwd and /etc/group.
pub(crate) fn find(user: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let number = name.parse::<u32>().ok();
    let entry = entries(passwd).find(|e| match number {
        Some(number) => e.number(2) == Some(number),
        None => e.0[0] == name,
    });
    let uid = match (&entry, number) {
        (_, Some(number)) => number,
        (Some(entry), None) => {
            entry.number(2).ok_or_else(|| UserError::Unknown { name: name.to_owned() })?
        }
        (None, None) => return Err(UserError::Unknown { name: name.to_owned() }),
    };
    let home = entry
        .as_ref()
        .and_then(|e| e.0.get(5))
        .filter(|home| home.starts_with('/'))
        .copied()
        .unwrap_or("/");
    let gid = match group_name {
        None => entry.as_ref().and_then(|e| e.number(3)).unwrap_or(0),
        Some(group_name) => match group_name.parse() {
            Ok(gid) => gid,
            Err(_) => entries(group)
                .find(|e| e.0[0] == group_name)
                .and_then(|e| e.number(2))
                .ok_or_else(|| UserError::UnknownGroup { name: group_name.to_owned() })?,
        },
    };
    // As docker does: with a group named, it is the only one.
    let member = |e: &Entry<'_>| {
        let login = entry.as_ref().map(|e| e.0[0]);
        group_name.is_none() && e.0.get(3).is_some_and(|m| m.split(',').any(|m| Some(m) == login))
    };
    let mut groups: Vec<u32> = entries(group).filter(member).filter_map(|e| e.number(2)).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(User { uid, gid, groups, home: home.to_owned() })
}

struct Entry<'a>(Vec<&'a str>);

impl Entry<'_> {
    fn number(&self, field: usize) -> Option<u32> {
        self.0.get(field)?.parse().ok()
    }
}

fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines()
        .filter(|line| !line.starts_with('#') && line.contains(':'))
        .map(|line| Entry(line.split(':').collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33::/var/www:/bin/sh\n# no:x:1:1::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\ntty:x:5:other,www\n";

    #[test]
    fn names_and_numbers() {
        let user = |user| find(user, PASSWD, GROUP);
        let www = User { uid: 33, gid: 33, groups: vec![5], home: "/var/www".into() };
        assert_eq!(user("www"), Ok(www.clone()));
        assert_eq!(user("33"), Ok(www.clone()));
        assert_eq!(user("33:0"), Ok(User { gid: 0, groups: vec![], ..www.clone() }));
        assert_eq!(user("www:tty"), Ok(User { gid: 5, groups: vec![], ..www }));
        assert_eq!(user("1000"), Ok(User { uid: 1000, gid: 0, groups: vec![], home: "/".into() }));
        assert_eq!(user("no"), Err(UserError::Unknown { name: "no".into() }));
        assert_eq!(user("www:no"), Err(UserError::UnknownGroup { name: "no".into() }));
        assert_eq!(find("root", "", ""), Err(UserError::Unknown { name: "root".into() }));
    }
}
