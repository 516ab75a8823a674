//! The steps that messages take through the host and through `nanoclaw-whatsapp`, as both log them ([`nanoclaw_core::steps`]), and when.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use nanoclaw_core::steps::STEPS;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

/// How long a step is waited for, which another process may tell a little late.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a line of the log begins with behind its time.
const LINE: &str = " DEBUG nanoclaw::steps: ";

/// A step of a message.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    what: String,
    /// By the clock of the machine, which both processes have.
    pub(crate) at: SystemTime,
    fields: BTreeMap<String, String>,
}

impl Step {
    /// Empty when it has none of this name.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// What `2026-11-22T19:50:56.884093Z DEBUG nanoclaw::steps: seen chat="1@g.us" id="3EB0"` says; `None`: it is no step.
    fn read(line: &str) -> Option<Self> {
        let (at, said) = line.split_once(LINE)?;
        let at = at.trim().parse::<jiff::Timestamp>().ok()?.into();
        // The words of a step have no `=`, and those of its fields no blanks.
        let first = said.find('=').and_then(|end| said[..end].rfind(' ')).unwrap_or(said.len());
        let fields = said[first..].split_whitespace().filter_map(|field| field.split_once('='));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect();
        Some(Self { what: said[..first].to_owned(), at, fields })
    }
}

/// The steps since they were [begun](Self::begin). Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Option<Vec<Step>>>>);

impl Steps {
    /// Hears what this process logs from now on, and nothing but steps. For once in a process.
    pub(crate) fn install() -> Self {
        let steps = Self::default();
        let only = EnvFilter::new(format!("off,{STEPS}=debug"));
        tracing_subscriber::registry().with(steps.clone().with_filter(only)).init();
        steps
    }

    /// Keeps them from now on; those before are forgotten.
    pub(crate) fn begin(&self) {
        *self.0.lock().unwrap() = Some(Vec::new());
    }

    /// Keeps none any more.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap() = None;
    }

    /// What another process logged. `false`: it is no step.
    pub(crate) fn hear(&self, line: &str) -> bool {
        Step::read(line).map(|step| self.keep(step)).is_some()
    }

    /// The first step of this name with this field, as soon as it is told.
    pub(crate) async fn first(&self, what: &str, (field, value): (&str, &str)) -> Step {
        let found = async {
            loop {
                let told = self.0.lock().unwrap().clone().unwrap_or_default();
                if let Some(step) = told.into_iter().find(|step| step.what == what && step.field(field) == value) {
                    return step;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| {
            panic!("nobody logged {what} with {field} {value}; logged was {:#?}", self.0.lock().unwrap())
        })
    }

    fn keep(&self, step: Step) {
        self.0.lock().unwrap().iter_mut().for_each(|told| told.push(step.clone()));
    }
}

impl<S: Subscriber> Layer<S> for Steps {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut step = Step { what: String::new(), at: SystemTime::now(), fields: BTreeMap::new() };
        event.record(&mut step);
        self.keep(step);
    }
}

impl Visit for Step {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.what = value,
            name => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}
