//! Column moments and grouped contributions: equal to plain sums, and the same bits every way.

mod common;

use common::{Matrix, Store, close, dtypes, ways, with};
use emo_core::dtype::Float;
use emo_core::error::Kind;
use emo_core::kernels::grouped::{Units, grouped_contributions};
use emo_core::kernels::moments::{Moments, moments};
use emo_core::kernels::simd::Tier;
use emo_core::scan::Io;
use proptest::prelude::*;

/// Two passes in double precision over the rows of each label.
fn plain(rows: &[Vec<f64>], labels: &[i32], n_labels: usize, width: usize) -> Moments {
    let mut out = Moments::new(n_labels, width);
    for label in 0..n_labels {
        let picked: Vec<&Vec<f64>> = rows
            .iter()
            .zip(labels)
            .filter(|(_, l)| **l == label as i32)
            .map(|(row, _)| row)
            .collect();
        out.count[label] = picked.len() as u64;
        for column in 0..width {
            let cell = label * width + column;
            let n = picked.len().max(1) as f64;
            let mean = picked.iter().map(|row| row[column]).sum::<f64>() / n;
            out.mean[cell] = mean;
            out.m2[cell] = picked.iter().map(|row| (row[column] - mean).powi(2)).sum();
            out.positive[cell] = picked.iter().filter(|row| row[column] > 0.0).count() as u64;
            out.negative[cell] = picked.iter().filter(|row| row[column] < 0.0).count() as u64;
        }
    }
    out
}

fn same(found: &Moments, wanted: &Moments, relative: f64, absolute: f64) {
    assert_eq!(found.count, wanted.count);
    close(&found.mean, &wanted.mean, relative, absolute);
    close(&found.m2, &wanted.m2, relative, absolute);
}

fn labels_for(rows: usize, n_labels: i32) -> Vec<i32> {
    (0..rows as i32).map(|row| (row * 7 + row / 5) % (n_labels + 1) - 1).collect()
}

