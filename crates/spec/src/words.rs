//! Readers of what fields hold: strings, exact numbers, paths, dates, durations, references to steps.

use std::{collections::BTreeMap, time::Duration};

use reimage_castore::TreePath;
use reimage_plan::{Mode, Owner, Platform, Size, StepId};

use crate::{
    diagnostic::Diagnostic,
    fields::{Fields, Key, Value},
    machine::Fault,
};

pub(crate) fn string(fields: &mut Fields, value: &Value) -> Result<String, Fault> {
    match value.value.as_string() {
        Some(text) if text.contains("\0") => {
            Err(fields.fault(value, format!("`{}` holds a NUL character", value.name)))
        }
        Some(text) => Ok(text.to_string()),
        None => Err(fields.expected(value, "a string")),
    }
}

pub(crate) fn boolean(fields: &mut Fields, value: &Value) -> Result<bool, Fault> {
    value.value.as_bool().ok_or_else(|| fields.expected(value, "`true` or `false`"))
}

/// A list, each element read by `read`.
pub(crate) fn list<T>(
    read: impl Fn(&mut Fields, &Value) -> Result<T, Fault>,
) -> impl FnOnce(&mut Fields, &Value) -> Result<Vec<T>, Fault> {
    move |fields, value| {
        let (mut all, mut faults) = (Vec::new(), Vec::new());
        for element in fields.elements(value)? {
            match read(fields, &element) {
                Ok(element) => all.push(element),
                Err(fault) => faults.extend(fault),
            }
        }
        if faults.is_empty() { Ok(all) } else { Err(faults) }
    }
}

pub(crate) fn strings(fields: &mut Fields, value: &Value) -> Result<Vec<String>, Fault> {
    list(string)(fields, value)
}

/// A program and its arguments: at least the program.
pub(crate) fn argv(fields: &mut Fields, value: &Value) -> Result<Vec<String>, Fault> {
    let (name, span) = (value.name.clone(), value.span);
    let argv = strings(fields, value)?;
    if argv.first().is_some_and(String::is_empty) {
        let label = fields.machine.at(span, "the program is the first word");
        return Err(vec![Diagnostic::error(format!("`{name}` names no program")).label(label)]);
    }
    Ok(argv)
}

/// By name: strings, or none where `null` was written.
pub(crate) fn removable(
    fields: &mut Fields,
    value: &Value,
) -> Result<BTreeMap<String, Option<String>>, Fault> {
    let entries = fields.entries(value, |fields, _, entry| {
        if entry.value.is_null() { Ok(None) } else { string(fields, entry).map(Some) }
    })?;
    Ok(entries.into_iter().map(|(key, entry)| (key.name, entry)).collect())
}

/// The same for an environment: names without `=`.
pub(crate) fn environment(
    fields: &mut Fields,
    value: &Value,
) -> Result<BTreeMap<String, Option<String>>, Fault> {
    let entries = fields.entries(value, |fields, key, entry| {
        if key.name.is_empty() || key.name.contains(['=', '\0']) {
            let message = format!("`{}` is no name of an environment variable", key.name);
            return Err(vec![
                Diagnostic::error(message)
                    .label(fields.machine.at(key.span, ""))
                    .note("a name is not empty and holds no `=`"),
            ]);
        }
        if entry.value.is_null() { Ok(None) } else { string(fields, entry).map(Some) }
    })?;
    Ok(entries.into_iter().map(|(key, entry)| (key.name, entry)).collect())
}

pub(crate) fn texts(fields: &mut Fields, value: &Value) -> Result<BTreeMap<String, String>, Fault> {
    let entries = fields.entries(value, |fields, _, entry| string(fields, entry))?;
    Ok(entries.into_iter().map(|(key, entry)| (key.name, entry)).collect())
}

