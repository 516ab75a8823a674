//! The way through the steps, and back.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    answers::Answers,
    decide::{Left, Trouble},
    question::Key,
    step::Step,
};

/// How a step came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was found done.
    Found(String),
    /// It was done now.
    Done(String),
    /// It was left, or put off.
    Left(Left),
    /// It failed.
    Failed(Trouble),
}

/// Where somebody is who goes through the steps.
#[derive(Debug, Clone)]
pub struct Walk {
    steps: Vec<Step>,
    at: usize,
    /// To be done whether they are found done or not.
    again: BTreeSet<Step>,
    /// What a person was asked, in order.
    trail: Vec<(Step, Key)>,
    outcomes: BTreeMap<Step, Outcome>,
}

impl Walk {
    /// Through `steps`, those in `again` even if they are done.
    #[must_use]
    pub fn new(steps: Vec<Step>, again: impl IntoIterator<Item = Step>) -> Self {
        Self { steps, at: 0, again: again.into_iter().collect(), trail: Vec::new(), outcomes: BTreeMap::new() }
    }

    /// The step that is to be taken; `None` when all are.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        self.steps.get(self.at).copied()
    }

    /// Which of how many it is, from 1.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        (self.at + 1, self.steps.len())
    }

    /// Whether the step is to be done although it may be done.
    #[must_use]
    pub fn is_again(&self) -> bool {
        self.step().is_some_and(|step| self.again.contains(&step))
    }

    /// Whether anything was done by now.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.outcomes.values().any(|outcome| matches!(outcome, Outcome::Done(_)))
    }

    /// A person has answered `key`.
    pub fn asked(&mut self, key: Key) {
        let Some(step) = self.step() else { return };
        self.trail.push((step, key));
    }

    /// Goes back to the last question that a person answered, whose answer is forgotten. False when there is none.
    pub fn back(&mut self, answers: &mut Answers) -> bool {
        let Some((step, key)) = self.trail.pop() else { return false };
        answers.forget(key);
        let found = self.steps.iter().position(|one| *one == step);
        self.at = found.unwrap_or(self.at);
        // What follows from its answer may be done by now, and is asked anew.
        self.again.insert(step);
        self.outcomes.remove(&step);
        true
    }

    /// Begins the step anew, with none of the answers to its questions.
    pub fn retry(&mut self, answers: &mut Answers) {
        let Some(step) = self.step() else { return };
        self.trail.retain(|(asked, _)| *asked != step);
        step.keys().for_each(|key| answers.forget(key));
        self.again.insert(step);
    }

    /// Ends the step.
    pub fn finish(&mut self, outcome: Outcome) {
        let Some(step) = self.step() else { return };
        self.again.remove(&step);
        self.outcomes.insert(step, outcome);
        self.at += 1;
    }

    /// How the steps came out that were taken, in order.
    #[must_use]
    pub fn outcomes(&self) -> Vec<(Step, &Outcome)> {
        self.outcomes.iter().map(|(step, outcome)| (*step, outcome)).collect()
    }
}
