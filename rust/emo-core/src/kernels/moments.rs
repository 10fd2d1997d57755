//! Column moments per label: the numbers from which every neuron's contribution follows.
//!
//! For each label and column: n, mean, `M2 = sum (x - mean)^2`, number above and below zero; rows
//! `[n, width]` of bf16, f16 or f32, labels `[n]`. One pass, O(n width).
//!
//! A pilot p per label and column is subtracted: the mean of three medians of three of the label's
//! first used values, so that one outlier does no harm. `x - p` and its square are added in single
//! precision over groups of 8 rows of a label, the groups over at most 64 rows; from there on in
//! double precision, and tiles are merged in order by Chan's rule. The variance of 20 000 normal
//! columns of any length then lies within 8e-7 of the exact one (with one median as the pilot and
//! no groups: 4e-6).

use std::ops::Range;

use rayon::prelude::*;

use super::labels::Labels;
pub use super::partial::Moments;
use super::partial::{Part, check_cells};
use super::simd::columns::{BLOCK, ROWS, Sums};
use crate::error::Result;
use crate::scan::{Control, Reader, Rows, Tile, check_cancel, ordered};

/// Moments of the rows of each label; runs on the rayon pool it is called from.
pub fn moments(rows: &Rows, labels: &[i32], n_labels: usize, control: &Control) -> Result<Moments> {
    check_cells(n_labels, rows.width())?;
    let labels = Labels::new(labels, n_labels, rows.n_rows())?;
    let pilot = pilot(rows, &labels)?;
    let scan = Scan { rows, labels, pilot: &pilot, control };
    let mut total = Moments::new(n_labels, rows.width());
    ordered(
        &rows.tiling(n_labels),
        control,
        || Worker::new(&scan),
        || Part::new(n_labels, rows.width()),
        |worker, tile, part| scan.tile(tile, worker, part),
        |part| total.merge(part),
    )?;
    rows.check_unchanged()?;
    for (mean, pilot) in total.mean.iter_mut().zip(&pilot) {
        *mean += f64::from(*pilot);
    }
    Ok(total)
}

/// Mean of the medians of three of the first nine used values per label and column; the median of
/// three or the first value where there are fewer. Shape `(n_labels, width)`.
fn pilot(rows: &Rows, labels: &Labels) -> Result<Vec<f32>> {
    let width = rows.width();
    let mut pilot = vec![0.0; labels.n_labels() * width];
    let first = labels.first_rows(9);
    let state = || (rows.reader(), vec![0.0; 9 * width]);
    let of_label = |(reader, values): &mut (Reader, Vec<f32>),
                    (pilot, first): (&mut [f32], &Vec<usize>)| {
        for (row, values) in first.iter().zip(values.chunks_exact_mut(width)) {
            rows.dtype().decode(rows.read(&(*row..row + 1), reader)?[0], values);
            // The scan finds and names what is not finite; the pilot only has to be a number.
            values.iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = 0.0);
        }
        for (column, pilot) in pilot.iter_mut().enumerate() {
            *pilot = centre(first.len(), |row| values[row * width + column]);
        }
        Ok(())
    };
    pilot.par_chunks_mut(width.max(1)).zip(&first).try_for_each_init(state, of_label)?;
    Ok(pilot)
}

fn centre(n: usize, at: impl Fn(usize) -> f32) -> f32 {
    let median = |row| middle(at(row), at(row + 1), at(row + 2));
    match n {
        0 => 0.0,
        1 | 2 => at(0),
        3..9 => median(0),
        _ => ((f64::from(median(0)) + f64::from(median(3)) + f64::from(median(6))) / 3.0) as f32,
    }
}

fn middle(a: f32, b: f32, c: f32) -> f32 {
    a.min(b).max(a.max(b).min(c))
}

struct Scan<'a> {
    rows: &'a Rows,
    labels: Labels<'a>,
    pilot: &'a [f32],
    control: &'a Control<'a>,
}

/// What one worker keeps: sums for every label, or for one where they would not fit a cache.
struct Worker {
    reader: Reader,
    sums: Vec<Sums>,
    /// Whether tiles are taken in panels, with sums for every label.
    by_panel: bool,
}

impl Worker {
    /// Tiles are taken in panels where that keeps bytes in the cache for a second use, as a whole
    /// where the labels' sums would push them out.
    fn new(scan: &Scan) -> Self {
        let (n_labels, width) = (scan.labels.n_labels(), scan.rows.width());
        let by_panel = n_labels * width <= MAX_OPEN_CELLS && scan.rows.uses_bytes_twice();
        Self {
            reader: scan.rows.reader(),
            sums: vec![Sums::new(width); if by_panel { n_labels } else { 1 }],
            by_panel,
        }
    }
}

/// Most cells of sums that are kept open beside a panel: 12 bytes each.
const MAX_OPEN_CELLS: usize = 1 << 16;

/// Rows of one label that are summed together; rows are counted within the tile.
struct Group {
    label: usize,
    rows: [usize; ROWS],
    n_rows: usize,
}

impl Group {
    fn gather<'a>(&self, rows: &[&'a [u8]]) -> [&'a [u8]; ROWS] {
        let mut out: [&[u8]; ROWS] = [&[]; ROWS];
        for (slot, row) in out.iter_mut().zip(&self.rows[..self.n_rows]) {
            *slot = rows[*row];
        }
        out
    }
}

