//! A linked device that is made with the client library.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use nanoclaw_fakes::whatsapp::FakeWhatsApp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use wacore::store::{Device, InMemoryBackend, traits::Backend};
use whatsapp_rust::{
    bot::EventDelivery,
    http::{HttpClient, HttpRequest, HttpResponse},
    pair_code::PairCodeOptions,
    prelude::*,
    transport::TokioWebSocketTransportFactory,
};

pub(crate) const FAMILY: &str = "120363000000000001@g.us";
pub(crate) const TEAM: &str = "120363000000000002@g.us";
pub(crate) const ANN: &str = FakeWhatsApp::ANN;
pub(crate) const BOB: &str = FakeWhatsApp::BOB;

const PATIENCE: Duration = Duration::from_secs(20);
/// Less than the library's own number: each is a key that is made.
const KEYS: usize = 20;

pub(crate) struct Bot {
    pub(crate) client: Arc<Client>,
    handle: BotHandle,
    events: UnboundedReceiver<Arc<Event>>,
    heard: UnboundedReceiver<Heard>,
}

/// A message as the client hears it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) message: Arc<wa::Message>,
    pub(crate) info: MessageInfo,
}

impl Heard {
    pub(crate) fn text(&self) -> &str {
        self.message.text_content().unwrap_or_default()
    }
}

/// Files, for one host that has no TLS. Nothing else is asked for: the client is told its version.
struct PlainHttp(SocketAddr);

#[async_trait::async_trait]
impl HttpClient for PlainHttp {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let HttpRequest { url, method, body, .. } = request;
        let path = url.strip_prefix(&format!("https://{}", self.0)).context("it is of another host")?;
        let body = body.unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.0,
            body.len()
        );
        let mut stream = TcpStream::connect(self.0).await?;
        stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").context("it was cut off")?;
        let head = std::str::from_utf8(&answer[..end])?;
        let status_code = head.split(' ').nth(1).context("there is no status")?.parse()?;
        Ok(HttpResponse { status_code, body: answer[end + 4..].to_vec() })
    }
}

/// A store as after the device was linked.
pub(crate) async fn linked(whatsapp: &FakeWhatsApp) -> Arc<dyn Backend> {
    let store: Arc<dyn Backend> = Arc::new(InMemoryBackend::new());
    let mut device = Device::new();
    whatsapp.link(&mut device);
    store.create().await.expect("it is in memory");
    store.save(&device).await.expect("it is in memory");
    store
}

impl Bot {
    pub(crate) async fn begin(whatsapp: &FakeWhatsApp, store: Arc<dyn Backend>) -> Self {
        Self::begin_with(whatsapp, store, None).await
    }

    pub(crate) async fn begin_with(
        whatsapp: &FakeWhatsApp,
        store: Arc<dyn Backend>,
        code: Option<PairCodeOptions>,
    ) -> Self {
        let url = whatsapp.url();
        let address = url.trim_start_matches("ws://").trim_end_matches("/ws/chat").parse().expect("it is an address");
        let (told, events) = unbounded_channel();
        let (says, heard) = unbounded_channel();
        let builder = whatsapp_rust::bot::Bot::builder()
            .with_backend_arc(store)
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(url))
            .with_http_client(PlainHttp(address))
            .with_version((2, 3000, 1_000_000))
            .with_push_name("Andy")
            .skip_history_sync()
            .with_wanted_pre_key_count(KEYS)
            .with_event_delivery(EventDelivery::Ordered { capacity: 1024 })
            .on_event(move |event, _| tell(told.clone(), event))
            .on_message(move |context| {
                let MessageContext { message, info, .. } = context;
                tell(says.clone(), Heard { id: info.id.clone(), message, info })
            });
        let builder = match code {
            Some(code) => builder.with_pair_code(code),
            None => builder,
        };
        let bot = builder.build().await.expect("everything is given");
        let handle = bot.spawn();
        Self { client: handle.client(), handle, events, heard }
    }

    /// A bot that is linked already and ready for messages.
    pub(crate) async fn ready(whatsapp: &FakeWhatsApp) -> Self {
        let store = linked(whatsapp).await;
        Self::ready_with(whatsapp, store).await
    }

    pub(crate) async fn ready_with(whatsapp: &FakeWhatsApp, store: Arc<dyn Backend>) -> Self {
        let mut bot = Self::begin(whatsapp, store).await;
        bot.event("it is connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
        whatsapp.wait_until("it has told its keys", |seen| seen.keys_left > 0).await;
        bot
    }

    pub(crate) async fn end(self) {
        tokio::time::timeout(PATIENCE, self.handle.shutdown()).await.expect("it ends");
    }

    /// The first event of which `of` makes something.
    pub(crate) async fn event<T>(&mut self, what: &str, of: impl Fn(&Event) -> Option<T>) -> T {
        let mut others = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event = next.unwrap_or_else(|_| panic!("{what} did not happen after {others:#?}"));
            let event = event.expect("the client lives");
            match of(&event) {
                Some(made) => return made,
                None => others.push(format!("{event:?}").chars().take(200).collect::<String>()),
            }
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Heard {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        heard.expect("nothing was heard").expect("the client lives")
    }

    /// The next message that somebody else wrote.
    pub(crate) async fn heard(&mut self) -> Heard {
        loop {
            let heard = self.next().await;
            if !heard.info.source.is_from_me {
                return heard;
            }
        }
    }

    /// Nothing more is heard until somebody says this.
    pub(crate) async fn hears_only(&mut self, text: &str) {
        assert_eq!(self.heard().await.text(), text);
    }

    pub(crate) async fn heard_texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(self.heard().await.text().to_owned());
        }
        texts
    }

    pub(crate) async fn send(&self, chat: &str, message: wa::Message, id: &str) -> Result<SendResult, SendError> {
        let options = SendOptions::default().with_message_id(id);
        let sending = self.client.send_message_with_options(jid(chat), message, options);
        tokio::time::timeout(PATIENCE, sending).await.expect("it is sent or refused")
    }
}

pub(crate) fn jid(address: &str) -> Jid {
    address.parse().expect("it is an address")
}

fn tell<T: Send + 'static>(to: UnboundedSender<T>, told: T) -> std::future::Ready<()> {
    // The test may have ended.
    let _ = to.send(told);
    std::future::ready(())
}
