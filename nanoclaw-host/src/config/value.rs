//! What the values of keys may look like: times, sizes, counts, words, paths.
//!
//! Each function makes a [`Rule`]: it takes a raw value from the file or the environment, and either understands it or says
//! what would be right.

use std::{borrow::Cow, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::de::DeValue;

/// A value before it is understood.
pub(super) enum Raw<'a> {
    /// From the environment: always text, whatever is meant by it.
    Variable(Cow<'a, str>),
    /// From the file.
    Toml(&'a DeValue<'a>),
}

/// What would be right, as it follows "must be".
pub(super) type Right = Cow<'static, str>;

impl Raw<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Variable(text) | Self::Toml(DeValue::String(text)) => Some(text),
            Self::Toml(_) => None,
        }
    }

    fn integer(&self) -> Option<u64> {
        match self {
            Self::Variable(text) => text.trim().parse().ok(),
            Self::Toml(DeValue::Integer(number)) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            Self::Toml(_) => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Variable(text) => text.trim().parse().ok(),
            Self::Toml(DeValue::Float(number)) => number.as_str().parse().ok(),
            Self::Toml(_) => self.integer().map(|number| number as f64),
        }
    }

    /// How the value is shown in a mistake; never more of it than is needed to find it, and nothing of what may be secret.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Variable(text) | Self::Toml(DeValue::String(text)) => {
                let harmless = text.chars().count() <= 32 && !text.contains("sk-") && !text.contains('@');
                if harmless { format!("{text:?}") } else { format!("a text of {} characters", text.chars().count()) }
            }
            Self::Toml(DeValue::Integer(number)) => number.to_string(),
            Self::Toml(DeValue::Float(number)) => number.to_string(),
            Self::Toml(DeValue::Boolean(value)) => value.to_string(),
            Self::Toml(DeValue::Datetime(_)) => "a date".to_owned(),
            Self::Toml(DeValue::Array(_)) => "a list".to_owned(),
            Self::Toml(DeValue::Table(_)) => "a table".to_owned(),
        }
    }
}

/// Reads one kind of value.
pub(super) trait Rule<T>: Fn(&Raw<'_>) -> Result<T, Right> {}
impl<T, F: Fn(&Raw<'_>) -> Result<T, Right>> Rule<T> for F {}

/// A text without control characters and without space around it, of 1 to `longest` characters.
pub(super) fn line(longest: usize) -> impl Rule<String> {
    move |raw| {
        raw.text()
            .filter(|text| !text.is_empty() && text.trim() == *text && text.chars().count() <= longest)
            .filter(|text| !text.chars().any(char::is_control))
            .map(str::to_owned)
            .ok_or_else(|| {
                format!("a text of 1 to {longest} characters, without control characters or space around it").into()
            })
    }
}

/// A list of texts that are neither empty as a whole nor have NUL in them.
pub(super) fn command() -> impl Rule<Vec<String>> {
    |raw| {
        const RIGHT: &str = r#"a list of the program and its arguments, such as ["/usr/bin/python3", "agent.py"]"#;
        let Raw::Toml(DeValue::Array(items)) = raw else { return Err(RIGHT.into()) };
        let words: Option<Vec<String>> = items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) if !text.contains('\0') => Some(text.to_string()),
                _ => None,
            })
            .collect();
        words.filter(|words| words.first().is_some_and(|program| !program.is_empty())).ok_or(RIGHT.into())
    }
}

/// A list of texts, which may be empty; in a variable, with commas between them.
pub(super) fn texts() -> impl Rule<Vec<String>> {
    |raw| {
        let texts: Option<Vec<String>> = match raw {
            Raw::Variable(text) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
            Raw::Toml(DeValue::Array(items)) => {
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
            }
            Raw::Toml(_) => None,
        };
        let plain = |text: &String| !text.is_empty() && text.len() <= 1024 && !text.chars().any(char::is_control);
        texts.filter(|texts| texts.iter().all(plain)).ok_or("a list of texts".into())
    }
}

/// One of a few words, whatever their case.
pub(super) fn word<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> impl Rule<T> {
    move |raw| {
        let text = raw.text().unwrap_or_default();
        words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            all.join(" or ").into()
        })
    }
}

/// A whole number within bounds.
pub(super) fn count(bounds: RangeInclusive<u32>) -> impl Rule<u32> {
    move |raw| {
        raw.integer()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| format!("a whole number from {} to {}", bounds.start(), bounds.end()).into())
    }
}

