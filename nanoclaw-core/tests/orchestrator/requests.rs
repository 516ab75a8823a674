//! What agents ask for by files: who may, what they are told, and that nothing is done twice.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    delivery::{DeliveryKey, NewDelivery},
    group::{Group, GroupRole, TriggerPolicy},
    run::{Handed, RunId, RunKind, RunNumber},
    runtime::{Exit, RuntimeKind},
    schedule::Schedule,
    store::{NewRun, Store},
    tasks::{NewTask, TaskContext, TaskStatus, TaskTerms, Tasks},
    time::Timestamp,
};

use super::{
    House, folder, main_group,
    support::{Agent, EmptyHouse},
    waiting,
};

/// What an agent asks for when it is written to: a folder (`messages` or `tasks`) and a file's content each.
type Asked = &'static [(&'static str, &'static str)];

/// A house whose agents ask for this, each as soon as the last was answered, and what they are told.
async fn asking(asked: Asked) -> (EmptyHouse, Arc<Mutex<Vec<String>>>) {
    let answers = Arc::<Mutex<Vec<String>>>::default();
    let told = answers.clone();
    let house = House::empty(move |agent: Agent| ask_all(agent, asked, told.clone())).await;
    house.store.add_group(&main_group()).await.unwrap();
    (house, answers)
}

async fn ask_all(mut agent: Agent, asked: Asked, told: Arc<Mutex<Vec<String>>>) -> Exit {
    if agent.input.is_scheduled_task == Some(true) {
        agent.answer(|_| None).await;
        return Exit::Code(0);
    }
    for (number, (tray, content)) in asked.iter().enumerate() {
        let name = format!("{number:03}.json");
        let answer = match *tray {
            "messages" => agent.request(name, (*content).to_owned()).await,
            _ => agent.ask(&name, content).await,
        };
        told.lock().unwrap().push(answer);
    }
    agent.answer(|_| None).await;
    agent.until_closed().await
}

/// What the main group's agent is told that asks for this, and the house.
async fn main_asks(asked: Asked) -> (House, Vec<String>) {
    let (house, answers) = asking(asked).await;
    let house = house.start().await;
    house.add_group("other", "test:other").await;
    house.write("go").await;
    (house, all(&answers, asked.len()).await)
}

/// The same for a group that is not the main one.
async fn other_asks(asked: Asked) -> (House, Vec<String>) {
    let (house, answers) = asking(asked).await;
    let house = house.start().await;
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy go").await;
    (house, all(&answers, asked.len()).await)
}

async fn all(answers: &Mutex<Vec<String>>, count: usize) -> Vec<String> {
    waiting("all are answered", async || answers.lock().unwrap().len() == count).await;
    answers.lock().unwrap().clone()
}

