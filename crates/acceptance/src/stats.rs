//! Figures over latencies, in exact integer arithmetic: no rank or mean depends on how a float rounds.

/// The percentile of `values` (milliseconds, any order) by linear interpolation between the two closest
/// ranks, rounded half to even to whole milliseconds; 0 when there are none.
///
/// `percent` is 0–100; more counts as 100.
pub fn percentile_ms(values: &[u64], percent: u8) -> u64 {
    let mut ordered = values.to_vec();
    ordered.sort_unstable();
    let Some(last) = ordered.len().checked_sub(1) else { return 0 };
    let position = last * usize::from(percent.min(100));
    let (rank, part) = (position / 100, (position % 100) as u128);
    let low = u128::from(ordered.get(rank).copied().unwrap_or(0));
    // At the last rank there is nothing above, and nothing of it is asked for.
    let high = u128::from(ordered.get(rank + 1).copied().unwrap_or(0));
    divide_half_even(low * (100 - part) + high * part, 100)
}

/// The mean of `values` (milliseconds), rounded half to even to whole milliseconds; 0 when there are none.
pub fn mean_ms(values: &[u64]) -> u64 {
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    divide_half_even(sum, values.len().max(1) as u128)
}

/// `numerator / denominator`, half to even. The quotient must fit; larger ones saturate.
fn divide_half_even(numerator: u128, denominator: u128) -> u64 {
    let (quotient, rest) = (numerator / denominator, numerator % denominator);
    let up = match (rest * 2).cmp(&denominator) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    u64::try_from(quotient + u128::from(up)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_agree_with_figures_worked_by_hand() {
        // (values, percent, expected): position = (n-1)·percent/100, between the ranks beside it.
        for (values, percent, expected) in [
            (vec![], 95, 0),
            (vec![7], 95, 7),
            (vec![100, 200], 95, 195),
            (vec![200, 100], 50, 150),
            (vec![10, 20, 30, 41], 95, 39),         // 30 + 0.85·11 = 39.35
            (vec![1, 2, 3, 4, 5], 95, 5),           // 4.8
            (vec![120, 95, 103, 110, 99], 95, 118), // 110 + 0.8·10
            (vec![10, 11], 50, 10),                 // 10.5, half to even: down
            (vec![11, 12], 50, 12),                 // 11.5, half to even: up
            (vec![0, 10, 20], 100, 20),
            (vec![0, 10, 20], 0, 0),
            (vec![u64::MAX, u64::MAX], 95, u64::MAX),
        ] {
            assert_eq!(percentile_ms(&values, percent), expected, "p{percent} of {values:?}");
        }
    }

    #[test]
    fn means_round_half_to_even() {
        for (values, expected) in
            [(vec![], 0), (vec![1, 2], 2), (vec![2, 3], 2), (vec![1, 1, 2], 1), (vec![1, 2, 2], 2)]
        {
            assert_eq!(mean_ms(&values), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn percentiles_are_ordered_and_within_the_values(values in prop::collection::vec(0u64..10_000, 1..50)) {
            let [p0, p50, p95, p100] = [0, 50, 95, 100].map(|percent| percentile_ms(&values, percent));
            prop_assert_eq!(Some(&p0), values.iter().min());
            prop_assert_eq!(Some(&p100), values.iter().max());
            prop_assert!(p0 <= p50 && p50 <= p95 && p95 <= p100);
            prop_assert!(p0 <= mean_ms(&values) && mean_ms(&values) <= p100);
        }

        #[test]
        fn percentiles_stay_within_half_of_the_float_formula(values in prop::collection::vec(0u64..10_000, 1..50)) {
            let mut ordered = values.clone();
            ordered.sort_unstable();
            let position = (ordered.len() - 1) as f64 * 0.95;
            let (low, high) = (ordered[position.floor() as usize], ordered[position.ceil() as usize]);
            let exact = low as f64 + (high as f64 - low as f64) * position.fract();
            prop_assert!((percentile_ms(&values, 95) as f64 - exact).abs() <= 0.5 + 1e-6);
        }
    }
}
