use bert4rs_testing::{Case, golden, tensor_of};
use serde_json::Value;

use super::*;

fn case(name: &str) -> Case {
    golden("bioword-biohash").into_iter().find(|case| case.name == name).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    tensor_of(value).to_f64_vec().into_iter().map(|x| x as f32).collect()
}

fn tokens(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

/// The indices of the ones of each row.
fn bags(value: &Value) -> Vec<Vec<u32>> {
    let rows = value.as_array().unwrap().iter().map(floats);
    rows.map(|row| (0..row.len() as u32).filter(|i| row[*i as usize] > 0.0).collect()).collect()
}

/// `[K, 2V]` of the file as `[2V, K]`.
fn by_columns(weights: &[f32], neurons: usize) -> Vec<f32> {
    let columns = weights.len() / neurons;
    (0..weights.len()).map(|at| weights[at % neurons * columns + at / neurons]).collect()
}

fn words(weights: &Value, counts: Vec<f32>) -> BioWord {
    let neurons = weights.as_array().unwrap().len();
    let config = BioWordConfig { window: 5, neurons, ..BioWordConfig::default() };
    BioWord::with_weights(by_columns(&floats(weights), neurons), counts, &config).unwrap()
}

fn bits(code: &BinaryCode) -> Vec<f32> {
    (0..code.bits()).map(|i| f32::from(u8::from(code.get(i)))).collect()
}

#[test]
fn windows_equal_the_golden_vectors() {
    let case = case("windows_and_bags");
    let sentences: Vec<Vec<u32>> = case.inputs["sentences"].as_array().unwrap().iter().map(tokens).collect();
    let windows: Vec<&[u32]> = sentences.iter().flat_map(|sentence| sentence.windows(5)).collect();
    let want: Vec<Vec<u32>> = case.expected["windows"].as_array().unwrap().iter().map(tokens).collect();
    assert_eq!(windows, want);
    let got: Vec<Vec<u32>> = windows.iter().map(|window| bag(window, 8, true)).collect();
    assert_eq!(got, bags(&case.expected["bags"]));
    let config = BioWordConfig { window: 5, neurons: 3, epochs: 1, ..BioWordConfig::default() };
    let trained = BioWord::train(&sentences, 8, &config).unwrap();
    assert_eq!(trained.counts, floats(&case.expected["counts"]));

    let case = self::case("count_context");
    let counted = bag(&tokens(&case.inputs["window"]), 8, false);
    assert_eq!(counted, bags(&Value::Array(vec![case.expected["bag"].clone()]))[0]);
    assert_eq!(bag(&[1, 1, 2], 8, false), [1, 2, 9]);
    assert_eq!(bag(&[1, 2, 1], 8, false), [1, 1, 10]);
    assert_eq!(bag(&[1, 2, 1], 8, true), [1, 10]);
}

#[test]
fn three_epochs_equal_the_golden_vectors() {
    let case = case("three_full_batch_epochs");
    let mut words = words(&case.inputs["weights"], floats(&case.inputs["counts"]));
    let bags = bags(&case.inputs["bags"]);
    let (lr, epochs) = (case.number("lr0") as f32, case.number("epochs") as usize);
    let energy = floats(&case.expected["energy"]);
    let close =
        |got: f32, want: f32| assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "{got} {want}");
    for epoch in 0..epochs {
        close(words.energy(&bags) as f32, energy[epoch]);
        let winners = words.step(&bags, lr * (1.0 - epoch as f32 / epochs as f32));
        let want = tokens(&case.expected["winners_per_epoch"][epoch]);
        assert_eq!(winners.iter().map(|k| *k as u32).collect::<Vec<_>>(), want);
        let want = by_columns(&floats(&case.expected["weights_per_epoch"][epoch]), words.neurons);
        words.weights().iter().zip(want).for_each(|(got, want)| close(*got, want));
    }
    close(words.energy(&bags) as f32, energy[epochs]);
}

#[test]
fn codes_equal_the_golden_vectors() {
    let case = case("static_embeddings");
    let all = words(&case.inputs["weights"], vec![1.0; 8]);
    let k = case.number("k") as usize;
    let got: Vec<f32> = (0..8).flat_map(|word| bits(&all.static_code(word, k).unwrap())).collect();
    assert_eq!(got, floats(&case.expected["hash"]));

    let case = self::case("contextual_embeddings");
    let all = words(&case.inputs["weights"], vec![1.0; 8]);
    let bags = bags(&case.inputs["bags"]);
    let code = |bag: &Vec<u32>| bits(&BinaryCode::winners(&all.activations(bag), case.number("k") as usize));
    assert_eq!(bags.iter().flat_map(code).collect::<Vec<_>>(), floats(&case.expected["hash"]));
}

/// Sentences of words of one topic (`topics` of 10 words) among common ones.
fn corpus(topics: u32, sentences: usize) -> Vec<Vec<u32>> {
    let sentence = |s: usize| -> Vec<u32> {
        let token = |i: usize| {
            let [a, b, ..] = bert4rs_kernels::random::philox(7, (s * 12 + i) as u64);
            if a % 10 < 6 { s as u32 % topics * 10 + b % 10 } else { topics * 10 + b % 20 }
        };
        (0..12).map(token).collect()
    };
    (0..sentences).map(sentence).collect()
}

#[test]
fn words_of_one_topic_become_neighbours() {
    let (topics, vocabulary) = (5, 70);
    let config = BioWordConfig { window: 7, neurons: 40, epochs: 6, batch: 500, ..BioWordConfig::default() };
    let words = BioWord::train(&corpus(topics, 500), vocabulary, &config).unwrap();
    let mut same = 0;
    for word in 0..topics * 10 {
        let near =
            words.neighbours(word, 6, vocabulary).into_iter().filter(|(other, _)| *other < topics * 10);
        same += near.take(3).filter(|(other, _)| other / 10 == word / 10).count();
    }
    assert!(same > 120, "{same} of 150 neighbours are of the word's topic");
}

#[test]
fn the_same_seed_learns_the_same() {
    let config = BioWordConfig { window: 7, neurons: 10, epochs: 2, batch: 100, ..BioWordConfig::default() };
    let train = || BioWord::train(&corpus(3, 60), 50, &config).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(train(), pool.install(train));
}

#[test]
fn bad_input_says_what_was_expected() {
    let train = |sentences: &[Vec<u32>], window: usize| {
        BioWord::train(sentences, 5, &BioWordConfig { window, neurons: 2, ..BioWordConfig::default() })
    };
    assert!(train(&[vec![1; 9]], 4).unwrap_err().to_string().contains("odd"));
    assert!(train(&[vec![1, 2]], 3).unwrap_err().to_string().contains("0 windows"));
    assert!(train(&[vec![1, 2, 5]], 3).unwrap_err().to_string().contains("token 5"));
    let words = train(&[vec![1, 2, 3, 1]], 3).unwrap();
    assert_eq!((words.static_code(4, 1), words.static_code(99, 1)), (None, None));
    assert!(words.context_code(&[1, 2], 1).unwrap_err().to_string().contains("expected 3"));
}
