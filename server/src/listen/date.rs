//! The header `date`, written once a second.

use std::time::{Duration, UNIX_EPOCH};

use hedef_core::host::time_of_day;

/// Writes what time it is.
#[derive(Default)]
pub(super) struct Date {
    second: u64,
    text: String,
}

impl Date {
    /// The time as headers say it (RFC 9110, section 5.6.7).
    pub(super) fn now(&mut self) -> &[u8] {
        self.at(time_of_day().as_secs())
    }

    fn at(&mut self, second: u64) -> &[u8] {
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_anew_with_each_second() {
        let mut date = Date::default();
        assert_eq!(date.at(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        for _ in 0..2 {
            assert_eq!(date.at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        }
        assert_eq!(date.now().len(), 29);
    }
}
