//! What is said: lines of a file, or generated ones in Chinese and English. The last part of
//! each text is a tag that no other message of any run carries, so that a text that was lost,
//! doubled or changed is told from all others.

use super::random::{Random, mix};

/// How many lines are generated when no file is given.
const GENERATED_LINES: usize = 400;
/// The longest line taken from a file, in characters; the tag must still fit in a message.
const LINE_CHARS_MAX: usize = 19_900;

/// Openings, middles and endings of generated lines.
const PARTS: [&[&str]; 3] = [
    &[
        "老板您好，",
        "请问",
        "大家早上好！",
        "Hi all, ",
        "麻烦问一下，",
        "@小王 ",
        "收到，",
        "FYI ",
        "今天下雨，",
        "Sorry, ",
        "亲，",
        "周末了，",
    ],
    &[
        "昨天那箱橙子还有货吗",
        "我的订单 20391 到哪了",
        "can we move the pickup to 6 pm",
        "新到的龙井怎么卖",
        "the coupon does not apply at checkout",
        "群里谁要拼单 🍜",
        "发票抬头写错了，可以重开吗",
        "门店今天几点关门",
        "this batch looks fresher than the last",
        "一斤多少钱，two for 50 可以吗",
        "「限时」活动还剩几份",
        "我妈说上次的腊肉特别好吃",
    ],
    &[
        "？",
        "！谢谢",
        " 😊",
        "…",
        ", thanks!",
        " 在线等",
        "。",
        " 👍👍",
        "，急",
        " ok?",
    ],
];

/// The lines of a run and the tags that make each text unique.
#[derive(Debug, Clone)]
pub struct Texts {
    lines: Vec<String>,
    run: String,
    seed: u64,
}

/// What the text of a delivered message turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Exactly the text of this message of the run.
    Exact(usize),
    /// It carries the tag of this message but says something else.
    Changed(usize),
    /// No text of this run.
    Foreign,
}

impl Texts {
    /// Texts over these lines; blank and overlong ones are left out, and generated ones are used
    /// when none remain. `run` must be new for each run.
    pub fn new(lines: impl IntoIterator<Item = String>, run: &str, seed: u64) -> Self {
        let usable = |line: &String| {
            !line.trim().is_empty() && !line.contains('\0') && line.chars().count() < LINE_CHARS_MAX
        };
        let mut lines: Vec<_> = lines.into_iter().filter(usable).collect();
        if lines.is_empty() {
            lines = generate(seed);
        }
        Self {
            lines,
            run: run.to_owned(),
            seed,
        }
    }

    /// The text of the `k`-th message: a line and its tag.
    pub fn text(&self, k: usize) -> String {
        let run = &self.run;
        format!("{} #{run}.{k}.{:08x}", self.line(k), self.stamp(k))
    }

    /// Which message of this run `text` is.
    pub fn read(&self, text: &str) -> Reading {
        let Some((line, k, stamp)) = self.split(text) else {
            return Reading::Foreign;
        };
        let exact = line == self.line(k) && stamp == format!("{:08x}", self.stamp(k));
        if exact {
            Reading::Exact(k)
        } else {
            Reading::Changed(k)
        }
    }

    fn split<'a>(&self, text: &'a str) -> Option<(&'a str, usize, &'a str)> {
        let (line, tag) = text.rsplit_once(" #")?;
        let (number, stamp) = tag
            .strip_prefix(&self.run)?
            .strip_prefix('.')?
            .split_once('.')?;
        Some((line, number.parse().ok()?, stamp))
    }

    fn line(&self, k: usize) -> &str {
        let index = usize::try_from(mix(self.seed ^ k as u64) >> 1).unwrap_or(k);
        &self.lines[index % self.lines.len()]
    }

    fn stamp(&self, k: usize) -> u64 {
        mix(mix(self.seed) ^ k as u64) & 0xFFFF_FFFF
    }
}

fn generate(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut line = || {
        PARTS
            .map(|parts| random.pick(parts).copied().unwrap_or_default())
            .concat()
    };
    (0..GENERATED_LINES).map(|_| line()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts::new(["在吗 #1".to_owned(), "hello".to_owned()], "r1", 42)
    }

    #[test]
    fn every_text_reads_back_as_its_own_number() {
        let texts = texts();
        assert!((0..500).all(|k| texts.read(&texts.text(k)) == Reading::Exact(k)));
    }

    #[test]
    fn one_changed_character_is_noticed_wherever_it_stands() {
        let texts = texts();
        let text = texts.text(3);
        assert_eq!(texts.read(&format!("x{text}")), Reading::Changed(3));
        assert_eq!(texts.read(&format!("{text}0")), Reading::Changed(3));
        assert_eq!(texts.read(&text[..text.len() - 1]), Reading::Changed(3));
    }

    #[test]
    fn a_text_of_another_run_is_foreign() {
        let other = Texts::new([], "r2", 42);
        assert_eq!(texts().read(&other.text(3)), Reading::Foreign);
        assert_eq!(texts().read("hello"), Reading::Foreign);
    }

    #[test]
    fn without_usable_lines_hundreds_are_generated() {
        let texts = Texts::new([" ".to_owned(), "a\0b".to_owned()], "r1", 9);
        let different: std::collections::HashSet<_> =
            (0..1000).map(|k| texts.line(k).to_owned()).collect();
        assert!(different.len() > 100, "{}", different.len());
    }
}
