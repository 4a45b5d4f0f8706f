//! SentencePiece's model file: the fields of its protocol buffer that a tokenizer needs.
//!
//! Definition:  ModelProto { 1: pieces { 1: piece, 2: score, 3: type }, 2: trainer { 3: model type,
//!              35: byte fallback, 40: id of the unknown piece }, 3: normalizer { 2: character map,
//!              3: add dummy prefix, 4: remove extra white space } }; everything else is skipped
//! Reference:   google/sentencepiece, `sentencepiece_model.proto`; protocol buffers, wire format

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// How pieces are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
    Word,
    Char,
}

#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// A model, with the defaults of its format.
#[derive(Debug, PartialEq)]
pub(super) struct Model {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    pub(super) byte_fallback: bool,
    /// What becomes of characters before pieces are looked for, as SentencePiece compiles it.
    pub(super) characters: Vec<u8>,
    pub(super) dummy_prefix: bool,
    pub(super) remove_extra_space: bool,
}

/// A field of a message: its number and its value.
enum Value<'a> {
    Number(u64),
    Fixed(u32),
    Bytes(&'a [u8]),
}

impl Model {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            byte_fallback: false,
            characters: Vec::new(),
            dummy_prefix: true,
            remove_extra_space: true,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(bytes)) => model.pieces.push(piece(bytes)?),
                (2, Value::Bytes(bytes)) => model.trainer(bytes)?,
                (3, Value::Bytes(bytes)) => model.normalizer(bytes)?,
                _ => {}
            }
        }
        match model.pieces.is_empty() {
            true => Err("no pieces in it".into()),
            false => Ok(model),
        }
    }

    fn trainer(&mut self, bytes: &[u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            match field? {
                (3, Value::Number(number)) => {
                    self.algorithm = match number {
                        1 => Algorithm::Unigram,
                        2 => Algorithm::Bpe,
                        3 => Algorithm::Word,
                        4 => Algorithm::Char,
                        other => return Err(format!("model type {other}; expected 1 to 4")),
                    }
                }
                (35, Value::Number(number)) => self.byte_fallback = number != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, bytes: &[u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            match field? {
                (2, Value::Bytes(bytes)) => self.characters = bytes.to_vec(),
                (3, Value::Number(number)) => self.dummy_prefix = number != 0,
                (4, Value::Number(number)) => self.remove_extra_space = number != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

fn piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Kind::Normal };
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => {
                piece.text = std::str::from_utf8(text).map_err(|_| "a piece that is not UTF-8")?.to_string();
            }
            (2, Value::Fixed(bits)) => piece.score = f32::from_bits(bits),
            (3, Value::Number(number)) => {
                piece.kind = match number {
                    1 => Kind::Normal,
                    2 => Kind::Unknown,
                    3 => Kind::Control,
                    4 => Kind::UserDefined,
                    5 => Kind::Unused,
                    6 => Kind::Byte,
                    other => return Err(format!("a piece of type {other}; expected 1 to 6")),
                }
            }
            _ => {}
        }
    }
    Ok(piece)
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or("it ends inside a number")?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number of more than ten bytes".into())
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or("it ends inside a field")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), String> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.bytes(8)?),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| "a field larger than memory")?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => {
                let bytes = self.bytes(4)?;
                Value::Fixed(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte)))
            }
            other => return Err(format!("a field of wire type {other}")),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_others_skipped() {
        let piece = [&[0x0a, 3][..], "▁".as_bytes(), &[0x15], &(-1.5_f32).to_le_bytes(), &[0x18, 3]].concat();
        let trainer = [0x18, 2, 0x98, 2, 1, 0x0a, 1, b'x']; // model type 2, byte fallback, a name
        let normalizer = [0x12, 2, 7, 8, 0x18, 0, 0x20, 1];
        let file =
            [&[0x0a, piece.len() as u8][..], &piece, &[0x12, 8], &trainer, &[0x1a, 8], &normalizer].concat();
        let model = Model::read(&file).expect("valid");
        assert_eq!(model.pieces, [Piece { text: "▁".into(), score: -1.5, kind: Kind::Control }]);
        assert_eq!((model.algorithm, model.byte_fallback), (Algorithm::Bpe, true));
        assert_eq!(
            (model.characters, model.dummy_prefix, model.remove_extra_space),
            (vec![7, 8], false, true)
        );
    }

    #[test]
    fn broken_files_are_errors() {
        for end in 1..11 {
            let file = [0x0a, 9, 0x0a, 1, b'a', 0x15, 0, 0, 0, 0, 0x18, 1];
            assert!(Model::read(&file[..end]).is_err(), "cut after {end} bytes");
        }
        assert_eq!(Model::read(b""), Err("no pieces in it".into()));
        assert!(Model::read(&[0x0a, 2, 0x18, 9]).expect_err("type").contains("type 9"));
        assert!(Model::read(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80").is_err());
    }
}
