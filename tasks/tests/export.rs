//! ONNX files: their graph is complete and in order, and what cannot be exported is refused by name.
//! That ONNX Runtime computes the same from them is shown by `scripts/parity/onnx.sh`.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bert4rs_tasks::export::export;

fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/published").join(name)
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The parts of a message with this number, in order; every other part is skipped.
fn parts(mut message: &[u8], field: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("kind {other}"),
        };
        let (part, rest) = message.split_at(length);
        message = rest;
        if tag >> 3 == field {
            found.push(part);
        }
    }
    found
}

fn texts(message: &[u8], field: u64) -> Vec<String> {
    parts(message, field).into_iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
}

#[test]
fn every_input_of_an_operation_is_made_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bert.onnx");
    let operations = export(&published("bert-tensorflow"), &file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let graph = parts(&bytes, 7)[0];
    let named =
        |field: u64, name: u64| parts(graph, field).into_iter().flat_map(move |part| texts(part, name));
    let inputs: Vec<String> = named(11, 1).collect();
    assert_eq!(inputs, ["input_ids", "attention_mask", "token_type_ids"]);
    let mut there: HashSet<String> = inputs.into_iter().collect();
    for weight in named(5, 8) {
        assert!(there.insert(weight.clone()), "{weight} twice");
    }
    let nodes = parts(graph, 1);
    assert_eq!(nodes.len(), operations);
    for node in nodes {
        texts(node, 1).iter().for_each(|input| assert!(there.contains(input), "{input}"));
        texts(node, 2).into_iter().for_each(|output| assert!(there.insert(output.clone()), "{output} twice"));
    }
    assert_eq!(named(12, 1).collect::<Vec<_>>(), ["last_hidden_state"]);
    assert!(there.contains("last_hidden_state"));
}

#[test]
fn other_architectures_are_refused_and_no_file_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.onnx");
    let error = export(&published("roformer"), &file).unwrap_err().to_string();
    assert!(error.contains("cannot be exported: it has no attention, or no learned positions"), "{error}");
    assert!(!file.exists());
}
