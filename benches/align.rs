//! Cross-moments of two tensors of 512 rows, mapped; flops are multiplications and additions.

use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::{DTYPES, Store};
use emo_core::error::Result;
use emo_core::kernels::cross::{CrossMoments, cross_moments};
use emo_core::kernels::simd::Tier;
use emo_core::scan::{Control, Io, Rows, pool};

const ROWS: usize = 512;

fn pass(stores: &[Store; 2], tier: Tier) -> Result<CrossMoments> {
    let cancel = AtomicBool::new(false);
    let control = Control { tier, ..Control::new(0, &cancel)? };
    let task = || {
        let [x, y] = stores;
        let x = Rows::open(&x.paths, "x", Io::Mmap, None)?;
        let y = Rows::open(&y.paths, "x", Io::Mmap, None)?;
        cross_moments(&x, &y, &[0; ROWS], 1, &control)
    };
    pool::run(control.threads, task, || ())?
}

fn cross(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cross");
    group.sample_size(10);
    let dtype = DTYPES[0];
    for (dx, dy) in [(512, 512), (1536, 3072)] {
        let store = |width: usize| Store::new(dtype, width, 1, ROWS * width * dtype.0.size());
        let stores = [store(dx).expect("a store"), store(dy).expect("a store")];
        group.throughput(Throughput::Elements((ROWS * (dx + dy) * (dx + dy)) as u64));
        for tier in Tier::available_tiers().filter(|tier| *tier != Tier::SCALAR) {
            let id = BenchmarkId::new(tier.name(), format!("{dx}x{dy}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| pass(&stores, tier).expect("a pass"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, cross);
criterion_main!(benches);