fn scales_for(rows: usize) -> Vec<f64> {
    (0..rows).map(|row| 0.25 + (row % 13) as f64 / 7.0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn moments_are_the_plain_sums(
        dtype in dtypes(), rows in 0usize..220, width in 1usize..90, n_labels in 1i32..5,
        mean in -3.0f32..3.0, shift in 0usize..4, cut in 0usize..220,
    ) {
        let matrix = Matrix::noise(dtype, rows, width, mean);
        let store = Store::new(&matrix, &[cut.min(rows)], shift);
        let labels = labels_for(rows, n_labels);
        let all: Vec<Vec<f64>> = (0..rows).map(|row| matrix.row(row).to_vec()).collect();
        let wanted = plain(&all, &labels, n_labels as usize, width);
        let found = with(2, Tier::current()?, |control| {
            moments(&store.rows(Io::Auto)?, &labels, n_labels as usize, control)
        })?;
        same(&found, &wanted, 2e-6, 1e-6);
        prop_assert_eq!(&found.positive, &wanted.positive);
        prop_assert_eq!(&found.negative, &wanted.negative);
    }

    #[test]
    fn contributions_are_the_plain_sums(
        dtype in dtypes(), rows in 0usize..120, groups in 1usize..6, group in 1usize..20, k in 0usize..4,
        scaled in any::<bool>(),
    ) {
        let width = groups * group;
        let matrix = Matrix::noise(dtype, rows, width, 0.5);
        let weights = Matrix::noise(Float::F32, k, width, 0.0).values;
        let store = Store::new(&matrix, &[rows / 3], 1);
        let labels = labels_for(rows, 2);
        let contributions = |row: usize| -> Vec<f64> {
            weights.chunks_exact(width).flat_map(|weights| {
                let products: Vec<f64> = matrix.row(row).iter().zip(weights).map(|(x, w)| x * w).collect();
                products.chunks_exact(group).map(|part| part.iter().sum()).collect::<Vec<f64>>()
            }).collect()
        };
        let scales = scales_for(rows);
        let factor = |row: usize| if scaled { scales[row] } else { 1.0 };
        let row = |row| contributions(row).into_iter().map(|value| value * factor(row)).collect();
        let all: Vec<Vec<f64>> = (0..rows).map(row).collect();
        let wanted = plain(&all, &labels, 2, k * groups);
        let units = Units { weights: &weights, k, group, scales: scaled.then_some(&scales[..]) };
        let found = with(2, Tier::current()?, |control| {
            grouped_contributions(&store.rows(Io::Auto)?, &labels, 2, units, control)
        })?;
        same(&found, &wanted, 2e-6, 1e-6);
        if group == 1 {
            prop_assert_eq!(&found.positive, &wanted.positive);
            prop_assert_eq!(&found.negative, &wanted.negative);
        }
    }
}

#[test]
fn every_way_leaves_the_same_bits() {
    for dtype in [Float::Bf16, Float::F16, Float::F32] {
        let (rows, width) = (1999, 77);
        let matrix = Matrix::noise(dtype, rows, width, 10.0);
        let weights = Matrix::noise(Float::F32, 3, width, 0.0).values;
        let labels = labels_for(rows, 3);
        let scales = scales_for(rows);
        let mut first = None;
        for (cuts, shift) in [(&[][..], 0), (&[1, 700, 701, 701], 0), (&[333], 3)] {
            let store = Store::new(&matrix, cuts, shift);
            for (threads, tier, io) in ways() {
                let found = with(threads, tier, |control| {
                    let rows = store.rows(io).unwrap();
                    let columns = moments(&rows, &labels, 3, control).unwrap();
                    let [heads, neurons] = [(11, None), (1, Some(&scales[..]))].map(|way| {
                        let units = Units { weights: &weights, k: 3, group: way.0, scales: way.1 };
                        grouped_contributions(&rows, &labels, 3, units, control).unwrap()
                    });
                    (columns, heads, neurons)
                });
                let wanted = first.get_or_insert_with(|| found.clone());
                assert!(*wanted == found, "{dtype:?} {threads} {tier:?} {io:?} {cuts:?}");
            }
        }
    }
}

#[test]
fn one_outlier_or_a_far_mean_does_not_spoil_the_variance() {
    let (rows, width) = (3000, 40);
    let mut values: Vec<f32> = Matrix::noise(Float::F32, rows, width, 0.0)
        .values
        .iter()
        .map(|value| *value as f32)
        .collect();
    values[..width].fill(30_000.0);
    let shifted: Vec<f32> = values.iter().map(|value| value + 1000.0).collect();
    for raw in [values, shifted] {
        let matrix = Matrix::new(Float::F32, width, &raw);
        let store = Store::new(&matrix, &[], 0);
        let labels: Vec<i32> = (0..rows as i32).map(|row| i32::from(row > 50)).collect();
        let all: Vec<Vec<f64>> = (0..rows).map(|row| matrix.row(row).to_vec()).collect();
        let wanted = plain(&all, &labels, 2, width);
        let found = with(2, Tier::current().unwrap(), |control| {
            moments(&store.rows(Io::Auto).unwrap(), &labels, 2, control).unwrap()
        });
        same(&found, &wanted, 1e-6, 1e-7);
    }
}

#[test]
fn a_constant_column_has_no_variance() {
    let matrix = Matrix::new(Float::F32, 5, &vec![0.1; 5 * 700]);
    let store = Store::new(&matrix, &[], 0);
    let found = with(2, Tier::current().unwrap(), |control| {
        moments(&store.rows(Io::Auto).unwrap(), &[0; 700], 1, control).unwrap()
    });
    assert_eq!(found.m2, [0.0; 5]);
    assert_eq!(found.mean, [f64::from(0.1f32); 5]);
}

#[test]
fn squares_may_overflow_single_precision() {
    let raw: Vec<f32> = (0..900).map(|index| if index % 2 == 0 { 3e38 } else { -3e38 }).collect();
    let matrix = Matrix::new(Float::F32, 3, &raw);
    let store = Store::new(&matrix, &[], 0);
    let all: Vec<Vec<f64>> = (0..300).map(|row| matrix.row(row).to_vec()).collect();
    let labels = [0; 300];
    let found = with(2, Tier::current().unwrap(), |control| {
        moments(&store.rows(Io::Auto).unwrap(), &labels, 1, control).unwrap()
    });
    same(&found, &plain(&all, &labels, 1, 3), 1e-9, 1e27);
}

#[test]
fn non_finite_values_are_named_unless_left_out() {
    for (dtype, value) in
        [(Float::Bf16, f32::NAN), (Float::F16, f32::INFINITY), (Float::F32, -f32::INFINITY)]
    {
        let mut raw = vec![1.0; 500 * 40];
        raw[321 * 40 + 17] = value;
        let store = Store::new(&Matrix::new(dtype, 40, &raw), &[100, 300], 0);
        let run = |labels: &[i32], group: usize| {
            with(2, Tier::current().unwrap(), |control| {
                let rows = store.rows(Io::Auto).unwrap();
                let units = Units { weights: &[1.0; 40], k: 1, group, scales: None };
                grouped_contributions(&rows, labels, 1, units, control)
            })
        };
        for group in [1, 8] {
            let error = run(&[0; 500], group).unwrap_err();
            assert_eq!(error.kind(), Kind::Numerical);
            assert!(error.to_string().contains("row 321, column 17"), "{error}");
            assert!(error.to_string().contains("2.safetensors row 21"), "{error}");
            let mut labels = [0; 500];
            labels[321] = -1;
            assert_eq!(run(&labels, group).unwrap().count, [499]);
        }
    }
}

#[test]
fn arguments_are_checked() {
    let store = Store::new(&Matrix::noise(Float::F32, 4, 6, 0.0), &[], 0);
    let run = |labels: &[i32], n_labels: usize, weights: &[f64], group: usize| {
        with(1, Tier::SCALAR, |control| {
            let rows = store.rows(Io::Auto).unwrap();
            let units = Units { weights, k: 1, group, scales: None };
            grouped_contributions(&rows, labels, n_labels, units, control)
        })
    };
    for (labels, n_labels, weights, group) in [
        (&[0, 0, 0][..], 1, &[1.0; 6][..], 2),
        (&[0, 0, 0, 1], 1, &[1.0; 6], 2),
        (&[0, 0, -2, 0], 1, &[1.0; 6], 2),
        (&[0; 4], 1, &[1.0; 5], 2),
        (&[0; 4], 1, &[1.0; 6], 4),
        (&[0; 4], 1, &[1.0; 6], 0),
        (&[0; 4], usize::MAX, &[1.0; 6], 2),
    ] {
        let error = run(labels, n_labels, weights, group).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{error}");
    }
}

#[test]
fn scales_are_checked() {
    let store = Store::new(&Matrix::noise(Float::F32, 4, 6, 0.0), &[], 0);
    for (scales, kind) in [
        (&[1.0; 3][..], Kind::Usage),
        (&[1.0; 5], Kind::Usage),
        (&[1.0, f64::INFINITY, 1.0, 1.0], Kind::Numerical),
    ] {
        let units = Units { weights: &[1.0; 6], k: 1, group: 2, scales: Some(scales) };
        let error = with(1, Tier::SCALAR, |control| {
            grouped_contributions(&store.rows(Io::Auto).unwrap(), &[0; 4], 1, units, control)
        });
        assert_eq!(error.unwrap_err().kind(), kind);
    }
}
