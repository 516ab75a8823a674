//! Containers whose process 1 does not find the gateway, and ends with a code of its own for that.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use nanoclaw_core::{protocol::gateway::NO_GATEWAY_CODE, runtime::Exit, store::Store};

use crate::support::{Agent, House, block, folder};

const NO_GATEWAY: Exit = Exit::Code(NO_GATEWAY_CODE as i32);

#[tokio::test(start_paused = true)]
async fn runs_without_a_gateway_are_nobodys_fault_and_their_message_is_answered_when_it_is_back() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let house = House::new(move |mut agent: Agent| {
        let runs = counted.clone();
        async move {
            // More often than what is set aside may fail.
            if runs.fetch_add(1, Ordering::SeqCst) < 12 {
                agent.output.stderr("[agent-runner] init: the gateway does not answer").await;
                return NO_GATEWAY;
            }
            agent.answer(|text| Some(format!("heard {text}"))).await;
            agent.until_closed().await
        }
    })
    .await;
    house.write("hello").await;
    house.shown_last("heard hello").await;
    assert_eq!(runs.load(Ordering::SeqCst), 13);
    assert!(house.store.set_aside(None, false, 10).await.unwrap().is_empty());
    let run = house.store.runs(Some(&folder("main")), 20).await.unwrap().into_iter().nth(1).unwrap();
    assert_eq!(run.ending.as_deref(), Some("not_started"));
    assert!(run.detail.unwrap().contains("the gateway does not answer"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_has_spoken_means_something_else_by_this_code() {
    let house = House::new(|mut agent: Agent| async move {
        agent.write(&block(Some("one word"))).await;
        NO_GATEWAY
    })
    .await;
    house.write("hello").await;
    house.shown(&["one word"]).await;
    let ended = async || house.store.runs(Some(&folder("main")), 5).await.unwrap()[0].ending.is_some();
    crate::support::waiting("the run's end", ended).await;
    let runs = house.store.runs(Some(&folder("main")), 5).await.unwrap();
    assert_eq!(runs.last().unwrap().ending.as_deref(), Some("crashed"));
}
