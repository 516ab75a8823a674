//! Setting up a home, step by step, until a message is answered: which steps there are, what each asks, and what is to be done next.
//!
//! Nothing here looks at the machine or changes it. [`decide`](decide::decide) is told what was found for a step and what was answered, and
//! says what comes next: a question, an action, or nothing. What was done before is found on the machine, and kept nowhere else: so setup
//! can be ended at any moment and begun again, and asks for nothing that is there. [`Walk`] goes through the steps and back.
//!
//! | file | what it answers for |
//! | --- | --- |
//! | `step` | the steps and their names |
//! | `question` | what can be asked, and which answers are right |
//! | `answers` | what was answered, by flags, environment, file or hand |
//! | `found` | what is there already, step by step |
//! | `decide` | what comes next in a step |
//! | `walk` | the way through the steps, and back |
//! | `outline` | all of it beforehand: what would be done, and which answers are missing |

pub mod answers;
pub mod decide;
pub mod found;
pub mod outline;
pub mod question;
pub mod step;
#[cfg(test)]
mod tests;
pub mod walk;

pub use answers::{Answers, Given, Origin};
pub use decide::{Action, Left, Next, Trouble, Way, decide};
pub use found::Found;
pub use outline::{Intent, Outline};
pub use question::{Key, Question};
pub use step::Step;
pub use walk::{Outcome, Walk};
