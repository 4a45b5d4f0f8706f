//! BERT's tokenizer in our own code gives what the `tokenizers` crate gives: ids and spans, on every text.

use bert4rs_text::{Rules, SpecialTokens, TokenSpans, Tokenizer, Vocab};
use std::path::Path;

/// Texts of the slow test.
const MANY: u64 = 1_000_000;

/// A tokenizer of ours and of the crate, from the same file.
struct Both {
    name: String,
    ours: Tokenizer,
    theirs: tokenizers::Tokenizer,
}

impl Both {
    fn open(name: String, folder: &Path) -> Self {
        let ours = Tokenizer::from_dir(folder).expect("readable");
        let theirs = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).expect("readable");
        Self { name, ours, theirs }
    }

    fn assert_equal(&self, text: &str) {
        let ours = self.ours.encode_plain(text).expect("encodable");
        let theirs = self.theirs.encode_char_offsets(text, false).expect("encodable");
        assert_eq!(ours.ids, theirs.get_ids(), "ids, {}: {text:?}", self.name);
        let spans = TokenSpans::new(theirs.get_offsets().iter().map(|&(start, end)| Some(start..end)));
        assert_eq!(ours.spans, spans, "spans, {}: {text:?}", self.name);
    }
}

/// Letters, pieces of words, marks, jamo, words of Chinese and of other scripts, names to cut out.
fn vocab() -> Vocab {
    let names = "[PAD] [UNK] [CLS] [SEP] [MASK] [MASK]x <s>";
    let words = "the un ##aff ##able play ##ing café cafe tokyo 北京 東京 ##京 [ ] ##] # ## 。 ， « ¿ ; ` ό";
    let mut tokens: Vec<String> =
        [names, words].iter().flat_map(|w| w.split(' ')).map(String::from).collect();
    let letters = ('a'..='z').chain('0'..='9').chain("ABCÉéàβßσςйёжשלםبتثあが中国北\u{301}\u{307}".chars());
    let marks = "\u{1112}\u{1161}\u{11ab}\u{302e}\u{a9c0}\u{1d165}\u{1d157}\u{903}한ﬁǆＡ１".chars();
    for c in letters.chain(marks) {
        tokens.extend([c.to_string(), format!("##{c}")]);
    }
    let mut seen = std::collections::HashSet::new();
    tokens.retain(|token| seen.insert(token.clone()));
    Vocab::new(tokens).expect("tokens are distinct")
}

/// Every combination of the options that change what a text becomes.
fn tokenizers() -> Vec<Both> {
    let mut all = Vec::new();
    for (lower_case, strip_accents, split_chinese, clean) in [
        (true, None, true, true),
        (false, None, true, true),
        (true, Some(false), false, true),
        (false, Some(true), true, false),
        (true, None, false, false),
    ] {
        let special = SpecialTokens { pad: Some("[MASK]x".into()), ..SpecialTokens::default() };
        let rules = Rules { strip_accents, split_chinese, special, ..Rules::bert(lower_case) };
        let folder = tempfile::tempdir().expect("temporary folder");
        Tokenizer::from_vocab(vocab(), rules).expect("valid").save(folder.path()).expect("writable");
        let path = folder.path().join("tokenizer.json");
        let json = std::fs::read_to_string(&path).expect("written");
        let json = json.replace("\"clean_text\": true", &format!("\"clean_text\": {clean}"));
        // Also a shorter limit, so that long words are met often.
        let json = json.replace("\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 20");
        std::fs::write(&path, json).expect("writable");
        let name =
            format!("lower {lower_case}, accents {strip_accents:?}, Chinese {split_chinese}, clean {clean}");
        all.push(Both::open(name, folder.path()));
    }
    all
}

/// splitmix64, which needs no crate and gives the same texts everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len() as u64) as usize]
    }

    fn within(&mut self, first: u32, last: u32) -> Option<char> {
        char::from_u32(first + self.below(u64::from(last - first) + 1) as u32)
    }
}

