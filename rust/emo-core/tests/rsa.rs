//! Permutation tests of dissimilarities against plain counting.

mod common;

use common::with;
use emo_core::error::Kind;
use emo_core::kernels::rsa::permutations::Shuffler;
use emo_core::kernels::rsa::statistic::{Correlation, TIE};
use emo_core::kernels::rsa::{Options, Outcome, rsa, rsa_grid};
use emo_core::kernels::simd::Tier;
use emo_core::kernels::simd::permuted::Product;
use proptest::prelude::*;

const SEED: u64 = 9;

fn options(correlation: Correlation, permutations: u64, two_sided: bool) -> Options {
    Options { correlation, permutations, exact: false, two_sided, seed: SEED }
}

/// Symmetric `[n, n]` with an empty diagonal, filled from `values` by pairs.
fn symmetric(n: usize, values: &[f64]) -> Vec<f64> {
    let mut matrix = vec![0.0; n * n];
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    for ((i, j), value) in pairs.zip(values) {
        matrix[i * n + j] = *value;
        matrix[j * n + i] = *value;
    }
    matrix
}

fn triangle(n: usize, matrix: &[f64], order: &[usize]) -> Vec<f64> {
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    pairs.map(|(i, j)| matrix[order[i] * n + order[j]]).collect()
}

/// Doubled average ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |x: &f64| values.iter().filter(|y| *y < x).count();
    let up_to = |x: &f64| values.iter().filter(|y| *y <= x).count();
    values.iter().map(|x| (below(x) + up_to(x)) as f64).collect()
}

