//! A list that is longer than the screen: what is chosen, and which part of it is shown.

/// The chosen thing is remembered by what it is and not by its place, which changes every second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<K> {
    /// What is chosen; nothing while the list shows its top.
    pub chosen: Option<K>,
    /// The first place that is shown.
    pub first: usize,
    /// Places that the screen has room for.
    height: usize,
}

/// Where to go in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One place up.
    Up,
    /// One place down.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// The first place.
    Home,
    /// The last place.
    End,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        List { chosen: None, first: 0, height: 1 }
    }
}

impl<K: Clone + PartialEq> List<K> {
    /// The place of the chosen thing among all of them.
    pub fn place(&self, all: &[K]) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        all.iter().position(|key| key == chosen)
    }

    /// Chooses another. The first step down chooses what is on top of the screen.
    pub fn step(&mut self, step: Step, all: &[K]) {
        let Some(last) = all.len().checked_sub(1) else { return };
        let page = self.height.saturating_sub(1).max(1);
        let place = match (step, self.place(all)) {
            (Step::Home, _) => 0,
            (Step::End, _) => last,
            (Step::Down | Step::Up, None) => self.first.min(last),
            (Step::PageDown | Step::PageUp, None) => {
                (self.first + if step == Step::PageDown { page } else { 0 }).min(last)
            }
            (Step::Up, Some(place)) => place.saturating_sub(1),
            (Step::Down, Some(place)) => (place + 1).min(last),
            (Step::PageUp, Some(place)) => place.saturating_sub(page),
            (Step::PageDown, Some(place)) => (place + page).min(last),
        };
        self.chosen = Some(all[place].clone());
        self.settle(self.height, all);
    }

    /// Fits the shown part to the screen and to the list as they are now: the chosen thing is on the screen.
    pub fn settle(&mut self, height: usize, all: &[K]) {
        self.height = height.max(1);
        if let Some(place) = self.place(all) {
            self.first = self.first.clamp((place + 1).saturating_sub(self.height), place);
        } else if self.chosen.is_none() {
            self.first = 0;
        }
        self.first = self.first.min(all.len().saturating_sub(self.height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chosen place and the first that is shown, after steps through 0 to 9 on a screen of 4.
    fn check(steps: &[Step], chosen: Option<u32>, first: usize) {
        let all: Vec<u32> = (0..10).collect();
        let mut list = List::default();
        list.settle(4, &all);
        for step in steps {
            list.step(*step, &all);
        }
        assert_eq!((list.chosen, list.first), (chosen, first), "{steps:?}");
    }

    #[test]
    fn steps_go_through_the_list() {
        check(&[], None, 0);
        check(&[Step::Down], Some(0), 0);
        check(&[Step::Up, Step::Up], Some(0), 0);
        check(&[Step::Down; 5], Some(4), 1);
        check(&[Step::PageDown, Step::PageDown], Some(6), 3);
        check(&[Step::End], Some(9), 6);
        check(&[Step::End, Step::PageUp, Step::Up], Some(5), 5);
        check(&[Step::End, Step::Home], Some(0), 0);
    }

    #[test]
    fn what_is_chosen_stays_chosen_wherever_it_goes() {
        let mut list = List::default();
        list.settle(2, &[1, 2, 3, 4]);
        list.step(Step::Down, &[1, 2, 3, 4]);
        list.settle(2, &[2, 3, 4, 1]);
        assert_eq!((list.chosen, list.first), (Some(1), 2));
        // The list gets shorter than the screen.
        list.settle(2, &[1]);
        assert_eq!((list.chosen, list.first), (Some(1), 0));
        // What is gone is nowhere, and the screen stays where it is.
        list.settle(2, &[2, 3, 4]);
        assert_eq!((list.place(&[2, 3, 4]), list.first), (None, 0));
        list.step(Step::Down, &[]);
        assert_eq!(list.chosen, Some(1));
    }
}
