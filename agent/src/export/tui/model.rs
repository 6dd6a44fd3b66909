//! What the person at the terminal has chosen, and what keys do to it. Pure.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    document,
    rows::{Item, Sort, rows},
    snapshot::Snapshot,
    theme::Theme,
};
use crate::inventory::EndpointKey;

/// Longest filter, in characters.
const FILTER_MAX: usize = 128;

/// Lines above and below a list: title, summary, tabs, column heads, footer.
pub(super) const CHROME: u16 = 5;

/// A view.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tab {
    /// Endpoints with their rates and latencies.
    #[default]
    Endpoints,
    /// The latest calls.
    Calls,
    /// Findings.
    Findings,
    /// What is seen and what is not.
    Capture,
}

impl Tab {
    /// All views, in the order of their keys.
    pub const ALL: [Self; 4] = [Self::Endpoints, Self::Calls, Self::Findings, Self::Capture];

    const fn index(self) -> usize {
        match self {
            Self::Endpoints => 0,
            Self::Calls => 1,
            Self::Findings => 2,
            Self::Capture => 3,
        }
    }
}

/// Names a row across snapshots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Id {
    /// An endpoint.
    Endpoint(EndpointKey),
    /// A call.
    Call(u64),
    /// A finding.
    Finding(String),
}

/// What a key asks the event loop for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing has changed.
    None,
    /// Draw again.
    Draw,
    /// End the view.
    Quit,
}

/// State of one tab's list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The chosen row; `None` for the first one, whatever it is.
    pub selected: Option<Id>,
    /// Where the chosen row was last; used when it is gone.
    pub position: usize,
    /// Which of the tab's sort orders.
    pub order: usize,
    /// The order is turned around.
    pub reversed: bool,
    /// Words that rows must have.
    pub filter: String,
}

impl List {
    pub(super) fn sort(&self, tab: Tab) -> Option<Sort> {
        Sort::of(tab).get(self.order).copied()
    }

    /// Position of the chosen row among `items`.
    pub(super) fn find(&self, items: &[Item<'_>]) -> usize {
        let Some(id) = &self.selected else { return 0 };
        items
            .iter()
            .position(|item| item.is(id))
            .unwrap_or_else(|| self.position.min(items.len().saturating_sub(1)))
    }
}

/// State of the view.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The view that is shown.
    pub tab: Tab,
    /// The lists, by tab.
    pub lists: [List; 4],
    /// The row that is shown in detail.
    pub detail: Option<Id>,
    /// First line shown of a text that is longer than the screen.
    pub scroll: usize,
    /// The keys are explained.
    pub help: bool,
    /// Snapshots do not change what is shown.
    pub paused: bool,
    /// Keys go to the filter.
    pub editing: bool,
    /// No more snapshots will come.
    pub ended: bool,
    /// Columns and lines of the terminal.
    pub size: (u16, u16),
}

impl Model {
    /// The list of the view that is shown.
    pub fn list(&self) -> &List {
        let [endpoints, calls, findings, capture] = &self.lists;
        match self.tab {
            Tab::Endpoints => endpoints,
            Tab::Calls => calls,
            Tab::Findings => findings,
            Tab::Capture => capture,
        }
    }

    fn list_mut(&mut self) -> &mut List {
        let [endpoints, calls, findings, capture] = &mut self.lists;
        match self.tab {
            Tab::Endpoints => endpoints,
            Tab::Calls => calls,
            Tab::Findings => findings,
            Tab::Capture => capture,
        }
    }

    /// A text is shown, not a list.
    pub fn shows_text(&self) -> bool {
        self.help || self.detail.is_some() || self.tab == Tab::Capture
    }

