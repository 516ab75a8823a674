//! A host that cannot store what is said in one chat: that chat waits, in its order, and no other.

use std::time::Duration;

use crate::house::{ANN, BOB, FAMILY, House, TEAM};

/// A house whose program does not wait for long for a host that cannot store something.
async fn impatient() -> House {
    let mut house = House::quiet().await;
    house.tell("NANOCLAW_WHATSAPP_PATIENCE_MS", 300);
    house.link().await;
    house.start();
    house.ready().await;
    for (chat, who) in [(FAMILY, ANN), (TEAM, BOB)] {
        let heard = house.said(chat, who, "hello").await;
        let id = heard["id"].as_str().unwrap().to_owned();
        house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(&id) == 1).await;
    }
    house
}

impl House {
    fn say_all(&self, chat: &str, who: &str, texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| self.whatsapp.say(chat, who, text)).collect()
    }

    /// Waits until what is said in the other chat is stored and acknowledged, as it is when it does not come along with what waited for the
    /// login; none of `behind` is by then. Returns what was said.
    async fn goes_on(&self, behind: &[String]) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let id = self.whatsapp.say(TEAM, BOB, "and on");
            self.host.message(&id).await;
            said.push(id.clone());
            let acknowledged = self.whatsapp.wait_until("it is acknowledged", |seen| seen.received(&id) > 0);
            if tokio::time::timeout(Duration::from_secs(1), acknowledged).await.is_ok() {
                break;
            }
            assert!(said.len() < 20, "nothing of the other chat is acknowledged");
        }
        let seen = self.whatsapp.seen();
        assert!(behind.iter().all(|id| seen.received(id) == 0), "what is not stored is acknowledged: {seen:?}");
        said
    }

    /// The host can store everything again: what it then has of the chat since the first word, and all is acknowledged.
    async fn comes_to_rest(&self, ids: &[String]) {
        self.host.can_store();
        self.whatsapp.wait_until("all is acknowledged", |seen| seen.waiting == 0).await;
        assert_eq!(self.host.kept(FAMILY)[1..], *ids, "all of the chat, once and in its order");
    }
}

#[tokio::test]
async fn what_waited_for_the_login_in_other_chats_does_not_wait_for_a_message_that_the_host_cannot_store() {
    let mut house = impatient().await;
    // Not killed, which could cost it keys that it had just learned: what it cannot read comes again on its own and in no order.
    house.close_stdin();
    house.ended().await;
    house.host.heard_all();
    let mut family = house.say_all(FAMILY, ANN, &["one", "two"]);
    let mut team = house.say_all(TEAM, BOB, &["one", "two"]);
    house.host.cannot_store(FAMILY);
    house.start();
    house.host.message(&team[1]).await;
    assert_eq!(house.host.kept(TEAM)[1..], team);
    // And on: what is said from now on is acknowledged, where it can be stored.
    family.extend(house.say_all(FAMILY, ANN, &["three"]));
    team.extend(house.goes_on(&family).await);
    assert_eq!(house.host.kept(FAMILY).len(), 1);

    house.comes_to_rest(&family).await;
    assert_eq!(house.host.kept(TEAM)[1..], team);
}

#[tokio::test]
async fn a_chat_that_is_behind_comes_in_its_order_also_when_the_connection_and_the_program_end_meanwhile() {
    let mut house = impatient().await;
    house.host.cannot_store(FAMILY);
    let mut family = house.say_all(FAMILY, ANN, &["one", "two"]);
    house.host.message(&family[0]).await;
    house.whatsapp.drop_connections();
    house.host.heard("it says so", |line| line["type"] == "status" && line["state"] == "connecting").await;
    family.extend(house.say_all(FAMILY, ANN, &["three"]));
    house.goes_on(&family).await;
    house.kill().await;
    house.start();
    house.host.message(&family[0]).await;
    family.extend(house.say_all(FAMILY, ANN, &["four"]));
    house.goes_on(&family).await;
    let said = house.host.lines("message").into_iter().filter(|line| line["chat"] == FAMILY);
    let early: Vec<_> = said.filter(|line| family[1..].iter().any(|id| line["id"] == **id)).collect();
    assert!(early.is_empty(), "the host is not offered what comes after what it cannot store: {early:?}");

    house.comes_to_rest(&family).await;
    let logins = house.whatsapp.seen().logins;
    house.said(FAMILY, ANN, "five").await;
    assert_eq!(house.whatsapp.seen().logins, logins, "from then on no new connection is needed");
}
