//! Column sums of 64 rows that lie in a core's cache, for every tier of this processor.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::{DTYPES, WIDTHS, noise};
use emo_core::kernels::simd::Tier;
use emo_core::kernels::simd::columns::{BLOCK, ROWS, Sums};

fn columns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("moments");
    for (dtype, name) in DTYPES {
        for width in WIDTHS {
            let data = noise(BLOCK * width * dtype.size());
            let rows: Vec<&[u8]> = data.chunks_exact(width * dtype.size()).collect();
            let pilot = vec![0.5; width];
            group.throughput(Throughput::Bytes(data.len() as u64));
            for tier in Tier::available_tiers() {
                let id = BenchmarkId::new(format!("{}-{}", name.name(), tier.name()), width);
                let mut sums = Sums::new(width);
                let (mut sum, mut square) = (vec![0.0; width], vec![0.0; width]);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        for now in rows.chunks(ROWS) {
                            sums.add(tier, dtype, black_box(now), now, &pilot);
                        }
                        sums.flush(tier, &mut sum, &mut square, true);
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, columns);
criterion_main!(benches);
