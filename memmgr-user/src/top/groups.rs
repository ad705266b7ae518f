//! The tree of cgroups as state: which groups are shown, and which one is chosen.

use std::collections::HashMap;

use super::{
    history::ShownGroup,
    list::{List, Step},
};

/// A line of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which of the groups.
    pub at: usize,
    /// How deep it is in the tree.
    pub depth: usize,
    /// Where its name begins in its path: behind that of the group above.
    pub name_at: usize,
    /// Whether what is in it is shown; absent where there is nothing in it.
    pub open: Option<bool>,
}

/// The tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupTree {
    /// The groups, each after the one it is in.
    pub groups: Vec<ShownGroup>,
    /// Those that are shown, the largest first among siblings.
    pub lines: Vec<Line>,
    /// What is chosen, by its path.
    pub list: List<String>,
    /// What a person opened or closed: it stays so while groups come and go.
    opened: HashMap<String, bool>,
}

impl GroupTree {
    /// Takes the figures of a moment.
    pub fn take(&mut self, groups: Vec<ShownGroup>) {
        self.groups = groups;
        self.arrange();
    }

    fn arrange(&mut self) {
        let mut children: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        let mut above: Vec<usize> = Vec::new();
        for (at, group) in self.groups.iter().enumerate() {
            while above
                .last()
                .is_some_and(|top| !is_in(&group.row.path, &self.groups[*top].row.path))
            {
                above.pop();
            }
            children.entry(above.last().copied()).or_default().push(at);
            above.push(at);
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|at| std::cmp::Reverse(self.groups[*at].row.usage_bytes));
        }
        self.lines.clear();
        let mut todo: Vec<(usize, usize, usize)> = Vec::new();
        let roots = children.get(&None).into_iter().flatten().rev();
        todo.extend(roots.map(|at| (*at, 0, 1)));
        while let Some((at, depth, name_at)) = todo.pop() {
            let path = &self.groups[at].row.path;
            let inside = children.get(&Some(at));
            let open = inside.map(|_| {
                let usual = path.matches('/').count() <= 1;
                self.opened.get(path).copied().unwrap_or(usual)
            });
            self.lines.push(Line { at, depth, name_at, open });
            if open == Some(true) {
                let name_at = if path == "/" { 1 } else { path.len() + 1 };
                let inside = inside.into_iter().flatten().rev();
                todo.extend(inside.map(|at| (*at, depth + 1, name_at)));
            }
        }
    }

    /// The name of a line's group.
    pub fn name(&self, line: &Line) -> &str {
        let path = &self.groups[line.at].row.path;
        path.get(line.name_at..).filter(|name| !name.is_empty()).unwrap_or(path)
    }

    fn order(&self) -> Vec<String> {
        self.lines.iter().map(|line| self.groups[line.at].row.path.clone()).collect()
    }

    /// The place of the chosen group.
    pub fn place(&self) -> Option<usize> {
        self.list.place(&self.order())
    }

    /// The chosen group.
    pub fn chosen(&self) -> Option<&ShownGroup> {
        self.place().map(|place| &self.groups[self.lines[place].at])
    }

    /// What is on a screen of this height.
    pub fn settle(&mut self, height: usize) {
        let order = self.order();
        self.list.settle(height, &order);
    }

    /// Chooses another.
    pub fn step(&mut self, step: Step) {
        let order = self.order();
        self.list.step(step, &order);
    }

    /// Shows what is in the chosen group, or hides it; without a word which, the other of the two.
    pub fn open(&mut self, open: Option<bool>) {
        let Some(place) = self.place() else { return };
        let line = self.lines[place];
        if let Some(now) = line.open {
            self.opened.insert(self.groups[line.at].row.path.clone(), open.unwrap_or(!now));
            self.arrange();
        }
    }
}

/// Whether a group is in another, however deep.
fn is_in(path: &str, above: &str) -> bool {
    above == "/" || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::history::tests::group;

    fn tree(groups: &[(&str, u64)]) -> GroupTree {
        let mut tree = GroupTree::default();
        tree.take(shown(groups));
        tree
    }

    fn shown(groups: &[(&str, u64)]) -> Vec<ShownGroup> {
        let group = |(path, usage): &(&str, u64)| ShownGroup {
            row: group(path, *usage, None),
            growth: None,
            full_in_s: None,
        };
        groups.iter().map(group).collect()
    }

    fn check(tree: &GroupTree, expected: &[&str]) {
        let line = |line: &Line| {
            let mark = match line.open {
                None => ' ',
                Some(true) => '-',
                Some(false) => '+',
            };
            format!("{}{mark}{}", " ".repeat(line.depth), tree.name(line))
        };
        assert_eq!(tree.lines.iter().map(line).collect::<Vec<_>>(), expected);
    }

    const GROUPS: [(&str, u64); 6] =
        [("/a", 10), ("/a/b.slice", 4), ("/a/b.slice/c", 3), ("/a/d", 6), ("/ab", 90), ("/e/f", 5)];

    #[test]
    fn the_largest_come_first_and_deep_ones_are_closed() {
        check(&tree(&GROUPS), &[" ab", "-a", "  d", " +b.slice", " e/f"]);
        check(&tree(&[("/", 9), ("/a", 1), ("/b", 2)]), &["-/", "  b", "  a"]);
        check(&tree(&[]), &[]);
    }

    #[test]
    fn groups_open_and_close() {
        let mut tree = tree(&GROUPS);
        tree.open(None);
        tree.step(Step::Down);
        tree.step(Step::Down);
        assert_eq!(tree.chosen().unwrap().row.path, "/a");
        tree.open(Some(false));
        check(&tree, &[" ab", "+a", " e/f"]);
        tree.open(Some(false));
        tree.open(None);
        for _ in 0..2 {
            tree.step(Step::Down);
        }
        tree.open(Some(true));
        check(&tree, &[" ab", "-a", "  d", " -b.slice", "   c", " e/f"]);
        // What was opened stays open while figures change and groups come.
        tree.take(shown(&[("/0", 99), ("/a", 10), ("/a/b.slice", 40), ("/a/b.slice/c", 3)]));
        check(&tree, &[" 0", "-a", " -b.slice", "   c"]);
        assert_eq!(tree.chosen().unwrap().row.path, "/a/b.slice");
    }
}
