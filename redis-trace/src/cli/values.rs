//! Values of flags, as people write them.

use std::time::Duration;

/// Reads `30s`, `5m`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let time: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is not a time like 30s, 5m or 1h 30m"))?;
    match Duration::try_from(time) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(format!("{text:?} is not longer than nothing")),
    }
}

/// Reads `8M`, `512K`, `1G` or bytes.
pub(super) fn size(text: &str) -> Result<u32, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("{text:?} is not a size like 512K or 8M"))
}

/// The same, where it is what the kernel takes as the size of a ring.
pub(super) fn ring(text: &str) -> Result<u32, String> {
    let is_taken = |bytes: &u32| bytes.is_power_of_two() && (64 << 10..=1 << 30).contains(bytes);
    let bytes = size(text).ok().filter(is_taken);
    bytes.ok_or_else(|| format!("{text:?} is not a power of two from 64K to 1G, like 8M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("-1s"), Err("\"-1s\" is not longer than nothing".to_owned()));
        assert_eq!(duration("soon"), Err("\"soon\" is not a time like 30s, 5m or 1h 30m".to_owned()));
        assert_eq!(ring("8M"), Ok(8 << 20));
        assert_eq!(ring("65536"), Ok(65_536));
        assert_eq!(size("3K"), Ok(3 << 10));
        assert!(size("8G").is_err() && size("-1").is_err());
        assert!(ring("3M").is_err() && ring("4K").is_err() && ring("8G").is_err() && ring("").is_err());
    }
}
