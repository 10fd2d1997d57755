//! Projections, weight products and plain reading.

mod common;

use common::{Matrix, Store, close, dtypes, ways, with};
use emo_core::dtype::Float;
use emo_core::error::Kind;
use emo_core::kernels::project::project;
use emo_core::kernels::read::read_rows;
use emo_core::kernels::simd::Tier;
use emo_core::kernels::weight::weight_product;
use emo_core::scan::Io;
use proptest::prelude::*;

fn product(rows: &[f64], vectors: &[f64], width: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    rows.chunks_exact(width)
        .flat_map(|row| vectors.chunks_exact(width).map(move |v| dot(row, v)))
        .collect()
}

fn transpose(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn projections_and_products_are_the_plain_sums(
        dtype in dtypes(), rows in 1usize..60, width in 1usize..300, k in 1usize..5, cut in 0usize..60,
    ) {
        let matrix = Matrix::noise(dtype, rows, width, 0.2);
        let vectors = Matrix::noise(Float::F32, k, width, 0.0).values;
        let downs = Matrix::noise(Float::F32, k, rows, 0.0).values;
        let store = Store::new(&matrix, &[cut.min(rows)], 1);
        let (out, tall, wide) = with(2, Tier::current()?, |control| {
            let rows = store.rows(Io::Auto).unwrap();
            (
                project(&rows, &vectors, k, control),
                weight_product(&rows, &vectors, k, true, control),
                weight_product(&rows, &downs, k, false, control),
            )
        });
        let wanted = product(&matrix.values, &vectors, width);
        close(&out?.into_iter().map(f64::from).collect::<Vec<_>>(), &wanted, 1e-6, 1e-5);
        close(&tall?, &transpose(&wanted, k), 1e-12, 1e-12);
        close(&wide?, &product(&downs, &transpose(&matrix.values, width), rows), 1e-12, 1e-12);
    }
}

#[test]
fn every_way_leaves_the_same_bits() {
    for dtype in [Float::Bf16, Float::F16, Float::F32] {
        let (n, width, k) = (1500, 301, 3);
        let matrix = Matrix::noise(dtype, n, width, 10.0);
        let vectors = Matrix::noise(Float::F32, k, width, 0.0).values;
        let downs = Matrix::noise(Float::F32, k, n, 0.0).values;
        let mut first = None;
        for cuts in [&[][..], &[1, 700, 701, 701]] {
            let store = Store::new(&matrix, cuts, 1);
            for (threads, tier, io) in ways() {
                let found = with(threads, tier, |control| {
                    let rows = store.rows(io).unwrap();
                    (
                        project(&rows, &vectors, k, control).unwrap(),
                        weight_product(&rows, &vectors, k, true, control).unwrap(),
                        weight_product(&rows, &downs, k, false, control).unwrap(),
                    )
                });
                let wanted = first.get_or_insert_with(|| found.clone());
                assert!(*wanted == found, "{dtype:?} {threads} {tier:?} {io:?} {cuts:?}");
            }
        }
    }
}

#[test]
fn rows_are_read_exactly() {
    let matrix = Matrix::noise(Float::F16, 50, 7, 1.0);
    let store = Store::new(&matrix, &[20], 1);
    let read = |range| {
        with(1, Tier::SCALAR, |control| read_rows(&store.rows(Io::Auto).unwrap(), range, control))
    };
    let found: Vec<f64> = read(15..33).unwrap().into_iter().map(f64::from).collect();
    assert_eq!(found, matrix.values[15 * 7..33 * 7]);
    assert!(read(50..50).unwrap().is_empty());
    assert_eq!(read(0..51).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn non_finite_values_are_named() {
    let mut raw = vec![1.0; 30 * 20];
    raw[11 * 20 + 3] = f32::NAN;
    let store = Store::new(&Matrix::new(Float::F32, 20, &raw), &[], 0);
    for (transposed, length) in [(true, 20), (false, 30)] {
        let error = with(2, Tier::current().unwrap(), |control| {
            weight_product(
                &store.rows(Io::Auto).unwrap(),
                &vec![1.0; length],
                1,
                transposed,
                control,
            )
        });
        let error = error.unwrap_err();
        assert_eq!(error.kind(), Kind::Numerical);
        assert!(error.to_string().contains("row 11, column 3"), "{error}");
    }
}
