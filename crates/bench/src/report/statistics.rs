//! Estimates from samples. Pure arithmetic on slices: knows nothing of the bench, and is deterministic, since
//! its random numbers start from a fixed seed.
//!
//! Intervals are percentile bootstrap intervals (Efron and Tibshirani, *An Introduction to the Bootstrap*,
//! chapter 13): they assume nothing of the distribution, which for builds is neither normal nor symmetrical.

use fastrand::Rng;

/// How often samples are redrawn for an interval.
pub(super) const BOOTSTRAP_RESAMPLE_COUNT: usize = 2_000;
pub(super) const CONFIDENCE: f64 = 0.95;
/// With fewer samples not even their full range holds the median with [`CONFIDENCE`]: each of n samples is
/// below it with probability 1/2, so that all are on one side with 2 · 0.5ⁿ.
pub(super) const INTERVAL_SAMPLE_COUNT_MIN: usize = 6;
/// A line through fewer points predicts nothing.
const SLOPE_SAMPLE_COUNT_MIN: usize = 3;

const SEED: u64 = 0x6465_7668_6f73_7421;

/// A figure, always with its number of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub value: f64,
    /// Its interval; `None` for a single sample.
    pub interval: Option<(f64, f64)>,
    pub count: usize,
}

/// The values of a box plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quartiles {
    /// A quarter of the samples is below.
    pub lower: f64,
    pub median: f64,
    /// Three quarters are below.
    pub upper: f64,
}

/// The median of the finite samples.
pub(super) fn median(samples: &[f64]) -> Option<Estimate> {
    let samples = finite(samples);
    let value = middle(&mut samples.clone())?;
    let mut drawn = vec![0.0; samples.len()];
    let interval = bootstrap(samples.len(), |random| {
        drawn.fill_with(|| samples[random.usize(..samples.len())]);
        middle(&mut drawn)
    });
    Some(Estimate { value, interval, count: samples.len() })
}

/// The ratio of the firsts' median to the seconds'. Each pair was measured under the same conditions, so
/// pairs are drawn whole, and what hurt both alike cancels out.
pub(super) fn ratio(pairs: &[(f64, f64)]) -> Option<Estimate> {
    let pairs: Vec<(f64, f64)> =
        pairs.iter().copied().filter(|(a, b)| a.is_finite() && b.is_finite()).collect();
    let (mut firsts, mut seconds): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let of = |firsts: &mut [f64], seconds: &mut [f64]| {
        let second = middle(seconds)?;
        Some(middle(firsts)? / second).filter(|ratio| ratio.is_finite())
    };
    let value = of(&mut firsts, &mut seconds)?;
    let interval = bootstrap(pairs.len(), |random| {
        for (first, second) in firsts.iter_mut().zip(&mut seconds) {
            (*first, *second) = pairs[random.usize(..pairs.len())];
        }
        of(&mut firsts, &mut seconds)
    });
    Some(Estimate { value, interval, count: pairs.len() })
}

/// How much y grows with each x: the slope of the least-squares line.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<Estimate> {
    let points: Vec<(f64, f64)> =
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if points.len() < SLOPE_SAMPLE_COUNT_MIN {
        return None;
    }
    let value = line(&points)?;
    let mut drawn = points.clone();
    let interval = bootstrap(points.len(), |random| {
        drawn.fill_with(|| points[random.usize(..points.len())]);
        line(&drawn)
    });
    Some(Estimate { value, interval, count: points.len() })
}

/// The quartiles, interpolated between samples.
pub(super) fn quartiles(samples: &[f64]) -> Option<Quartiles> {
    let mut samples = finite(samples);
    Some(Quartiles {
        lower: quantile(&mut samples, 0.25)?,
        median: quantile(&mut samples, 0.5)?,
        upper: quantile(&mut samples, 0.75)?,
    })
}

fn finite(samples: &[f64]) -> Vec<f64> {
    samples.iter().copied().filter(|sample| sample.is_finite()).collect()
}

