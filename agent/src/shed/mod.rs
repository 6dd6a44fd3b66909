//! The CPU budget: of which programs less is captured while capture costs more than it may.
//!
//! Programs share the budget as fairly as can be (max-min fairness): one that needs less
//! than its share is captured in full, whatever the others do. So a program that floods the
//! agent takes the detail of its own calls, not that of the rest.
//!
//! Detail goes before counts: first bodies, then header fields, and never calls.

mod fair;

use agent_common::limits::{BUDGET_HEADS, BUDGET_LINES};
use ahash::AHashMap;

use crate::flow::coverage::Program;

/// How much of its messages is captured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Detail {
    /// All that the capture budget of a message allows.
    #[default]
    Full,
    /// The start, which holds nearly all heads: bodies are shed.
    Heads,
    /// The first line and what follows it in as many bytes as the smallest record has: it
    /// says which call it was and how it ended.
    Lines,
}

impl Detail {
    /// Those that shed something.
    pub const SHED: [Self; 2] = [Self::Heads, Self::Lines];

    /// The capture budget of one message, bytes; `None` when it is the usual one.
    pub const fn message_budget(self) -> Option<u32> {
        match self {
            Self::Full => None,
            Self::Heads => Some(BUDGET_HEADS),
            Self::Lines => Some(BUDGET_LINES),
        }
    }

    /// The word in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Heads => "heads",
            Self::Lines => "lines",
        }
    }

    /// Less of it.
    const fn less(self) -> Self {
        match self {
            Self::Full => Self::Heads,
            Self::Heads | Self::Lines => Self::Lines,
        }
    }

    /// More of it.
    const fn more(self) -> Self {
        match self {
            Self::Full | Self::Heads => Self::Full,
            Self::Lines => Self::Heads,
        }
    }
}

/// What was captured of one program in one interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Records.
    pub records: u64,
    /// Payload bytes in them.
    pub bytes: u64,
}

/// What a record costs, in bytes that cost as much: what is done for each record besides
/// what is done for each of its bytes. It divides the cost among programs; how high the
/// cost is, is measured.
const RECORD_WEIGHT: u64 = 512;

/// Programs of less weight in an interval keep all their detail: an agent has a cost of its
/// own, which is not theirs, and they are not what takes it over a budget.
const WEIGHT_MIN: f64 = 512.0 * 1024.0;

impl Load {
    /// Adds another.
    pub const fn add(&mut self, other: Self) {
        self.records = self.records.saturating_add(other.records);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
    const fn weight(self) -> f64 {
        self.records.saturating_mul(RECORD_WEIGHT).saturating_add(self.bytes) as f64
    }
}

/// One interval, of about a second.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Processor time that capture took, of the agent and of the kernel programs, in cores.
    pub cores: f64,
    /// Records were lost because the transport was full: the agent did not keep up.
    pub overrun: bool,
    /// What was captured, by program.
    pub loads: Vec<(Program, Load)>,
}

/// A program of which more or less is captured from here on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The program.
    pub program: Program,
    /// As it was.
    pub from: Detail,
    /// As it is.
    pub to: Detail,
}

/// Samples in a row that are over the budget before anything is shed: reading a large
/// library is no load that stays.
const OVER_MIN: u32 = 2;

/// Samples after a step, in which it takes effect and nothing more is shed.
const SETTLE: u32 = 2;

/// Samples in a row with room for a program before it gets its detail back; and at most,
/// as each time doubles it that comes too early.
const PATIENCE: u32 = 10;
const PATIENCE_MAX: u32 = 320;

/// Part of the budget that must do once a program has its detail back.
const ROOM: f64 = 0.8;

/// Part of the budget that a program may always have back, whatever the others take.
const LITTLE: f64 = 0.02;

/// Programs of which something is or was shed, at most.
const PROGRAMS_MAX: usize = 1024;

/// A program of which something is or was shed.
#[derive(Clone, Copy, Debug)]
struct Shed {
    detail: Detail,
    /// Cores that one record in an interval cost, before each of the steps.
    record_cost: [f64; 2],
    /// Samples in a row with room for it.
    calm: u32,
    /// As many of them are wanted.
    patience: u32,
    /// Samples since the latest step.
    age: u32,
}

/// Decides, sample by sample.
#[derive(Debug)]
pub struct Controller {
    /// Cores that capture may take.
    budget: f64,
    programs: AHashMap<Program, Shed>,
    over: u32,
    settling: u32,
    exhausted: bool,
}

impl Controller {
    /// Nothing is shed yet. `budget` is in cores.
    pub fn new(budget: f64) -> Self {
        let programs = AHashMap::new();
        Self { budget, programs, over: 0, settling: 0, exhausted: false }
    }

    /// Cores that capture may take.
    pub const fn budget(&self) -> f64 {
        self.budget
    }

    /// Whether there is nothing left to shed, and it still costs more than it may.
    pub const fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// How much is captured of a program.
    pub fn detail(&self, program: &Program) -> Detail {
        self.programs.get(program).map_or(Detail::Full, |shed| shed.detail)
    }

    /// Programs of which something is shed.
    pub fn shed(&self) -> impl Iterator<Item = (&Program, Detail)> {
        let programs = self.programs.iter().map(|(program, shed)| (program, shed.detail));
        programs.filter(|(_, detail)| *detail != Detail::Full)
    }