/// `"none"` for no bound, else what `rule` says.
pub(super) fn or_none<T>(rule: impl Rule<T>) -> impl Rule<Option<T>> {
    move |raw| {
        if raw.text() == Some("none") {
            return Ok(None);
        }
        rule(raw).map(Some).map_err(|right| format!("{right}, or \"none\" for no bound").into())
    }
}

/// Processors, in thousandths: `2`, `1.5`, `"0.5"`.
pub(super) fn processors() -> impl Rule<u32> {
    |raw| {
        raw.number()
            .or_else(|| raw.text()?.trim().parse().ok())
            .filter(|number| (0.01..=1024.0).contains(number))
            .map(|number| (number * 1000.0).round() as u32)
            .ok_or("a number of processors from 0.01 to 1024, such as 2 or 0.5".into())
    }
}

/// A length of time with its unit: `"90s"`, `"30m"`, `"1h 30m"`.
pub(super) fn duration(bounds: RangeInclusive<Duration>) -> impl Rule<Duration> {
    move |raw| {
        raw.text().and_then(parse_duration).filter(|duration| bounds.contains(duration)).ok_or_else(|| {
            format!(
                "a length of time with its unit such as \"90s\", \"30m\" or \"1h 30m\", from {} to {}",
                show_duration(*bounds.start()),
                show_duration(*bounds.end())
            )
            .into()
        })
    }
}

/// Bytes with their unit: `"2GiB"`, `"512MiB"`, `"1500000 B"`.
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl Rule<u64> {
    move |raw| {
        raw.text().and_then(parse_size).filter(|size| bounds.contains(size)).ok_or_else(|| {
            format!(
                "a size with its unit such as \"512MiB\" or \"2GiB\", from {} to {}",
                show_size(*bounds.start()),
                show_size(*bounds.end())
            )
            .into()
        })
    }
}

/// A path; `~/` is the home directory of the user, and a relative path starts at `base`.
pub(super) fn path(base: PathBuf, user_home: Option<PathBuf>) -> impl Rule<PathBuf> {
    move |raw| {
        let text = raw.text().filter(|text| !text.is_empty() && !text.contains('\0')).ok_or("a path")?;
        match text.strip_prefix("~/") {
            Some(rest) => match &user_home {
                Some(home) => Ok(home.join(rest)),
                None => Err("a path without ~, because HOME is not set".into()),
            },
            None => Ok(base.join(text)),
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return None,
        };
        let part = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(unit_ms)?);
        total = total.checked_add(part)?;
        rest = tail.trim_start();
    }
    Some(total)
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A length of time as the configuration has it: `30m`, `1h 30m`, `250ms`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = ms;
    let parts: Vec<String> = units
        .into_iter()
        .filter_map(|(unit, size)| {
            let number = rest / size;
            rest %= size;
            (number > 0).then(|| format!("{number}{unit}"))
        })
        .collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Bytes as the configuration has them: `2GiB`, `512MiB`, `1000B`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// Bytes as people say them: `64.2 GiB`.
#[must_use]
pub fn show_size_rounded(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >= 1 << shift) {
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1_u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units_and_shown_the_same_way() {
        for (text, ms) in
            [("30m", 1_800_000), ("1h 30m", 5_400_000), ("1h30m", 5_400_000), ("250ms", 250), ("2 d", 172_800_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "m", "-5m", "1.5h", "30 parsecs", "99999999999999999999d", "9999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h 30m");
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn sizes_are_read_with_their_units_and_shown_the_same_way() {
        for (text, bytes) in [("2GiB", 2 << 30), ("512 MiB", 512 << 20), ("1500B", 1500), ("2GB", 2_000_000_000)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "2", "GiB", "2 gibibytes", "-1GiB", "99999999999TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!(show_size(2 << 30), "2GiB");
        assert_eq!(show_size(1500), "1500B");
    }

    #[test]
    fn what_looks_like_a_credential_is_not_shown() {
        for text in ["sk-ant-api03-x", "https://user:pw@host", "0123456789012345678901234567890123456789"] {
            assert!(!Raw::Variable(text.into()).shown().contains(text), "{text}");
        }
        assert_eq!(Raw::Variable("soon".into()).shown(), "\"soon\"");
    }
}
