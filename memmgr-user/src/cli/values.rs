//! How sizes and times are typed.

use std::time::Duration;

use memmgr::govern::Budget;

/// A size: `524288`, `512KiB`, `1MiB`, `10MB`.
pub fn size(text: &str) -> Result<u64, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && text.parse::<u64>().is_err() {
        return Err(format!("{text} bytes are more than any host has"));
    }
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("{text:?} is no size; write 524288, 512KiB or 1MiB"))
}

/// A size that is not 0.
pub fn positive_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("at least 1 byte".into()),
        size => Ok(size),
    }
}

/// A time: `30s`, `5m`, `1h 30m`, `500ms`; `0` is none.
pub fn time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is no time; write 30s, 5m or 500ms"))
}

/// A time that is not 0, at least 100 ms.
pub fn interval(text: &str) -> Result<Duration, String> {
    match time(text)? {
        short if short < Duration::from_millis(100) => Err("at least 100ms".into()),
        interval => Ok(interval),
    }
}

/// How long figures are watched after an action: 100 ms to a day.
pub fn settling(text: &str) -> Result<Duration, String> {
    match interval(text)? {
        long if long > Duration::from_hours(24) => Err("at most 24h".into()),
        time => Ok(time),
    }
}

/// A sampling interval: 1 byte to 1 GiB.
pub fn sample_interval(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("at least 1 byte; `--mode exact` takes every call".into()),
        large if large > 1 << 30 => Err("at most 1GiB".into()),
        interval => Ok(interval),
    }
}

/// A budget in percent of the target's processor time: `5`, `0.5%`, `off`.
pub fn budget(text: &str) -> Result<Budget, String> {
    if text == "off" {
        return Ok(Budget::Off);
    }
    match text.trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Budget::Percent(percent)),
        _ => Err("a number of percent from 0 to 100, or `off`".into()),
    }
}

/// How much of a stack to copy: rounded up to a size that can be reserved.
pub fn stack_bytes(text: &str) -> Result<u32, String> {
    let wanted = size(text)?;
    memmgr_common::limits::STACK_CLASSES
        .into_iter()
        .map(|class| class as u64)
        .find(|class| *class >= wanted.max(4096))
        .map(|class| class as u32)
        .ok_or_else(|| "at most 64KiB".into())
}

/// Size of the ring buffer: rounded up to a power of two, 64 KiB to 1 GiB.
pub fn ring_bytes(text: &str) -> Result<u32, String> {
    match size(text)? {
        wanted @ 1..=0x4000_0000 => Ok((wanted as u32).next_power_of_two().max(64 << 10)),
        _ => Err("between 64KiB and 1GiB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        for (text, expected) in [
            ("512KiB", Some(512 << 10)),
            ("524288", Some(524_288)),
            ("1MiB", Some(1 << 20)),
            ("x", None),
            ("-1", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
        for (text, expected) in
            [("30s", Some(30_000)), ("0", Some(0)), ("500ms", Some(500)), ("30", None)]
        {
            assert_eq!(time(text).ok().map(|t| t.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_too_much_is_said_so() {
        assert!(size("18446744073709551616").unwrap_err().contains("more than any host has"));
        assert_eq!(settling("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(settling("25h"), Err("at most 24h".into()));
    }

    #[test]
    fn budgets() {
        for (text, expected) in [
            ("off", Some(Budget::Off)),
            ("5", Some(Budget::Percent(5.0))),
            ("0.5%", Some(Budget::Percent(0.5))),
            ("0", Some(Budget::Percent(0.0))),
            ("100 %", Some(Budget::Percent(100.0))),
            ("101", None),
            ("-1", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(budget(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        assert!(sample_interval("0").is_err() && sample_interval("2GiB").is_err());
        assert!(interval("10ms").is_err());
        assert_eq!((stack_bytes("1"), stack_bytes("9000")), (Ok(4096), Ok(16384)));
        assert!(stack_bytes("65KiB").is_err());
        assert_eq!((ring_bytes("1"), ring_bytes("5MiB")), (Ok(65536), Ok(8 << 20)));
    }
}