impl Scan<'_> {
    fn tile(&self, tile: &Tile, worker: &mut Worker, part: &mut Part) -> Result<()> {
        let Worker { reader, sums, by_panel } = worker;
        let panel_rows = if *by_panel { self.rows.panel_rows() } else { usize::MAX };
        part.count.fill(0);
        let mut open = vec![Vec::new(); self.labels.n_labels()];
        self.rows.scan(tile, reader, panel_rows, |panel, rows| {
            let groups = self.groups(tile, &panel, &mut open);
            self.panel(&groups, rows, *by_panel, sums, part)
        })?;
        for (label, sums) in sums.iter_mut().enumerate().filter(|_| *by_panel) {
            if part.count[label] > 0 {
                self.close(label, sums, part);
            }
        }
        if part.finish() { Ok(()) } else { self.exact(&tile.rows, reader, part) }
    }

    /// The groups that are complete at the end of a panel, by label; all of them at the last panel.
    fn groups(&self, tile: &Tile, panel: &Range<usize>, open: &mut [Vec<usize>]) -> Vec<Group> {
        for row in panel.clone() {
            if let Some(label) = self.labels.of(tile.rows.start + row) {
                open[label].push(row);
            }
        }
        let last = panel.end == tile.rows.len();
        let mut groups = Vec::with_capacity(panel.len() / ROWS + 1);
        for (label, list) in open.iter_mut().enumerate() {
            let ready = if last { list.len() } else { list.len() / ROWS * ROWS };
            for now in list[..ready].chunks(ROWS) {
                let mut rows = [0; ROWS];
                rows[..now.len()].copy_from_slice(now);
                groups.push(Group { label, rows, n_rows: now.len() });
            }
            list.drain(..ready);
        }
        groups
    }

    /// Add groups in order. Where there are sums for one label only, the groups are all of the tile's,
    /// and a label is closed when its last group is done.
    fn panel(
        &self,
        groups: &[Group],
        rows: &[&[u8]],
        by_panel: bool,
        sums: &mut [Sums],
        part: &mut Part,
    ) -> Result<()> {
        for (index, group) in groups.iter().enumerate() {
            check_cancel(self.control.cancel)?;
            let next = groups.get(index + 1);
            let ahead = next.map_or([&[][..]; ROWS], |next| next.gather(rows));
            let sums = &mut sums[if by_panel { group.label } else { 0 }];
            self.add(group, &group.gather(rows), &ahead, sums, part);
            if !by_panel && next.is_none_or(|next| next.label != group.label) {
                self.close(group.label, sums, part);
            }
        }
        Ok(())
    }

    fn add(
        &self,
        group: &Group,
        rows: &[&[u8]; ROWS],
        ahead: &[&[u8]; ROWS],
        sums: &mut Sums,
        part: &mut Part,
    ) {
        let cells = group.label * part.width..(group.label + 1) * part.width;
        let rows = &rows[..group.n_rows];
        sums.add(self.control.tier, self.rows.dtype(), rows, ahead, &self.pilot[cells]);
        part.count[group.label] += rows.len() as u64;
        if sums.filled() == BLOCK {
            self.flush(group.label, sums, part);
        }
    }

    fn flush(&self, label: usize, sums: &mut Sums, part: &mut Part) {
        let cells = label * part.width..(label + 1) * part.width;
        let first = part.count[label] == sums.filled() as u64;
        let (sum, square) = (&mut part.first[cells.clone()], &mut part.second[cells]);
        sums.flush(self.control.tier, sum, square, first);
    }

    /// End a label's tile.
    fn close(&self, label: usize, sums: &mut Sums, part: &mut Part) {
        if sums.filled() > 0 {
            self.flush(label, sums, part);
        }
        let cells = label * part.width..(label + 1) * part.width;
        sums.take_counts(&mut part.positive[cells.clone()], &mut part.negative[cells]);
    }

    /// Name the non-finite value of a tile, or repeat the tile in double precision where squares
    /// of finite values overflowed in single precision.
    fn exact(&self, range: &Range<usize>, reader: &mut Reader, part: &mut Part) -> Result<()> {
        self.rows.check_now(range)?;
        let width = self.rows.width();
        let mut values = vec![0.0f32; width];
        part.first.fill(0.0);
        part.second.fill(0.0);
        for row in range.clone() {
            let Some(label) = self.labels.of(row) else { continue };
            check_cancel(self.control.cancel)?;
            self.rows.dtype().decode(self.rows.read(&(row..row + 1), reader)?[0], &mut values);
            let cells = label * width..(label + 1) * width;
            let (first, second) = (&mut part.first[cells.clone()], &mut part.second[cells.clone()]);
            let pilot = &self.pilot[cells];
            for (column, value) in values.iter().enumerate() {
                if !value.is_finite() {
                    return Err(self.rows.non_finite(row, column, *value));
                }
                let deviation = f64::from(*value) - f64::from(pilot[column]);
                first[column] += deviation;
                second[column] += deviation * deviation;
            }
        }
        part.finish();
        Ok(())
    }
}
