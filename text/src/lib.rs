//! Strings: tokenizers, vocabularies, exact spans and file formats; no tensors.
//!
//! Everything positional that leaves this crate is a half-open range of Unicode characters (scalar
//! values) of the *original* text, and `span::slice(text, start..end)` is the answer's text.
//!
//! ```
//! use bert4rs_text::{Rules, Tokenizer, Vocab, span};
//!
//! let vocab = Vocab::new("[PAD] [UNK] [CLS] [SEP] [MASK] 北 京 bert".split(' ').map(String::from))?;
//! let tokenizer = Tokenizer::from_vocab(vocab, Rules::characters())?;
//! let encoding = tokenizer.encode("去 北京", None)?;
//! assert_eq!(encoding.ids, [2, 1, 5, 6, 3]); // [CLS] [UNK] 北 京 [SEP]
//! assert_eq!(encoding.spans.chars_to_tokens(2, 4), Some((2, 3)));
//! assert_eq!(span::slice("去 北京", encoding.spans.tokens_to_chars(2, 3)), Some("北京"));
//! # Ok::<(), bert4rs_text::Error>(())
//! ```

mod chars;
mod error;
pub mod format;
pub mod learn;
pub mod span;
mod special;
mod tokenizer;
pub mod vocab;
mod window;

pub use error::{Error, Result};
pub use format::{Entity, Example, Examples};
pub use span::{CharIndex, TokenSpans};
pub use special::SpecialTokens;
pub use tokenizer::{Dialect, Dictionary, Encoding, Rules, Tokenizer, Units};
pub use vocab::Vocab;
pub use window::{Overflow, Pieces, Windows};
