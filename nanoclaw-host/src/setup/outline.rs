//! All of it beforehand: what each step would do with these answers, and which answers are missing.

use super::{
    answers::{Answers, Given, Origin},
    decide::{Action, Left, Next, Trouble, Way, decide},
    found::Found,
    question::Question,
    step::Step,
};
use nanoclaw_core::secret::Secret;

/// What a step would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Nothing: it is done.
    Done(String),
    /// This.
    Will(Action),
    /// Nothing: it would be left.
    Left(Left),
    /// Nothing: it cannot be.
    Cannot(Trouble),
}

/// All steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// What each would come to, in order.
    pub steps: Vec<(Step, Intent)>,
    /// What nobody has answered and what nothing safe can be taken for, in order.
    pub missing: Vec<Question>,
}

impl Outline {
    /// Of what was `found` with these `answers`, nobody being there to be asked.
    pub fn of(found: &[(Step, Found)], answers: &Answers, again: impl Fn(Step) -> bool) -> Self {
        let mut answers = answers.clone();
        let (mut steps, mut missing): (Vec<(Step, Intent)>, Vec<Question>) = (Vec::new(), Vec::new());
        for (step, found) in found {
            let changed = steps.iter().any(|(_, intent)| matches!(intent, Intent::Will(_)));
            let way = Way { again: again(*step), interactive: false, changed };
            let registered = steps.iter().find_map(|(_, intent)| match intent {
                Intent::Will(Action::Register { chat, main: true }) => Some(("main".to_owned(), chat.clone())),
                _ => None,
            });
            // What a step before it would have made.
            let made = match (found, registered) {
                (Found::MainGroup { group: None, reachable }, Some(group)) => {
                    Some(Found::MainGroup { group: Some(group), reachable: *reachable })
                }
                _ => None,
            };
            let found = made.as_ref().unwrap_or(found);
            let intent = loop {
                match decide(found, &answers, way) {
                    Next::Ask(question) => {
                        let given = match (&question.default, question.key.is_secret()) {
                            (Some(default), _) => Given::Word(default.clone()),
                            // Something in its place, so that the questions after it come as well.
                            (None, true) => Given::Hidden(Secret::new("missing")),
                            (None, false) => Given::Word("missing".to_owned()),
                        };
                        answers.give(question.key, given, Origin::Default);
                        if question.default.is_none() {
                            missing.push(question);
                        }
                    }
                    Next::Do(action) => break Intent::Will(action),
                    Next::Done(words) => break Intent::Done(words),
                    Next::Left(left) => break Intent::Left(left),
                    Next::Cannot(trouble) => break Intent::Cannot(trouble),
                }
            };
            steps.push((*step, intent));
        }
        Self { steps, missing }
    }
}
