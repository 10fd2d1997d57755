//! The pass behind principal components.

mod common;

use common::{Matrix, Store, close, dtypes, ways, with};
use emo_core::dtype::Float;
use emo_core::error::Kind;
use emo_core::kernels::basis::Vectors;
use emo_core::kernels::components::{Pass, Source, gram_product};
use emo_core::kernels::simd::Tier;
use emo_core::scan::Io;
use proptest::prelude::*;

/// Product, sum and sum of squares by plain sums.
fn plain(rows: &[&[f64]], pilot: &[f64], vectors: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let width = pilot.len();
    let mut product = vec![0.0; vectors.len()];
    let (mut sum, mut square) = (vec![0.0; width], vec![0.0; width]);
    for row in rows {
        let x: Vec<f64> = row.iter().zip(pilot).map(|(value, pilot)| value - pilot).collect();
        for (column, value) in x.iter().enumerate() {
            sum[column] += value;
            square[column] += value * value;
        }
        for (vector, out) in vectors.chunks_exact(width).zip(product.chunks_exact_mut(width)) {
            let dot: f64 = x.iter().zip(vector).map(|(a, b)| a * b).sum();
            for (out, value) in out.iter_mut().zip(&x) {
                *out += dot * value;
            }
        }
    }
    (product, sum, square)
}

fn check(found: &Pass, wanted: &(Vec<f64>, Vec<f64>, Vec<f64>)) {
    let size = |values: &[f64]| values.iter().fold(1e-3, |size: f64, value| size.max(value.abs()));
    close(&found.product, &wanted.0, 0.0, 2e-6 * size(&wanted.0));
    close(&found.sum, &wanted.1, 0.0, 2e-6 * size(&wanted.2));
    close(&found.square, &wanted.2, 2e-6, 1e-9);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn passes_are_the_plain_sums(
        dtype in dtypes(), rows in 1usize..200, width in 1usize..300, k in 1usize..30,
        cut in 0usize..200, skip in 0usize..4,
    ) {
        let matrix = Matrix::noise(dtype, rows, width, 5.0);
        let vectors = Matrix::noise(Float::F32, k, width, 0.0).values;
        let pilot = vec![4.5; width];
        let store = Store::new(&matrix, &[cut.min(rows)], 1);
        let labels: Vec<i32> =
            (0..rows).map(|row| if skip > 0 && row % 5 < skip { -1 } else { 0 }).collect();
        let used: Vec<&[f64]> =
            (0..rows).filter(|row| labels[*row] == 0).map(|row| matrix.row(row)).collect();
        let wanted = plain(&used, &pilot, &vectors);
        let flat: Vec<f64> = used.concat();
        let (stored, memory) = with(2, Tier::current()?, |control| {
            let rows = store.rows(Io::Auto).unwrap();
            let array = Source::Array(Vectors::Double(&flat), width);
            (
                gram_product(Source::Stored(&rows, &labels), &pilot, &vectors, k, true, control),
                gram_product(array, &pilot, &vectors, k, true, control),
            )
        });
        for found in [stored?, memory?] {
            check(&found, &wanted);
            prop_assert_eq!(found.count, used.len());
        }
    }
}

#[test]
fn every_way_leaves_the_same_bits() {
    for dtype in [Float::Bf16, Float::F16, Float::F32] {
        let (n, width, k) = (2500, 301, 18);
        let matrix = Matrix::noise(dtype, n, width, 10.0);
        let vectors = Matrix::noise(Float::F32, k, width, 0.0).values;
        let (pilot, labels) = (vec![10.0; width], vec![0; n]);
        let mut first: Option<Pass> = None;
        for cuts in [&[][..], &[1, 700, 701, 701]] {
            let store = Store::new(&matrix, cuts, 1);
            for (threads, tier, io) in ways() {
                let found = with(threads, tier, |control| {
                    let rows = store.rows(io).unwrap();
                    let source = Source::Stored(&rows, &labels);
                    gram_product(source, &pilot, &vectors, k, true, control).unwrap()
                });
                let wanted = first.get_or_insert_with(|| found.clone());
                assert!(*wanted == found, "{dtype:?} {threads} {tier:?} {io:?} {cuts:?}");
            }
        }
    }
}

#[test]
fn repeated_rows_are_counted() {
    let mut values = Matrix::noise(Float::F32, 300, 40, 0.0).values;
    values.extend_from_within(..3 * 40);
    values.extend_from_within(..40);
    let vectors = Matrix::noise(Float::F32, 4, 40, 0.0).values;
    let found = with(2, Tier::current().unwrap(), |control| {
        let source = Source::Array(Vectors::Double(&values), 40);
        gram_product(source, &[0.0; 40], &vectors, 4, true, control).unwrap()
    });
    assert_eq!((found.count, found.repeated), (304, 4));
}

#[test]
fn what_cannot_be_used_is_named() {
    let mut raw = vec![1.0; 30 * 20];
    raw[11 * 20 + 3] = f32::NAN;
    let store = Store::new(&Matrix::new(Float::F32, 20, &raw), &[], 0);
    let (pilot, vectors) = (vec![0.0; 20], vec![1.0; 20]);
    let tier = Tier::current().unwrap();
    with(2, tier, |control| {
        let rows = store.rows(Io::Auto).unwrap();
        let mut labels = vec![0; 30];
        let run = |labels: &[i32], pilot: &[f64]| {
            gram_product(Source::Stored(&rows, labels), pilot, &vectors, 1, true, control)
        };
        let error = run(&labels, &pilot).unwrap_err();
        assert!(error.to_string().contains("row 11, column 3"), "{error}");
        let array = Source::Array(Vectors::Single(&raw), 20);
        for columns in [false, true] {
            let found = gram_product(array, &pilot, &vectors, 1, columns, control);
            let error = found.unwrap_err();
            assert_eq!(error.kind(), Kind::Numerical);
            assert!(error.to_string().contains("NaN at row 11, column 3"), "{error}");
        }
        let huge = Source::Array(Vectors::Double(&[1e200; 20]), 20);
        let error = gram_product(huge, &pilot, &vectors, 1, true, control).unwrap_err();
        assert!(error.to_string().contains("overflow"), "{error}");
        labels[11] = -1;
        assert_eq!(run(&labels, &pilot).unwrap().count, 29);
        assert_eq!(run(&labels, &pilot[..5]).unwrap_err().kind(), Kind::Usage);
        assert_eq!(run(&labels[..5], &pilot).unwrap_err().kind(), Kind::Usage);
        let none = gram_product(
            Source::Array(Vectors::Single(&[]), 20),
            &pilot,
            &vectors,
            1,
            true,
            control,
        );
        assert_eq!(none.unwrap().count, 0);
    });
}
