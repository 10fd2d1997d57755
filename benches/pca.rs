//! One pass of subspace iteration over a store, for every type of activation.

use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::{DTYPES, Store};
use emo_core::kernels::components::{Source, gram_product};
use emo_core::scan::{Control, Io, Rows, pool};

const WIDTH: usize = 3072;
const VECTORS: usize = 16;
const BYTES: usize = 64 << 20;

fn pca(criterion: &mut Criterion) {
    let cancel = AtomicBool::new(false);
    let control = Control::new(0, &cancel).expect("a tier");
    let mut bench = criterion.benchmark_group("pca");
    bench.sample_size(10);
    for dtype in DTYPES {
        let store = Store::new(dtype, WIDTH, 2, BYTES / 2).expect("a store");
        let rows = Rows::open(&store.paths, "x", Io::Auto, None).expect("rows");
        let labels = vec![0; store.n_rows];
        let (pilot, vectors) = (vec![0.0; WIDTH], vec![0.01; VECTORS * WIDTH]);
        bench.throughput(Throughput::Bytes((store.n_rows * rows.row_bytes()) as u64));
        bench.bench_function(BenchmarkId::new("pass", dtype.1.name()), |bencher| {
            bencher.iter(|| {
                let source = Source::Stored(&rows, &labels);
                let task = || gram_product(source, &pilot, &vectors, VECTORS, true, &control);
                pool::run(control.threads, task, || ()).expect("a pool").expect("a pass")
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, pca);
criterion_main!(benches);
