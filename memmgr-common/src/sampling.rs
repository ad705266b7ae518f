//! Poisson sampling by bytes: the arithmetic of the sampler, without floating point for the kernel part.

/// Draws the distance in bytes to the next sample: `-ln(u) * interval`, `u` uniform in (0, 1].
///
/// `random` is 32 uniform bits; `u = (random + 1) / 2^32`. The result lies in `[0, 22.2 * interval]`.
/// The binary logarithm comes out bit by bit by squaring the mantissa (Knuth, TAOCP 1, 1.2.2,
/// exercise 25), 24 bits after the point, which is below what 32 random bits can resolve.
pub fn draw_distance(random: u32, interval: u64) -> u64 {
    let u = u64::from(random) + 1; // 1..=2^32
    let exponent = 63 - u64::from(u.leading_zeros()); // floor(log2 u), 0..=32
    let mut mantissa = u << (32 - exponent); // in [2^32, 2^33), a number in [1, 2) with 32 bits after the point
    let mut log2 = exponent << 24;
    let mut bit = 1u64 << 23;
    while bit > 0 {
        // Squared in 31 bits after the point so that the product fits 64 bits.
        let m = mantissa >> 1;
        mantissa = (m * m) >> 30;
        if mantissa >= 1 << 33 {
            mantissa >>= 1;
            log2 |= bit;
        }
        bit >>= 1;
    }
    let negative_log2 = (32 << 24) - log2; // -log2(u / 2^32), 24 bits after the point
    const LN_2: u64 = 11_629_080; // ln(2) * 2^24
    let negative_ln = (negative_log2 * LN_2) >> 24; // at most 22.2 * 2^24 < 2^29
    // 2^29 * 2^35 still fits: intervals up to 32 GiB.
    (negative_ln * (interval & 0x7_ffff_ffff)) >> 24
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn distance_is_the_logarithm() {
        for random in [
            0,
            1,
            2,
            3,
            1000,
            1 << 16,
            0x7fff_ffff,
            0x8000_0000,
            0xdead_beef,
            u32::MAX - 1,
            u32::MAX,
        ] {
            for interval in [1u64 << 10, 512 << 10, 1 << 30] {
                let u = (f64::from(random) + 1.0) / 4_294_967_296.0;
                let expected = -u.ln() * interval as f64;
                let got = draw_distance(random, interval) as f64;
                assert!(
                    (got - expected).abs() <= 1.0 + interval as f64 * 3e-6,
                    "random {random} interval {interval}: {got} against {expected}"
                );
            }
        }
    }

    #[test]
    fn mean_is_the_interval() {
        // A stratified sweep of all inputs, so that the mean is exact up to the step.
        let (mut sum, steps) = (0u128, 1 << 16);
        for i in 0..steps {
            sum += u128::from(draw_distance(i << 16 | 0x8000, 512 << 10));
        }
        let mean = sum as f64 / f64::from(steps);
        assert!((mean / f64::from(512 << 10) - 1.0).abs() < 1e-3, "mean {mean}");
    }
}
