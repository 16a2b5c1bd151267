//! Formats numbers for people: 1e300 has 301 digits, of which none but the first says anything.

use std::fmt;

/// A float, shown with six significant digits.
pub struct Short(pub f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = *self;
        if number == 0.0 || !number.is_finite() {
            return write!(f, "{number}");
        }
        // Six digits, rounded: what is left of them without the zeros at their end.
        let scientific = format!("{number:.5e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        if (-4..7).contains(&exponent) {
            let places = usize::try_from(5 - exponent).unwrap_or(0);
            let plain = format!("{number:.places$}");
            let plain = match plain.contains('.') {
                true => plain.trim_end_matches('0').trim_end_matches('.'),
                false => &plain,
            };
            return f.write_str(plain);
        }
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{digits}e{exponent}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_count() {
        for (number, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.3"),
            (1_000_000.0, "1000000"),
            (12_345_678.0, "1.23457e7"),
            (0.000_123_456_78, "0.000123457"),
            (0.000_012_3, "1.23e-5"),
            (1e300, "1e300"),
            (999_999.95, "1000000"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(Short(number).to_string(), text);
        }
    }
}
