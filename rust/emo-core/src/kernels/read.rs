//! Rows as single-precision values: an exact copy of bf16, f16 or f32 data, `[rows, width]`. Where
//! chunk hashes are recorded, every chunk that holds a byte of the rows is compared.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::scan::{Control, Rows, check_cancel};

/// Rows `range` of one tensor, row by row.
pub fn read_rows(rows: &Rows, range: Range<usize>, control: &Control) -> Result<Vec<f32>> {
    if range.start > range.end || range.end > rows.n_rows() {
        return Err(Error::usage(format!(
            "rows {} to {} are asked for, tensor {:?} has {}",
            range.start,
            range.end,
            rows.tensor(),
            rows.n_rows()
        )));
    }
    let width = rows.width();
    let mut out = vec![0.0; range.len() * width];
    let first = range.start;
    rows.each_panel(&range, rows.panel_rows(), &mut rows.reader(), |panel, block| {
        check_cancel(control.cancel)?;
        let begin = (panel.start - first) * width;
        for (row, values) in block.iter().zip(out[begin..].chunks_exact_mut(width.max(1))) {
            rows.dtype().decode(row, values);
        }
        Ok(())
    })?;
    rows.check_now(&range)?;
    rows.check_unchanged()?;
    Ok(out)
}
