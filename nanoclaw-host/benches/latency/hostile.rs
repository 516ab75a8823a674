//! What a group's follow-ups cost while another group's agent does its worst to its own mailbox: in the same run, quiet, with an
//! agent that does the same in a folder of its own at which nobody looks (the control: what it takes of the processors and the file
//! system is not the mailbox's fault), and under attack, taking turns.
//!
//! The attacker is this program itself, copied into its group's folder and started as that group's agent.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    containers::Bridge,
    figures::{Figure, Unit},
    machine::pauses_when_busy,
    program::{Installation, Service},
};

/// What the attacker is started with.
const HIDDEN: &str = "--be-hostile";
/// Where it learns what to do, in its group's folder.
const ORDER: &str = "order";
/// How many turns are taken before something else is done.
const TURNS: usize = 40;
const PHASES: [&str; 3] = ["quiet", "elsewhere", "mailbox"];
const BOTH: usize = 2;

/// Acts as the agent and never returns, if that is what this program was started for.
pub(crate) fn maybe_attack() {
    if std::env::args().nth(1).as_deref() == Some(HIDDEN) {
        let attackers: Vec<_> = (0..BOTH).map(|number| std::thread::spawn(move || attack(number))).collect();
        attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    }
}

/// Under which conditions it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    /// How often quiet, control and attack take turns.
    pub(crate) rounds: usize,
    /// What the attacker's container may take of the machine, in processors.
    pub(crate) processors: f32,
    /// What passes between an answer and the next follow-up.
    pub(crate) pause: Duration,
}

pub(crate) fn measure(program: &Path, conditions: &Conditions) -> Vec<Figure> {
    let Conditions { rounds, processors, pause } = conditions;
    eprintln!(
        "{rounds} rounds beside a hostile agent with {processors} processors, {TURNS} follow-ups each way, {pause:?} apart"
    );
    match beside_an_attacker(program, conditions) {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("skipped: needs the sandbox, and agent-runner beside nanoclaw: {error}");
            Vec::new()
        }
    }
}

fn beside_an_attacker(program: &Path, conditions: &Conditions) -> Result<Vec<Figure>, String> {
    let Conditions { rounds, processors, pause } = *conditions;
    let pauses = pauses_when_busy();
    let installation = Installation::with_groups(program, "sandbox", 2);
    let config = installation.home.config_file();
    let mut text = fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "\n[groups.group1]\ncommand = [\"/workspace/group/attacker\", \"{HIDDEN}\"]\ncpus = {processors:?}\n"
    ));
    fs::write(&config, text).unwrap();
    let folder = installation.home.groups().join("group1");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(std::env::current_exe().unwrap(), folder.join("attacker")).map_err(|error| error.to_string())?;
    let order = |what: &str| {
        fs::write(folder.join("order.tmp"), what).unwrap();
        fs::rename(folder.join("order.tmp"), folder.join(ORDER)).unwrap();
    };
    order("quiet");
    let (service, _) = installation.serve()?;
    let mut bridge = Bridge::connect(&installation)?;
    bridge.turn_beside_others(0, 0)?;
    bridge.message(1, 0)?;
    wait_for(&folder.join("here"))?;
    let mut turns: [Vec<Duration>; 3] = Default::default();
    let mut shares: [Vec<f64>; 3] = Default::default();
    let mut number = 0;
    for _ in 0..rounds {
        for (phase, what) in PHASES.into_iter().enumerate() {
            order(what);
            std::thread::sleep(Duration::from_millis(300));
            let (begun, used) = (Instant::now(), processor_time(&service));
            for _ in 0..TURNS {
                number += 1;
                std::thread::sleep(pause);
                turns[phase].push(bridge.turn_beside_others(0, number)?);
            }
            let used = processor_time(&service).saturating_sub(used);
            shares[phase].push(100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64());
        }
    }
    let done = fs::read_to_string(folder.join("done")).unwrap_or_default();
    eprintln!("the attacker's last word: {}", done.trim());
    order("quiet");
    let ratio = |name: &str, of: usize, to: usize| {
        let p99 = |turns: &[Duration]| {
            let mut sorted = turns.to_vec();
            sorted.sort();
            sorted[(sorted.len() * 99).div_ceil(100) - 1].as_secs_f64()
        };
        Figure::new(name, Unit::Ratio, vec![p99(&turns[of]) / p99(&turns[to])])
    };
    let name = "whole turn of a live agent beside";
    Ok(vec![
        pauses,
        Figure::times(format!("{name} a quiet group"), &turns[0]),
        Figure::times(format!("{name} an agent that is busy elsewhere"), &turns[1]),
        Figure::times(format!("{name} an agent that attacks its mailbox"), &turns[2]),
        ratio("p99 under attack to p99 in quiet", 2, 0).under(2.0),
        ratio("p99 beside a busy agent to p99 in quiet (the control)", 1, 0),
        ratio("p99 under attack to the control's", 2, 1).under(2.0),
        Figure::new("the host's share of one processor, quiet (percent)", Unit::Count, shares[0].clone()),
        Figure::new("the same, the agent busy elsewhere", Unit::Count, shares[1].clone()),
        Figure::new("the same, under attack", Unit::Count, shares[2].clone()),
    ])
}

