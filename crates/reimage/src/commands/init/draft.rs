//! The spec that `init` writes, in pieces, and Nickel's quoting.

/// Debian's suite of a first spec.
pub(super) const SUITE: &str = "bookworm";

/// A spec to be written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// What was found, for people.
    pub(crate) found: String,
    /// What a person should know or do.
    pub(crate) notes: Vec<String>,
    /// Name of the image.
    pub(crate) image: String,
    /// Fields of `steps`: comment, field with contract, lines of the record.
    pub(crate) steps: Vec<(String, String, Vec<String>)>,
    /// Steps of the image, lowest first.
    pub(crate) layers: Vec<String>,
    /// `workdir`
    pub(crate) workdir: Option<String>,
    /// `cmd`
    pub(crate) cmd: Vec<String>,
    /// The port it serves, if it does.
    pub(crate) port: Option<u16>,
}

impl Draft {
    /// The target to name on the command line.
    pub(super) fn target(&self) -> String {
        format!("images.{}", self.image)
    }

    /// What `reimage run` needs besides.
    pub(super) fn run_flags(&self) -> &'static str {
        if self.port.is_some() { " --network host" } else { "" }
    }

    /// Adds a step.
    pub(super) fn step(&mut self, comment: &str, field: &str, lines: &[String]) {
        self.steps.push((comment.to_owned(), field.to_owned(), lines.to_vec()));
    }

    /// The text of the spec.
    pub(super) fn spec(&self) -> String {
        let run = format!("{}{}", self.target(), self.run_flags());
        let mut lines = vec![
            format!("# {}.", self.found),
            format!("# `reimage build` builds it, `reimage run {run}` runs it."),
            "let re = import \"reimage.ncl\" in".to_owned(),
            "{".to_owned(),
            "  steps = {".to_owned(),
        ];
        for (comment, field, record) in &self.steps {
            lines.extend(comment.lines().map(|line| format!("    # {line}")));
            lines.push(format!("    {field} = {{"));
            lines.extend(record.iter().map(|line| format!("      {line}")));
            lines.push("    },".to_owned());
        }
        let layers: Vec<_> = self.layers.iter().map(|step| format!("steps.{step}")).collect();
        let tag = format!("{}:latest", self.image.to_ascii_lowercase());
        let fields = [
            Some(format!("layers = [{}]", layers.join(", "))),
            self.workdir.as_ref().map(|workdir| format!("workdir = {}", quote(workdir))),
            self.port.map(|port| format!("expose = [{port}]")),
            Some(format!("cmd = {}", list(&self.cmd))),
            Some(format!("tags = [{}]", quote(&tag))),
        ];
        lines.extend(["  },".to_owned(), "  images = {".to_owned()]);
        lines.push(format!("    {} | re.Image = {{", self.image));
        lines.extend(fields.into_iter().flatten().map(|field| format!("      {field},")));
        lines.extend(["    },", "  },", "} | re.Spec", ""].map(str::to_owned));
        lines.join("\n")
    }
}

/// A `re.Debian` with these packages.
pub(super) fn debian(packages: &[String]) -> Vec<String> {
    vec![format!("suite = {},", quote(SUITE)), format!("packages = {},", list(packages))]
}

/// A `re.Debian` with these packages unpacked only, as a base for programs that need no shell.
pub(super) fn minimal(packages: &[&str]) -> Vec<String> {
    let packages: Vec<_> = packages.iter().map(|&p| p.to_owned()).collect();
    let mut lines = debian(&packages);
    lines.push("scripts = 'skip,".to_owned());
    lines
}

/// A script over several lines, as a field; no line of ours has a `%{`, which would begin an interpolation.
pub(super) fn script(lines: &[String]) -> Vec<String> {
    let mut field = vec!["script = m%\"".to_owned()];
    field.extend(lines.iter().map(|line| format!("  {line}")));
    field.push("\"%,".to_owned());
    field
}

/// A Nickel string.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // `%{` would begin an interpolation.
            '%' if chars.peek() == Some(&'{') => quoted.push_str("\\%"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A Nickel list of strings.
pub(super) fn list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A word for a file name or a shell, quoted only if it must be.
pub(super) fn shell(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A name for an image: letters, digits and dashes, beginning with a letter and no word of Nickel's.
pub(super) fn word(text: &str) -> String {
    const KEYWORDS: [&str; 22] = [
        "let",
        "in",
        "fun",
        "if",
        "then",
        "else",
        "match",
        "import",
        "true",
        "false",
        "null",
        "forall",
        "rec",
        "include",
        "default",
        "doc",
        "force",
        "optional",
        "priority",
        "or",
        "as",
        "not_exported",
    ];
    let mut word = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        } else if !word.ends_with('-') {
            word.push('-');
        }
    }
    let word = word.trim_matches('-');
    let begins = word.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins && !KEYWORDS.contains(&word) { word.to_owned() } else { "app".to_owned() }
}
