//! What the service knows, and what it does with what clients say. It waits for nothing; connections do.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::mpsc::UnboundedSender;
use waproto::whatsapp::Message;

use super::{
    account::Account,
    delivery::Queue,
    faults::{Fault, Faults},
    link::Greeting,
    linking::{self, TypedCode},
    login::{self, Phase},
    media::Media,
    nodes::{Node, attr, child, children, node, now},
    people::People,
    queries,
    seen::{Receipt, Seen},
};

pub(super) struct World {
    pub(super) account: Account,
    pub(super) people: People,
    /// What was said, by chat and id.
    pub(super) messages: HashMap<(String, String), Kept>,
    /// What the client has not said yet that it has it.
    pub(super) queue: Queue,
    pub(super) media: Media,
    pub(super) connections: BTreeMap<usize, Connection>,
    pub(super) typed_code: Option<TypedCode>,
    pub(super) faults: Faults,
    /// How many of the client's next messages cannot be read.
    pub(super) misreads: usize,
    /// Answers that wait for being let go, with the connection that they are for.
    held: Vec<(usize, Vec<Node>)>,
    pub(super) refusing: usize,
    /// What logins are refused with.
    pub(super) refusal: Option<Node>,
    pub(super) seen: Seen,
    next_id: u64,
}

/// A message that was said.
pub(super) struct Kept {
    /// By whom, or `None` by the client.
    pub(super) who: Option<String>,
    pub(super) message: Message,
}

pub(super) struct Connection {
    /// Unbounded: what is in it is for one client on loopback.
    pub(super) outbox: UnboundedSender<Out>,
    pub(super) noise_key: [u8; 32],
    pub(super) phase: Phase,
}

/// What a connection is to do.
pub(super) enum Out {
    Say(Node),
    /// Go, without a word.
    Drop,
    /// Go, after everything was said.
    Close,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            account: Account::new(),
            people: People::default(),
            messages: HashMap::new(),
            queue: Queue::default(),
            media: Media::default(),
            connections: BTreeMap::new(),
            typed_code: None,
            faults: Faults::default(),
            misreads: 0,
            held: Vec::new(),
            refusing: 0,
            refusal: None,
            seen: Seen::default(),
            next_id: 0,
        }
    }

    /// An id for a message, as phones make them.
    pub(super) fn new_id(&mut self) -> String {
        self.next_id += 1;
        format!("3EB0FACE{:012X}", self.next_id)
    }

    /// A client shook hands.
    pub(super) fn open(&mut self, greeting: Greeting, outbox: UnboundedSender<Out>) -> usize {
        self.seen.connections += 1;
        self.seen.open += 1;
        self.seen.handshakes.push(greeting.handshake);
        let number = self.seen.connections;
        let connection = Connection { outbox, noise_key: greeting.noise_key, phase: Phase::Greeted };
        self.connections.insert(number, connection);
        login::begin(self, number, &greeting.payload);
        number
    }

    /// A connection is gone.
    pub(super) fn closed(&mut self, number: usize) {
        self.connections.remove(&number);
        self.typed_code.take_if(|typed| typed.is_of(number));
        self.seen.open -= 1;
    }

    /// A client says something.
    pub(super) fn hear(&mut self, number: usize, said: &Node) {
        if self.phase(number) == Some(Phase::Leaving) {
            return;
        }
        let is_query = said.tag == "iq" && matches!(attr(said, "type").as_str(), "get" | "set");
        let fault = self.faults.take(&if is_query { attr(said, "xmlns") } else { said.tag.to_string() });
        match &fault {
            Some(Fault::DropBefore) => return self.drop_one(number),
            Some(Fault::Error(code)) => return self.say(number, refusal(said, *code)),
            Some(Fault::DropAfter | Fault::Slow) | None => {}
        }
        let answers = self.answers(number, said);
        match fault {
            Some(Fault::DropAfter) => self.drop_one(number),
            Some(Fault::Slow) => self.held.push((number, answers)),
            _ => answers.into_iter().for_each(|answer| self.say(number, answer)),
        }
        self.deliver();
    }

    fn answers(&mut self, number: usize, said: &Node) -> Vec<Node> {
        match said.tag.as_ref() {
            "iq" if matches!(attr(said, "type").as_str(), "get" | "set") => queries::answers(self, number, said),
            "iq" => linking::answered(self, number, said),
            "message" => vec![self.take_message(said)],
            "receipt" => vec![self.take_receipt(said)],
            "ack" => {
                let id = attr(said, "id");
                self.queue.is_done_with(&id);
                self.seen.acknowledged.push(id);
                Vec::new()
            }
            "ib" => self.take_offline_batch(number, said),
            "chatstate" => {
                let state = children(said).first().map(|state| state.tag.to_string()).unwrap_or_default();
                self.seen.typing.push((attr(said, "to"), state));
                Vec::new()
            }
            "presence" => {
                let presence = attr(said, "type");
                self.seen.presences.push(if presence.is_empty() { "available".to_owned() } else { presence });
                Vec::new()
            }
            other => {
                self.seen.unknown.push(other.to_owned());
                Vec::new()
            }
        }
    }

    fn take_receipt(&mut self, said: &Node) -> Node {
        let (kind, to) = (attr(said, "type"), attr(said, "to"));
        let more = child(said, "list").map(children).unwrap_or_default().iter().map(|item| attr(item, "id"));
        let ids: Vec<String> = std::iter::once(attr(said, "id")).chain(more).collect();
        ids.iter().for_each(|id| self.queue.has(id));
        if kind == "retry" {
            self.say_again(said);
        }
        self.seen.receipts.push(Receipt { ids, kind: kind.clone(), to: to.clone() });
        let ack = node("ack").attr("class", "receipt").attr("id", attr(said, "id")).attr("from", to);
        if kind.is_empty() { ack } else { ack.attr("type", kind) }.build()
    }

    /// Answers that waited are let go.
    pub(super) fn release(&mut self) {
        for (number, answers) in std::mem::take(&mut self.held) {
            answers.into_iter().for_each(|answer| self.say(number, answer));
        }
    }

    pub(super) fn say(&mut self, number: usize, said: Node) {
        if let Some(connection) = self.connections.get(&number) {
            // A connection that is going hears nothing any more.
            let _ = connection.outbox.send(Out::Say(said));
        }
    }

    /// A connection is dropped without a word, after what it was told already.
    pub(super) fn drop_one(&mut self, number: usize) {
        self.leave(number, Out::Drop);
    }

    /// A connection is told this and closed.
    pub(super) fn end(&mut self, number: usize, last: Node) {
        self.say(number, last);
        self.leave(number, Out::Close);
    }

    fn leave(&mut self, number: usize, how: Out) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.phase = Phase::Leaving;
            let _ = connection.outbox.send(how);
        }
    }
}

/// How a message or a query is refused.
fn refusal(said: &Node, code: u16) -> Node {
    let id = attr(said, "id");
    let from = attr(said, "to");
    match said.tag.as_ref() {
        "iq" => {
            let error = node("error").attr("code", code.to_string()).attr("text", "fault").build();
            node("iq").attr("from", from).attr("id", id).attr("type", "error").children([error]).build()
        }
        class => node("ack")
            .attr("class", class)
            .attr("id", id)
            .attr("from", from)
            .attr("t", now().to_string())
            .attr("error", code.to_string())
            .build(),
    }
}
