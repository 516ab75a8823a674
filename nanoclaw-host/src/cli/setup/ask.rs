//! Asks a person at the terminal: arrow keys, lines, and secrets that are not shown. Esc goes back, Ctrl-C stops, and however it
//! ends, the terminal is as it was before.

use std::{fmt, io::Write as _};

use inquire::{
    InquireError, Select, Text,
    ui::RenderConfig,
    validator::{ErrorMessage, Validation},
};
use tokio_util::sync::CancellationToken;

use super::Stopped;
use crate::{
    cli::{
        auth::terminal::{Modes, read_secret},
        output,
    },
    setup::{Given, Question},
};

/// What came of a question.
pub(super) enum Reply {
    Given(Given),
    Back,
}

/// What is to become of a step that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WhatNow {
    Again,
    Later,
    Stop,
}

const KEYS: &str = "arrow keys and Enter choose, Esc goes back, Ctrl-C stops";
const KEYS_OF_LINES: &str = "Enter ends the line, Esc goes back, Ctrl-C stops";

/// The narrowest terminal that lines are made for.
const NARROW: usize = 40;

/// Asks `question` until the answer is one.
pub(super) async fn ask(question: &Question, stop: &CancellationToken) -> anyhow::Result<Reply> {
    let key = question.key;
    if key.is_secret() {
        return ask_unseen(question).await;
    }
    let (text, default) = (question.text.clone(), question.default.clone());
    let help = |keys: &str| match &question.help {
        Some(help) => fitting(&format!("{help}; {keys}"), 2),
        None => keys.to_owned(),
    };
    if question.choices.is_empty() {
        let help = help(KEYS_OF_LINES);
        let right = move |text: &str| {
            Ok(match key.understand(text) {
                Ok(_) => Validation::Valid,
                Err(right) => Validation::Invalid(ErrorMessage::Custom(right)),
            })
        };
        let typed = on_terminal(stop, move || {
            let mut prompt =
                Text::new(&text).with_help_message(&help).with_validator(right).with_render_config(colours());
            if let Some(default) = &default {
                prompt = prompt.with_default(default);
            }
            prompt.prompt_skippable()
        });
        let Some(typed) = typed.await? else { return Ok(Reply::Back) };
        return Ok(Reply::Given(key.understand(&typed).map_err(anyhow::Error::msg)?));
    }
    let widest = question.choices.iter().map(|choice| choice.word.len()).max().unwrap_or_default();
    let options: Vec<Shown> = question
        .choices
        .iter()
        .map(|choice| Shown {
            word: choice.word,
            line: fitting(&format!("{:<widest$}  {}", choice.word, choice.meaning), 4),
        })
        .collect();
    let first = options.iter().position(|shown| default.as_deref() == Some(shown.word)).unwrap_or_default();
    // What is not to be chosen is worth a line of its own.
    if let Some(help) = &question.help {
        output::note(&output::hanging(help, 0));
    }
    let chosen = on_terminal(stop, move || {
        Select::new(&text, options)
            .with_starting_cursor(first)
            .with_help_message(KEYS)
            .with_page_size(8)
            .without_filtering()
            .with_formatter(&|chosen| chosen.value.word.to_owned())
            .with_render_config(colours())
            .prompt_skippable()
    });
    Ok(match chosen.await? {
        Some(Shown { word, .. }) => Reply::Given(Given::Word(word.to_owned())),
        None => Reply::Back,
    })
}

/// Asks what is to become of a step that failed.
pub(super) async fn what_now(stop: &CancellationToken) -> anyhow::Result<WhatNow> {
    let options = [
        ("again", "try it again, with other answers", WhatNow::Again),
        ("later", "leave it, and go on", WhatNow::Later),
        ("stop", "stop here; `nanoclaw setup` goes on from here", WhatNow::Stop),
    ];
    let shown = options.map(|(word, meaning, _)| Shown { word, line: format!("{word:<5}  {meaning}") });
    let chosen = on_terminal(stop, move || {
        Select::new("What now?", shown.to_vec())
            .with_help_message(KEYS)
            .without_filtering()
            .with_formatter(&|chosen| chosen.value.word.to_owned())
            .with_render_config(colours())
            .prompt_skippable()
    });
    let word = chosen.await?.map_or("again", |shown| shown.word);
    Ok(options.into_iter().find(|(known, ..)| *known == word).map_or(WhatNow::Again, |(.., now)| now))
}

/// Asks for a secret, by what all commands ask for secrets with.
async fn ask_unseen(question: &Question) -> anyhow::Result<Reply> {
    if let Some(help) = &question.help {
        output::note(&output::hanging(help, 0));
    }
    loop {
        let text = read_secret(&format!("{} (not shown; an empty line goes back): ", question.text)).await?;
        // Esc is a character here, and nobody has it in a secret.
        if text.trim().is_empty() || text.contains('\u{1b}') {
            return Ok(Reply::Back);
        }
        match question.key.understand(&text) {
            Ok(given) => return Ok(Reply::Given(given)),
            Err(right) => output::step(&format!("{} {right}", question.text)),
        }
    }
}

/// A choice as a line.
#[derive(Clone)]
struct Shown {
    word: &'static str,
    line: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// `text` on one line of the terminal, of which `taken` columns are taken.
fn fitting(text: &str, taken: usize) -> String {
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    let columns = if columns == 0 { 80 } else { columns.max(NARROW) };
    let line = output::clean(text).replace(['\n', '\t'], " ");
    if line.chars().count() <= columns - taken {
        return line;
    }
    line.chars().take(columns - taken - 1).chain(['…']).collect()
}

fn colours() -> RenderConfig<'static> {
    match anstream::AutoStream::choice(&std::io::stderr()) {
        anstream::ColorChoice::Never => RenderConfig::empty(),
        _ => RenderConfig::default_colored(),
    }
}

/// Shows a prompt on a thread of its own, which is left behind when the program is asked to end. `None`: Esc.
async fn on_terminal<T: Send + 'static>(
    stop: &CancellationToken,
    prompt: impl FnOnce() -> Result<Option<T>, InquireError> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    let modes = Modes::kept()?;
    let asking = tokio::task::spawn_blocking(prompt);
    let asked = tokio::select! {
        asked = asking => asked?,
        () = stop.cancelled() => {
            drop(modes);
            // The cursor is shown again, and pastes are no longer marked.
            let mut out = std::io::stderr();
            let _ = out.write_all(b"\x1b[?25h\x1b[?2004l\r\n").and_then(|()| out.flush());
            return Err(Stopped.into());
        }
    };
    drop(modes);
    match asked {
        Ok(reply) => Ok(reply),
        Err(InquireError::OperationInterrupted) => Err(Stopped.into()),
        Err(InquireError::OperationCanceled) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
