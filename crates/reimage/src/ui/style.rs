//! Colours by what they mean; without colour, the text as it is.

/// Whether to colour, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    enabled: bool,
}

impl Style {
    /// With colours or without.
    pub(crate) const fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Whether there are colours.
    pub(crate) const fn enabled(self) -> bool {
        self.enabled
    }

    /// `error:`
    pub(crate) fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// `warning:`
    pub(crate) fn warning(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// `hint:`
    pub(crate) fn hint(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    /// Something that went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// A name.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What is less important.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_when_wanted() {
        assert_eq!(Style::new(false).error("error:"), "error:");
        assert_eq!(Style::new(true).dim("x"), "\u{1b}[2mx\u{1b}[0m");
    }
}
