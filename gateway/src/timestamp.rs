//! Points in time as S3 writes them: in headers, in XML, in signatures.
//!
//! Inside, time is milliseconds since the Unix epoch. S3 compares and shows whole seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// `2009-10-12T17:50:30.000Z`: timestamps in XML. Milliseconds are always `000`, as at S3, so that the value
/// equals that of the `Last-Modified` header.
///
/// Written digit by digit: a listing has a thousand of them, and formatting would be most of what they cost.
pub fn iso8601(time_ms: u64) -> String {
    let t = civil(time_ms);
    // Years that can be shown have four digits.
    let two_digits = |number: i32| u8::try_from(number).unwrap_or_default();
    let mut text = String::with_capacity(ISO8601_LEN);
    push_two_digits(&mut text, two_digits(t.year() / 100));
    let fields = [
        (two_digits(t.year() % 100), '-'),
        (u8::from(t.month()), '-'),
        (t.day(), 'T'),
        (t.hour(), ':'),
        (t.minute(), ':'),
        (t.second(), '.'),
    ];
    for (number, separator) in fields {
        push_two_digits(&mut text, number);
        text.push(separator);
    }
    text.push_str("000Z");
    text
}

const ISO8601_LEN: usize = "2009-10-12T17:50:30.000Z".len();

fn push_two_digits(text: &mut String, number: u8) {
    text.push(char::from(b'0' + number / 10 % 10));
    text.push(char::from(b'0' + number % 10));
}

/// `2009-10-12T17:50:30Z`: the form of time stamps in error documents.
pub fn iso8601_seconds(time_ms: u64) -> String {
    iso8601(time_ms).replace(".000Z", "Z")
}

/// `Mon, 12 Oct 2009 17:50:30 GMT`: headers (RFC 9110, IMF-fixdate).
pub fn http_date(time_ms: u64) -> String {
    httpdate::fmt_http_date(system_time(time_ms))
}

/// `20091012T175030Z`: `x-amz-date` and strings to sign.
pub fn amz_date(time_ms: u64) -> String {
    let t = civil(time_ms);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// Parses an HTTP date in any of its three forms.
pub fn parse_http_date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    millis(time)
}

/// Parses `20091012T175030Z`.
pub fn parse_amz_date(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 16 && bytes.get(8) == Some(&b'T') && bytes.get(15) == Some(&b'Z');
    if !shape {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<u16> {
        let digits = text.get(range)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let small = |range| number(range).and_then(|value| u8::try_from(value).ok());
    let month = time::Month::try_from(small(4..6)?).ok()?;
    let date =
        time::Date::from_calendar_date(i32::from(number(0..4)?), month, small(6..8)?).ok()?;
    let time = time::Time::from_hms(small(9..11)?, small(11..13)?, small(13..15)?).ok()?;
    let seconds = OffsetDateTime::new_utc(date, time).unix_timestamp();
    u64::try_from(seconds).ok()?.checked_mul(1000)
}

/// Whole seconds: the granularity at which S3 compares times of modification.
pub const fn seconds(time_ms: u64) -> u64 {
    time_ms / 1000
}

/// As the standard library's type, for libraries that want it.
pub fn system_time(time_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time_ms.min(TIME_MS_MAX))
}

/// 9999-12-31T23:59:59.999Z, the last moment that all formats can write.
const TIME_MS_MAX: u64 = 253_402_300_799_999;

fn millis(time: SystemTime) -> Option<u64> {
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_millis()).ok()
}

fn civil(time_ms: u64) -> OffsetDateTime {
    OffsetDateTime::from(system_time(time_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_MS: u64 = 1_255_369_830_123;

    #[test]
    fn each_format_is_written_as_s3_writes_it() {
        assert_eq!(iso8601(TIME_MS), "2009-10-12T17:50:30.000Z");
        assert_eq!(iso8601_seconds(TIME_MS), "2009-10-12T17:50:30Z");
        assert_eq!(http_date(TIME_MS), "Mon, 12 Oct 2009 17:50:30 GMT");
        assert_eq!(amz_date(TIME_MS), "20091012T175030Z");
        assert_eq!(iso8601(u64::MAX), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn amz_dates_are_parsed_strictly() {
        assert_eq!(parse_amz_date("20091012T175030Z"), Some(1_255_369_830_000));
        for bad in [
            "",
            "20091012T175030",
            "20091312T175030Z",
            "2009-10-12T17:50",
            "+0091012T175030Z",
            "20091012T256030Z",
            "é091012T175030Z",
        ] {
            assert_eq!(parse_amz_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn http_dates_are_parsed_in_all_three_forms() {
        for text in [
            "Mon, 12 Oct 2009 17:50:30 GMT",
            "Monday, 12-Oct-09 17:50:30 GMT",
            "Mon Oct 12 17:50:30 2009",
        ] {
            assert_eq!(parse_http_date(text), Some(1_255_369_830_000), "{text}");
        }
        assert_eq!(parse_http_date("yesterday"), None);
    }

    proptest::proptest! {
        #[test]
        fn amz_dates_round_trip(seconds in 0u64..253_402_300_799) {
            proptest::prop_assert_eq!(parse_amz_date(&amz_date(seconds * 1000)), Some(seconds * 1000));
        }

        #[test]
        fn parsers_never_panic(text in ".{0,20}") {
            let _unused = (parse_amz_date(&text), parse_http_date(&text));
        }
    }
}