    /// Takes a key; `snapshot` is what is on the screen.
    pub fn update(&mut self, key: KeyEvent, snapshot: &Snapshot) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Action::Quit;
        }
        if self.editing {
            return self.edit(key.code, control);
        }
        if control || key.modifiers.contains(KeyModifiers::ALT) {
            return Action::None;
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Tab => self.show(self.tab.index() + 1),
            KeyCode::BackTab => self.show(self.tab.index() + Tab::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => self.show(digit as usize - '1' as usize),
            KeyCode::Up | KeyCode::Char('k') => self.go(snapshot, Motion::Back(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go(snapshot, Motion::Forth(1)),
            KeyCode::PageUp => self.go(snapshot, Motion::Back(self.page())),
            KeyCode::PageDown => self.go(snapshot, Motion::Forth(self.page())),
            KeyCode::Home | KeyCode::Char('g') => self.go(snapshot, Motion::First),
            KeyCode::End | KeyCode::Char('G') => self.go(snapshot, Motion::Last),
            KeyCode::Char('?') | KeyCode::F(1) => {
                self.help = !self.help;
                self.scroll = 0;
            }
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Esc => return self.back(),
            KeyCode::Backspace if self.help || self.detail.is_some() => return self.back(),
            _ if self.shows_text() => return Action::None,
            KeyCode::Enter => return self.open(snapshot),
            KeyCode::Char('/') => self.editing = true,
            KeyCode::Char('s') => {
                let orders = Sort::of(self.tab).len().max(1);
                let list = self.list_mut();
                list.order = (list.order + 1) % orders;
                list.reversed = false;
            }
            KeyCode::Char('S') => {
                let list = self.list_mut();
                list.reversed = !list.reversed;
            }
            _ => return Action::None,
        }
        Action::Draw
    }

    /// Takes a key while the filter is written.
    fn edit(&mut self, code: KeyCode, control: bool) -> Action {
        let list = self.list_mut();
        match code {
            KeyCode::Char('u') if control => list.filter.clear(),
            KeyCode::Char(character) if !control && !character.is_control() => {
                if list.filter.chars().count() >= FILTER_MAX {
                    return Action::None;
                }
                list.filter.push(character);
            }
            KeyCode::Backspace => {
                list.filter.pop();
            }
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => {
                list.filter.clear();
                self.editing = false;
            }
            _ => return Action::None,
        }
        Action::Draw
    }

    fn show(&mut self, index: usize) {
        let index = index % Tab::ALL.len();
        self.tab = Tab::ALL.get(index).copied().unwrap_or_default();
        self.detail = None;
        self.help = false;
        self.scroll = 0;
    }

    fn back(&mut self) -> Action {
        if self.help {
            self.help = false;
        } else if self.detail.take().is_none() {
            if self.list().filter.is_empty() {
                return Action::None;
            }
            self.list_mut().filter.clear();
        }
        self.scroll = 0;
        Action::Draw
    }

    fn open(&mut self, snapshot: &Snapshot) -> Action {
        let items = rows(snapshot, self.tab, self.list());
        let position = self.list().find(&items);
        let Some(item) = items.get(position) else { return Action::None };
        let id = item.id();
        self.list_mut().selected = Some(id.clone());
        self.list_mut().position = position;
        self.detail = Some(id);
        self.scroll = 0;
        Action::Draw
    }

    /// Lines that a page key moves by.
    fn page(&self) -> usize {
        usize::from(self.size.1.saturating_sub(CHROME)).max(1)
    }

    fn go(&mut self, snapshot: &Snapshot, motion: Motion) {
        if self.shows_text() {
            let lines =
                document::lines(self, snapshot, usize::from(self.size.0), Theme::PLAIN).len();
            // A text has no column heads, so one line more of it is seen.
            let last = lines.saturating_sub(self.page() + 1);
            self.scroll = motion.from(self.scroll.min(last), last);
            return;
        }
        let items = rows(snapshot, self.tab, self.list());
        let last = items.len().saturating_sub(1);
        let position = motion.from(self.list().find(&items), last);
        let selected = match motion {
            // From here on the first row is meant again, whatever it is.
            Motion::First => None,
            _ => items.get(position).map(Item::id),
        };
        let list = self.list_mut();
        list.selected = selected;
        list.position = position;
    }
}

/// Where a key goes to.
#[derive(Clone, Copy)]
enum Motion {
    Back(usize),
    Forth(usize),
    First,
    Last,
}

impl Motion {
    fn from(self, position: usize, last: usize) -> usize {
        match self {
            Self::Back(lines) => position.saturating_sub(lines),
            Self::Forth(lines) => position.saturating_add(lines).min(last),
            Self::First => 0,
            Self::Last => last,
        }
    }
}