/// The key of a record as a path below the root of a tree.
pub(crate) fn key_path(fields: &Fields, key: &Key, field: &str) -> Result<TreePath, Fault> {
    let path = tree_path(&key.name).and_then(|path| {
        if path.is_root() { Err("`/` is the root itself".to_owned()) } else { Ok(path) }
    });
    path.map_err(|why| {
        let fault = Diagnostic::error(format!("`{field}`: {why}"));
        vec![fault.label(fields.machine.at(key.span.or(fields.span), ""))]
    })
}

/// A whole number within bounds, exactly.
pub(crate) fn number<T>(
    least: i64,
    most: i64,
) -> impl FnOnce(&mut Fields, &Value) -> Result<T, Fault>
where
    T: TryFrom<i64>,
{
    move |fields, value| {
        let Some(number) = value.value.as_number() else {
            return Err(fields.expected(value, "a number"));
        };
        let whole = number.to_string().parse::<i64>().ok();
        let fits = whole.filter(|n| (least..=most).contains(n)).and_then(|n| T::try_from(n).ok());
        fits.ok_or_else(|| {
            fields.expected(value, &format!("a whole number from {least} to {most}"))
        })
    }
}

/// The tag of an enum, by the values it stands for.
pub(crate) fn tag<T: Clone>(
    tags: &'static [(&'static str, T)],
) -> impl FnOnce(&mut Fields, &Value) -> Result<T, Fault> {
    move |fields, value| {
        let tag = value.value.as_enum_tag();
        let found = tag.and_then(|tag| tags.iter().find(|(name, _)| *name == tag.label()));
        found.map(|(_, value)| value.clone()).ok_or_else(|| {
            let known: Vec<_> = tags.iter().map(|(name, _)| format!("'{name}")).collect();
            fields.expected(value, &known.join(" or "))
        })
    }
}

/// An absolute path of a tree.
pub(crate) fn path(fields: &mut Fields, value: &Value) -> Result<TreePath, Fault> {
    let (name, span) = (value.name.clone(), value.span);
    let text = string(fields, value)?;
    tree_path(&text).map_err(|why| {
        vec![
            Diagnostic::error(format!("`{name}`: {why}"))
                .label(fields.machine.at(span.or(fields.span), "")),
        ]
    })
}

/// The path that a string names, or why it names none.
pub(crate) fn tree_path(text: &str) -> Result<TreePath, String> {
    if !text.starts_with('/') {
        return Err(format!("expected an absolute path such as `/opt/app`, got `{text}`"));
    }
    TreePath::new(text).map_err(|error| {
        let message = error.to_string();
        let mut letters = message.chars();
        letters.next().map_or(String::new(), |first| {
            first.to_lowercase().collect::<String>() + letters.as_str()
        })
    })
}

pub(crate) fn owner(fields: &mut Fields, value: &Value) -> Result<Owner, Fault> {
    let parsed = value.value.as_string().and_then(|text| {
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        // 2³² − 1 means "leave as it is" to chown(2).
        let id = |id: &str| id.parse::<u32>().ok().filter(|id| *id != u32::MAX);
        Some(Owner { uid: id(uid)?, gid: id(gid)? })
    });
    parsed
        .ok_or_else(|| fields.expected(value, "numeric owners `UID` or `UID:GID` below 4294967295"))
}

pub(crate) fn mode(fields: &mut Fields, value: &Value) -> Result<Mode, Fault> {
    let parsed = value.value.as_string().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| fields.expected(value, "a mode such as `0755` or `u=rwX,go=rX`"))
}

/// Seconds since 1970, or a UTC date.
pub(crate) fn date(fields: &mut Fields, value: &Value) -> Result<i64, Fault> {
    if let Some(text) = value.value.as_string() {
        return parse_date(text).ok_or_else(|| {
            fields.fault(value, format!("`{}`: there is no date `{text}`", value.name))
        });
    }
    // To the end of the year 9999.
    number(0, 253_402_300_799)(fields, value)
}

