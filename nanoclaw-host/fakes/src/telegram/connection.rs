//! A connection: what comes on it is answered with its faults, and news are pushed on it.

use std::{sync::Arc, time::SystemTime};

use anyhow::{Context as _, bail};
use grammers_tl_types::{Cursor, Deserializable as _, Identifiable as _, functions as f, name_for_id, types as t};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    FakeTelegram, State, answers,
    crypto::{self, From, Unreadable},
    faults::{Fault, Refusal},
    frames::{Reading, Writing, transport_error},
    packets::{self, Incoming, Outgoing, Packing},
    requests::Call,
    seen,
    tl::{Object, Writer},
};

/// How many answers that come late wait to be written.
const LATE_ANSWERS: usize = 64;

/// The key is not known (any more).
const UNKNOWN_KEY: i32 = 404;

/// Serves a connection to its end.
pub(super) async fn serve(state: Arc<State>, stream: TcpStream) {
    let number = state.change(|world| {
        if world.refusing > 0 {
            world.refusing -= 1;
            world.seen.refused += 1;
            return None;
        }
        world.seen.connections += 1;
        world.seen.open += 1;
        Some(world.seen.connections)
    });
    let Some(number) = number else { return };
    // What ends it is for the client to find out; tests see that it is no more.
    let _ = Connection::new(state.clone(), number).run(stream).await;
    state.change(|world| {
        world.seen.open -= 1;
        world.pushes.closed(number);
    });
}

struct Connection {
    state: Arc<State>,
    number: usize,
    reading: Reading,
    writing: Writing,
    packing: Packing,
    late: mpsc::Sender<Object>,
    late_answers: mpsc::Receiver<Object>,
    /// Wait for the test's word. They end with the connection.
    waiting: JoinSet<()>,
}

impl Connection {
    fn new(state: Arc<State>, number: usize) -> Self {
        let (late, late_answers) = mpsc::channel(LATE_ANSWERS);
        let (reading, writing) = (Reading::default(), Writing::default());
        Self {
            state,
            number,
            reading,
            writing,
            packing: Packing::default(),
            late,
            late_answers,
            waiting: JoinSet::new(),
        }
    }

    async fn run(mut self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = stream.into_split();
        let mut kicks = self.state.kicks.subscribe();
        let mut changed = self.state.changed.subscribe();
        loop {
            while let Some(payload) = self.reading.take()? {
                self.receive(&mut writer, &payload).await?;
            }
            changed.borrow_and_update();
            while let Some(push) = self.next_push() {
                let message = self.seal(Outgoing::Push, &push);
                writer.write_all(&message).await?;
            }
            tokio::select! {
                read = reader.read_buf(&mut self.reading.buffer) => if read? == 0 {
                    return Ok(());
                },
                Some(answer) = self.late_answers.recv() => {
                    let message = self.seal(Outgoing::Answer, &answer);
                    writer.write_all(&message).await?;
                }
                _ = kicks.recv() => return Ok(()),
                _ = changed.changed() => {}
            }
        }
    }

    fn next_push(&self) -> Option<Object> {
        let push = self.state.world().pushes.next_for(self.number)?;
        self.state.change(|world| world.seen.pushed += 1);
        Some(push)
    }