#[track_caller]
fn assert_says(answer: &str, status: &str, part: &str) {
    assert!(
        answer.contains(&format!(r#""status":"{status}""#)) && answer.contains(part),
        "{part:?} is not in {answer}"
    );
}

const SCHEDULE: &str = r#"{"type":"schedule_task","prompt":"water the plants","schedule_type":"cron",
    "schedule_value":"0 9 * * 1-5","context_mode":"group","targetJid":"test:other","createdBy":"main","isMain":true}"#;

#[tokio::test(start_paused = true)]
async fn a_message_is_stored_with_its_number_and_one_to_a_chat_that_is_no_group_is_refused() {
    let (house, answers) = main_asks(&[
        ("messages", r#"{"type":"message","chatJid":"test:other","text":"hi"}"#),
        ("messages", r#"{"type":"message","chatJid":"test:nobody","text":"hi"}"#),
        ("messages", r#"{"type":"message","chatJid":"","text":"hi"}"#),
        ("messages", r#"{"type":"message","chatJid":"test:main","text":" \n"}"#),
        ("messages", r#"{"type":"message","chatJid":"test:main","text":"as a role","sender":"Researcher"}"#),
        ("messages", r#"{"type":"dance"}"#),
        ("messages", r#"{"type":"message","chatJid":7,"text":"hi"}"#),
    ])
    .await;
    assert_says(&answers[0], "done", "stored for delivery to test:other as message 1 of the outbox");
    assert_says(&answers[1], "refused", "the chat test:nobody is not registered as a group; list_groups shows");
    assert_says(&answers[2], "refused", "is empty");
    assert_says(&answers[3], "refused", "the text is empty");
    assert_says(&answers[4], "done", "this host shows no sender's name");
    assert_says(&answers[5], "refused", r#"does not take \"dance\" requests; it takes message, file"#);
    assert_says(&answers[6], "refused", "the file is no request");
    house.shown(&["hi", "as a role"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_channel_that_is_away_says_that_it_waits() {
    let (house, answers) = asking(&[("messages", r#"{"type":"message","chatJid":"test:main","text":"hi"}"#)]).await;
    let house = house.start_without_channel().await;
    house.write("go").await;
    assert_says(&all(&answers, 1).await[0], "done", "is connected now, so it is sent when one is");
}

/// A house whose main agent has these files in its folder (and a link to a file that is not its own), and asks for them to be
/// sent: chat, path and caption each. What it is told.
async fn sending(
    files: &'static [(&'static str, &'static str)],
    asked: &'static [(&'static str, &'static str)],
) -> (EmptyHouse, Arc<Mutex<Vec<String>>>) {
    let answers = Arc::<Mutex<Vec<String>>>::default();
    let told = answers.clone();
    let house = House::empty(move |mut agent: Agent| {
        let told = told.clone();
        async move {
            let group = agent.group_folder();
            std::fs::create_dir_all(group.join("out")).unwrap();
            std::fs::write(group.parent().unwrap().join("secret"), "notmine").unwrap();
            let _ = std::os::unix::fs::symlink("../secret", group.join("link"));
            for (name, content) in files {
                std::fs::write(group.join(name), content).unwrap();
            }
            for (number, (chat, path)) in asked.iter().enumerate() {
                let request = format!(r#"{{"type":"file","chatJid":"{chat}","path":"{path}","caption":"look"}}"#);
                let answer = agent.request(format!("{number}.json"), request).await;
                told.lock().unwrap().push(answer);
            }
            agent.answer(|_| Some("done".to_owned())).await;
            agent.until_closed().await
        }
    })
    .await;
    house.store.add_group(&main_group()).await.unwrap();
    (house, answers)
}

#[tokio::test(start_paused = true)]
async fn f54_a_file_is_looked_at_without_trust_and_a_copy_of_it_is_sent() {
    let (house, answers) = sending(
        &[("out/report.txt", "thereport"), ("out/full", "full")],
        &[
            ("test:main", "/workspace/group/out/report.txt"),
            ("test:main", "out/report.txt"),
            ("test:main", "../secret"),
            ("test:main", "link"),
            ("test:main", "/etc/passwd"),
            ("test:main", "out"),
            ("test:main", "none"),
            ("test:nobody", "out/report.txt"),
            ("test:main", "out/full"),
        ],
    )
    .await;
    house.channel.take_files();
    let house = house.start().await;
    house.write("go").await;
    let answers = all(&answers, 9).await;
    for (number, answer) in answers[..2].iter().enumerate() {
        let stored = format!("stored for delivery to test:main as message {} of the outbox", number + 1);
        assert_says(answer, "done", &format!("{stored}: report.txt, text/plain, 9 bytes"));
    }
    for (answer, part) in answers[2..].iter().zip([
        "upwards",
        "a link is not followed",
        "own folder",
        "not a regular file",
        "no such file",
        "is not registered",
        "is not sent: there is no room for it",
    ]) {
        assert_says(answer, "refused", part);
    }
    house.shown(&["look", "look", "done"]).await;
    let file = ("look".to_owned(), "report.txt".to_owned(), "thereport".to_owned());
    assert_eq!(house.channel.files(), [file.clone(), file]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_takes_no_files_is_sent_none_and_the_agent_is_told() {
    let (house, answers) = sending(&[("a.txt", "a")], &[("test:main", "a.txt")]).await;
    let house = house.start().await;
    house.write("go").await;
    let answers = all(&answers, 1).await;
    assert_says(&answers[0], "refused", "the channel test takes no files, so none can be sent to test:main");
    assert_says(&answers[0], "refused", "Nothing was sent, no caption either");
    house.shown(&["done"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_for_a_channel_that_is_away_waits_and_one_that_takes_none_makes_it_fail_by_name() {
    let (house, answers) = sending(&[("a.txt", "a")], &[("test:main", "a.txt")]).await;
    let channel = house.channel.clone();
    let house = house.start_without_channel().await;
    house.write("go").await;
    assert_says(
        &all(&answers, 1).await[0],
        "done",
        "of the outbox: a.txt, text/plain, 1 bytes; no channel that carries this chat is connected now",
    );
    house.orchestrator.add_channel(channel);
    house.shown_last_containing("the channel test takes no files. It begins: \"[file: a.txt] look\"").await;
    assert!(house.channel.files().is_empty());
}

/// A host that died between the commit and the answer: the next one finds the request, and the row.
#[tokio::test(start_paused = true)]
async fn f21_a_file_of_which_a_dead_host_had_stored_that_it_is_sent_is_sent_once_and_not_copied_again() {
    let (house, answers) = sending(&[("a.txt", "a")], &[("test:main", "a.txt")]).await;
    house.channel.take_files();
    let run = RunId { group: folder("main"), number: RunNumber(1) };
    let spool = SpoolName::new("thefirstcopy").unwrap();
    let file = SpooledFile { spool, media_type: "text/plain".to_owned(), bytes: 12 };
    let asked = NewDelivery {
        key: DeliveryKey::request(&run, "0.json"),
        chat: "test:main".parse().unwrap(),
        text: "look".to_owned(),
        file: Some(OutgoingFile::new(folder("main"), "a.txt", file)),
        answers: None,
    };
    house.store.post(&asked, Timestamp::now()).await.unwrap();
    let house = house.start().await;
    house.write("go").await;
    assert_says(&all(&answers, 1).await[0], "done", "as message 1 of the outbox: a.txt, text/plain, 12 bytes");
    house.shown(&["look", "done"]).await;
    assert_eq!(house.channel.files(), [("look".to_owned(), "a.txt".to_owned(), "thefirstcopy".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_says_in_the_middle_of_its_work_answers_the_message_that_it_works_on() {
    let house = main_asks(&[
        ("messages", r#"{"type":"message","chatJid":"test:main","text":"one moment"}"#),
        ("messages", r#"{"type":"message","chatJid":"test:other","text":"you should know"}"#),
    ])
    .await
    .0;
    waiting("all was shown", async || house.channel.texts().len() == 2).await;
    let of = |text: &str| {
        let sent = house.channel.deliveries();
        sent.into_iter().find(|delivery| delivery.text == text).unwrap().answered.reply_to.map(|reply_to| reply_to.text)
    };
    assert_eq!(of("one moment").as_deref(), Some("go"));
    assert_eq!(of("you should know"), None, "nobody asked for it there");
}

#[tokio::test(start_paused = true)]
async fn the_main_group_registers_a_chat_and_it_is_answered_from_then_on() {
    let (house, answers) = main_asks(&[
        ("tasks", r#"{"type":"register_group","jid":"test:new","name":"New","folder":"new","trigger":"@andy"}"#),
        ("tasks", r#"{"type":"register_group","jid":"test:new","name":"Again","folder":"new","trigger":"!bot"}"#),
        ("tasks", r#"{"type":"register_group","jid":"test:all","name":"All","folder":"all","trigger":"x","requiresTrigger":false,"isMain":true}"#),
        ("tasks", r#"{"type":"register_group","jid":"far:1","name":"Far","folder":"far","trigger":"!bot","containerConfig":{}}"#),
        ("tasks", r#"{"type":"list_groups"}"#),
    ])
    .await;
    assert_says(&answers[0], "done", "registered test:new: group new, wakes on messages that begin with @Andy");
    assert_says(
        &answers[1],
        "done",
        "test:new is registered already: group new, wakes on messages that begin with @Andy",
    );
    assert_says(&answers[2], "done", "group all, wakes on every message");
    assert_says(&answers[3], "done", "no channel that carries this chat is connected now");
    assert_says(&answers[4], "done", "5 groups:");
    assert_says(&answers[4], "done", "- far:1 (Far): group far, wakes on messages that begin with !bot");
    let all = house.orchestrator.group(&folder("all")).unwrap();
    assert_eq!(
        (all.role, &all.trigger),
        (GroupRole::Ordinary, &TriggerPolicy::Always),
        "nobody becomes main by a file"
    );
    house.write_to("test:new", "@Andy hello").await;
    house.state_of("new", "resting").await;
}

#[tokio::test(start_paused = true)]
async fn f67_f68_a_registration_that_would_replace_another_or_makes_no_sense_is_refused() {
    let (house, answers) = main_asks(&[
        ("tasks", r#"{"type":"register_group","jid":"test:new","name":"New","folder":"other","trigger":""}"#),
        ("tasks", r#"{"type":"register_group","jid":"test:other","name":"New","folder":"new","trigger":""}"#),
        ("tasks", r#"{"type":"register_group","jid":"test:new","name":"New","folder":"../new","trigger":""}"#),
        ("tasks", r#"{"type":"register_group","jid":"nowhere","name":"New","folder":"new","trigger":""}"#),
        ("tasks", r#"{"type":"register_group","jid":"test:new","name":"a\nb","folder":"new","trigger":""}"#),
        ("tasks", r#"{"type":"register_group","jid":"test:new","folder":"new"}"#),
        ("tasks", r#"{"type":"refresh_groups"}"#),
    ])
    .await;
    assert_says(&answers[0], "refused", "the folder other belongs to the chat test:other already");
    assert_says(&answers[1], "refused", "the chat test:other is registered already, as the group other");
    assert_says(&answers[2], "refused", "group folder");
    assert_says(&answers[3], "refused", "is no chat id");
    assert_says(&answers[4], "refused", "one line");
    assert_says(&answers[5], "refused", "missing field `name`");
    assert_says(&answers[6], "done", "there was nothing to refresh");
    assert_eq!(house.store.groups().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn f46_f47_what_is_the_main_groups_is_refused_to_others_whatever_their_files_claim() {
    let (house, answers) = other_asks(&[
        ("tasks", r#"{"type":"register_group","jid":"test:new","name":"New","folder":"new","trigger":"","groupFolder":"main","isMain":true}"#),
        ("tasks", r#"{"type":"refresh_groups","isMain":"true"}"#),
        ("tasks", r#"{"type":"list_groups","isMain":true}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"interval","schedule_value":"5m","targetJid":"test:main","isMain":true}"#),
        ("messages", r#"{"type":"file","chatJid":"test:main","path":"a","isMain":true}"#),
    ])
    .await;
    assert_says(&answers[0], "refused", "only the main group may register groups");
    assert_says(&answers[1], "refused", "only the main group may refresh the groups");
    assert_says(&answers[2], "done", "this group is other (test:other)");
    assert!(!answers[2].contains("test:main"), "{}", answers[2]);
    assert_says(&answers[3], "refused", "this group may schedule for itself only");
    assert_says(&answers[4], "refused", "own chat test:other only");
    assert!(house.store.groups().await.unwrap().iter().all(|group| group.folder != folder("new")));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_removed_meanwhile_asks_for_nothing_any_more() {
    let told = Arc::<Mutex<Vec<String>>>::default();
    let answers = told.clone();
    let house = House::new(move |mut agent: Agent| {
        let told = told.clone();
        async move {
            agent.answer(|_| Some("ready".to_owned())).await;
            // It lives on for a while after it is asked to end.
            agent.stop.clone().cancelled_owned().await;
            let asked = r#"{"type":"message","chatJid":"test:other","text":"too late"}"#;
            let answer = agent.request("1.json".to_owned(), asked.to_owned()).await;
            told.lock().unwrap().push(answer);
            Exit::Code(0)
        }
    })
    .await;
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy go").await;
    house.shown(&["ready"]).await;
    house.orchestrator.remove_group(&folder("other")).await.unwrap();
    assert_says(&all(&answers, 1).await[0], "refused", "this group is not registered any more");
    tokio::time::sleep(Duration::from_secs(60)).await;
    house.shown(&["ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_schedule_checks_all_the_same_and_says_so() {
    let (_house, answers) = main_asks(&[
        ("tasks", SCHEDULE),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"cron","schedule_value":"every day"}"#),
        (
            "tasks",
            r#"{"type":"schedule_task","prompt":"p","schedule_type":"once","schedule_value":"2020-01-01T09:00:00"}"#,
        ),
        ("tasks", r#"{"type":"list_tasks"}"#),
        ("tasks", r#"{"type":"cancel_task","taskId":"task-1"}"#),
    ])
    .await;
    assert_says(&answers[0], "refused", "this host does not run scheduled tasks yet, so nothing was scheduled");
    assert_says(&answers[0], "refused", "The schedule itself is in order: it would be due ");
    assert_says(&answers[1], "refused", "it has five fields");
    assert_says(&answers[2], "refused", "has passed");
    assert_says(&answers[3], "refused", "so there are none");
    assert_says(&answers[4], "refused", "so there are none");
}

/// A house whose host keeps tasks and whose main group's agent asks for this.
async fn main_asks_for_tasks(asked: Asked) -> (House, Vec<String>) {
    let (house, answers) = asking(asked).await;
    let house = house.with_tasks().start().await;
    house.add_group("other", "test:other").await;
    house.write("go").await;
    let answers = all(&answers, asked.len()).await;
    (house, answers)
}

#[tokio::test(start_paused = true)]
async fn the_main_group_schedules_for_another_and_sees_and_changes_every_task() {
    let (house, answers) = main_asks_for_tasks(&[
        ("tasks", SCHEDULE),
        ("tasks", r#"{"type":"list_tasks"}"#),
        ("tasks", r#"{"type":"pause_task","taskId":"task-1","groupFolder":"main","isMain":true}"#),
        ("tasks", r#"{"type":"resume_task","taskId":"task-1"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","schedule_value":"30 8 * * *","isMain":"true"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","schedule_type":"interval","schedule_value":"7200000","prompt":"tidy up","script":"true"}"#),
        ("tasks", r#"{"type":"list_tasks"}"#),
        ("tasks", r#"{"type":"cancel_task","taskId":"task-1"}"#),
        ("tasks", r#"{"type":"cancel_task","taskId":"task-1"}"#),
        ("tasks", r#"{"type":"list_tasks"}"#),
    ])
    .await;
    assert_says(&answers[0], "done", "scheduled as task task-1 for the group other (context group): due ");
    assert_eq!(answers[0].matches("09:00 UTC").count(), 3, "three times to check: {}", answers[0]);
    assert_says(&answers[1], "done", "- [task-1] water the plants (group other): cron 0 9 * * 1-5, active, due next: ");
    assert_says(&answers[2], "done", "the task task-1 rests");
    assert_says(&answers[3], "done", "the task task-1 goes on: cron 0 9 * * 1-5, active");
    assert_says(&answers[4], "done", "the task task-1 is changed: cron 30 8 * * *, active");
    assert_says(&answers[5], "done", "interval 7200000");
    assert_says(&answers[6], "done", "- [task-1] tidy up (group other)");
    assert_says(&answers[7], "done", "is cancelled");
    assert_says(&answers[8], "refused", r#"there is no task \"task-1\""#);
    assert_says(&answers[9], "done", "there are no tasks");
    let task = Tasks::task(&*house.store, &"task-1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(task.status, TaskStatus::Cancelled, "its record stays");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_asked_for_as_people_say_it_and_every_choice_can_be_made_and_changed() {
    let (house, answers) = main_asks_for_tasks(&[
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule":"0 9 * * 1-5","timezone":"Asia/Tokyo","context_mode":"own",
            "catch_up":"all","overlap":"queue","silent":true}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule":"in 2h"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","catch_up":"skip","silent":false}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","timezone":"America/New_York"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","schedule":"every 90m","context_mode":"isolated"}"#),
        ("tasks", r#"{"type":"list_tasks"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule":"every 5m","schedule_type":"cron"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule":"every 5m","timezone":"Mars/Olympus"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule":"every 5m","catch_up":"twice"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","overlap":"both"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule":"daily at nine"}"#),
    ])
    .await;
    let own = "(context own, catch_up all, overlap queue, silent)";
    assert_says(&answers[0], "done", &format!("scheduled as task task-1 for the group main {own}: due "));
    assert_eq!(answers[0].matches("09:00 JST").count(), 3, "in its zone: {}", answers[0]);
    assert_says(&answers[1], "done", "scheduled as task task-2 for the group main (context group): due ");
    assert_says(&answers[2], "done", "cron 0 9 * * 1-5 (context own, catch_up skip, overlap queue), active");
    assert_eq!(answers[3].matches("09:00 E").count(), 3, "its local times stay: {}", answers[3]);
    assert_says(&answers[4], "done", "interval 5400000 (context isolated, catch_up skip, overlap queue), active");
    assert_says(&answers[5], "done", "- [task-2] p (group main): once ");
    assert_says(&answers[6], "refused", "not by both");
    assert_says(&answers[7], "refused", "a zone has a name such as Europe/Berlin");
    assert_says(&answers[8], "refused", "catch_up is skip, once or all");
    assert_says(&answers[9], "refused", "overlap is skip or queue");
    assert_says(&answers[10], "refused", "it was not said when");
    assert_says(&answers[11], "refused", "is no schedule; it is `every 5m`, `in 2h`");
    let task = Tasks::task(&*house.store, &"task-1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((task.terms.context, task.zone.iana_name()), (TaskContext::Isolated, Some("America/New_York")));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_an_agent_wants_to_run_now_runs_once_beside_its_times() {
    let (house, answers) = main_asks_for_tasks(&[
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule":"0 9 1 1 *"}"#),
        ("tasks", r#"{"type":"run_task_now","taskId":"task-1"}"#),
        ("tasks", r#"{"type":"run_task_now","taskId":"task-1"}"#),
        ("tasks", r#"{"type":"run_task_now","taskId":"task-9"}"#),
    ])
    .await;
    assert_says(&answers[1], "done", "the task task-1 runs as soon as its group may, beside its times: cron 0 9 1 1 *");
    assert_says(&answers[2], "refused", "waits to be run already");
    assert_says(&answers[3], "refused", "there is no task");
    assert_eq!(house.store.firings(&"task-1".parse().unwrap(), 10).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_make_no_sense_are_refused_with_what_would() {
    let (house, answers) = main_asks_for_tasks(&[
        ("tasks", r#"{"type":"schedule_task","prompt":" ","schedule_type":"interval","schedule_value":"5m"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"interval","schedule_value":"0"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"cron","schedule_value":"0 0 30 2 *"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"once","schedule_value":"2099-01-01T09:00:00Z"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"interval","schedule_value":"5m","context_mode":"none"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"interval","schedule_value":"5m","targetJid":"test:nobody"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","prompt":"p"}"#),
        ("tasks", r#"{"type":"pause_task"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":7,"schedule_type":"interval","schedule_value":"5m"}"#),
        ("tasks", r#"{"type":"schedule_task","prompt":"p","schedule_type":"interval","schedule_value":"5m"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1"}"#),
        ("tasks", r#"{"type":"update_task","taskId":"task-1","schedule_type":"cron"}"#),
    ])
    .await;
    let parts = [
        "the prompt is empty",
        "is too short",
        "is never due",
        "has a zone in it",
        "context_mode is group, isolated or own",
        "is not registered as a group",
        "there is no task",
        "missing field `taskId`",
        "the file is no request",
    ];
    for (answer, part) in answers.iter().zip(parts) {
        assert_says(answer, "refused", part);
    }
    assert_says(&answers[9], "done", "scheduled as task task-1 for the group main");
    assert_says(&answers[10], "refused", "nothing was said that is to change");
    assert_says(&answers[11], "refused", "needs a schedule_value");
    let asked = house.store.tasks_asked_for();
    assert_eq!(asked[0].schedule, Schedule::Every(Duration::from_secs(300)));
    assert_eq!((asked[0].terms.context, &asked[0].created_by), (TaskContext::Group, &folder("main")));
}

#[tokio::test(start_paused = true)]
async fn a_group_sees_and_changes_its_own_tasks_only() {
    let asked: Asked = &[
        ("tasks", r#"{"type":"schedule_task","prompt":"mine","schedule_type":"interval","schedule_value":"5m"}"#),
        ("tasks", r#"{"type":"list_tasks","isMain":true}"#),
        ("tasks", r#"{"type":"cancel_task","taskId":"task-1","groupFolder":"main","isMain":true}"#),
        ("tasks", r#"{"type":"pause_task","taskId":"task-1"}"#),
    ];
    let (house, answers) = asking(asked).await;
    let house = house.with_tasks().start().await;
    let key = DeliveryKey::new("request/main/9/1").unwrap();
    let owners = NewTask {
        key,
        group: folder("main"),
        created_by: folder("main"),
        prompt: "the owner's".to_owned(),
        schedule: Schedule::Every(Duration::from_secs(300)),
        zone: jiff::tz::TimeZone::UTC,
        first_due: Timestamp::now().plus(Duration::from_secs(300)),
        terms: TaskTerms::default(),
        script: None,
    };
    let owners = Tasks::add(&*house.store, &owners, Timestamp::now()).await.unwrap();
    let stands = async || Tasks::task(&*house.store, &owners).await.unwrap().unwrap().status;
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy go").await;
    let of_other = all(&answers, 4).await;
    assert_says(&of_other[0], "done", "for the group other");
    assert!(!of_other[1].contains("the owner's") && of_other[1].contains("(group other)"), "{}", of_other[1]);
    for refused in &of_other[2..] {
        assert_says(refused, "refused", r#"there is no task \"task-1\" of this group"#);
    }
    assert_eq!(stands().await, TaskStatus::Active);

    answers.lock().unwrap().clear();
    house.write("go").await;
    let of_main = all(&answers, 4).await;
    assert!(of_main[1].contains("the owner's") && of_main[1].contains("(group other)"), "{}", of_main[1]);
    assert_says(&of_main[2], "done", "is cancelled");
    assert_says(&of_main[3], "refused", r#"there is no task \"task-1\""#);
    assert_eq!(stands().await, TaskStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_a_dead_host_had_kept_and_not_answered_is_kept_once_and_the_next_host_answers() {
    let told = Arc::<Mutex<Vec<String>>>::default();
    let answers = told.clone();
    let house = House::empty(move |mut agent: Agent| {
        let told = told.clone();
        async move {
            // What the answer's name has keeps it from being written, and the request from being removed.
            let answer = agent.mailbox.root().join("answers/1.json");
            std::fs::create_dir_all(answer.join("in the way")).unwrap();
            agent.mailbox.tasks().unwrap().write("1.json", SCHEDULE.as_bytes()).unwrap();
            while !answer.is_file() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            told.lock().unwrap().push(std::fs::read_to_string(answer).unwrap());
            agent.answer(|_| None).await;
            agent.until_closed().await
        }
    })
    .await;
    let house = house.with_tasks();
    for group in [
        main_group(),
        Group {
            folder: folder("other"),
            chat: "test:other".parse().unwrap(),
            role: GroupRole::Ordinary,
            ..main_group()
        },
    ] {
        house.store.add_group(&group).await.unwrap();
    }
    let house = house.start().await;
    house.write("go").await;
    waiting("the task is kept", async || !house.store.tasks_asked_for().is_empty()).await;
    house.kill().await;
    std::fs::remove_dir_all(house.mailbox("main").root().join("answers/1.json")).unwrap();
    assert!(answers.lock().unwrap().is_empty(), "nothing was answered");
    let house = house.restart().await;
    assert_says(&all(&answers, 1).await[0], "done", "scheduled as task task-1");
    assert_eq!(house.store.tasks_asked_for().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_container_asked_for_before_it_died_with_its_host_is_done_once_in_its_own_name() {
    let (house, _answers) = asking(&[]).await;
    let house = house.with_tasks();
    // The main group's run, whose container and host are gone.
    let run = RunId { group: folder("main"), number: RunNumber(1) };
    let new = NewRun {
        id: run.clone(),
        kind: RunKind::Chat,
        runtime: RuntimeKind::Sandbox,
        handed: None,
        at: Timestamp::now(),
    };
    let message = house.message("test:main", "go");
    house.store.accept(&message, nanoclaw_core::message::Wakes::Yes, Timestamp::now()).await.unwrap();
    house.store.open_run(&new).await.unwrap();
    let first = nanoclaw_core::message::Seq(1);
    house.store.hand_over(&run, Handed { first, last: first }, Timestamp::now()).await.unwrap();
    let mailbox = house.mailbox("main");
    mailbox.create().unwrap();
    let register = br#"{"type":"register_group","jid":"test:new","name":"New","folder":"new","trigger":""}"#;
    mailbox.tasks().unwrap().write("1.json", register).unwrap();
    let schedule = br#"{"type":"schedule_task","prompt":"p","schedule_type":"interval","schedule_value":"5m"}"#;
    mailbox.tasks().unwrap().write("2.json", schedule).unwrap();
    let house = house.start().await;
    waiting("both are done", async || mailbox.tasks().unwrap().claim(&Default::default()).unwrap().is_empty()).await;
    assert_eq!(house.store.tasks_asked_for()[0].key.as_str(), "request/main/1/2.json");
    // The group is served by the host that registered it.
    house.write_to("test:new", "@Andy hello").await;
    house.state_of("new", "resting").await;
}
