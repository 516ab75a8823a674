//! `nanoclaw-whatsapp link`: an account becomes ours, by a code that its phone reads or that is typed there.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wacore::types::events::{Event, EventHandler};
use whatsapp_rust::pair_code::PairCodeOptions;

use super::{DONE, FAILED, Place, qr, say};
use crate::{
    client::session::{NotNow, shut_down},
    store::{Account, Store},
};

/// How long the first connection after the link may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long without a word from WhatsApp people are told that it is not reached.
const SLOW: Duration = Duration::from_secs(10);

enum Step {
    Qr(String, Duration),
    Code(String),
    NoCode(String),
    Exhausted,
    Linked(String),
    Connected,
    Failed(String),
}

struct Steps(mpsc::UnboundedSender<Step>);

impl EventHandler for Steps {
    fn handle_event(&self, event: std::sync::Arc<Event>) {
        let step = match &*event {
            Event::PairingQrCode(code) => Step::Qr(code.code.clone(), code.timeout),
            Event::PairingCode(code) => Step::Code(code.code.clone()),
            Event::PairingCodeError(error) => Step::NoCode(error.error.clone()),
            Event::PairingQrCodesExhausted(_) => Step::Exhausted,
            Event::PairSuccess(linked) => Step::Linked(linked.id.to_non_ad_string()),
            Event::PairError(error) => Step::Failed(error.error.clone()),
            Event::Connected(_) => Step::Connected,
            Event::LoggedOut(_) => Step::Failed("the device was unlinked again".to_owned()),
            Event::ClientOutdated(_) => Step::Failed("WhatsApp wants a newer program: update NanoClaw".to_owned()),
            Event::QrScannedWithoutMultidevice(_) => {
                Step::Failed("the phone's WhatsApp is too old to link devices: update it".to_owned())
            }
            _ => return,
        };
        // Nobody listens any more at the end only.
        let _ = self.0.send(step);
    }
}

pub(super) async fn run(
    place: &Place,
    phone: Option<&str>,
    in_words: bool,
    stop: CancellationToken,
) -> anyhow::Result<u8> {
    let phone = phone.map(digits).transpose()?;
    let store = Store::open(&place.database()).await.context("stop the service, or turn WhatsApp off, first")?;
    match store.account().await? {
        Account::Linked { jid, refused: None } => {
            bail!("{jid} is linked already; `nanoclaw-whatsapp unlink` first, to link another account")
        }
        // What is left of an account that is gone, or of an attempt.
        Account::Linked { .. } | Account::None => store.forget().await?,
    }
    let (sender, mut steps) = mpsc::unbounded_channel();
    let mut bot = place.reach().client(&store)?.with_inbound_durability_hook(NotNow).with_event_handler(Steps(sender));
    let by_code = phone.is_some();
    if let Some(phone_number) = phone {
        bot = bot.with_pair_code(PairCodeOptions { phone_number, ..PairCodeOptions::default() });
    }
    let handle = bot.build().await?.spawn();
    let done = link(&mut steps, by_code, in_words, &stop).await;
    shut_down(handle).await;
    if store.account().await? == Account::None {
        store.remove().await?;
    }
    done
}

async fn link(
    steps: &mut mpsc::UnboundedReceiver<Step>,
    by_code: bool,
    in_words: bool,
    stop: &CancellationToken,
) -> anyhow::Result<u8> {
    let mut linked = None;
    say("Connecting to WhatsApp ...")?;
    let mut slow = std::pin::pin!(tokio::time::sleep(SLOW));
    let mut is_told = false;
    loop {
        let limit = async {
            match linked {
                // The codes end by themselves.
                None => std::future::pending().await,
                Some(_) => tokio::time::sleep(PATIENCE).await,
            }
        };
        let step = tokio::select! {
            Some(step) = steps.recv() => step,
            () = &mut slow, if !is_told => {
                is_told = true;
                say("It is not reached, and tried again. Is this machine connected to the internet? Ctrl-C ends.")?;
                continue;
            }
            () = limit => {
                say("It is linked, but WhatsApp did not let it in yet. It is tried again when the service runs.")?;
                return Ok(DONE);
            }
            () = stop.cancelled() => {
                say("Not linked.")?;
                return Ok(FAILED);
            }
        };
        is_told = true;
        match step {
            // Both come; only one is asked for.
            Step::Qr(..) if by_code => {}
            Step::Qr(code, time) => {
                say(qr::draw(&code)?)?;
                if in_words {
                    say(format_args!("In words: {code}"))?;
                }
                say("On the phone: WhatsApp, Settings, Linked devices, Link a device. Point it at this code.")?;
                say(format_args!("It is good for {} s; then there is another.", time.as_secs()))?;
            }
            Step::Code(code) => {
                let (first, second) = code.split_at_checked(4).unwrap_or((&code, ""));
                say(format_args!("The code: {first}-{second}"))?;
                say(
                    "On the phone: WhatsApp, Settings, Linked devices, Link a device, Link with phone number instead. Type it there.",
                )?;
                say("It is good for about three minutes.")?;
            }
            Step::NoCode(why) => bail!("WhatsApp gives no code for this number: {why}"),
            Step::Exhausted => bail!("the time is over and no phone has read a code; try again"),
            Step::Linked(jid) => {
                say(format_args!("The phone has linked {jid}. Connecting ..."))?;
                linked = Some(jid);
            }
            Step::Connected => {
                if let Some(jid) = &linked {
                    say(format_args!("Done: {jid} is linked."))?;
                    return Ok(DONE);
                }
            }
            Step::Failed(why) => bail!("not linked: {why}"),
        }
    }
}

/// A phone number as WhatsApp wants it.
fn digits(phone: &str) -> anyhow::Result<String> {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    let other = phone.chars().find(|sign| !sign.is_ascii_digit() && !" +-()/.".contains(*sign));
    if other.is_some() || !(7..=15).contains(&digits.len()) || digits.starts_with('0') {
        bail!("{phone:?} is no phone number with a country code, such as +49 1555 123456");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_as_people_write_it_and_wants_its_country() {
        assert_eq!(digits("+49 (1555) 123-456").unwrap(), "491555123456");
        for bad in ["01555 123456", "+49", "call me", ""] {
            digits(bad).unwrap_err();
        }
    }
}