/// Sorts, and interpolates linearly between neighbours (type 7 of Hyndman and Fan, as in R and `NumPy`).
fn quantile(samples: &mut [f64], part: f64) -> Option<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    let place = part * samples.len().checked_sub(1)? as f64;
    let (below, above) = (samples[place.floor() as usize], samples[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// The median by selection instead of sorting: the interval asks for it thousands of times.
fn middle(samples: &mut [f64]) -> Option<f64> {
    let (half, is_odd) = (samples.len() / 2, samples.len() % 2 == 1);
    if samples.is_empty() {
        return None;
    }
    let (below, upper, _) = samples.select_nth_unstable_by(half, f64::total_cmp);
    let upper = *upper;
    if is_odd {
        return Some(upper);
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(lower + (upper - lower) / 2.0)
}

fn line(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let (mut spread, mut together) = (0.0, 0.0);
    for (x, y) in points {
        spread += (x - mean_x).powi(2);
        together += (x - mean_x) * (y - mean_y);
    }
    // A draw may be one point over and over: no line.
    (spread > 0.0).then(|| together / spread)
}

/// The interval of what `of` computes from a redrawn sample of the same size.
fn bootstrap(count: usize, mut of: impl FnMut(&mut Rng) -> Option<f64>) -> Option<(f64, f64)> {
    if count < 2 {
        return None;
    }
    let mut random = Rng::with_seed(SEED);
    let mut values: Vec<f64> = (0..BOOTSTRAP_RESAMPLE_COUNT).filter_map(|_| of(&mut random)).collect();
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some((quantile(&mut values, tail)?, quantile(&mut values, 1.0 - tail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::NAN]), None);
        assert_eq!(ratio(&[]), None);
        assert_eq!(ratio(&[(1.0, 0.0)]), None);
        assert_eq!(slope(&[(1.0, 5.0), (2.0, 6.0)]), None);
        assert_eq!(slope(&[(1.0, 5.0), (1.0, 6.0), (1.0, 7.0)]), None);
        assert_eq!(quartiles(&[]), None);
    }

    #[test]
    fn one_sample_has_no_interval() {
        assert_eq!(median(&[7.0]), Some(Estimate { value: 7.0, interval: None, count: 1 }));
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        assert_eq!(median(&[3.0, f64::INFINITY, 1.0, f64::NAN, 2.0]).unwrap().count, 3);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact in binary")]
    fn median_and_quartiles_lie_between_neighbours() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]).unwrap().value, 2.5);
        assert_eq!(
            quartiles(&[5.0, 1.0, 4.0, 2.0, 3.0]),
            Some(Quartiles { lower: 2.0, median: 3.0, upper: 4.0 })
        );
    }

    #[test]
    fn intervals_are_the_same_each_time() {
        let samples = [3.0, 9.0, 4.0, 4.5, 8.0, 5.0, 1.0];
        assert_eq!(median(&samples), median(&samples));
        let (low, high) = median(&samples).unwrap().interval.unwrap();
        assert!((1.0..=4.5).contains(&low) && (4.5..=9.0).contains(&high), "{low} {high}");
    }

    #[test]
    fn more_samples_narrow_the_interval() {
        let width = |count: usize| {
            let samples: Vec<f64> = (0..count).map(|index| (index % 10) as f64).collect();
            let (low, high) = median(&samples).unwrap().interval.unwrap();
            high - low
        };
        assert!(width(400) < width(20));
    }

    /// Nineteen of twenty intervals should hold the truth; a percentile bootstrap of 20 samples comes close.
    #[test]
    fn intervals_hold_the_true_median_about_as_often_as_they_say() {
        let mut random = Rng::with_seed(5);
        let held = (0..200)
            .filter(|_| {
                // Skewed, as times are: the median of an exponential distribution is ln 2.
                let samples: Vec<f64> = (0..20).map(|_| -(1.0 - random.f64()).ln()).collect();
                let (low, high) = median(&samples).unwrap().interval.unwrap();
                (low..=high).contains(&std::f64::consts::LN_2)
            })
            .count();
        assert!((180..=199).contains(&held), "{held} of 200");
    }

    #[test]
    fn ratio_of_pairs_cancels_what_hurt_both() {
        let pairs: Vec<(f64, f64)> = [100.0, 180.0, 130.0, 900.0, 110.0, 300.0, 140.0]
            .into_iter()
            .map(|noise| (2.0 * noise, noise))
            .collect();
        let ratio = ratio(&pairs).unwrap();
        assert_eq!((ratio.value, ratio.interval, ratio.count), (2.0, Some((2.0, 2.0)), 7));
    }

    #[test]
    fn slope_is_the_growth_a_step() {
        let points: Vec<(f64, f64)> = (1..=9).map(|x| (f64::from(x), 100.0 + 5.0 * f64::from(x))).collect();
        let slope = slope(&points).unwrap();
        let (low, high) = slope.interval.unwrap();
        for value in [slope.value, low, high] {
            assert!((value - 5.0).abs() < 1e-9, "{slope:?}");
        }
    }
}
