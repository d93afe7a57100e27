//! The control file of a package, and the paragraphs of dpkg's status: fields with their exact text.
//!
//! Both go back into a status file byte for byte, so that values keep their line breaks and leading blanks,
//! which general readers of deb822 drop.

use thiserror::Error;

/// A control file that is none.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ControlError {
    /// A line that is neither a field nor the continuation of one.
    #[error("Line {line} is neither a field nor the continuation of one: `{text}`")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What it says, shortened.
        text: String,
    },
    /// A field that must be there.
    #[error("It has no field `{field}`")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A value that cannot be.
    #[error("Its field `{field}` cannot be `{value}`")]
    Value {
        /// Its name.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// It is not UTF-8.
    #[error("It is not UTF-8")]
    Encoding,
    /// It has a second paragraph.
    #[error("It has more than one paragraph")]
    Paragraphs,
}

/// Fields in their order; names are found whatever their case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    fields: Vec<(String, String)>,
}

impl Control {
    /// Reads the control file of a package: one paragraph with a name, a version and an architecture.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlError> {
        let mut paragraphs = Self::paragraphs(bytes)?;
        let control = match (paragraphs.pop(), paragraphs.pop()) {
            (None, _) => return Err(ControlError::Missing { field: "Package" }),
            (Some(control), None) => control,
            _ => return Err(ControlError::Paragraphs),
        };
        for field in ["Package", "Version", "Architecture"] {
            let value = control.get(field).ok_or(ControlError::Missing { field })?;
            // They become names of files, words of a shell and lines of a database.
            let good = |b: u8| b.is_ascii_alphanumeric() || b"+-.~:".contains(&b);
            let first = value.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
            let colon = field == "Version" || !value.contains(':');
            if !first || !colon || !value.bytes().all(good) {
                return Err(ControlError::Value { field, value: value.to_owned() });
            }
        }
        Ok(control)
    }

    /// Reads a file of several paragraphs, such as dpkg's status.
    pub fn paragraphs(bytes: &[u8]) -> Result<Vec<Self>, ControlError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ControlError::Encoding)?;
        let mut paragraphs = Vec::new();
        let mut present = Self::default();
        for (number, line) in text.lines().enumerate() {
            let error =
                || ControlError::Line { line: number + 1, text: line.chars().take(80).collect() };
            if line.trim().is_empty() {
                if !present.fields.is_empty() {
                    paragraphs.push(std::mem::take(&mut present));
                }
            } else if line.starts_with([' ', '\t']) {
                let (_, value) = present.fields.last_mut().ok_or_else(error)?;
                value.push('\n');
                value.push_str(line);
            } else {
                let (name, value) = line.split_once(':').ok_or_else(error)?;
                if name.is_empty() || name.contains(char::is_whitespace) {
                    return Err(error());
                }
                present.fields.push((name.to_owned(), value.trim_start().to_owned()));
            }
        }
        if !present.fields.is_empty() {
            paragraphs.push(present);
        }
        Ok(paragraphs)
    }

    /// The value of a field: its lines as they are, without blanks around them all.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.raw(field).map(str::trim_end)
    }

    /// The same with the blanks that it ends with: dpkg keeps them.
    pub fn raw(&self, field: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(field));
        found.map(|(_, value)| value.as_str())
    }

    /// All fields in order, with the blanks that values end with: dpkg keeps them.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The package's name.
    pub fn name(&self) -> &str {
        self.get("Package").unwrap_or_default()
    }

    /// The package's version.
    pub fn version(&self) -> &str {
        self.get("Version").unwrap_or_default()
    }

    /// The package's architecture.
    pub fn architecture(&self) -> &str {
        self.get("Architecture").unwrap_or_default()
    }

    /// Whether the package is essential.
    pub fn is_essential(&self) -> bool {
        self.get("Essential") == Some("yes")
    }

    /// What dpkg's files under `info` are called: with the architecture where several may be installed.
    pub fn info_name(&self) -> String {
        if self.get("Multi-Arch") == Some("same") {
            format!("{}:{}", self.name(), self.architecture())
        } else {
            self.name().to_owned()
        }
    }

    /// The names that the package is found by in dependencies: its own and those it provides.
    pub fn provides(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name())
            .chain(names(self.get("Provides").unwrap_or_default()).flatten())
    }

    /// The names in a field of relations: groups of alternatives, without versions and architectures.
    pub fn relations(&self, field: &str) -> Vec<Vec<&str>> {
        names(self.get(field).unwrap_or_default()).collect()
    }
}

fn names(field: &str) -> impl Iterator<Item = Vec<&str>> {
    let groups = field.split(',').filter(|group| !group.trim().is_empty());
    groups.map(|group| {
        let end = |c: char| c.is_whitespace() || "(:[<".contains(c);
        let name = |one: &'_ str| -> usize { one.find(end).unwrap_or(one.len()) };
        group.split('|').map(str::trim).map(|one| &one[..name(one)]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"Package: a\nVersion: 1:2~3-4\nArchitecture: amd64\nMulti-Arch: same\nProvides: b (= 1), c\n\
        Depends: d:any (>= 1) | e, f [amd64]\nDescription: short\n  long\n .\n end\n";

    #[test]
    fn fields_and_relations() {
        let control = Control::parse(TEXT).expect("it is good");
        assert_eq!(control.info_name(), "a:amd64");
        assert_eq!(control.provides().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(control.relations("depends"), [vec!["d", "e"], vec!["f"]]);
        assert_eq!(control.get("Description"), Some("short\n  long\n .\n end"));
    }

    #[test]
    fn what_is_no_control_file() {
        let error =
            |text: &str| Control::parse(text.as_bytes()).expect_err("it is bad").to_string();
        assert_eq!(error(""), "It has no field `Package`");
        assert_eq!(error("Package: a\n"), "It has no field `Version`");
        assert_eq!(error(" x\n"), "Line 1 is neither a field nor the continuation of one: ` x`");
        let name = "Package: a/../b\nVersion: 1\nArchitecture: all\n";
        assert_eq!(error(name), "Its field `Package` cannot be `a/../b`");
        let option = "Package: -x\nVersion: 1\nArchitecture: all\n";
        assert_eq!(error(option), "Its field `Package` cannot be `-x`");
        assert_eq!(Control::parse(b"\xff"), Err(ControlError::Encoding));
        let two = [TEXT, b"\n", TEXT].concat();
        assert_eq!(Control::parse(&two), Err(ControlError::Paragraphs));
    }
}
