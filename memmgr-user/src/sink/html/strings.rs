//! Texts that occur often, written once.

use hashbrown::HashMap;

/// Numbers for texts, in the order in which they were first seen; 0 stands for none.
#[derive(Default)]
pub(super) struct Strings<'a> {
    texts: Vec<&'a str>,
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Strings<'a> {
    /// The number of a text.
    pub(super) fn number(&mut self, text: &'a str) -> u32 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u32
        })
    }

    /// The number of a text that may be absent.
    pub(super) fn optional(&mut self, text: Option<&'a str>) -> u32 {
        text.map_or(0, |text| self.number(text))
    }

    /// The texts: the first one has the number 1.
    pub(super) fn into_texts(self) -> Vec<&'a str> {
        self.texts
    }
}