fn correlate(x: &[f64], y: &[f64], correlation: Correlation) -> f64 {
    let ready = |values: &[f64]| {
        let values = match correlation {
            Correlation::Pearson => values.to_vec(),
            Correlation::Spearman => ranks(values),
        };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect::<Vec<f64>>()
    };
    let (x, y) = (ready(x), ready(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt()
}

/// Correlations of x with y in each order.
fn null(x: &[f64], y: &[f64], n: usize, orders: &[Vec<usize>], by: Correlation) -> Vec<f64> {
    let identity: Vec<usize> = (0..n).collect();
    let x = triangle(n, x, &identity);
    orders.iter().map(|order| correlate(&x, &triangle(n, y, order), by)).collect()
}

fn drawn(n: usize, count: u64) -> Vec<Vec<usize>> {
    let mut shuffler = Shuffler::new(Tier::SCALAR, n, SEED, 0);
    let mut one = |index| shuffler.get(index).iter().map(|place| usize::from(*place)).collect();
    (0..count).map(&mut one).collect()
}

fn every(n: usize) -> Vec<Vec<usize>> {
    let grow = |short: Vec<Vec<usize>>, last: usize| {
        let put = |order: &Vec<usize>, at: usize| {
            let mut longer = order.clone();
            longer.insert(at, last);
            longer
        };
        short.iter().flat_map(|order| (0..=last).map(move |at| put(order, at))).collect()
    };
    (0..n).fold(vec![vec![]], grow)
}

fn count(null: &[f64], r: f64, two_sided: bool) -> (u64, u64, f64) {
    let size = |value: f64| if two_sided { value.abs() } else { value };
    let exceeding = null.iter().filter(|value| size(**value) >= size(r) - TIE).count();
    let ties = null.iter().filter(|value| (size(**value) - size(r)).abs() <= TIE).count();
    let largest = null.iter().map(|value| size(*value)).fold(f64::NEG_INFINITY, f64::max);
    (exceeding as u64, ties as u64, largest)
}

fn run(x: &[f64], y: &[f64], n: usize, chosen: &Options, threads: usize, tier: Tier) -> Outcome {
    with(threads, tier, |control| rsa(x, y, n, chosen, control)).unwrap()
}

fn correlations() -> impl Strategy<Value = Correlation> {
    prop_oneof![Just(Correlation::Pearson), Just(Correlation::Spearman)]
}

/// Two matrices of the same conditions, of whole numbers (many ties) or of real ones.
fn matrices(sizes: std::ops::Range<usize>) -> impl Strategy<Value = (usize, Vec<f64>, Vec<f64>)> {
    (sizes, any::<bool>()).prop_flat_map(|(n, whole)| {
        let value = (0.0f64..8.0).prop_map(move |x| if whole { x.trunc() } else { x });
        let values = prop::collection::vec(value, n * (n - 1) / 2);
        (values.clone(), values)
            .prop_filter("a constant has no correlation", |(x, y)| {
                [x, y]
                    .iter()
                    .all(|values| values.iter().any(|value| (value - values[0]).abs() > 0.0))
            })
            .prop_map(move |(x, y)| (n, symmetric(n, &x), symmetric(n, &y)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn counts_are_those_of_plain_counting(
        (n, x, y) in matrices(6..40), by in correlations(), two_sided in any::<bool>(),
    ) {
        let wanted = null(&x, &y, n, &drawn(n, 60), by);
        let chosen = options(by, 60, two_sided);
        let found = run(&x, &y, n, &chosen, 2, Tier::current()?);
        let (exceeding, ties, largest) = count(&wanted, found.r, two_sided);
        prop_assert_eq!((found.exceeding, found.ties, found.permutations), (exceeding, ties, 60));
        prop_assert!((found.null_max - largest).abs() < 1e-9);
        for tier in Tier::available_tiers() {
            for threads in [1, 3] {
                prop_assert_eq!(run(&x, &y, n, &chosen, threads, tier), found);
            }
        }
    }

    #[test]
    fn all_permutations_are_those_of_enumeration(
        (n, x, y) in matrices(4..7), by in correlations(), two_sided in any::<bool>(),
    ) {
        let wanted = null(&x, &y, n, &every(n), by);
        let chosen = Options { exact: true, ..options(by, 1, two_sided) };
        let found = run(&x, &y, n, &chosen, 2, Tier::current()?);
        let (exceeding, ties, _) = count(&wanted, found.r, two_sided);
        prop_assert_eq!((found.exceeding, found.ties), (exceeding, ties));
        prop_assert_eq!(found.permutations, wanted.len() as u64);
    }

    #[test]
    fn a_grid_holds_its_pairs(
        (n, x, y) in matrices(6..34), by in correlations(), two_sided in any::<bool>(),
    ) {
        let (chosen, tier) = (options(by, 60, two_sided), Tier::current()?);
        let both = [&x[..], &y].concat();
        let grid = with(2, tier, |control| rsa_grid(&both, &y, n, &chosen, control))?;
        let pairs = [&x, &y].map(|first| run(first, &y, n, &chosen, 1, tier));
        for (at, pair) in pairs.iter().enumerate() {
            prop_assert_eq!((grid.r[at], grid.p[at]), (pair.r, pair.p));
            prop_assert_eq!(grid.exceeding[at], pair.exceeding);
            prop_assert!(grid.p_family[at] >= grid.p[at]);
        }
    }

    #[test]
    fn permuted_products_are_plain_sums(
        n in prop_oneof![1usize..70, 70usize..600], index in 0u64..1000,
    ) {
        let cell = |i: usize, j: usize| match ((i * j * 31 + 7 * (i + j)) % 201) as i16 - 100 {
            _ if i == j => 0,
            value => value,
        };
        let order = Shuffler::new(Tier::SCALAR, n, SEED, 0).get(index).to_vec();
        let place = |at: usize| usize::from(order[at]);
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        let wanted: i64 =
            pairs.map(|(i, j)| i64::from(cell(i, j)) * i64::from(cell(place(i), place(j)))).sum();
        for tier in Tier::available_tiers() {
            let product = Product::new(tier, n, cell, cell);
            let mut places = product.places();
            places.set(&order);
            prop_assert_eq!(product.sum(&places), wanted);
        }
    }

    #[test]
    fn permutations_depend_on_their_index_alone(n in 2usize..300, index in 0u64..1 << 40) {
        let mut shuffler = Shuffler::new(Tier::SCALAR, n, SEED, 3);
        shuffler.get(index + 1);
        let before = shuffler.get(index).to_vec();
        let mut alone = Shuffler::new(Tier::SCALAR, n, SEED, 3).get(index).to_vec();
        prop_assert_eq!(&before, &alone);
        alone.sort_unstable();
        prop_assert!(alone.iter().enumerate().all(|(at, place)| usize::from(*place) == at));
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let good = symmetric(5, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    let mut holed = good.clone();
    holed[5 + 3] = f64::NAN;
    let refused = [
        (vec![1.0; 25], 5, Kind::Numerical, "does not exist"),
        (holed, 5, Kind::Numerical, "row 1, column 3"),
        (symmetric(3, &[1.0, 2.0, 3.0]), 3, Kind::Numerical, "3 conditions allow no test"),
        (vec![1.0; 24], 5, Kind::Usage, "24 values for 5 conditions"),
    ];
    for (bad, n, kind, words) in refused {
        let chosen = options(Correlation::Pearson, 10, false);
        let error = with(1, Tier::SCALAR, |control| rsa(&bad, &good, n, &chosen, control));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(words), "{error}");
    }
}
