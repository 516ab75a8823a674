//! The scenario's lines, read.

use super::{Chat, Person, Said};

/// One line of the scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    About(String),
    Says(Said),
    /// The chat shows these lines next.
    Shows(Chat, Vec<String>),
    /// It kills itself at this failpoint, if one is named.
    HostStarts(Option<String>),
    HostIsDead,
    HostEnds,
    ConnectionsDrop,
    MinutesPass,
    FileIsPut {
        chat: Chat,
        name: String,
        content: String,
    },
}

/// All steps, in their order, with the number of their line.
pub(super) fn steps(scenario: &str) -> Vec<(usize, Step)> {
    let lines = scenario.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(line, number)| (number, step(line).unwrap_or_else(|| panic!("line {number}: {line}")))).collect()
}

fn step(line: &str) -> Option<Step> {
    if let Some(title) = line.strip_prefix("== ") {
        return Some(Step::About(title.to_owned()));
    }
    if let Some(event) = line.strip_prefix("! ") {
        return happens(event);
    }
    let (place, text) = line.split_once(": ")?;
    match place.split_once('@') {
        Some((who, place)) => says(who, place, line),
        None => Some(Step::Shows(chat(place)?, shown(text)?)),
    }
}

/// `Ann@family: TEXT` or `Ann@family (FILE: CONTENT): TEXT`.
fn says(who: &str, place: &str, line: &str) -> Option<Step> {
    let who = match who {
        "Ann" => Person::Ann,
        "Bob" => Person::Bob,
        _ => return None,
    };
    let said = |chat, text: &str, file| Some(Step::Says(Said { who, chat, text: text.to_owned(), file }));
    match place.split_once(" (") {
        None => said(chat(place)?, line.split_once(": ")?.1, None),
        Some((place, name)) => {
            let (content, text) = line.split_once(&format!(" ({name}: "))?.1.split_once("): ")?;
            said(chat(place)?, text, Some((name.to_owned(), content.to_owned())))
        }
    }
}

fn happens(event: &str) -> Option<Step> {
    if let Some(point) = event.strip_prefix("the host starts, to die at ") {
        return Some(Step::HostStarts(Some(point.to_owned())));
    }
    if let Some((name, rest)) = event.split_once(" is put into ") {
        let (place, content) = rest.split_once(": ")?;
        return Some(Step::FileIsPut { chat: chat(place)?, name: name.to_owned(), content: content.to_owned() });
    }
    match event {
        "the host starts" => Some(Step::HostStarts(None)),
        "the host is dead" => Some(Step::HostIsDead),
        "the host ends" => Some(Step::HostEnds),
        "connections drop" => Some(Step::ConnectionsDrop),
        "minutes pass" => Some(Step::MinutesPass),
        _ => None,
    }
}

fn chat(word: &str) -> Option<Chat> {
    Chat::ALL.into_iter().find(|chat| chat.word() == word)
}

/// One line, or those that `{3..7}` stands for.
fn shown(text: &str) -> Option<Vec<String>> {
    let Some(numbers) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return Some(vec![text.to_owned()]);
    };
    let (first, last) = numbers.split_once("..")?;
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    Some((first..=last).map(|number| number.to_string()).collect())
}

#[test]
fn a_scenario_is_read_line_by_line() {
    let said = |text: &str, file: Option<(&str, &str)>| {
        let file = file.map(|(name, content)| (name.to_owned(), content.to_owned()));
        Step::Says(Said { who: Person::Ann, chat: Chat::Family, text: text.to_owned(), file })
    };
    let put = Step::FileIsPut { chat: Chat::Club, name: "a.txt".to_owned(), content: "b: c".to_owned() };
    let read = steps(
        "# nothing\n\nAnn@family: a: b@c\nAnn@family (a.txt: x: y): look: here\nclub: x: y\nclub: {3..5}\n\
         ! the host starts, to die at a.b\n! a.txt is put into club: b: c\n",
    );
    let expected = [
        said("a: b@c", None),
        said("look: here", Some(("a.txt", "x: y"))),
        Step::Shows(Chat::Club, vec!["x: y".to_owned()]),
        Step::Shows(Chat::Club, ["3", "4", "5"].map(str::to_owned).to_vec()),
        Step::HostStarts(Some("a.b".to_owned())),
        put,
    ];
    assert_eq!(read.into_iter().map(|(_, step)| step).collect::<Vec<_>>(), expected);
}
