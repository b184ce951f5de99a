//! Windows of counting: calendar arithmetic in UTC, nothing else.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Length of a window. Windows follow the calendar in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Period {
    /// From second to second.
    Second,
    /// Begins at second 0.
    Minute,
    /// Begins at minute 0.
    Hour,
    /// Begins at midnight.
    Day,
    /// Begins on the first.
    Month,
    /// Begins on 1 January.
    Year,
}

impl Period {
    /// All of them, shortest first.
    #[cfg(test)]
    pub const ALL: [Period; 6] = [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month, Period::Year];

    /// The window that second `now` of the Unix clock lies in: first second, and first second after it.
    pub fn window(self, now: i64) -> (i64, i64) {
        let fixed = |seconds: i64| {
            let start = now - now.rem_euclid(seconds);
            (start, start.saturating_add(seconds))
        };
        match self {
            Period::Second => (now, now.saturating_add(1)),
            Period::Minute => fixed(60),
            Period::Hour => fixed(3_600),
            Period::Day => fixed(86_400),
            Period::Month => calendar(now, |day| day.first_of_month(), |first| first.checked_add(1.month())),
            Period::Year => calendar(now, |day| day.first_of_year(), |first| first.checked_add(1.year())),
        }
    }
}

fn calendar(now: i64, first: fn(Date) -> Date, next: fn(Date) -> Result<Date, jiff::Error>) -> (i64, i64) {
    // Outside the years that the calendar knows there is one window without end: a clock that is that wrong still counts.
    let bounds = || -> Result<(i64, i64), jiff::Error> {
        let day = Timestamp::from_second(now)?.to_zoned(TimeZone::UTC).date();
        let first = first(day);
        let second = |date: Date| Ok::<_, jiff::Error>(date.to_zoned(TimeZone::UTC)?.timestamp().as_second());
        Ok((second(first)?, second(next(first)?)?))
    };
    bounds().unwrap_or((i64::MIN, i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn second(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn months_and_years_follow_the_calendar_through_leap_years() {
        let leap_day = second("2028-02-29T23:59:59Z");
        assert_eq!(Period::Month.window(leap_day), (second("2028-02-01T00:00:00Z"), second("2028-03-01T00:00:00Z")));
        assert_eq!(Period::Year.window(leap_day), (second("2028-01-01T00:00:00Z"), second("2029-01-01T00:00:00Z")));
        assert_eq!(Period::Month.window(leap_day + 1).0, second("2028-03-01T00:00:00Z"));
        assert_eq!(Period::Day.window(leap_day), (second("2028-02-29T00:00:00Z"), second("2028-03-01T00:00:00Z")));
    }

    #[test]
    fn a_clock_beyond_the_calendar_has_one_window_without_end() {
        assert_eq!(Period::Month.window(i64::MAX), (i64::MIN, i64::MAX));
    }

    proptest! {
        #[test]
        fn windows_tile_time_and_shorter_ones_lie_within_longer(now in -30_000_000_000i64..200_000_000_000) {
            let mut inner = (now, now + 1);
            for period in Period::ALL {
                let (start, end) = period.window(now);
                prop_assert!(start <= now && now < end);
                prop_assert_eq!(period.window(start), (start, end));
                prop_assert_eq!(period.window(end - 1), (start, end));
                prop_assert_eq!(period.window(end).0, end);
                prop_assert_eq!(period.window(start - 1).1, start);
                prop_assert!(start <= inner.0 && inner.1 <= end);
                inner = (start, end);
            }
        }
    }
}
