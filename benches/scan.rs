//! A whole scan of a mapped store of 256 MiB, one and six labels, with and without chunk hashes.

use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emo_benches::{DTYPES, Store};
use emo_core::error::Result;
use emo_core::kernels::moments::moments;
use emo_core::scan::{Control, Io, Rows, pool};

fn scan(store: &Store, labels: &[i32], n_labels: usize, io: Io, checked: bool) -> Result<()> {
    let cancel = AtomicBool::new(false);
    let control = Control::new(0, &cancel)?;
    let chunks = checked.then(|| store.chunks.clone());
    let task = || {
        let rows = Rows::open(&store.paths, "x", io, chunks)?;
        moments(&rows, labels, n_labels, &control).map(|_| ())
    };
    pool::run(control.threads, task, || ())?
}

fn scans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(10);
    for dtype in DTYPES {
        let store = Store::new(dtype, 3072, 4, 64 << 20).expect("a store");
        let row = 3072 * dtype.0.size();
        group.throughput(Throughput::Bytes((store.n_rows * row) as u64));
        for (name, n_labels, io, checked) in [
            ("mmap", 1, Io::Mmap, false),
            ("pread", 1, Io::Pread, false),
            ("mmap-six", 6, Io::Mmap, false),
            ("mmap-checked", 1, Io::Mmap, true),
        ] {
            let labels: Vec<i32> = (0..store.n_rows).map(|row| (row % n_labels) as i32).collect();
            group.bench_function(BenchmarkId::new(name, dtype.1.name()), |bencher| {
                bencher.iter(|| scan(&store, &labels, n_labels, io, checked).expect("a scan"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, scans);
criterion_main!(benches);
