//! Bases and overlaps of all pairs of subspaces of ten dimensions.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::noise;
use emo_core::dtype::Float;
use emo_core::kernels::basis::{Vectors, orthonormal_basis};
use emo_core::kernels::overlap::{Wanted, overlaps};
use emo_core::scan::{Control, pool};

const WIDTH: usize = 3072;
const DIMENSIONS: usize = 10;

/// Sets of ten vectors each, in single precision.
fn sets(m: usize) -> Vec<f32> {
    let mut values = vec![0.0; m * DIMENSIONS * WIDTH];
    Float::Bf16.decode(&noise(2 * values.len()), &mut values);
    values
}

fn overlap(criterion: &mut Criterion) {
    let cancel = AtomicBool::new(false);
    let control = Control::new(0, &cancel).expect("a tier");
    let mut bench = criterion.benchmark_group("overlap");
    bench.sample_size(10);
    let values = sets(112);
    bench.bench_function("basis", |bencher| {
        let set = Vectors::Single(&values[..DIMENSIONS * WIDTH]);
        let mut basis = Vec::new();
        bencher.iter(|| {
            orthonormal_basis(black_box(set), WIDTH, 1e-4, "x", &mut basis, &control)
                .expect("a basis");
        });
    });
    for m in [28, 112] {
        let vectors: Vec<Vectors> = values[..m * DIMENSIONS * WIDTH]
            .chunks_exact(DIMENSIONS * WIDTH)
            .map(Vectors::Single)
            .collect();
        let tolerances = vec![1e-4; m];
        bench.throughput(Throughput::Elements((m * (m + 1) / 2) as u64));
        bench.bench_function(BenchmarkId::new("pairs", m), |bencher| {
            bencher.iter(|| {
                let task = || overlaps(&vectors, &tolerances, WIDTH, Wanted::default(), &control);
                pool::run(control.threads, task, || ()).expect("a pool").expect("overlaps")
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, overlap);
criterion_main!(benches);
