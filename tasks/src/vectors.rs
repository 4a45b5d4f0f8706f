//! Vectors on their way out: cut, and written row by row into a file that appears whole.

mod jsonl;
mod npy;

use serde_json::Value;

use crate::{Error, Result};

pub use jsonl::JsonLines;
pub use npy::Npy;

/// A text's vector and what is said with it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What the text is called, if it has a name.
    pub id: Option<&'a Value>,
    /// The text.
    pub text: &'a str,
    /// Its vector.
    pub vector: &'a [f32],
    /// Whether its end was not looked at.
    pub truncated: bool,
}

/// Writes vectors of one width.
pub trait VectorWriter {
    /// Adds a row.
    fn write(&mut self, row: &Row) -> Result<()>;

    /// Hands over what was written so far, where readers may follow.
    fn flush(&mut self) -> Result<()>;

    /// Ends the file; without it, there is none.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The type of numbers in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Number {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, largest 65504.
    F16,
}

/// The first numbers of a vector, scaled to length 1 (Matryoshka); a cut of zeros stays.
pub fn cut(vector: &mut Vec<f32>, width: usize) -> Result<()> {
    if width == 0 || width > vector.len() {
        return Err(Error::Input(format!(
            "{width} dimensions of vectors of {} numbers: expected 1 to {}",
            vector.len(),
            vector.len()
        )));
    }
    vector.truncate(width);
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_has_length_one() {
        let mut v = vec![3.0, 4.0, 9.0];
        cut(&mut v, 2).unwrap();
        assert_eq!(v, [0.6, 0.8]);
        let mut zeros = vec![0.0, 0.0, 1.0];
        cut(&mut zeros, 2).unwrap();
        assert_eq!(zeros, [0.0, 0.0]);
        assert!(cut(&mut zeros, 3).unwrap_err().to_string().contains("expected 1 to 2"));
        assert!(cut(&mut zeros, 0).is_err());
    }
}