/// `2026-01-31` or `2026-01-31T12:00:00Z` as seconds since 1970.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || !(1..=days).contains(&day) || parts.next().is_some() {
        return None;
    }
    let mut parts = time.strip_suffix('Z')?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if hour > 23 || minute > 59 || second > 59 || parts.next().is_some() {
        return None;
    }
    // Days since 1970 by counting years from March, whose leap day is the last.
    let (y, m) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// `90s`, `1h30m`, `500ms`
pub(crate) fn duration(fields: &mut Fields, value: &Value) -> Result<Duration, Fault> {
    let parsed = value.value.as_string().and_then(|text| parse_duration(text));
    parsed.ok_or_else(|| fields.expected(value, "a duration such as `30s` or `1h30m`"))
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = digits.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        sum = sum.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// `512m`, `2g`: bytes, as docker counts them.
pub(crate) fn size(fields: &mut Fields, value: &Value) -> Result<u64, Fault> {
    let parsed: Option<Size> = value.value.as_string().and_then(|text| text.parse().ok());
    parsed.map(|size| size.0).ok_or_else(|| fields.expected(value, "a size such as `512m` or `2g`"))
}

pub(crate) fn platform(fields: &mut Fields, value: &Value) -> Result<Platform, Fault> {
    let parsed: Option<Platform> = value.value.as_string().and_then(|text| text.parse().ok());
    parsed
        .ok_or_else(|| fields.expected(value, "a platform such as `linux/amd64` or `linux/arm/v7`"))
}

/// A port, 8000 or `53/udp`, or several, `8000-8010`: each as docker's configuration writes it.
pub(crate) fn port(fields: &mut Fields, value: &Value) -> Result<Vec<String>, Fault> {
    let Some(text) = value.value.as_string().map(ToString::to_string) else {
        return Ok(vec![format!("{}/tcp", number::<u16>(1, 65535)(fields, value)?)]);
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match (number(first), number(last), protocol) {
        (Some(first), Some(last), "tcp" | "udp" | "sctp") if first <= last => {
            Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
        }
        _ => Err(fields.expected(value, "a port such as `8000` or `\"53/udp\"`")),
    }
}

/// A step, by reference.
pub(crate) fn step(fields: &mut Fields, value: &Value) -> Result<StepId, Fault> {
    if crate::machine::field(&value.value, "step").is_none() {
        return Err(fields.expected(value, "a step"));
    }
    fields.references.push(value.clone());
    Ok(StepId(fields.references.len() - 1))
}

/// A step or several, lowest first.
pub(crate) fn stack(fields: &mut Fields, value: &Value) -> Result<Vec<StepId>, Fault> {
    if value.value.as_record().is_some() {
        return Ok(vec![step(fields, value)?]);
    }
    list(step)(fields, value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates() {
        let cases = [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(951_782_400)),
            ("2026-11-01T00:00:00Z", Some(1_793_491_200)),
            ("2026-11-01T23:59:59Z", Some(1_793_577_599)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("1900-02-29", None),
            ("2100-02-29", None),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("2026-04-31", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("1969-12-31", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_date(text), seconds, "{text}");
        }
    }

    #[test]
    fn durations_and_sizes() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for bad in ["", "5", "h", "5d", "1h30", "99999999999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_written_panics(text in ".{0,24}") {
            let _ = (parse_date(&text), parse_duration(&text), tree_path(&text));
        }

        #[test]
        fn days_follow_each_other(day in 0_i64..2_932_896) {
            let month = |m: i64, leap: bool| [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][usize::try_from(m).expect("small")];
            let (mut year, mut left) = (1970, day);
            let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
            while left >= 365 + i64::from(leap(year)) {
                left -= 365 + i64::from(leap(year));
                year += 1;
            }
            let mut m = 0;
            while left >= month(m, leap(year)) {
                left -= month(m, leap(year));
                m += 1;
            }
            let text = format!("{year:04}-{:02}-{:02}", m + 1, left + 1);
            prop_assert_eq!(parse_date(&text), Some(day * 86_400), "{}", text);
        }
    }
}
