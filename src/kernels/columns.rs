//! A range of columns of a row-major table, so that threads can write disjoint columns of the same rows.

use std::marker::PhantomData;
use std::ops::Range;

/// Mutable columns of a `[tokens][width]` table.
#[derive(Debug)]
pub struct ColumnsMut<'a> {
    first: *mut f32,
    tokens: usize,
    stride: usize,
    columns: usize,
    marker: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `ColumnsMut` is an exclusive borrow of plain numbers, as `&mut [f32]` is.
unsafe impl Send for ColumnsMut<'_> {}
// SAFETY: as above; shared access to a `ColumnsMut` gives no access to the numbers.
unsafe impl Sync for ColumnsMut<'_> {}

impl<'a> ColumnsMut<'a> {
    /// All columns of `table`, whose rows have `width` numbers.
    ///
    /// # Panics
    /// When `table` does not consist of whole rows.
    #[must_use]
    pub fn new(table: &'a mut [f32], width: usize) -> Self {
        assert!(width > 0 && table.len().is_multiple_of(width), "a table of whole rows");
        Self {
            first: table.as_mut_ptr(),
            tokens: table.len() / width,
            stride: width,
            columns: width,
            marker: PhantomData,
        }
    }

    /// Rows.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Columns in this view.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// This view's columns of row `token`.
    ///
    /// # Panics
    /// When `token` is not below [`tokens`](Self::tokens).
    #[must_use]
    pub fn row_mut(&mut self, token: usize) -> &mut [f32] {
        assert!(token < self.tokens, "row {token} of {}", self.tokens);
        // SAFETY: `new` saw tokens * stride numbers, a view's columns lie inside its rows, and `split_at` gives
        // each column to one view only; the borrow of `self` keeps a view from lending a row twice.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(token * self.stride), self.columns) }
    }

    /// The columns before `column`, and those from it on.
    ///
    /// # Panics
    /// When `column` is past the end.
    #[must_use]
    pub fn split_at(self, column: usize) -> (Self, Self) {
        assert!(column <= self.columns, "column {column} of {}", self.columns);
        let right = Self {
            // SAFETY: within the first row, or one past its end.
            first: if self.tokens == 0 { self.first } else { unsafe { self.first.add(column) } },
            columns: self.columns - column,
            ..self
        };
        (Self { columns: column, ..self }, right)
    }

    /// Views of `chunk` columns each, the last of what remains.
    ///
    /// # Panics
    /// When `chunk` is zero.
    #[must_use]
    pub fn chunks(self, chunk: usize) -> Vec<(Range<usize>, Self)> {
        assert!(chunk > 0, "columns of a chunk");
        let mut chunks = Vec::with_capacity(self.columns.div_ceil(chunk));
        let (mut rest, mut start) = (self, 0);
        while rest.columns > 0 {
            let count = chunk.min(rest.columns);
            let (part, remaining) = rest.split_at(count);
            chunks.push((start..start + count, part));
            (rest, start) = (remaining, start + count);
        }
        chunks
    }
}