    /// Takes what one interval has cost, and says what changes.
    pub fn sample(&mut self, sample: &Sample) -> Vec<Change> {
        for shed in self.programs.values_mut() {
            shed.age = shed.age.saturating_add(1);
        }
        self.settling = self.settling.saturating_sub(1);
        let over = sample.overrun || sample.cores > self.budget;
        self.over = if over { self.over.saturating_add(1) } else { 0 };
        self.exhausted &= over;
        if !over {
            return self.restore(sample);
        }
        for shed in self.programs.values_mut() {
            shed.calm = 0;
        }
        if self.settling > 0 || (self.over < OVER_MIN && !sample.overrun) {
            return Vec::new();
        }
        self.reduce(sample)
    }

    /// Takes a step from each program that costs more than its share.
    fn reduce(&mut self, sample: &Sample) -> Vec<Change> {
        let costs = costs(sample);
        // An agent that does not keep up needs relief, whatever the budget says.
        let budget =
            if sample.overrun { self.budget.min(sample.cores * ROOM) } else { self.budget };
        let share = fair::share(budget, costs.iter().map(|cost| cost.cores));
        let mut changes = Vec::new();
        let heavy = |cost: &&Cost<'_>| cost.cores > share && cost.weight >= WEIGHT_MIN;
        let heavy: Vec<_> = costs.iter().filter(heavy).collect();
        for cost in &heavy {
            let room = self.programs.len() < PROGRAMS_MAX;
            let Some(shed) = entry(&mut self.programs, cost.program, room) else { continue };
            let (from, to) = (shed.detail, shed.detail.less());
            if from == to {
                continue;
            }
            // It was given back too early.
            if from == Detail::Full && shed.age <= shed.patience {
                shed.patience = shed.patience.saturating_mul(2).min(PATIENCE_MAX);
            }
            if let Some(before) = shed.record_cost.get_mut(from as usize) {
                *before = cost.per_record();
            }
            (shed.detail, shed.age, shed.calm) = (to, 0, 0);
            changes.push(Change { program: cost.program.clone(), from, to });
        }
        if !changes.is_empty() {
            self.settling = SETTLE;
        }
        self.exhausted = !heavy.is_empty() && changes.is_empty();
        changes
    }

    /// Gives one program a step back, if there has been room for it for long enough.
    fn restore(&mut self, sample: &Sample) -> Vec<Change> {
        let costs: AHashMap<_, _> =
            costs(sample).into_iter().map(|cost| (cost.program, cost)).collect();
        let mut best: Option<(f64, &Program)> = None;
        for (program, shed) in &mut self.programs {
            if shed.detail == Detail::Full {
                continue;
            }
            let (now, records) =
                costs.get(program).map_or((0.0, 0.0), |cost| (cost.cores, cost.records));
            let before = shed.record_cost.get(shed.detail.more() as usize).copied().unwrap_or(0.0);
            let more = (records * before - now).max(0.0);
            if sample.cores + more > self.budget * ROOM && more > self.budget * LITTLE {
                shed.calm = 0;
                continue;
            }
            shed.calm = shed.calm.saturating_add(1);
            if shed.calm >= shed.patience && best.is_none_or(|(least, _)| more < least) {
                best = Some((more, program));
            }
        }
        let change = best.map(|(_, program)| program.clone()).and_then(|program| {
            // The others wait until it shows what this one costs.
            for shed in self.programs.values_mut() {
                shed.calm = shed.calm.min(shed.patience.saturating_sub(SETTLE));
            }
            let shed = self.programs.get_mut(&program)?;
            let (from, to) = (shed.detail, shed.detail.more());
            (shed.detail, shed.age, shed.calm) = (to, 0, 0);
            Some(Change { program, from, to })
        });
        // Remembered for a while, because of their patience.
        self.programs
            .retain(|_, shed| shed.detail != Detail::Full || shed.age <= 2 * shed.patience);
        change.into_iter().collect()
    }
}

/// The entry of a program; a new one only where there is room.
fn entry<'a>(
    programs: &'a mut AHashMap<Program, Shed>,
    program: &Program,
    room: bool,
) -> Option<&'a mut Shed> {
    if room && !programs.contains_key(program) {
        let detail = Detail::Full;
        let new =
            Shed { detail, record_cost: [0.0; 2], calm: 0, patience: PATIENCE, age: u32::MAX };
        programs.insert(program.clone(), new);
    }
    programs.get_mut(program)
}

/// What one program cost.
#[derive(Clone, Copy, Debug)]
struct Cost<'a> {
    program: &'a Program,
    weight: f64,
    cores: f64,
    records: f64,
}

impl Cost<'_> {
    fn per_record(&self) -> f64 {
        if self.records > 0.0 { self.cores / self.records } else { 0.0 }
    }
}

/// Divides what a sample cost among its programs, by what was captured of them.
fn costs(sample: &Sample) -> Vec<Cost<'_>> {
    let total: f64 = sample.loads.iter().map(|(_, load)| load.weight()).sum();
    if total <= 0.0 {
        return Vec::new();
    }
    sample
        .loads
        .iter()
        .map(|(program, load)| Cost {
            program,
            weight: load.weight(),
            cores: load.weight() / total * sample.cores,
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            records: load.records as f64,
        })
        .collect()
}

#[cfg(test)]
mod tests;
