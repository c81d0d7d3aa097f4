//! Kubernetes quantities (`250m`, `1536Mi`, `2e3`) as numbers, in thousandths. Pure.
//!
//! The format is a decimal number with a binary suffix, a decimal suffix or an exponent
//! (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The quantity in thousandths, rounded up; `None` if it is malformed.
pub fn thousandths(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    // The value of the suffix in thousandths, as a fraction.
    let (numerator, denominator): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000_i128 << 60, 1),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1_000, power) } else { (power.checked_mul(1_000)?, 1) }
        }
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 18 || (whole.trim_start_matches(['+', '-']).is_empty() && part.is_empty()) {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(part.len()).ok()?);
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let (over, under) = (digits.checked_mul(numerator)?, scale.checked_mul(denominator)?);
    Some(over.div_euclid(under) + i128::from(over.rem_euclid(under) != 0))
}

/// A number of thousandths as a quantity: in Mi, rounded up, if `binary`; else a whole number if
/// possible.
pub fn of_thousandths(thousandths: i128, binary: bool) -> Quantity {
    const MEBI: i128 = 1_000 << 20;
    if binary {
        return Quantity(format!("{}Mi", thousandths.div_euclid(MEBI) + i128::from(thousandths.rem_euclid(MEBI) != 0)));
    }
    Quantity(if thousandths % 1_000 == 0 { (thousandths / 1_000).to_string() } else { format!("{thousandths}m") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_parsed_as_in_kubernetes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1_000)),
            ("250m", Some(250)),
            ("0.5", Some(500)),
            (".5", Some(500)),
            ("5.", Some(5_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1536Mi", Some(1_610_612_736_000)),
            ("128974848", Some(128_974_848_000)),
            ("129e6", Some(129_000_000_000)),
            ("129M", Some(129_000_000_000)),
            ("123e-2", Some(1_230)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("1n", Some(1)),
            ("-1", Some(-1_000)),
            ("", None),
            ("Gi", None),
            ("1 Gi", None),
            ("1.2.3", None),
            ("1X", None),
            ("1e999", None),
            ("nan", None),
        ] {
            assert_eq!(thousandths(&Quantity(text.into())), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_printed_as_equal_quantities() {
        assert_eq!(of_thousandths(1_500, false).0, "1500m");
        assert_eq!(of_thousandths(2_000, false).0, "2");
        assert_eq!(of_thousandths(1_610_612_736_000, true).0, "1536Mi");
        assert_eq!(of_thousandths(1, true).0, "1Mi");
    }
}
