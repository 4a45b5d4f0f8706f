//! Files that keep products joined, or the other way round: ModernBERT, GPT-2.

use bert4rs_tensor::Tensor;
use bert4rs_tensor::io::Stored;

use crate::Result;

/// Which part of a file's tensor is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// All of it.
    Whole,
    /// Rows `index / of` of it, after the turn where `turned`: GPT-2 keeps `[inputs, outputs]`.
    Rows { index: usize, of: usize, turned: bool },
}

impl Piece {
    /// The shape of the part; none where it cannot be cut so.
    pub(super) fn shape(self, mut shape: Vec<usize>) -> Option<Vec<usize>> {
        let Piece::Rows { of, turned, .. } = self else { return Some(shape) };
        if turned && shape.len() == 2 {
            shape.reverse();
        }
        let rows = shape.first_mut()?;
        if !rows.is_multiple_of(of) {
            return None;
        }
        *rows /= of;
        Some(shape)
    }

    /// The part itself.
    pub(super) fn of<'a>(self, stored: Stored<'a>) -> Result<Stored<'a>> {
        let Piece::Rows { index, of, turned } = self else { return Ok(stored) };
        let stored = if turned && stored.shape().len() == 2 { stored.transposed()? } else { stored };
        if of == 1 {
            return Ok(stored);
        }
        let rows = stored.shape().first().copied().unwrap_or(0) / of;
        let ids: Vec<usize> = (index * rows..(index + 1) * rows).collect();
        Ok(stored.rows(&ids)?)
    }

    /// Its place among the parts.
    pub(super) fn index(self) -> usize {
        match self {
            Piece::Whole => 0,
            Piece::Rows { index, .. } => index,
        }
    }

    /// A file's tensor from all its parts, in the order of their rows.
    pub(super) fn joined(parts: &[(&Tensor, Piece)]) -> Result<Tensor> {
        let turned = parts.iter().any(|(_, piece)| match piece {
            Piece::Whole => false,
            Piece::Rows { turned, .. } => *turned,
        });
        let rows: Vec<&Tensor> = parts.iter().map(|(part, _)| *part).collect();
        let all = if let [only] = rows[..] { only.clone() } else { Tensor::concat(&rows, 0)? };
        if turned && all.shape().len() == 2 { Ok(all.t()?) } else { Ok(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_its_share_of_rows_after_the_turn() {
        let third = Piece::Rows { index: 1, of: 3, turned: true };
        assert_eq!(third.shape(vec![4, 12]).unwrap(), [4, 4]);
        assert_eq!((third.shape(vec![12]).unwrap(), third.shape(vec![4, 11])), (vec![4], None));
    }

    #[test]
    fn parts_are_joined_and_turned_as_they_came_apart() {
        let part = |first: f64| Tensor::new(vec![first, first + 1.0], &[1, 2]).unwrap();
        let rows = |index| Piece::Rows { index, of: 2, turned: true };
        let joined = Piece::joined(&[(&part(1.0), rows(0)), (&part(3.0), rows(1))]).unwrap();
        assert_eq!((joined.shape(), joined.to_f64_vec()), (&[2, 2][..], vec![1.0, 3.0, 2.0, 4.0]));
        assert_eq!(Piece::joined(&[(&part(1.0), Piece::Whole)]).unwrap().shape(), [1, 2]);
    }
}
