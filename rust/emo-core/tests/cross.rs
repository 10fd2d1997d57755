//! Cross-moments of paired rows.

mod common;

use common::{Matrix, Store, close, dtypes, ways, with};
use emo_core::dtype::Float;
use emo_core::error::Kind;
use emo_core::kernels::cross::{CrossMoments, cross_moments};
use emo_core::kernels::simd::Tier;
use emo_core::scan::Io;
use proptest::prelude::*;

fn plain(x: &Matrix, y: &Matrix, labels: &[i32], label: i32) -> (f64, Vec<f64>, Vec<f64>) {
    let used: Vec<usize> = (0..labels.len()).filter(|row| labels[*row] == label).collect();
    let n = used.len() as f64;
    let mean = |matrix: &Matrix| -> Vec<f64> {
        let column = |j| used.iter().map(|row| matrix.row(*row)[j]).sum::<f64>() / n.max(1.0);
        (0..matrix.width).map(column).collect()
    };
    let (mean_x, mean_y) = (mean(x), mean(y));
    let mut xy = vec![0.0; x.width * y.width];
    for row in used {
        for i in 0..x.width {
            for j in 0..y.width {
                xy[i * y.width + j] += (x.row(row)[i] - mean_x[i]) * (y.row(row)[j] - mean_y[j]);
            }
        }
    }
    (n, mean_x, xy)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn moments_are_the_plain_sums(
        dtype in dtypes(), n in 0usize..600, dx in 1usize..40, dy in 1usize..40,
        cut in 0usize..600, every in 1usize..4,
    ) {
        let (x, y) = (Matrix::noise(dtype, n, dx, 3.0), Matrix::noise(dtype, n, dy, -1.0));
        let labels: Vec<i32> = (0..n).map(|row| (row % every) as i32 - 1).collect();
        let (a, b) = (Store::new(&x, &[cut.min(n)], 1), Store::new(&y, &[cut.min(n) / 2], 0));
        let found = with(2, Tier::current()?, |control| {
            cross_moments(&a.rows(Io::Auto).unwrap(), &b.rows(Io::Auto).unwrap(), &labels, 2, control)
        })?;
        for label in 0..2 {
            let (count, mean, xy) = plain(&x, &y, &labels, label as i32);
            prop_assert!((found.count[label] as f64 - count).abs() < 0.5);
            close(&found.mean_x[label * dx..(label + 1) * dx], &mean, 1e-12, 1e-12);
            close(&found.xy[label * dx * dy..(label + 1) * dx * dy], &xy, 1e-11, 1e-10);
            let (_, _, xx) = plain(&x, &x, &labels, label as i32);
            close(&found.xx[label * dx * dx..(label + 1) * dx * dx], &xx, 1e-11, 1e-10);
            let (_, _, yy) = plain(&y, &y, &labels, label as i32);
            close(&found.yy[label * dy * dy..(label + 1) * dy * dy], &yy, 1e-11, 1e-10);
        }
    }
}

#[test]
fn every_way_leaves_the_same_bits() {
    let (x, y) =
        (Matrix::noise(Float::Bf16, 700, 67, 9.0), Matrix::noise(Float::F32, 700, 130, 0.0));
    let labels: Vec<i32> = (0..700).map(|row| row % 3 - 1).collect();
    let mut first: Option<CrossMoments> = None;
    for cuts in [&[][..], &[1, 300, 301, 301]] {
        let (a, b) = (Store::new(&x, cuts, 1), Store::new(&y, &[256], 0));
        for (threads, tier, io) in ways() {
            let found = with(threads, tier, |control| {
                let (a, b) = (a.rows(io).unwrap(), b.rows(io).unwrap());
                cross_moments(&a, &b, &labels, 2, control).unwrap()
            });
            let wanted = first.get_or_insert_with(|| found.clone());
            assert!(*wanted == found, "{threads} {tier:?} {io:?} {cuts:?}");
        }
    }
}

#[test]
fn rows_must_be_pairs() {
    let (x, y) = (Matrix::noise(Float::F16, 9, 2, 0.0), Matrix::noise(Float::F16, 8, 2, 0.0));
    let (a, b) = (Store::new(&x, &[], 0), Store::new(&y, &[], 0));
    let error = with(1, Tier::SCALAR, |control| {
        cross_moments(&a.rows(Io::Auto).unwrap(), &b.rows(Io::Auto).unwrap(), &[0; 9], 1, control)
    });
    assert_eq!(error.unwrap_err().kind(), Kind::Usage);
}
