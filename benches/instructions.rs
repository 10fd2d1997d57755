//! Instructions of the kernels, counted by valgrind: a check that a busy machine cannot disturb.
//!
//! `cargo bench -p emo-benches --bench instructions` runs every case under callgrind, once with one
//! round and once with three, and compares the instructions of a round with the recorded limit.
//! Without valgrind it says so and passes. `-- time` prints the best time of a round instead.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use emo_benches::noise;
use emo_core::dtype::Float;
use emo_core::kernels::rsa::permutations::Shuffler;
use emo_core::kernels::simd::Tier;
use emo_core::kernels::simd::columns::{BLOCK, ROWS, Sums};
use emo_core::kernels::simd::dots::{Packed, widen};
use emo_core::kernels::simd::permuted::{Places, Rows, Strips, permuted_product};

const WIDTH: usize = 3072;

/// A case: its name, the instructions that a round may take (5 % above those counted when it was
/// last looked at), and its task.
type Case = (&'static str, u64, fn(Tier, usize) -> Duration);

const CASES: &[Case] = &[
    ("moments-bf16-avx2", 292_000, |tier, rounds| columns(tier, Float::Bf16, rounds)),
    ("moments-f16-avx2", 272_000, |tier, rounds| columns(tier, Float::F16, rounds)),
    ("moments-f32-avx2", 298_000, |tier, rounds| columns(tier, Float::F32, rounds)),
    ("moments-bf16-scalar", 5_560_000, |tier, rounds| columns(tier, Float::Bf16, rounds)),
    ("dots-avx2", 1_230_000, dots),
    ("permutations-n30-avx2", 214_000, |tier, rounds| permutations(tier, 30, rounds)),
    ("permutations-n171-avx2", 2_730_000, |tier, rounds| permutations(tier, 171, rounds)),
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

/// A hundred random permutations of n conditions, drawn and multiplied.
fn permutations(tier: Tier, n: usize, rounds: usize) -> Duration {
    let cell = |row: usize, column: usize| ((row * column * 31) % 201) as i16 - 100;
    let (a, b) = (Strips::new(n, cell), Rows::new(n, cell));
    let (mut shuffler, mut places) = (Shuffler::new(n, 0, 0), Places::new(n));
    let mut order = vec![0; n];
    best(rounds, || {
        for index in 0..100 {
            shuffler.write(index, &mut order);
            places.set(&order);
            black_box(permuted_product(tier, black_box(&a), &b, &places));
        }
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