fn wait_for(file: &Path) -> Result<(), String> {
    for _ in 0..600 {
        if file.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("the hostile agent did not start".to_owned())
}

/// What the service itself has used of the processors.
fn processor_time(service: &Service) -> Duration {
    let stat = fs::read_to_string(service.proc().join("stat")).unwrap();
    // The name in parentheses may have blanks; the fields after it are numbered from 3.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |field: usize| fields[field - 3].parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(14) + ticks(15)))
}

/// Does as it is ordered.
fn attack(number: usize) {
    let ipc = PathBuf::from(std::env::var_os("NANOCLAW_IPC_DIR").unwrap());
    let group = PathBuf::from(std::env::var_os("NANOCLAW_GROUP_DIR").unwrap());
    fs::write(group.join("here"), "").unwrap();
    let elsewhere = group.join("elsewhere").join(number.to_string());
    for folder in ["messages", "tasks", "output", "answers", "alive", "input"] {
        fs::create_dir_all(elsewhere.join(folder)).unwrap();
    }
    let mut round = 0_u64;
    loop {
        match fs::read_to_string(group.join(ORDER)).unwrap_or_default().as_str() {
            "mailbox" => (0..200).for_each(|_| nuisance(&ipc, number, &mut round)),
            "elsewhere" => (0..200).for_each(|_| nuisance(&elsewhere, number, &mut round)),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
        if round.is_multiple_of(2000) {
            let _ = fs::write(group.join("done"), format!("{round} rounds of one thread"));
        }
    }
}

/// One round of it below `at`: floods of requests, journal files, changes and names that are no files; 50,000 names a thread
/// stay there.
fn nuisance(at: &Path, number: usize, round: &mut u64) {
    *round += 1;
    let name = format!("{number}-{:05}", *round % 50_000);
    let (messages, output) = (at.join("messages"), at.join("output"));
    let made = messages.join(format!(".{number}.tmp"));
    let request = Value::from(format!("flood {round}"));
    let _ = fs::write(&made, format!(r#"{{"type":"message","chatJid":"bench:1","text":{request}}}"#));
    let _ = fs::rename(&made, messages.join(format!("{name}.json")));
    let _ = std::os::unix::fs::symlink("/etc/passwd", at.join("tasks").join(format!("{name}.json")));
    for folder in ["output", "messages", "alive", "input"] {
        // Two names take turns, since equal changes in a row are told once.
        for file in ["a", "b"] {
            let file = at.join(folder).join(format!("{file}{number}"));
            let _ = fs::OpenOptions::new().create(true).append(true).open(file);
        }
    }
    match *round % 64 {
        0 => {
            // Full of holes, so that it takes no room.
            let _ = fs::File::create(output.join(format!("{name}.json"))).and_then(|file| file.set_len(1 << 30));
        }
        1 => drop(fs::create_dir_all(output.join(format!("{name}.json/full")))),
        2 => {
            let file = fs::File::create(output.join(format!("{name}.json")));
            let _ = file.and_then(|mut file| file.write_all("[".repeat(900_000).as_bytes()));
        }
        3 => {
            let (one, other) = (at.join("answers"), at.join("answers-aside"));
            let _ = fs::rename(&one, &other).and_then(|()| fs::rename(&other, &one));
        }
        _ => drop(fs::write(output.join(format!("{name}.json")), "{")),
    }
}
