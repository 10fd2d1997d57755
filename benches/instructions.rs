//! Instructions of the kernels, counted by valgrind: a check that a busy machine cannot disturb.
//!
//! `cargo bench -p emo-benches --bench instructions` runs every case under callgrind, once with one
//! round and once with three, and compares the instructions of a round with the recorded limit.
//! Without valgrind it says so and passes. `-- time` prints the best time of a round instead.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use emo_benches::{DTYPES, Store, noise};
use emo_core::dtype::Float;
use emo_core::error::Result;
use emo_core::kernels::basis::Vectors;
use emo_core::kernels::components::{Source, gram_product};
use emo_core::kernels::cross::cross_moments;
use emo_core::kernels::overlap::{Wanted, overlaps};
use emo_core::kernels::rsa::permutations::Shuffler;
use emo_core::kernels::simd::Tier;
use emo_core::kernels::simd::columns::{BLOCK, ROWS, Sums};
use emo_core::kernels::simd::dots::{Packed, widen};
use emo_core::kernels::simd::permuted::{Places, Product};
use emo_core::scan::{Control, Io, Rows as StoredRows, pool};

const WIDTH: usize = 3072;

/// Rows of the passes over whole matrices, and their width.
const PASS: (usize, usize) = (256, 768);

/// A case: its name, the instructions that a round may take (5 % above those counted when it was
/// last looked at), and its task. With AVX-512, which valgrind lacks, there is no count.
type Case = (&'static str, Option<u64>, fn(Tier, usize) -> Duration);

const CASES: &[Case] = &[
    ("moments-bf16-avx2", Some(278_000), |tier, rounds| columns(tier, Float::Bf16, rounds)),
    ("moments-f16-avx2", Some(271_000), |tier, rounds| columns(tier, Float::F16, rounds)),
    ("moments-f32-avx2", Some(317_000), |tier, rounds| columns(tier, Float::F32, rounds)),
    ("moments-bf16-scalar", Some(5_560_000), |tier, rounds| columns(tier, Float::Bf16, rounds)),
    ("moments-bf16-avx512", None, |tier, rounds| columns(tier, Float::Bf16, rounds)),
    ("moments-f16-avx512", None, |tier, rounds| columns(tier, Float::F16, rounds)),
    ("moments-f32-avx512", None, |tier, rounds| columns(tier, Float::F32, rounds)),
    ("dots-avx2", Some(1_230_000), dots),
    ("draws-n30-scalar", Some(86_600), |tier, rounds| draws(tier, 30, rounds)),
    ("draws-n30-avx2", Some(74_400), |tier, rounds| draws(tier, 30, rounds)),
    ("draws-n30-avx512", None, |tier, rounds| draws(tier, 30, rounds)),
    ("inverses-n30-avx2", Some(29_300), |tier, rounds| inverses(tier, 30, rounds)),
    ("permuted-n30-avx2", Some(92_300), |tier, rounds| permuted(tier, 30, rounds)),
    ("permuted-n30-avx512", None, |tier, rounds| permuted(tier, 30, rounds)),
    ("draws-n171-scalar", Some(499_000), |tier, rounds| draws(tier, 171, rounds)),
    ("draws-n171-avx2", Some(408_600), |tier, rounds| draws(tier, 171, rounds)),
    ("draws-n171-avx512", None, |tier, rounds| draws(tier, 171, rounds)),
    ("inverses-n171-avx2", Some(153_200), |tier, rounds| inverses(tier, 171, rounds)),
    ("permuted-n171-avx2", Some(1_976_000), |tier, rounds| permuted(tier, 171, rounds)),
    ("permuted-n171-avx512", None, |tier, rounds| permuted(tier, 171, rounds)),
    ("overlap-avx2", Some(16_940_000), overlap),
    ("components-avx2", Some(3_960_000), components),
    ("cross-avx2", Some(41_260_000), cross),
];

/// Sums of a block of 64 rows; gives the time of the fastest round.
fn columns(tier: Tier, dtype: Float, rounds: usize) -> Duration {
    let data = noise(BLOCK * WIDTH * dtype.size());
    let rows: Vec<&[u8]> = data.chunks_exact(WIDTH * dtype.size()).collect();
    let pilot = vec![0.5; WIDTH];
    let mut sums = Sums::new(WIDTH);
    let (mut sum, mut square) = (vec![0.0; WIDTH], vec![0.0; WIDTH]);
    best(rounds, || {
        for now in rows.chunks(ROWS) {
            sums.add(tier, dtype, black_box(now), now, &pilot);
        }
        sums.flush(tier, &mut sum, &mut square, true);
    })
}

/// Products of 32 rows with six vectors.
fn dots(tier: Tier, rounds: usize) -> Duration {
    let data = noise(32 * WIDTH * 2);
    let mut wide = vec![0.0; 32 * WIDTH];
    let packed = Packed::new(&vec![0.5; 6 * WIDTH], WIDTH, WIDTH);
    let mut out = vec![0.0; 32 * packed.per_row()];
    best(rounds, || {
        widen(tier, Float::Bf16, black_box(&data), &mut wide);
        packed.dots(tier, &wide, &mut out);
    })
}

/// A hundred random permutations of n conditions: the draw alone.
fn draws(tier: Tier, n: usize, rounds: usize) -> Duration {
    let mut shuffler = Shuffler::new(tier, n, 0, 0);
    best(rounds, || {
        for index in 0..100 {
            black_box(shuffler.get(index));
        }
    })
}

/// Where a hundred permutations of n conditions take the rows and columns.
fn inverses(tier: Tier, n: usize, rounds: usize) -> Duration {
    let (orders, mut places) = (hundred(n), product(tier, n).places());
    best(rounds, || {
        for order in &orders {
            places.set(order);
            black_box(&places);
        }
    })
}

/// A hundred permuted products of n conditions.
fn permuted(tier: Tier, n: usize, rounds: usize) -> Duration {
    let product = product(tier, n);
    let placed = |order: &Vec<u16>| {
        let mut places = product.places();
        places.set(order);
        places
    };
    let all: Vec<Places> = hundred(n).iter().map(placed).collect();
    best(rounds, || {
        for places in &all {
            black_box(black_box(&product).sum(places));
        }
    })
}

fn product(tier: Tier, n: usize) -> Product {
    let cell = |row: usize, column: usize| ((row * column * 31) % 201) as i16 - 100;
    Product::new(tier, n, cell, cell)
}

fn hundred(n: usize) -> Vec<Vec<u16>> {
    let mut shuffler = Shuffler::new(Tier::SCALAR, n, 0, 0);
    (0..100).map(|index| shuffler.get(index).to_vec()).collect()
}

/// Bases of 24 sets of ten vectors, and the product of all of them stacked.
fn overlap(tier: Tier, rounds: usize) -> Duration {
    let values = singles(240 * PASS.1);
    let sets: Vec<Vectors> = values.chunks_exact(10 * PASS.1).map(Vectors::Single).collect();
    on_one_thread(tier, rounds, |control| {
        overlaps(black_box(&sets), &[1e-4; 24], PASS.1, Wanted::default(), control)
    })
}

/// A pass of subspace iteration with 16 vectors.
fn components(tier: Tier, rounds: usize) -> Duration {
    let (rows, width) = PASS;
    let x = singles(rows * width);
    let (pilot, vectors) = (vec![0.5; width], vec![0.01; 16 * width]);
    on_one_thread(tier, rounds, |control| {
        let source = Source::Array(Vectors::Single(black_box(&x)), width);
        gram_product(source, &pilot, &vectors, 16, true, control)
    })
}

/// Cross-moments of a mapped tensor with itself, of a third of the width.
fn cross(tier: Tier, rounds: usize) -> Duration {
    let (rows, width) = (PASS.0, PASS.1 / 3);
    let store = Store::new(DTYPES[0], width, 1, rows * width * 2).expect("a store");
    on_one_thread(tier, rounds, |control| {
        let x = StoredRows::open(&store.paths, "x", Io::Mmap, None)?;
        cross_moments(&x, &x, &vec![0; rows], 1, control)
    })
}

fn singles(count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    Float::Bf16.decode(&noise(2 * count), &mut values);
    values
}

/// Time of the fastest round of a whole kernel, in a pool of one thread.
fn on_one_thread<T: Send>(
    tier: Tier,
    rounds: usize,
    task: impl Fn(&Control) -> Result<T> + Sync,
) -> Duration {
    let cancel = AtomicBool::new(false);
    let control = Control { threads: 1, tier, cancel: &cancel };
    best(rounds, || {
        let done = pool::run(1, || task(&control), || ());
        black_box(done.expect("a pool").expect("a result"));
    })
}

fn best(rounds: usize, mut round: impl FnMut()) -> Duration {
    let timed = |()| {
        let start = Instant::now();
        round();
        start.elapsed()
    };
    std::iter::repeat_n((), rounds).map(timed).min().unwrap_or_default()
}

fn tier_of(name: &str) -> Option<Tier> {
    let wanted = name.rsplit('-').next()?;
    Tier::available_tiers().find(|tier| tier.name() == wanted)
}

fn run_case(name: &str, rounds: usize) -> Option<Duration> {
    let (_, _, task) = CASES.iter().find(|case| case.0 == name)?;
    Some(task(tier_of(name)?, rounds))
}

/// Instructions of a round under valgrind: those of three rounds less those of one, halved.
fn count(name: &str) -> Option<u64> {
    let [one, three] = [1, 3].map(|rounds| collected(name, rounds));
    Some((three? - one?) / 2)
}

/// Instructions that valgrind collects in a run of this program.
fn collected(name: &str, rounds: usize) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["case", name, &rounds.to_string()])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// Compare every case of this processor with its limit; whether all keep to it.
fn check() -> bool {
    let mut kept = true;
    for (name, limit, _) in CASES.iter().filter(|case| tier_of(case.0).is_some()) {
        let Some(limit) = limit else { continue };
        let Some(found) = count(name) else {
            println!("{name}: not counted, valgrind is missing or cannot run it");
            continue;
        };
        let over = found > *limit;
        kept &= !over;
        println!("{name}: {found} of {limit} instructions{}", if over { ", TOO MANY" } else { "" });
    }
    kept
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["case", name, rounds] => {
            black_box(run_case(name, rounds.parse().unwrap_or(1)));
        }
        ["time"] => {
            for (name, _, _) in CASES {
                println!("{name}: {:?}", run_case(name, 2000));
            }
        }
        _ if !check() => return ExitCode::FAILURE,
        _ => {}
    }
    ExitCode::SUCCESS
}
