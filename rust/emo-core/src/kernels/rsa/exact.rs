//! Every permutation of at most 12 conditions, depth first.
//!
//! Places are filled from the first on. `cost[t][e]` is what element e adds at open place t to the
//! products with the places that are filled, so that filling one place costs R^2 products for R
//! open ones, and the last three places six sums of six products for six permutations: about ten
//! operations for each of the n! permutations.

use rayon::prelude::*;

use super::permutations::factorial;
use super::statistic::{Cell, Pair};
use super::{Outcome, Tally};
use crate::error::{Error, Result};
use crate::scan::{Control, check_cancel};

/// Most conditions of an exact test.
pub const MAX_EXACT: usize = 12;

/// Refuse more conditions than can be enumerated.
pub fn check_exact(n: usize) -> Result<()> {
    if n <= MAX_EXACT {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{n} conditions have too many permutations for an exact test, the limit is {MAX_EXACT}"
    ))
    .hint("give a number of random permutations"))
}

/// Compare all n! permutations, the identity among them, with the observed one.
pub(super) fn enumerate<C: Cell>(pair: &Pair<C>, control: &Control) -> Result<Outcome> {
    let n = pair.a.n();
    check_exact(n)?;
    let starts = starts(n);
    let parts: Result<Vec<Walk<C>>> = starts
        .par_iter()
        .map(|start| {
            check_cancel(control.cancel)?;
            let mut walk = Walk::new(pair, start.iter().enumerate().all(|(at, e)| at == *e));
            walk.run(start);
            Ok(walk)
        })
        .collect();
    let (mut tally, mut total) = (Tally::default(), C::ZERO);
    for part in parts? {
        tally.exceeding += part.exceeding;
        tally.ties += part.ties;
        tally.largest = tally.largest.max(part.largest.real() / pair.scale());
        total = total.plus(part.total);
    }
    let count = factorial(n);
    let mean = total.real() / pair.scale() / (count - 1) as f64;
    Ok(Outcome::new(pair.r(), tally, mean, count, true))
}

/// Fillings of the first places: pieces of work in the order of words.
fn starts(n: usize) -> Vec<Vec<usize>> {
    if n < 5 {
        return (0..n).map(|first| vec![first]).collect();
    }
    let others = |first| (0..n).filter(move |second| *second != first);
    (0..n).flat_map(|first| others(first).map(move |second| vec![first, second])).collect()
}

struct Walk<'a, C> {
    pair: &'a Pair<'a, C>,
    limit: C,
    /// The next permutation is the identity.
    identity: bool,
    exceeding: u64,
    ties: u64,
    largest: C,
    total: C,
}

macro_rules! levels {
    ($($name:ident $open:literal -> $next:ident $left:literal),* $(,)?) => {$(
        #[doc = concat!("Fill the first of ", $open, " open places in every way.")]
        fn $name(&mut self, sum: C, open: [usize; $open], cost: [[C; $open]; $open]) {
            let place = self.pair.a.n() - $open;
            for choice in 0..$open {
                let (element, mut left, mut costs) =
                    (open[choice], [0; $left], [[C::ZERO; $left]; $left]);
                let (weights, values) = (self.pair.a.row(place), self.pair.b.row(element));
                for column in 0..$left {
                    let from = column + usize::from(column >= choice);
                    left[column] = open[from];
                    let value = values[open[from]];
                    for row in 0..$left {
                        costs[row][column] =
                            cost[row + 1][from].plus(weights[place + 1 + row].times(value));
                    }
                }
                self.$next(sum.plus(cost[0][choice]), left, costs);
            }
        }
    )*};
}

impl<'a, C: Cell> Walk<'a, C> {
    fn new(pair: &'a Pair<'a, C>, identity: bool) -> Self {
        let (least, zero) = (pair.sized(pair.observed), C::ZERO);
        Self {
            pair,
            limit: least,
            identity,
            exceeding: 0,
            ties: 0,
            largest: C::LOWEST,
            total: zero,
        }
    }

    /// Go through every permutation that begins with `start`.
    fn run(&mut self, start: &[usize]) {
        let n = self.pair.a.n();
        let open: Vec<usize> = (0..n).filter(|element| !start.contains(element)).collect();
        let (a, b) = (self.pair.a, self.pair.b);
        let mut sum = C::ZERO;
        for second in 1..start.len() {
            for first in 0..second {
                sum = sum.plus(a.row(first)[second].times(b.row(start[first])[start[second]]));
            }
        }
        let cost = |row: usize, column: usize| {
            let products = start.iter().enumerate().map(|(place, element)| {
                a.row(place)[start.len() + row].times(b.row(*element)[open[column]])
            });
            products.fold(C::ZERO, C::plus)
        };
        macro_rules! enter {
            ($level:ident) => {
                self.$level(
                    sum,
                    std::array::from_fn(|at| open[at]),
                    std::array::from_fn(|row| std::array::from_fn(|column| cost(row, column))),
                )
            };
        }
        match open.len() {
            10 => enter!(ten),
            9 => enter!(nine),
            8 => enter!(eight),
            7 => enter!(seven),
            6 => enter!(six),
            5 => enter!(five),
            4 => enter!(four),
            _ => enter!(three),
        }
    }

    levels!(
        ten 10 -> nine 9, nine 9 -> eight 8, eight 8 -> seven 7, seven 7 -> six 6,
        six 6 -> five 5, five 5 -> four 4, four 4 -> three 3,
    );

    /// The six ways to fill the last three places.
    #[inline(always)]
    fn three(&mut self, sum: C, open: [usize; 3], cost: [[C; 3]; 3]) {
        const WAYS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let (n, pair) = (self.pair.a.n(), self.pair);
        let weights =
            [pair.a.row(n - 3)[n - 2], pair.a.row(n - 3)[n - 1], pair.a.row(n - 2)[n - 1]];
        let (first, second) = (pair.b.row(open[0]), pair.b.row(open[1]));
        // Of two elements, by the one that is left out.
        let apart = [second[open[2]], first[open[2]], first[open[1]]];
        for [i, j, k] in WAYS {
            let costs = cost[0][i].plus(cost[1][j]).plus(cost[2][k]);
            let pairs = weights[0]
                .times(apart[k])
                .plus(weights[1].times(apart[j]))
                .plus(weights[2].times(apart[i]));
            self.take(sum.plus(costs.plus(pairs)));
        }
    }

    #[inline(always)]
    fn take(&mut self, sum: C) {
        let sized = self.pair.sized(sum);
        let above = sized.plus(C::SLACK) >= self.limit;
        self.exceeding += u64::from(above);
        self.ties += u64::from(above && self.limit.plus(C::SLACK) >= sized);
        if self.identity {
            self.identity = false;
            return;
        }
        self.total = self.total.plus(sum);
        if sized > self.largest {
            self.largest = sized;
        }
    }
}
