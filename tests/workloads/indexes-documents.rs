//! A program that is always busy: it indexes documents word by word, answers queries, and forgets the oldest.
//! Ten times a second it prints "NANOSECONDS DOCUMENTS": of a monotonic clock, and all documents until then.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

const KEPT: usize = 5_000;

/// Which documents have a word, and what the documents are.
#[derive(Default)]
struct Index {
    postings: HashMap<String, BTreeMap<u64, Vec<u32>>>,
    documents: VecDeque<(u64, String)>,
}

impl Index {
    #[inline(never)]
    fn add(&mut self, id: u64, text: String) {
        for (position, word) in text.split(' ').enumerate() {
            let documents = self.postings.entry(word.to_lowercase()).or_default();
            documents.entry(id).or_default().push(position as u32);
        }
        self.documents.push_back((id, text));
        if self.documents.len() > KEPT {
            self.forget();
        }
    }

    #[inline(never)]
    fn forget(&mut self) {
        let Some((id, text)) = self.documents.pop_front() else { return };
        for word in text.split(' ') {
            if let Some(documents) = self.postings.get_mut(&word.to_lowercase()) {
                documents.remove(&id);
            }
        }
    }

    #[inline(never)]
    fn query(&self, word: &str) -> String {
        let found: Vec<String> = self
            .postings
            .get(word)
            .into_iter()
            .flatten()
            .rev()
            .take(20)
            .map(|(id, positions)| format!("{id}: {positions:?}"))
            .collect();
        found.join("; ")
    }
}

fn main() {
    let began = Instant::now();
    let mut index = Index::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next_line = Duration::ZERO;
    let mut answered = 0;
    for id in 1.. {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let words: Vec<String> =
            (0..20 + id % 30).map(|i| format!("Word{}", (random >> 20).wrapping_mul(i + 1) % 3_000)).collect();
        index.add(id, words.join(" "));
        answered += index.query(&words[0].to_lowercase()).len();
        let now = began.elapsed();
        if now >= next_line {
            next_line = now + Duration::from_millis(100);
            // The reader ended: so does this.
            if writeln!(std::io::stdout(), "{} {id}", now.as_nanos()).is_err() {
                break;
            }
        }
    }
    eprintln!("{answered}");
}
