//! Grouped dot products of 32 rows with 20 directions, for every tier of this processor.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::WIDTHS;
use emo_core::kernels::simd::Tier;
use emo_core::kernels::simd::dots::Packed;

const ROWS: usize = 32;
const VECTORS: usize = 20;

fn dots(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("dots");
    for width in WIDTHS {
        let rows = vec![1.5; ROWS * width];
        bench.throughput(Throughput::Elements((ROWS * VECTORS * width) as u64));
        for (name, group) in [("heads", 128), ("projection", width)] {
            let packed = Packed::new(&vec![0.5; VECTORS * width], width, group);
            let mut out = vec![0.0; ROWS * packed.per_row()];
            for tier in Tier::available_tiers() {
                let id = BenchmarkId::new(format!("{name}-{}", tier.name()), width);
                bench.bench_function(id, |bencher| {
                    bencher.iter(|| packed.dots(tier, black_box(&rows), &mut out));
                });
            }
        }
    }
    bench.finish();
}

criterion_group!(benches, dots);
criterion_main!(benches);
