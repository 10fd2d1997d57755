//! Permutation tests of one pair and of many pairs of dissimilarity matrices.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::noise;
use emo_core::dtype::Float;
use emo_core::kernels::rsa::statistic::Correlation;
use emo_core::kernels::rsa::{Metric, Options, dissimilarity, rsa, rsa_grid};
use emo_core::scan::{Control, pool};

const WIDTH: usize = 64;
const LAYERS: usize = 16;

fn options(correlation: Correlation, permutations: u64) -> Options {
    Options { correlation, permutations, exact: false, two_sided: false, seed: 0 }
}

/// Dissimilarities of `count` sets of n conditions, one flat matrix after the other.
fn matrices(n: usize, count: usize, control: &Control) -> Vec<f64> {
    let mut values = vec![0.0f32; count * n * WIDTH];
    Float::Bf16.decode(&noise(2 * values.len()), &mut values);
    let wide: Vec<f64> =
        values.iter().enumerate().map(|(at, x)| f64::from(*x) + (at % 97) as f64 / 9.0).collect();
    let one = |set| dissimilarity(set, WIDTH, Metric::Euclidean, control).expect("distances");
    wide.chunks_exact(n * WIDTH).flat_map(one).collect()
}

fn pairs(criterion: &mut Criterion) {
    let cancel = AtomicBool::new(false);
    let control = Control::new(0, &cancel).expect("a tier");
    let mut bench = criterion.benchmark_group("rsa");
    bench.sample_size(10);
    for n in [30, 64, 171] {
        let both = matrices(n, 2, &control);
        let (x, y) = both.split_at(n * n);
        bench.throughput(Throughput::Elements(10_000));
        for (name, correlation) in
            [("pearson", Correlation::Pearson), ("spearman", Correlation::Spearman)]
        {
            let chosen = options(correlation, 10_000);
            bench.bench_function(BenchmarkId::new(name, n), |bencher| {
                bencher.iter(|| {
                    let task = || rsa(black_box(x), y, n, &chosen, &control);
                    pool::run(control.threads, task, || ()).expect("a pool").expect("a test")
                });
            });
        }
    }
    let n = 30;
    let (xs, ys) = (matrices(n, LAYERS, &control), matrices(n, LAYERS, &control));
    let chosen = options(Correlation::Pearson, 10_000);
    bench.throughput(Throughput::Elements(10_000 * (LAYERS * LAYERS) as u64));
    bench.bench_function(BenchmarkId::new("grid", n), |bencher| {
        bencher.iter(|| {
            let task = || rsa_grid(black_box(&xs), &ys, n, &chosen, &control);
            pool::run(control.threads, task, || ()).expect("a pool").expect("a test")
        });
    });
    bench.finish();
}

fn distances(criterion: &mut Criterion) {
    let cancel = AtomicBool::new(false);
    let control = Control::new(0, &cancel).expect("a tier");
    let (n, width) = (171, 3072);
    let mut single = vec![0.0f32; n * width];
    Float::Bf16.decode(&noise(2 * single.len()), &mut single);
    let rows: Vec<f64> = single.into_iter().map(f64::from).collect();
    let mut bench = criterion.benchmark_group("dissimilarity");
    bench.sample_size(10);
    bench.throughput(Throughput::Elements((n * (n - 1) / 2) as u64));
    for (name, metric) in [
        ("cosine", Metric::Cosine),
        ("correlation", Metric::Correlation),
        ("euclidean", Metric::Euclidean),
    ] {
        bench.bench_function(BenchmarkId::new(name, n), |bencher| {
            bencher.iter(|| {
                let task = || dissimilarity(black_box(&rows), width, metric, &control);
                pool::run(control.threads, task, || ()).expect("a pool").expect("distances")
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, pairs, distances);
criterion_main!(benches);