/// Blocks with something special about them: (first, last).
const BLOCKS: [(u32, u32); 36] = [
    (0x20, 0x7e),
    (0x61, 0x7a),
    (0x0, 0x1f),
    (0x7f, 0xff),
    (0x100, 0x24f),
    (0x300, 0x36f),
    (0x370, 0x3ff),
    (0x400, 0x52f),
    (0x530, 0x5ff),
    (0x600, 0x6ff),
    (0x900, 0xdff),
    (0xe00, 0xfff),
    (0x1100, 0x11ff),
    (0x1a00, 0x1dff),
    (0x1e00, 0x1fff),
    (0x2000, 0x206f),
    (0x2070, 0x2bff),
    (0x3000, 0x30ff),
    (0x3100, 0x33ff),
    (0x3400, 0x9fff),
    (0x4e00, 0x4fff),
    (0xa000, 0xabff),
    (0xac00, 0xd7ff),
    (0xd7f0, 0xe00f),
    (0xe000, 0xf8ff),
    (0xf900, 0xfaff),
    (0xfb00, 0xfdff),
    (0xfe00, 0xfe6f),
    (0xff00, 0xffff),
    (0x10000, 0x11fff),
    (0x16f00, 0x16fff),
    (0x1d100, 0x1d7ff),
    (0x1f000, 0x1faff),
    (0x20000, 0x2ceaf),
    (0x2f7ff, 0x3ffff),
    (0xe0000, 0x10ffff),
];

const STRINGS: [&str; 32] = [
    "[MASK]",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "[PAD]",
    "[MASK]x",
    "[MASK",
    "MASK]",
    "[mask]",
    "##able",
    "unaffable",
    "playing",
    "the",
    "The cat",
    "CAFÉ",
    "cafe\u{301}",
    "e\u{323}\u{301}",
    "\u{301}",
    "\u{334}",
    "\u{345}",
    "\u{302e}",
    "\u{1d165}",
    "\u{a9c0}",
    "👨\u{200d}👩\u{200d}👧",
    "👍🏽",
    "\u{fe0f}",
    "İ",
    "北京",
    "。",
    " ",
    "\u{3000}",
    "\r\n",
];

/// A text of one or more kinds: words, one block, several blocks, anything.
fn text(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(6) {
        let (kind, length) = (random.below(8), random.below(12));
        let block = BLOCKS[random.below(BLOCKS.len() as u64) as usize];
        for _ in 0..length {
            match kind {
                0 | 1 => text.push_str(random.of(&STRINGS)),
                2 => text.extend(random.within(0x61, 0x7a)),
                3 => text.extend(random.within(0x0, 0x10ffff)),
                4 | 5 => text.extend(random.within(block.0, block.1)),
                _ => {
                    let block = BLOCKS[random.below(BLOCKS.len() as u64) as usize];
                    text.extend(random.within(block.0, block.1));
                }
            }
        }
        match random.below(24) {
            0 => text.push_str(&"a".repeat(19 + random.below(3) as usize)),
            1 => text.push_str(&"é".repeat(19 + random.below(90) as usize)),
            2..=8 => text.push(' '),
            _ => {}
        }
    }
    text
}

fn compare(texts: u64, seed: u64) {
    let (tokenizers, mut random) = (tokenizers(), Random(seed));
    for number in 0..texts {
        let text = text(&mut random);
        tokenizers[(number % tokenizers.len() as u64) as usize].assert_equal(&text);
    }
}

#[test]
fn random_texts_equal_the_crate() {
    compare(3_000, 1);
}

#[test]
#[ignore = "slow: 2 min"]
fn slow_a_million_random_texts_equal_the_crate() {
    compare(MANY, 2);
}

#[test]
#[ignore = "slow: 1 min"]
fn slow_every_character_equals_the_crate() {
    for both in tokenizers() {
        for chars in ('\0'..=char::MAX).collect::<Vec<_>>().chunks(16) {
            let parts = chars.iter().map(|c| format!("a{c}b {c}\u{301}\u{334}{c}é{c} "));
            both.assert_equal(&parts.collect::<String>());
        }
    }
}

