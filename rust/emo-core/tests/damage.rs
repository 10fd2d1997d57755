//! Files that are damaged, truncated or replaced end in a clean error.

mod common;

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Matrix, Store, with};
use emo_core::dtype::Float;
use emo_core::error::{Error, Kind};
use emo_core::kernels::moments::{Moments, moments};
use emo_core::kernels::simd::Tier;
use emo_core::scan::{Control, Io, Rows, pool};

fn scan(rows: &Rows, n_labels: usize) -> Result<Moments, Error> {
    let labels: Vec<i32> = (0..rows.n_rows()).map(|row| (row % n_labels) as i32).collect();
    with(2, Tier::current().unwrap(), |control| moments(rows, &labels, n_labels, control))
}

const CHUNK: u64 = 8 << 20;

/// Flip a bit of a file where the tensor has byte `at`.
fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(4096 + at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(4096 + at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

#[test]
fn a_flipped_bit_names_its_chunk_wherever_it_is() {
    let matrix = Matrix::noise(Float::F32, 6500, 1000, 0.0);
    let store = Store::new(&matrix, &[150, 2700], 0);
    for (shard, rows) in [(0, 150), (1, 2550), (2, 3800)] {
        let bytes = rows * 4000;
        let ends = [0, CHUNK - 1, CHUNK, CHUNK + 4, bytes - 1];
        for at in ends.into_iter().filter(|at| *at < bytes) {
            flip(&store.paths[shard], at);
            for io in [Io::Mmap, Io::Pread] {
                for labels in [1, 3] {
                    let error = scan(&store.rows(io).unwrap(), labels).unwrap_err();
                    assert_eq!(error.kind(), Kind::Artifact);
                    let text = error.to_string();
                    let place = format!(
                        "{shard}.safetensors: tensor \"x\" is damaged in chunk {}:",
                        at / CHUNK
                    );
                    assert!(text.contains(&place), "{text} at {at} of shard {shard}");
                }
            }
            flip(&store.paths[shard], at);
        }
    }
    for io in [Io::Mmap, Io::Pread, Io::Auto] {
        scan(&store.rows(io).unwrap(), 3).unwrap();
    }
}

#[test]
fn damage_is_blamed_before_a_value_is() {
    let store = Store::new(&Matrix::noise(Float::F32, 3000, 1000, 1.0), &[], 0);
    for at in [4 * 1000 * 2900 + 2, 4 * 1000 * 2900 + 3] {
        let mut file = OpenOptions::new().write(true).open(&store.paths[0]).unwrap();
        file.seek(SeekFrom::Start(4096 + at)).unwrap();
        file.write_all(&[0xff]).unwrap();
    }
    let error = scan(&store.rows(Io::Auto).unwrap(), 1).unwrap_err();
    assert!(error.to_string().contains("chunk 1"), "{error}");
    let unchecked = Rows::open(&store.paths, "x", Io::Auto, None).unwrap();
    assert_eq!(scan(&unchecked, 1).unwrap_err().kind(), Kind::Numerical);
}

#[test]
fn truncation_between_opening_and_reading_is_an_error() {
    for io in [Io::Mmap, Io::Pread, Io::Auto] {
        let store = Store::new(&Matrix::noise(Float::Bf16, 4000, 300, 0.0), &[1000], 0);
        let rows = Rows::open(&store.paths, "x", io, None).unwrap();
        OpenOptions::new().write(true).open(&store.paths[1]).unwrap().set_len(9000).unwrap();
        let error = scan(&rows, 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Artifact);
        assert!(error.to_string().contains("truncated"), "{error}");
        assert!(
            Rows::open(&store.paths, "x", io, None)
                .unwrap_err()
                .to_string()
                .contains("claims bytes")
        );
    }
}

#[test]
fn truncation_during_a_scan_is_an_error() {
    let store = Store::new(&Matrix::noise(Float::Bf16, 20_000, 600, 0.0), &[], 0);
    let rows = Rows::open(&store.paths, "x", Io::Mmap, None).unwrap();
    let file = OpenOptions::new().write(true).open(&store.paths[0]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(2));
            file.set_len(8192).unwrap();
        });
        let end = Instant::now() + Duration::from_secs(20);
        let error = loop {
            match scan(&rows, 1) {
                Err(error) => break error,
                Ok(_) => assert!(Instant::now() < end, "the truncation was not noticed"),
            }
        };
        assert_eq!(error.kind(), Kind::Artifact);
    });
}

#[test]
fn a_replaced_file_is_an_error() {
    let matrix = Matrix::noise(Float::Bf16, 100, 30, 0.0);
    let store = Store::new(&matrix, &[], 0);
    let rows = store.rows(Io::Auto).unwrap();
    let other = Store::new(&matrix, &[], 0);
    std::fs::rename(&other.paths[0], &store.paths[0]).unwrap();
    assert!(scan(&rows, 1).unwrap_err().to_string().contains("replaced"));
}

#[test]
fn shards_must_agree_and_exist() {
    let store = Store::new(&Matrix::noise(Float::Bf16, 10, 30, 0.0), &[], 0);
    let other = Store::new(&Matrix::noise(Float::Bf16, 10, 31, 0.0), &[], 0);
    let open = |paths: Vec<_>, tensor| Rows::open(&paths, tensor, Io::Auto, None).unwrap_err();
    let (ours, theirs) = (store.paths[0].clone(), other.paths[0].clone());
    assert_eq!(open(vec![ours.clone(), theirs], "x").kind(), Kind::Artifact);
    assert!(open(vec![ours.clone()], "y").advice().unwrap().contains("pad, x"));
    assert!(open(vec![ours.clone()], "pad").to_string().contains("is U8"));
    assert_eq!(open(vec![ours.with_extension("gone")], "x").kind(), Kind::Artifact);
    assert_eq!(open(vec![store.folder.path().to_owned()], "x").kind(), Kind::Artifact);
    assert_eq!(open(vec![], "x").kind(), Kind::Usage);
    let chunks = Some(vec![vec![]]);
    let error = Rows::open(&[ours], "x", Io::Auto, chunks).unwrap_err();
    assert!(error.to_string().contains("1 chunks, hashes are recorded for 0"), "{error}");
}

#[test]
fn a_scan_stops_when_asked() {
    let store = Store::new(&Matrix::noise(Float::Bf16, 30_000, 500, 0.0), &[], 0);
    let rows = store.rows(Io::Auto).unwrap();
    let labels = vec![0; rows.n_rows()];
    let cancel = AtomicBool::new(false);
    let control = Control { threads: 2, tier: Tier::SCALAR, cancel: &cancel };
    let asked = std::sync::Mutex::new(Instant::now());
    let task = || moments(&rows, &labels, 1, &control);
    let outcome = pool::run(2, task, || {
        std::thread::sleep(Duration::from_millis(3));
        *asked.lock().unwrap() = Instant::now();
        cancel.store(true, Ordering::Relaxed);
    });
    assert_eq!(outcome.unwrap().unwrap_err().kind(), Kind::Interrupted);
    assert!(asked.lock().unwrap().elapsed() < Duration::from_millis(200));
}
