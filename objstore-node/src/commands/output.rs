//! What the verbs have in common when they print.

use std::io::Write;

use objstore_client::Error;

use crate::failure::{Failure, describe};

/// Prints lines, which are complete with their newlines, on standard output.
pub(super) fn print(lines: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush()).map_err(|e| Failure::printing(&e))
}

/// An error of a request.
pub(super) fn failed(what: &str, error: &Error) -> String {
    format!("{what}: {}", describe(error))
}

/// A type of ours, which serialises, on a line.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    format!("{}\n", serde_json::to_string(value).unwrap_or_default())
}

/// Text that comes from elsewhere, without anything that would steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC, to the second.
pub(super) fn rfc3339(timestamp: u64) -> String {
    let seconds = timestamp / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the proleptic Gregorian calendar, in eras of 400 years from March on:
    // https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_504_139_495, "2017-08-31T00:31:35Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000_000 + 999), text);
        }
    }

    #[test]
    fn nothing_printed_steers_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\r\nü"), "a\\u{1b}[2J\\r\\nü");
    }
}
