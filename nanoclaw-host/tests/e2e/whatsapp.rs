//! What is special about WhatsApp: an account that a phone has linked, and can unlink.

use rustix::process::Signal;

use crate::{
    place::{On, Place},
    process::{Running, until},
    scenario::{
        Chat, Stage as _,
        whatsapp::{WhatsApp, link},
    },
};

fn end(service: Running) {
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn that_the_phone_logged_it_out_is_told_once_in_the_main_chat_and_a_new_link_connects_it() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let stage = WhatsApp::at(&place);
    // Who talks in the terminal first is the owner.
    place.chat(&["hello"]).succeeded();
    place.run(["groups", "add", &stage.address(Chat::Family), "--name", "Family", "--no-trigger"]).succeeded();
    let refused = || {
        until("it is told how whatsapp stands", || {
            let channels = place.json(["channels", "--json"]);
            let channel = channels.as_array()?.iter().find(|channel| channel["name"] == "whatsapp")?.clone();
            channel["help"].is_string().then_some(channel)
        })
    };
    let told =
        || place.rows("SELECT text FROM outbox WHERE chat = 'local:main' AND key LIKE 'alert/channel/%/whatsapp'");

    let service = place.service();
    stage.host_is_up(&place);
    stage.fake.log_out();
    let channel = refused();
    assert_eq!(channel["connected"], false);
    assert!(channel["help"].as_str().unwrap().contains("nanoclaw channels link whatsapp"), "{channel}");
    let text = until("the owner is told", || told().pop());
    assert!(text.contains("unlinked") && text.contains("`nanoclaw channels link whatsapp`"), "{text}");
    end(service);
    let service = place.service();
    refused();
    assert_eq!(told().len(), 1, "once, whatever starts again");
    end(service);

    stage.on.block_on(link(&place, &stage.fake));
    let service = place.service();
    stage.host_is_up(&place);
    let number = stage.address(Chat::Family);
    stage.fake.say(&number, nanoclaw_fakes::whatsapp::FakeWhatsApp::ANN, "are you back?");
    let shown = until("an answer", || stage.shown(Chat::Family).pop());
    assert_eq!(shown, "heard are you back?");
    end(service);
}