    /// A frame with this message.
    fn seal(&mut self, kind: Outgoing, body: &[u8]) -> Vec<u8> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let message = self.packing.pack(kind, body, now);
        self.writing.frame(&crypto::seal(&FakeTelegram::AUTH_KEY, From::Server, &message))
    }

    async fn receive(&mut self, writer: &mut OwnedWriteHalf, payload: &[u8]) -> anyhow::Result<()> {
        let key_is_forgotten = self.state.world().access.key_is_forgotten;
        let opened = match crypto::open(&FakeTelegram::AUTH_KEY, From::Client, payload) {
            Ok(_) if key_is_forgotten => Err(Unreadable::UnknownKey),
            opened => opened,
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(Unreadable::Handshake) => {
                self.state.change(|world| world.seen.handshakes += 1);
                bail!("the client wants to agree upon a key");
            }
            Err(Unreadable::UnknownKey) => {
                self.state.change(|world| world.seen.unknown_keys += 1);
                return Ok(writer.write_all(&transport_error(UNKNOWN_KEY)).await?);
            }
            Err(Unreadable::Damaged) => bail!("a payload that cannot be read"),
        };
        let (session, messages) = packets::unpack(&opened)?;
        self.packing.session = session;
        for message in messages {
            self.handle(writer, message).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, writer: &mut OwnedWriteHalf, message: Incoming) -> anyhow::Result<()> {
        let mut cursor = Cursor::from_slice(&message.body);
        let answer = match u32::deserialize(&mut cursor)? {
            t::MsgsAck::CONSTRUCTOR_ID | t::MsgsStateInfo::CONSTRUCTOR_ID => return Ok(()),
            f::Ping::CONSTRUCTOR_ID | f::PingDelayDisconnect::CONSTRUCTOR_ID => {
                let ping = i64::deserialize(&mut cursor)?;
                Writer::of::<t::Pong>().long(message.id).long(ping).done()
            }
            f::GetFutureSalts::CONSTRUCTOR_ID => {
                // None: the one that there is holds for ever.
                let now = super::world::now();
                Writer::of::<t::FutureSalts>().long(message.id).int(now).int(0).done()
            }
            id => {
                let call = Call::read(&message.body).with_context(|| format!("{} cannot be read", name_for_id(id)))?;
                return self.call(writer, message.id, call).await;
            }
        };
        let message = self.seal(Outgoing::Answer, &answer);
        Ok(writer.write_all(&message).await?)
    }

    async fn call(&mut self, writer: &mut OwnedWriteHalf, id: i64, call: Call) -> anyhow::Result<()> {
        let (method, chat, number) = (call.method, call.chat(), self.number);
        let fault = self.state.change(|world| {
            world.seen.calls.push(seen::Call { method: method.to_owned(), chat, connection: number });
            if matches!(call.request, super::requests::Request::Unknown) {
                world.seen.unknown.push(method.to_owned());
            }
            let fault = world.faults.take(method, chat);
            if fault == Some(Fault::Stuck) {
                world.in_progress.extend(call.random_id());
            }
            fault
        });
        // Subscribed before anything is done: who sees that it was done may release at once.
        let mut released = self.state.released.subscribe();
        released.borrow_and_update();
        let refused = |code, name: String| Err(Refusal::new(code, name));
        let answer = match &fault {
            Some(Fault::FloodWait { seconds }) => refused(420, format!("FLOOD_WAIT_{seconds}")),
            Some(Fault::Error(code, name)) => refused(*code, name.clone()),
            Some(Fault::DropBefore) => bail!("dropped by the test"),
            Some(Fault::Stuck) => {
                let (state, late) = (self.state.clone(), self.late.clone());
                self.waiting.spawn(async move {
                    let _ = released.changed().await;
                    let answer = state.change(|world| {
                        call.random_id().map(|id| world.in_progress.remove(&id));
                        answers::answer(world, number, &call)
                    });
                    // The connection is gone, or takes it.
                    let _ = late.send(result(id, answer)).await;
                });
                return Ok(());
            }
            _ => self.state.change(|world| answers::answer(world, number, &call)),
        };
        let answer = result(id, answer);
        match fault {
            Some(Fault::DropAfter) => bail!("dropped by the test"),
            Some(Fault::Half) => {
                let message = self.seal(Outgoing::Answer, &answer);
                writer.write_all(&message[..message.len() / 2]).await?;
                bail!("dropped by the test in the middle of an answer");
            }
            Some(Fault::Slow) => {
                let late = self.late.clone();
                self.waiting.spawn(async move {
                    let _ = released.changed().await;
                    // The connection is gone, or takes it.
                    let _ = late.send(answer).await;
                });
                Ok(())
            }
            _ => {
                let message = self.seal(Outgoing::Answer, &answer);
                Ok(writer.write_all(&message).await?)
            }
        }
    }
}

/// The body of the answer to the message `to`.
fn result(to: i64, answer: Result<Object, Refusal>) -> Object {
    let object =
        answer.unwrap_or_else(|refusal| Writer::of::<t::RpcError>().int(refusal.code).text(&refusal.name).done());
    packets::result(to, &object)
}
