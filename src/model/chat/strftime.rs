//! Today's date in the formats that chat templates ask for.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From 1 January 1970, a Thursday.
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The present moment, UTC, as Python's `datetime.now().strftime(format)`.
pub fn now(format: &str) -> Result<String, Error> {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(elapsed.as_secs(), format)
}

fn strftime(seconds: u64, format: &str) -> Result<String, Error> {
    let (days, clock) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = civil(days);
    let month_name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    let weekday = WEEKDAYS.get((days % 7) as usize).copied().unwrap_or_default();
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        text += &match chars.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('B') => month_name.into(),
            Some('b') => month_name.chars().take(3).collect(),
            Some('A') => weekday.into(),
            Some('a') => weekday.chars().take(3).collect(),
            Some('H') => format!("{:02}", clock / 3600),
            Some('M') => format!("{:02}", clock / 60 % 60),
            Some('S') => format!("{:02}", clock % 60),
            Some('%') => "%".into(),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("unknown date format `{format}`"),
                ));
            }
        };
    }
    Ok(text)
}

/// Year, month and day of a day counted from 1 January 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut rest) = (1970, days);
    while rest >= 365 + u64::from(leap(year)) {
        rest -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    /// `date -u -d @SECONDS +FORMAT`
    #[test]
    fn agrees_with_date() {
        assert_eq!(strftime(0, "%A %d %B %Y").unwrap(), "Thursday 01 January 1970");
        assert_eq!(strftime(951_782_400, "%a %d %b %Y").unwrap(), "Tue 29 Feb 2000");
        assert_eq!(strftime(1_735_689_599, "%Y-%m-%d %H:%M:%S %y%%").unwrap(), "2024-12-31 23:59:59 24%");
        assert!(strftime(0, "%Q").is_err());
    }
}
