//! Labels of rows: one small integer per row, -1 for a row that is left out.

use crate::error::{Error, Result};

/// Checked labels.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    values: &'a [i32],
    n_labels: usize,
}

impl<'a> Labels<'a> {
    /// Check that there is one label per row and that each is -1 or below `n_labels`.
    ///
    /// ```
    /// use emo_core::kernels::labels::Labels;
    /// assert!(Labels::new(&[0, -1, 1], 2, 3).is_ok());
    /// assert!(Labels::new(&[0, 2], 2, 2).is_err());
    /// ```
    pub fn new(values: &'a [i32], n_labels: usize, n_rows: usize) -> Result<Self> {
        if values.len() != n_rows {
            return Err(Error::usage(format!(
                "{} labels are given for {n_rows} rows",
                values.len()
            )));
        }
        let allowed = |label: &i32| *label >= -1 && i64::from(*label) < n_labels as i64;
        if let Some(row) = values.iter().position(|label| !allowed(label)) {
            return Err(Error::usage(format!(
                "the label of row {row} is {}, it must be -1 (left out) or 0 to {}",
                values[row],
                n_labels as i64 - 1
            )));
        }
        Ok(Self { values, n_labels })
    }

    /// Number of labels.
    #[must_use]
    pub fn n_labels(&self) -> usize {
        self.n_labels
    }

    /// Label of a row, if it has one.
    #[must_use]
    pub fn of(&self, row: usize) -> Option<usize> {
        usize::try_from(self.values[row]).ok()
    }

    /// The first `count` rows of each label.
    #[must_use]
    pub fn first_rows(&self, count: usize) -> Vec<Vec<usize>> {
        let mut first = vec![Vec::with_capacity(count); self.n_labels];
        let mut missing = self.n_labels * count;
        for (row, label) in self.values.iter().enumerate() {
            let Ok(label) = usize::try_from(*label) else { continue };
            if first[label].len() < count {
                first[label].push(row);
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        first
    }
}