#[test]
fn the_first_plane_equals_the_crate() {
    let chars: Vec<char> = ('\0'..='\u{ffff}').collect();
    for (both, few) in tokenizers().iter().zip(0..) {
        // Each tokenizer has its share; the slow test gives all to all.
        for chars in chars.chunks(64).skip(few).step_by(5) {
            both.assert_equal(&chars.iter().flat_map(|&c| ['a', c, 'b', ' ', c]).collect::<String>());
        }
    }
}

#[test]
fn marks_that_sorting_moves_keep_the_places_that_the_crate_gives_them() {
    for both in tokenizers() {
        for text in [
            "a\u{302e}\u{323}b",
            "\u{345}\u{302e}",
            "x\u{a9c0}\u{334}",
            "\u{1d15e}\u{1d165}\u{301}\u{334}",
            "[MASK]\u{302e}\u{334}[MASK]e\u{301}\u{302e}",
            "é\u{302e}中\u{334}\u{a9c0}",
        ] {
            both.assert_equal(text);
        }
    }
}

#[test]
fn many_texts_at_once_give_what_each_alone_gives() {
    let mut random = Random(3);
    let texts: Vec<String> = (0..200).map(|_| text(&mut random)).collect();
    for both in tokenizers() {
        let one_by_one: Vec<_> =
            texts.iter().map(|t| both.ours.encode(t, Some(9)).expect("encodable")).collect();
        assert_eq!(both.ours.encode_batch(&texts, Some(9)).expect("encodable"), one_by_one);
        assert!(both.ours.encode_batch(&texts, Some(2)).is_err(), "no room for text");
        assert_eq!(both.ours.encode_batch::<&str>(&[], None).expect("encodable"), []);
    }
}

#[test]
fn tokenizers_of_other_kinds_are_left_to_the_crate() {
    let changes = [
        ("\"lstrip\": false", "\"lstrip\": true"),
        ("\"rstrip\": false", "\"rstrip\": true"),
        ("\"single_word\": false", "\"single_word\": true"),
        ("\"normalized\": false", "\"normalized\": true"),
        ("\"type\": \"BertPreTokenizer\"", "\"type\": \"WhitespaceSplit\""),
        ("\"content\": \"[MASK]\"", "\"content\": \" [MASK]\""),
    ];
    for (before, after) in changes {
        let folder = tempfile::tempdir().expect("temporary folder");
        Tokenizer::from_vocab(vocab(), Rules::bert(true))
            .expect("valid")
            .save(folder.path())
            .expect("writable");
        let path = folder.path().join("tokenizer.json");
        let json = std::fs::read_to_string(&path).expect("written");
        assert!(json.contains(before), "{before}");
        std::fs::write(&path, json.replace(before, after)).expect("writable");
        let both = Both::open(after.into(), folder.path());
        for text in ["the  [MASK]  playing", "the[MASK]the [mask]. [CLS]", "[MASK][MASK] Playing,un"] {
            both.assert_trimmed(text);
        }
    }
}

impl Both {
    /// White space that an added token takes in is not part of our spans.
    fn assert_trimmed(&self, text: &str) {
        let ours = self.ours.encode_plain(text).expect("encodable");
        let theirs = self.theirs.encode_char_offsets(text, false).expect("encodable");
        assert_eq!(ours.ids, theirs.get_ids(), "{}: {text:?}", self.name);
        let chars: Vec<char> = text.chars().collect();
        let trimmed = theirs.get_offsets().iter().map(|&(mut start, mut end)| {
            while chars[start].is_whitespace() {
                start += 1;
            }
            while chars[end - 1].is_whitespace() {
                end -= 1;
            }
            Some(start..end)
        });
        assert_eq!(ours.spans, TokenSpans::new(trimmed), "{}: {text:?}", self.name);
    }
}
