//! Formats numbers: one unit for a figure and its interval, only significant digits. Pure text.

use super::statistics::Estimate;

/// Times from here on are shown in seconds, as everywhere in devhost.
const SECONDS_FROM_MS: f64 = 10_000.0;

/// What a number measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Time,
    Size,
    /// Bytes gained or lost, with a sign.
    Growth,
    /// A factor.
    Ratio,
    /// A plain number.
    Count,
}

impl Unit {
    /// The divisor, and the suffix.
    fn scale(self, largest: f64) -> (f64, &'static str) {
        const KIB: f64 = 1024.0;
        match self {
            Self::Time if largest >= SECONDS_FROM_MS => (1000.0, " s"),
            Self::Time => (1.0, " ms"),
            Self::Size | Self::Growth => match largest {
                size if size >= KIB * KIB * KIB => (KIB * KIB * KIB, " GiB"),
                size if size >= KIB * KIB => (KIB * KIB, " MiB"),
                size if size >= KIB => (KIB, " KiB"),
                _ => (1.0, " B"),
            },
            Self::Ratio => (1.0, "×"),
            Self::Count => (1.0, ""),
        }
    }

    fn digits(self, scaled: f64, suffix: &str) -> usize {
        match (self, scaled.abs()) {
            (Self::Time, _) if suffix == " s" => 1,
            (Self::Ratio, size) if size < 100.0 => 2,
            (_, size) if size == 0.0 || size >= 10.0 => 0,
            (_, size) if size >= 1.0 => 1,
            (_, size) if size >= 0.1 => 2,
            _ => 3,
        }
    }
}

pub(super) fn show(value: f64, unit: Unit) -> String {
    let (divisor, suffix) = unit.scale(value.abs());
    let scaled = value / divisor;
    format!("{}{suffix}", number(scaled, unit.digits(scaled, suffix), unit))
}

/// Formats an estimate and its interval in the same unit. The interval is empty if there is none.
pub(super) fn show_estimate(estimate: &Estimate, unit: Unit) -> (String, String) {
    let (low, high) = estimate.interval.unwrap_or((estimate.value, estimate.value));
    let largest = [estimate.value, low, high].into_iter().map(f64::abs).fold(0.0, f64::max);
    // The figure decides, so that one far bound does not cost it digits. The bounds do if the figure is close
    // to zero compared with them.
    let decider = if estimate.value.abs() * 100.0 < largest { largest } else { estimate.value.abs() };
    let (divisor, suffix) = unit.scale(decider);
    let digits = unit.digits(decider / divisor, suffix);
    let write = |value: f64| number(value / divisor, digits, unit);
    let interval = match estimate.interval {
        None => String::new(),
        Some((low, high)) if unit == Unit::Growth || low < 0.0 => {
            format!("{} to {}", write(low), write(high))
        }
        Some((low, high)) => format!("{}–{}", write(low), write(high)),
    };
    (format!("{}{suffix}", write(estimate.value)), interval)
}

fn number(scaled: f64, digits: usize, unit: Unit) -> String {
    let text = format!("{:.digits$}", scaled.abs());
    let is_zero = text.chars().all(|character| matches!(character, '0' | '.'));
    match unit {
        _ if is_zero => text,
        _ if scaled < 0.0 => format!("−{text}"),
        Unit::Growth => format!("+{text}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64, low: f64, high: f64) -> Estimate {
        Estimate { value, interval: Some((low, high)), count: 9 }
    }

    fn shown(estimate: Estimate, unit: Unit) -> String {
        let (value, interval) = show_estimate(&estimate, unit);
        format!("{value} [{interval}]")
    }

    #[test]
    fn small_numbers_keep_digits_and_large_ones_do_not() {
        assert_eq!(show(712.4, Unit::Time), "712 ms");
        assert_eq!(show(7.12, Unit::Time), "7.1 ms");
        assert_eq!(show(0.712, Unit::Time), "0.71 ms");
        assert_eq!(show(0.0712, Unit::Time), "0.071 ms");
        assert_eq!(show(12_345.0, Unit::Time), "12.3 s");
        assert_eq!(show(0.0, Unit::Time), "0 ms");
        assert_eq!(show(5.5 * 1024.0 * 1024.0, Unit::Size), "5.5 MiB");
        assert_eq!(show(2.613, Unit::Ratio), "2.61×");
    }

    #[test]
    fn growth_has_a_sign() {
        assert_eq!(show(2048.0, Unit::Growth), "+2.0 KiB");
        assert_eq!(show(-2048.0, Unit::Growth), "−2.0 KiB");
        assert_eq!(show(0.0, Unit::Growth), "0 B");
        assert_eq!(shown(estimate(12.0, -40_000.0, 30_000.0), Unit::Growth), "0 KiB [−39 to +29]");
    }

    #[test]
    fn interval_is_in_the_figures_own_unit() {
        assert_eq!(shown(estimate(712.0, 690.4, 731.9), Unit::Time), "712 ms [690–732]");
        assert_eq!(shown(estimate(9_000.0, 8_000.0, 12_000.0), Unit::Time), "9000 ms [8000–12000]");
        assert_eq!(shown(estimate(2.0, 1.876, 2.2), Unit::Ratio), "2.00× [1.88–2.20]");
        assert_eq!(
            show_estimate(&Estimate { value: 1.0, interval: None, count: 1 }, Unit::Time),
            ("1.0 ms".into(), String::new())
        );
    }
}
