//! Strings: tokenizers, vocabularies, exact spans and file formats; no tensors.
