//! Directions pulled back through an output projection, read from a mapped checkpoint.

use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::{DTYPES, Store};
use emo_core::kernels::weight::weight_product;
use emo_core::scan::{Control, Io, Rows, pool};

const D_MODEL: usize = 3072;
const D_MLP: usize = 8192;
const DIRECTIONS: usize = 6;

fn weight(criterion: &mut Criterion) {
    let cancel = AtomicBool::new(false);
    let control = Control::new(0, &cancel).expect("a tier");
    let mut bench = criterion.benchmark_group("weight");
    bench.sample_size(10);
    let dtype = DTYPES[0];
    let bytes = D_MODEL * D_MLP * dtype.0.size();
    let directions = vec![0.01; DIRECTIONS * D_MODEL];
    for (name, width, transposed) in [("linear", D_MLP, false), ("conv1d", D_MODEL, true)] {
        let store = Store::new(dtype, width, 1, bytes).expect("a store");
        let rows = Rows::open(&store.paths, "x", Io::Mmap, None).expect("rows");
        bench.throughput(Throughput::Bytes(bytes as u64));
        bench.bench_function(BenchmarkId::new(name, D_MODEL), |bencher| {
            bencher.iter(|| {
                let task = || weight_product(&rows, &directions, DIRECTIONS, transposed, &control);
                pool::run(control.threads, task, || ()).expect("a pool").expect("a product")
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, weight);
criterion_main!(benches);
