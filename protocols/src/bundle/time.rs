use std::fmt;

use super::BundleError;

/// A moment, as text in one form of RFC 3339: `2027-01-31T00:00:00Z`, UTC in whole seconds, from 1970 on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: u64,
    text: String,
}

impl Timestamp {
    /// Reads the text of a moment.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        seconds(text).map(|seconds| Self { seconds, text: text.to_string() }).ok_or_else(|| {
            let found: String = text.escape_debug().take(40).collect();
            BundleError::unexpected(
                "a moment",
                "UTC in whole seconds such as 2027-01-31T00:00:00Z",
                format!("`{found}`"),
            )
        })
    }

    /// The moment so many seconds after the beginning of 1970; of those after 9999, the last in it.
    #[must_use]
    pub fn of_seconds(seconds: u64) -> Self {
        let seconds = seconds.min(253_402_300_799);
        let (days, time) = (seconds / 86_400, seconds % 86_400);
        // Counted in eras of 400 years from a first of March on, the leap day comes last in its year.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let year = era * 400 + year + u64::from(month >= 10);
        let month = if month < 10 { month + 3 } else { month - 9 };
        let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
        Self { seconds, text }
    }

    /// The seconds from the beginning of 1970 on.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.seconds
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let right = (1..=*lengths.get(month)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !right || year < 1970 {
        return None;
    }
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    let days = years + lengths.iter().take(month).sum::<u64>() + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Three numbers of so many digits each.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_as_others_count_them() {
        // By `date -u -d TEXT +%s`.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1999-12-31T23:59:59Z", 946_684_799),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2027-01-31T00:00:00Z", 1_801_353_600),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            let read = Timestamp::parse(text).unwrap();
            assert_eq!((read.seconds(), read.to_string()), (seconds, text.to_string()));
        }
    }

    proptest::proptest! {
        #[test]
        fn a_moment_by_its_seconds_is_the_one_that_is_read(seconds in 0_u64..=253_402_300_799) {
            let moment = Timestamp::of_seconds(seconds);
            proptest::prop_assert_eq!(Timestamp::parse(&moment.to_string()).unwrap(), moment);
        }
    }

    #[test]
    fn other_forms_and_days_that_are_none_are_refused() {
        for text in [
            "",
            "2027-01-31",
            "2027-01-31T00:00:00",
            "2027-01-31t00:00:00z",
            "2027-01-31T00:00:00+00:00",
            "2027-01-31T00:00:00.5Z",
            "2027-1-31T00:00:00Z",
            "2027-+1-31T00:00:00Z",
            "2027-00-31T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:60:00Z",
            "2016-12-31T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "2027-01-31T00:00:00:00Z",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }
}
