//! Bases and overlaps of many sets of vectors.

mod common;

use common::{Matrix, close, with};
use emo_core::dtype::Float;
use emo_core::error::{Kind, Result};
use emo_core::kernels::basis::Vectors;
use emo_core::kernels::overlap::{Overlaps, Wanted, overlaps};
use emo_core::kernels::simd::Tier;
use proptest::prelude::*;

const BASES: Wanted = Wanted { double: true, bases: true };
const SINGLE: Wanted = Wanted { double: false, bases: false };

fn noise(rows: usize, width: usize, shift: f32) -> Vec<f64> {
    Matrix::noise(Float::F32, rows, width, shift).values
}

fn run(
    sets: &[Vec<f64>],
    width: usize,
    wanted: Wanted,
    threads: usize,
    tier: Tier,
) -> Result<Overlaps> {
    let vectors: Vec<Vectors> = sets.iter().map(|set| Vectors::Double(set)).collect();
    let tolerances = vec![1e-10; sets.len()];
    with(threads, tier, |control| overlaps(&vectors, &tolerances, width, wanted, control))
}

/// Products of all pairs of rows.
fn products(x: &[f64], y: &[f64], width: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    x.chunks_exact(width).flat_map(|a| y.chunks_exact(width).map(move |b| dot(a, b))).collect()
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|at| f64::from(u8::from(at % (n + 1) == 0))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn bases_are_orthonormal_and_hold_their_vectors(
        sizes in prop::collection::vec(1usize..12, 1..6), width in 1usize..150, repeat in any::<bool>(),
    ) {
        let mut sets: Vec<Vec<f64>> = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let mut set = noise(*size, width, index as f32);
            if repeat {
                set.extend_from_within(..width);
            }
            sets.push(set);
        }
        let found = run(&sets, width, BASES, 2, Tier::current()?)?;
        let single = run(&sets, width, SINGLE, 2, Tier::current()?)?;
        close(&single.overlap, &found.overlap, 0.0, 1e-6);
        let mut begin = 0;
        let mut bases = Vec::new();
        for ((set, size), rank) in sets.iter().zip(&sizes).zip(&found.ranks) {
            prop_assert!(*rank <= (*size).min(width));
            let basis = &found.bases[begin * width..(begin + rank) * width];
            begin += rank;
            close(&products(basis, basis, width), &identity(*rank), 0.0, 1e-12);
            let inside = products(set, basis, width);
            for (row, parts) in set.chunks_exact(width).zip(inside.chunks_exact(*rank)) {
                let square: f64 = row.iter().map(|value| value * value).sum();
                let kept: f64 = parts.iter().map(|value| value * value).sum();
                prop_assert!((square - kept).abs() <= 1e-9 * square + 1e-12);
            }
            bases.push(basis);
        }
        let m = sets.len();
        for i in 0..m {
            for j in 0..m {
                let squares: f64 = products(bases[i], bases[j], width).iter().map(|c| c * c).sum();
                let wanted = squares / found.ranks[i].min(found.ranks[j]) as f64;
                prop_assert!((found.overlap[i * m + j] - wanted).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn every_way_leaves_the_same_bits() {
    let (width, mut sets) = (301, Vec::new());
    for index in 0..40 {
        let mut set = noise(1 + index % 13, width, index as f32 * 0.1);
        if index % 5 == 0 {
            set.extend_from_within(..width);
        }
        sets.push(set);
    }
    for wanted in [BASES, SINGLE] {
        let mut first = None;
        for tier in Tier::available_tiers() {
            for threads in [1, 2, 4] {
                let found = run(&sets, width, wanted, threads, tier).unwrap();
                let same = first.get_or_insert_with(|| found.clone());
                assert!(*same == found, "{threads} {tier:?}");
            }
        }
    }
    // An overlap does not depend on which other sets there are.
    let whole = run(&sets, width, SINGLE, 2, Tier::SCALAR).unwrap();
    let part = run(&sets[7..19], width, SINGLE, 2, Tier::SCALAR).unwrap();
    for i in 0..12 {
        assert_eq!(part.overlap[i * 12..(i + 1) * 12], whole.overlap[(i + 7) * 40 + 7..][..12]);
    }
}

#[test]
fn sizes_of_vectors_do_not_matter() {
    let tiny = vec![1e-300, 0.0, 0.0, 0.0, 3e300, 0.0, 1e-320, 1e-320, 0.0];
    let found = run(&[tiny], 3, BASES, 1, Tier::current().unwrap()).unwrap();
    assert_eq!(found.ranks, [2]);
}

#[test]
fn more_vectors_than_columns_span_everything() {
    let found = run(&[noise(20, 7, 0.0), noise(3, 7, 0.5)], 7, BASES, 1, Tier::SCALAR).unwrap();
    assert_eq!(found.ranks, [7, 3]);
    close(&found.overlap, &[1.0; 4], 0.0, 1e-12);
}

#[test]
fn what_cannot_be_used_is_named() {
    let tier = Tier::current().unwrap();
    let mut bad = noise(4, 6, 0.0);
    bad[2 * 6 + 5] = f64::INFINITY;
    let error = run(&[noise(2, 6, 0.0), bad], 6, SINGLE, 2, tier).unwrap_err();
    assert_eq!(error.kind(), Kind::Numerical);
    assert!(error.to_string().contains("set 1 holds inf at row 2, column 5"), "{error}");
    let error = run(&[vec![0.0; 12]], 6, BASES, 1, tier).unwrap_err();
    assert!(error.to_string().contains("set 0 has 2 vectors and spans nothing"), "{error}");
    assert_eq!(run(&[vec![]], 6, BASES, 1, tier).unwrap_err().kind(), Kind::Numerical);
    assert_eq!(run(&[vec![1.0; 5]], 6, BASES, 1, tier).unwrap_err().kind(), Kind::Usage);
    assert!(run(&[], 6, BASES, 1, tier).unwrap().overlap.is_empty());
}
