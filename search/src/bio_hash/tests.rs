use bert4rs_testing::{Case, golden, tensor_of};
use serde_json::Value;

use super::*;

fn case(name: &str) -> Case {
    golden("bioword-biohash").into_iter().find(|case| case.name == name).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    tensor_of(value).to_f64_vec().into_iter().map(|x| x as f32).collect()
}

fn bits(code: &BinaryCode) -> Vec<f32> {
    (0..code.bits()).map(|i| f32::from(u8::from(code.get(i)))).collect()
}

fn all(coder: &dyn Binarizer, x: &[f32], width: usize) -> Vec<f32> {
    x.chunks(width).flat_map(|x| bits(&coder.encode(x).unwrap())).collect()
}

#[test]
fn of_equal_activations_the_first_win() {
    let case = case("kwta_ties_lowest_index");
    let code = BinaryCode::winners(&floats(&case.inputs["activations"]), case.number("k") as usize);
    assert_eq!(bits(&code), floats(&case.expected["hash"]));
}

#[test]
fn similarities_equal_the_golden_vectors() {
    let case = case("hash_similarity");
    let code = |key: &str| BinaryCode::winners(&floats(&case.inputs[key]), 2);
    let (a, b) = (code("a"), code("b"));
    assert_eq!(a.hamming(&b) as f64, case.expected["hamming"].as_f64().unwrap());
    assert_eq!(a.jaccard(&b), case.expected["jaccard"].as_f64().unwrap());
    assert_eq!(a.overlap(&b) as f64 / 2.0, case.expected["overlap_over_k"].as_f64().unwrap());
    assert_eq!((a.jaccard(&a), a.ones(), a.words()[0]), (1.0, 2, 0b110000));
}

#[test]
fn codes_equal_the_golden_vectors() {
    let fly = case("fly_hash");
    let (x, projection) = (floats(&fly.inputs["x"]), floats(&fly.inputs["projection"]));
    let coder = FlyHash::with_projection(projection, 6, fly.number("k") as usize).unwrap();
    assert_eq!(all(&coder, &x, 6), floats(&fly.expected["hash"]));

    let lsh = case("lsh_sign");
    let (x, projection) = (floats(&lsh.inputs["x"]), floats(&lsh.inputs["projection"]));
    let signs: Vec<f32> = floats(&lsh.expected["hash"]).into_iter().map(|x| x.max(0.0)).collect();
    assert_eq!(all(&SignLsh::with_projection(projection, 6).unwrap(), &x, 6), signs);

    let bio = case("biohash_k_nearest_centres");
    let (x, centres) = (floats(&bio.inputs["x"]), floats(&bio.inputs["centres"]));
    for (normalize, key) in [(false, "hash_unnormalised"), (true, "hash_normalised")] {
        let coder = BioHash::with_centres(centres.clone(), 6, bio.number("k") as usize, normalize).unwrap();
        assert_eq!(all(&coder, &x, 6), floats(&bio.expected[key]));
    }
}

/// Vectors around a few random directions; the group of each is its number modulo `groups`.
fn grouped(count: usize, width: usize, groups: usize) -> Vec<f32> {
    let number = |i: usize| {
        let (row, j) = (i / width, i % width);
        normal(1, (row % groups * width + j) as u64) + 0.3 * normal(2, i as u64)
    };
    (0..count * width).map(number).collect()
}

#[test]
fn near_vectors_have_near_codes() {
    let (width, groups) = (16, 8);
    let x = grouped(160, width, groups);
    let config = BioHashConfig { bits: 64, ones: 6, batch: 40, ..BioHashConfig::default() };
    let coders: [Box<dyn Binarizer>; 3] = [
        Box::new(FlyHash::new(width, 160, 8, 0.25, 3).unwrap()),
        Box::new(SignLsh::new(width, 64, 3).unwrap()),
        Box::new(BioHash::fit(&x, width, &config).unwrap()),
    ];
    for (n, coder) in coders.iter().enumerate() {
        let codes: Vec<BinaryCode> = x.chunks(width).map(|x| coder.encode(x).unwrap()).collect();
        let mut right = 0;
        for i in 0..codes.len() {
            let others = (0..codes.len()).filter(|&j| j != i);
            let nearest = others.min_by_key(|&j| (codes[i].hamming(&codes[j]), j)).unwrap();
            right += usize::from(nearest % groups == i % groups);
        }
        assert!(right > 140, "coder {n}: {right} of 160 have a neighbour of their group");
    }
}

#[test]
fn bad_input_says_what_was_expected() {
    let lsh = SignLsh::new(3, 8, 0).unwrap();
    assert!(lsh.encode(&[1.0]).unwrap_err().to_string().contains("expected 3"));
    assert!(lsh.encode(&[1.0, f32::INFINITY, 0.0]).unwrap_err().to_string().contains("number 2"));
    assert!(FlyHash::new(3, 4, 5, 0.5, 0).unwrap_err().to_string().contains("5 ones of 4 bits"));
    assert!(BioHash::fit(&[1.0; 5], 2, &BioHashConfig::default()).is_err());
}
