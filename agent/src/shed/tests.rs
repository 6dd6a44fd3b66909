//! Loads over time, and what becomes of detail.

use super::*;

fn program(name: &str) -> Program {
    Program { name: name.into(), container: None }
}

/// Programs that make so many records of so many bytes in each interval; a byte and a
/// record's weight in bytes cost the same.
struct Scene {
    controller: Controller,
    /// Cores that a unit of weight in each interval takes.
    price: f64,
    programs: Vec<(Program, u64, u64)>,
    overrun: bool,
}

impl Scene {
    fn new(budget: f64, programs: &[(&str, u64, u64)]) -> Self {
        let programs =
            programs.iter().map(|&(name, records, bytes)| (program(name), records, bytes));
        let controller = Controller::new(budget);
        Self { controller, price: 1e-9, programs: programs.collect(), overrun: false }
    }

    /// What is captured at the detail that programs have: bytes of a record are cut.
    fn sample(&self) -> Sample {
        let loads = self.programs.iter().map(|(program, records, bytes)| {
            let budget = self.controller.detail(program).message_budget();
            let each = budget.map_or(*bytes, |most| (*bytes).min(most.into()));
            (program.clone(), Load { records: *records, bytes: records * each })
        });
        let loads: Vec<_> = loads.collect();
        let cores = loads.iter().map(|(_, load)| load.weight() * self.price).sum();
        Sample { cores, overrun: self.overrun, loads }
    }

    /// Lets intervals pass; the changes, with when they came.
    fn pass(&mut self, intervals: usize) -> Vec<(usize, Change)> {
        let mut all = Vec::new();
        for at in 0..intervals {
            let sample = self.sample();
            all.extend(self.controller.sample(&sample).into_iter().map(|change| (at, change)));
        }
        all
    }

    fn details(&self) -> Vec<Detail> {
        self.programs.iter().map(|(program, ..)| self.controller.detail(program)).collect()
    }
}

#[test]
fn within_the_budget_nothing_is_shed() {
    let mut scene = Scene::new(1.0, &[("a", 10_000, 10_000), ("b", 10_000, 10_000)]);
    assert!(scene.pass(1000).is_empty());
}

#[test]
fn what_an_idle_agent_costs_is_charged_to_nobody() {
    let mut scene = Scene::new(0.01, &[("a", 20, 4000)]);
    scene.price = 1e-3;
    assert!(scene.pass(100).is_empty());
    assert!(scene.sample().cores > 0.01 && !scene.controller.exhausted());
}

#[test]
fn one_interval_over_the_budget_is_let_pass() {
    let mut scene = Scene::new(0.1, &[("a", 10_000, 20_000)]);
    assert!(scene.pass(1).is_empty());
    scene.programs[0].1 = 10;
    assert!(scene.pass(100).is_empty());
}

#[test]
fn who_costs_more_than_its_share_gives_bodies_first() {
    // A flood of large bodies, and a program that was there before it.
    let mut scene = Scene::new(0.5, &[("flood", 50_000, 20_000), ("quiet", 1000, 2000)]);
    let changes = scene.pass(20);
    assert_eq!(scene.details(), [Detail::Heads, Detail::Full]);
    let flood = program("flood");
    let change = Change { program: flood, from: Detail::Full, to: Detail::Heads };
    assert_eq!(changes, [(1, change)]);
    assert!(scene.sample().cores <= 0.5);
}

#[test]
fn what_is_left_goes_step_by_step_and_never_further_than_first_lines() {
    let mut scene = Scene::new(0.01, &[("flood", 50_000, 20_000)]);
    let steps: Vec<_> = scene.pass(100).into_iter().map(|(at, it)| (at, it.to)).collect();
    assert_eq!(steps, [(1, Detail::Heads), (3, Detail::Lines)]);
    assert!(scene.controller.exhausted());
    scene.programs[0].1 = 1;
    scene.pass(1);
    assert!(!scene.controller.exhausted());
}

#[test]
fn detail_comes_back_once_there_is_room_for_it_and_not_before() {
    let mut scene = Scene::new(0.5, &[("flood", 50_000, 20_000)]);
    scene.pass(50);
    assert_eq!(scene.details(), [Detail::Heads], "its heads alone leave room for no bodies");
    scene.programs[0].1 = 5000;
    let changes = scene.pass(50);
    assert_eq!(scene.details(), [Detail::Full]);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].0, PATIENCE as usize - 1);
}

#[test]
fn who_needs_little_by_now_does_not_wait_for_the_others() {
    let mut scene = Scene::new(0.5, &[("flood", 50_000, 20_000), ("other", 5000, 80_000)]);
    scene.pass(1);
    scene.programs[1].1 = 0;
    scene.pass(9);
    assert_eq!(scene.details(), [Detail::Heads, Detail::Full]);
    scene.programs[0].1 = 100;
    // Nearly all of the budget, and less than a share of it.
    scene.programs[1] = (program("other"), 5000, 93_000);
    scene.pass(20);
    assert_eq!(scene.details(), [Detail::Full, Detail::Full]);
}

#[test]
fn a_program_that_is_gone_is_forgotten() {
    let mut scene = Scene::new(0.5, &[("flood", 50_000, 20_000)]);
    scene.pass(10);
    scene.programs.clear();
    scene.pass(100);
    assert_eq!(scene.controller.shed().count(), 0);
    assert!(scene.controller.programs.is_empty());
}

#[test]
fn a_load_that_comes_and_goes_is_asked_for_more_patience_each_time() {
    let mut scene = Scene::new(0.5, &[("flood", 50_000, 20_000)]);
    let mut changes = 0;
    for _ in 0..100 {
        scene.programs[0].1 = 50_000;
        changes += scene.pass(15).len();
        scene.programs[0].1 = 100;
        changes += scene.pass(15).len();
    }
    assert!(changes < 20, "{changes} changes in 3000 intervals");
}

#[test]
fn an_agent_that_does_not_keep_up_is_relieved_whatever_it_may_cost() {
    let mut scene = Scene::new(100.0, &[("flood", 50_000, 20_000), ("quiet", 10, 10)]);
    scene.overrun = true;
    let changes = scene.pass(1);
    assert_eq!(changes.len(), 1);
    assert_eq!(scene.details(), [Detail::Heads, Detail::Full]);
}

#[test]
fn programs_are_not_kept_without_end() {
    let mut scene = Scene::new(0.0, &[]);
    for number in 0..3000 {
        scene.programs = vec![(program(&number.to_string()), 1000, 1000)];
        scene.pass(3);
    }
    assert!(scene.controller.programs.len() <= PROGRAMS_MAX);
}
