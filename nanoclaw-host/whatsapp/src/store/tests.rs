use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use proptest::prelude::*;
use wacore::{
    appstate::{hash::HashState, processor::AppStateMutationMAC},
    store::{
        Device, InMemoryBackend,
        traits::{
            AppStateSyncKey, Backend, DeviceInfo, DeviceListRecord, DeviceStore as _, LidPnMappingEntry,
            MsgSecretEntry, PendingInboundKey, PendingInboundRow, ProtocolStore as _, SignalStore as _, TcTokenEntry,
        },
    },
};

use super::*;

/// A small name, so that the same ones come again.
type Name = u8;

fn address(name: Name) -> String {
    // Some begin like others, with the signs that matter between.
    ["ann@s.whatsapp.net", "ann:3@s.whatsapp.net", "anna@lid", "bob:7@lid", "bo@lid"][usize::from(name) % 5].to_owned()
}

#[derive(Debug, Clone)]
enum Call {
    PutIdentities(Vec<(Name, u8)>),
    DeleteIdentity(Name),
    PutSessions(Vec<(Name, u8)>),
    DeleteSession(Name),
    PutPrekeys(Vec<(Name, u8)>),
    MarkUploaded(Vec<Name>),
    RemovePrekey(Name),
    PutSignedPrekey(Name, u8),
    RemoveSignedPrekey(Name),
    PutSenderKeys(Vec<(Name, u8)>),
    DeleteSenderKey(Name),
    SetSyncKey(Name, u8),
    SetVersion(Name, u64),
    PutMacs(Name, Vec<(Name, u8)>),
    DeleteMacs(Name, Vec<Name>),
    ClearMacs(Name),
    SetSenderKeyStatus(Name, Vec<(Name, bool)>),
    ClearSenderKeyDevices(Name),
    DeleteSenderKeyRows(Vec<Name>),
    ClearAllSenderKeyDevices,
    PutLidMappings(Vec<(Name, u8)>),
    SaveBaseKey(Name, u8),
    DeleteBaseKey(Name),
    PutDeviceLists(Vec<(Name, u8)>),
    DeleteDevices(Name),
    PutGroup(Name, u8),
    DeleteGroup(Name),
    PutToken(Name, u8, i64, Option<i64>),
    TouchToken(Name, i64),
    ReceiveToken(Name, u8, i64),
    DeleteToken(Name),
    ExpireTokens(i64, i64),
    StoreSent(Name, u8),
    TakeSent(Name),
    StorePending(Vec<(Name, u8)>),
    DeletePending(Vec<Name>),
    PutSecrets(Vec<(Name, u8, i64, i64)>),
    ExpireSecrets(i64),
    /// The process ends and another begins.
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    let name = || 0_u8..5;
    let pairs = || proptest::collection::vec((0_u8..5, any::<u8>()), 0..4);
    let names = || proptest::collection::vec(0_u8..5, 0..4);
    let at = || 0_i64..6;
    let keys = prop_oneof![
        pairs().prop_map(Call::PutIdentities),
        name().prop_map(Call::DeleteIdentity),
        pairs().prop_map(Call::PutSessions),
        name().prop_map(Call::DeleteSession),
        pairs().prop_map(Call::PutPrekeys),
        names().prop_map(Call::MarkUploaded),
        name().prop_map(Call::RemovePrekey),
        (name(), any::<u8>()).prop_map(|(name, value)| Call::PutSignedPrekey(name, value)),
        name().prop_map(Call::RemoveSignedPrekey),
        pairs().prop_map(Call::PutSenderKeys),
        name().prop_map(Call::DeleteSenderKey),
    ];
    let sync = prop_oneof![
        (name(), any::<u8>()).prop_map(|(name, value)| Call::SetSyncKey(name, value)),
        (name(), any::<u64>()).prop_map(|(name, version)| Call::SetVersion(name, version)),
        (name(), pairs()).prop_map(|(name, macs)| Call::PutMacs(name, macs)),
        (name(), names()).prop_map(|(name, macs)| Call::DeleteMacs(name, macs)),
        name().prop_map(Call::ClearMacs),
        Just(Call::Reopen),
    ];
    let people = prop_oneof![
        (name(), proptest::collection::vec((name(), any::<bool>()), 0..4))
            .prop_map(|(name, devices)| Call::SetSenderKeyStatus(name, devices)),
        name().prop_map(Call::ClearSenderKeyDevices),
        names().prop_map(Call::DeleteSenderKeyRows),
        Just(Call::ClearAllSenderKeyDevices),
        proptest::collection::vec((name(), 0_u8..3), 0..4).prop_map(Call::PutLidMappings),
        (name(), any::<u8>()).prop_map(|(name, value)| Call::SaveBaseKey(name, value)),
        name().prop_map(Call::DeleteBaseKey),
        pairs().prop_map(Call::PutDeviceLists),
        name().prop_map(Call::DeleteDevices),
        (name(), any::<u8>()).prop_map(|(name, value)| Call::PutGroup(name, value)),
        name().prop_map(Call::DeleteGroup),
    ];
    let tokens = prop_oneof![
        (name(), 0_u8..2, at(), proptest::option::of(at()))
            .prop_map(|(name, token, at, sender)| Call::PutToken(name, token, at, sender)),
        (name(), at()).prop_map(|(name, at)| Call::TouchToken(name, at)),
        (name(), 0_u8..2, at()).prop_map(|(name, token, at)| Call::ReceiveToken(name, token, at)),
        name().prop_map(Call::DeleteToken),
        (at(), at()).prop_map(|(token, sender)| Call::ExpireTokens(token, sender)),
    ];
    let messages = prop_oneof![
        (name(), any::<u8>()).prop_map(|(name, value)| Call::StoreSent(name, value)),
        name().prop_map(Call::TakeSent),
        pairs().prop_map(Call::StorePending),
        names().prop_map(Call::DeletePending),
        proptest::collection::vec((name(), any::<u8>(), at(), at()), 0..4).prop_map(Call::PutSecrets),
        at().prop_map(Call::ExpireSecrets),
    ];
    prop_oneof![keys, sync, people, tokens, messages]
}

/// Makes the call; what it answered.
async fn make(store: &dyn Backend, call: &Call) -> String {
    let arcs = |pairs: &[(Name, u8)]| -> Vec<(Arc<str>, Bytes)> {
        pairs.iter().map(|(name, value)| (Arc::from(address(*name)), Bytes::from(vec![*value; 3]))).collect()
    };
    match call {
        Call::PutIdentities(pairs) => {
            let keys: Vec<_> = pairs.iter().map(|(name, value)| (Arc::from(address(*name)), [*value; 32])).collect();
            format!("{:?}", store.put_identities_batch(&keys).await)
        }
        Call::DeleteIdentity(name) => format!("{:?}", store.delete_identity(&address(*name)).await),
        Call::PutSessions(pairs) => format!("{:?}", store.put_sessions_batch(&arcs(pairs)).await),
        Call::DeleteSession(name) => format!("{:?}", store.delete_session(&address(*name)).await),
        Call::PutPrekeys(pairs) => {
            let keys: Vec<_> = pairs.iter().map(|(id, value)| (u32::from(*id), Bytes::from(vec![*value]))).collect();
            format!("{:?}", store.store_prekeys_batch(&keys, false).await)
        }
        Call::MarkUploaded(ids) => {
            let ids: Vec<_> = ids.iter().map(|id| u32::from(*id)).collect();
            format!("{:?}", store.mark_prekeys_uploaded(&ids).await)
        }
        Call::RemovePrekey(id) => format!("{:?}", store.remove_prekey((*id).into()).await),
        Call::PutSignedPrekey(id, value) => format!("{:?}", store.store_signed_prekey((*id).into(), &[*value]).await),
        Call::RemoveSignedPrekey(id) => format!("{:?}", store.remove_signed_prekey((*id).into()).await),
        Call::PutSenderKeys(pairs) => format!("{:?}", store.put_sender_keys_batch(&arcs(pairs)).await),
        Call::DeleteSenderKey(name) => format!("{:?}", store.delete_sender_key(&address(*name)).await),
        Call::SetSyncKey(id, value) => {
            let key = AppStateSyncKey { key_data: vec![*value], fingerprint: vec![1], timestamp: 7 };
            format!("{:?}", store.set_sync_key(&[*id], key).await)
        }
        Call::SetVersion(name, version) => {
            let state = HashState { version: *version, ..HashState::default() };
            format!("{:?}", store.set_version(&address(*name), state).await)
        }
        Call::PutMacs(name, macs) => {
            let mac = |(index, value): &(Name, u8)| AppStateMutationMAC {
                index_mac: vec![*index; 32],
                value_mac: vec![*value],
            };
            format!(
                "{:?}",
                store.put_mutation_macs(&address(*name), 1, &macs.iter().map(mac).collect::<Vec<_>>()).await
            )
        }
        Call::DeleteMacs(name, macs) => {
            let macs: Vec<_> = macs.iter().map(|index| vec![*index; 32]).collect();
            format!("{:?}", store.delete_mutation_macs(&address(*name), &macs).await)
        }
        Call::ClearMacs(name) => format!("{:?}", store.clear_mutation_macs(&address(*name)).await),
        Call::SetSenderKeyStatus(group, devices) => {
            let devices: Vec<_> = devices.iter().map(|(device, has)| (address(*device), *has)).collect();
            let devices: Vec<_> = devices.iter().map(|(device, has)| (device.as_str(), *has)).collect();
            format!("{:?}", store.set_sender_key_status(&address(*group), &devices).await)
        }
        Call::ClearSenderKeyDevices(group) => format!("{:?}", store.clear_sender_key_devices(&address(*group)).await),
        Call::DeleteSenderKeyRows(devices) => {
            let devices: Vec<_> = devices.iter().map(|device| address(*device)).collect();
            let devices: Vec<_> = devices.iter().map(String::as_str).collect();
            format!("{:?}", store.delete_sender_key_device_rows(&devices).await)
        }
        Call::ClearAllSenderKeyDevices => format!("{:?}", store.clear_all_sender_key_devices().await),
        Call::PutLidMappings(pairs) => {
            let mappings: Vec<_> =
                pairs.iter().map(|(lid, phone)| mapping(&address(*lid), &format!("{lid}-{phone}"))).collect();
            format!("{:?}", store.put_lid_mappings(&mappings).await)
        }
        Call::SaveBaseKey(name, value) => format!("{:?}", store.save_base_key(&address(*name), "m", &[*value]).await),
        Call::DeleteBaseKey(name) => format!("{:?}", store.delete_base_key(&address(*name), "m").await),
        Call::PutDeviceLists(pairs) => {
            let lists = pairs.iter().map(|(user, device)| DeviceListRecord {
                user: address(*user),
                devices: vec![DeviceInfo::new((*device).into(), None)],
                timestamp: 5,
                phash: None,
                raw_id: Some(3),
            });
            format!("{:?}", store.update_device_lists(lists.collect()).await)
        }
        Call::DeleteDevices(user) => format!("{:?}", store.delete_devices(&address(*user)).await),
        Call::PutGroup(group, value) => format!("{:?}", store.put_group_metadata(&address(*group), &[*value]).await),
        Call::DeleteGroup(group) => format!("{:?}", store.delete_group_metadata(&address(*group)).await),
        Call::PutToken(name, token, at, sender) => {
            let entry =
                TcTokenEntry { token: vec![1; (*token).into()], token_timestamp: *at, sender_timestamp: *sender };
            format!("{:?}", store.put_tc_token(&address(*name), &entry).await)
        }
        Call::TouchToken(name, at) => {
            format!("{:?}", store.touch_tc_token_sender_timestamp(&address(*name), *at).await)
        }
        Call::ReceiveToken(name, token, at) => {
            format!("{:?}", store.store_received_tc_token(&address(*name), &vec![2; (*token).into()], *at).await)
        }
        Call::DeleteToken(name) => format!("{:?}", store.delete_tc_token(&address(*name)).await),
        Call::ExpireTokens(token, sender) => format!("{:?}", store.delete_expired_tc_tokens(*token, *sender).await),
        Call::StoreSent(id, value) => format!("{:?}", store.store_sent_message("chat", &address(*id), &[*value]).await),
        Call::TakeSent(id) => format!("{:?}", store.take_sent_message("chat", &address(*id)).await),
        Call::StorePending(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(id, value)| (address(*id), [*value])).collect();
            let rows: Vec<_> =
                pairs.iter().map(|(id, message)| PendingInboundRow { chat: "c", sender: "s", id, message }).collect();
            format!("{:?}", store.store_pending_inbound_batch(&rows).await)
        }
        Call::DeletePending(ids) => {
            let ids: Vec<_> = ids.iter().map(|id| address(*id)).collect();
            let keys: Vec<_> = ids.iter().map(|id| PendingInboundKey { chat: "c", sender: "s", id }).collect();
            format!("{:?}", store.delete_pending_inbound_batch(&keys).await)
        }
        Call::PutSecrets(entries) => {
            let entries = entries.iter().map(|(id, value, expires_at, message_ts)| MsgSecretEntry {
                chat: "c".into(),
                sender: "s".into(),
                msg_id: address(*id).into(),
                secret: [*value; 32],
                expires_at: *expires_at,
                message_ts: *message_ts,
            });
            format!("{:?}", store.put_msg_secrets(entries.collect()).await)
        }
        Call::ExpireSecrets(at) => format!("{:?}", store.delete_expired_msg_secrets(*at).await),
        Call::Reopen => String::new(),
    }
}

fn mapping(lid: &str, phone: &str) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        created_at: 1,
        updated_at: 2,
        learning_source: "test".to_owned(),
    }
}

/// All that a store tells.
async fn told(store: &dyn Backend) -> Vec<String> {
    let mut told = Vec::new();
    for name in 0..5 {
        let at = address(name);
        let mut devices = store.get_sender_key_devices(&at).await.unwrap();
        devices.sort();
        told.push(format!(
            "{at}: {:?} {:?} {} {:?} {:?} {:?}",
            store.load_identity(&at).await.unwrap(),
            store.get_session(&at).await.unwrap(),
            store.has_session(&at).await.unwrap(),
            store.load_prekey(name.into()).await.unwrap(),
            store.load_signed_prekey(name.into()).await.unwrap(),
            store.get_sender_key(&at).await.unwrap(),
        ));
        let version = store.get_version(&at).await.unwrap();
        told.push(format!("{:?} {}", store.get_sync_key(&[name]).await.unwrap(), version.version));
        let macs: BTreeMap<_, _> =
            store.get_mutation_macs(&at, &[[0; 32], [1; 32], [2; 32]]).await.unwrap().into_iter().collect();
        told.push(format!("{macs:?} {devices:?}"));
        let phones = [0, 1, 2].map(|phone| format!("{name}-{phone}"));
        for phone in phones {
            told.push(format!("{phone}: {:?}", store.get_pn_mapping(&phone).await.unwrap()));
        }
        told.push(format!("{:?}", store.get_lid_mapping(&at).await.unwrap()));
        told.push(format!(
            "{} {:?} {:?} {:?} {:?} {:?}",
            store.has_same_base_key(&at, "m", &[1]).await.unwrap(),
            store.get_devices(&at).await.unwrap(),
            store.get_group_metadata(&at).await.unwrap(),
            store.get_tc_token(&at).await.unwrap(),
            store.get_pending_inbound("c", "s", &at).await.unwrap(),
            store.get_msg_secret_with_ts("c", "s", &at).await.unwrap(),
        ));
    }
    for user in ["ann", "anna", "bo", "bob", "a", "nobody"] {
        told.push(format!("{user}: {}", store.has_signal_state_for_user(user).await.unwrap()));
    }
    let mut signed = store.load_all_signed_prekeys().await.unwrap();
    signed.sort();
    let mut lids: Vec<_> = store.get_all_lid_mappings().await.unwrap().into_iter().map(|mapping| mapping.lid).collect();
    lids.sort();
    let mut contacts = store.get_all_tc_token_jids().await.unwrap();
    contacts.sort();
    told.push(format!("{} {signed:?} {lids:?} {contacts:?}", store.get_max_prekey_id().await.unwrap()));
    told.push(format!("{:?}", store.get_latest_sync_key_id().await.unwrap()));
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_like_the_librarys_store_in_memory_and_remembers(calls in proptest::collection::vec(call(), 1..40)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("auth/whatsapp.db");
            let memory = InMemoryBackend::new();
            let mut store = Store::open(&path).await.unwrap();
            for call in &calls {
                if matches!(call, Call::Reopen) {
                    store.settle().await.unwrap();
                    drop(store);
                    store = Store::open(&path).await.unwrap();
                }
                let (ours, theirs) = (make(&store, call).await, make(&memory, call).await);
                prop_assert_eq!(ours, theirs, "{:?}", call);
            }
            store.settle().await.unwrap();
            drop(store);
            let store = Store::open(&path).await.unwrap();
            prop_assert_eq!(told(&store).await, told(&memory).await);
            Ok(())
        })?;
    }
}

fn a_store() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth/whatsapp.db");
    (folder, path)
}

#[tokio::test]
async fn the_files_are_for_nobody_else() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    store.save(&Device::new()).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_the_first_ones_id() {
    let (_folder, path) = a_store();
    let first = Store::open(&path).await.unwrap();
    let refused = Store::open(&path).await.unwrap_err();
    assert!(matches!(refused, StoreError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
    drop(first);
    Store::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_write_is_not_undone_by_one_who_does_not_wait_for_it() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    {
        let mut put = Box::pin(store.put_session("ann", b"1"));
        assert!(futures_util::poll!(&mut put).is_pending());
    }
    while store.get_session("ann").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn writes_that_come_at_the_same_time_share_a_commit() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    let held = store.0.connection.lock().await;
    let puts = futures_util::future::join_all(names.iter().map(|name| store.put_session(name, name.as_bytes())));
    let let_go = async {
        // All of them have asked.
        while store.0.waiting().len() < names.len() {
            tokio::task::yield_now().await;
        }
        drop(held);
    };
    let (puts, ()) = tokio::join!(puts, let_go);
    assert!(puts.iter().all(Result::is_ok));
    assert_eq!(store.0.commits.load(Ordering::Relaxed), 1);
    for name in names {
        assert_eq!(store.get_session(&name).await.unwrap().unwrap(), name);
    }
}

#[tokio::test]
async fn of_writes_that_fail_together_each_is_told_and_none_is_done() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    // What is looked at when it is committed, and not before.
    let late = "CREATE TABLE late (id INTEGER REFERENCES device (id) DEFERRABLE INITIALLY DEFERRED)";
    store.write(vec![statement(late)]).await.unwrap();
    for bad in ["INSERT INTO nowhere VALUES (1)", "INSERT INTO late VALUES (9)"] {
        let held = store.0.connection.lock().await;
        let (good, failing) = (store.put_session("ann", b"1"), store.write(vec![statement(bad)]));
        let (good, failed, ()) = tokio::join!(good, failing, async {
            while store.0.waiting().len() < 2 {
                tokio::task::yield_now().await;
            }
            drop(held);
        });
        assert!(good.is_err() && failed.is_err(), "{bad}: {good:?} {failed:?}");
        assert_eq!(store.get_session("ann").await.unwrap(), None);
    }
    store.put_session("ann", b"1").await.unwrap();
    assert!(store.get_session("ann").await.unwrap().is_some());
}

#[tokio::test]
async fn what_the_host_has_goes_with_the_next_write_and_is_gone_for_who_asks_before() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    for (id, asked_before) in [("m1", false), ("m2", true)] {
        store.store_pending_inbound("c", "s", id, b"hello").await.unwrap();
        let before = store.0.commits.load(Ordering::Relaxed);
        store.delete_pending_inbound("c", "s", id).await.unwrap();
        assert_eq!(store.0.commits.load(Ordering::Relaxed), before, "it is no write of its own");
        if asked_before {
            assert_eq!(store.get_pending_inbound("c", "s", id).await.unwrap(), None);
        } else {
            store.put_session("ann", b"1").await.unwrap();
        }
        assert_eq!(store.0.commits.load(Ordering::Relaxed), before + 1);
        assert_eq!(copy_of(&path).await.get_pending_inbound("c", "s", id).await.unwrap(), None);
    }
}

/// What a process would find that begins where this one is killed now.
async fn copy_of(path: &Path) -> Store {
    let to = path.with_file_name(format!("{}-copy.db", COPIES.fetch_add(1, Ordering::Relaxed)));
    std::fs::copy(path, &to).unwrap();
    // To this nothing but commits is added, and one that is half there does not count.
    std::fs::copy(path.with_extension("db-wal"), to.with_extension("db-wal")).unwrap();
    Store::open(&to).await.unwrap()
}

static COPIES: AtomicU64 = AtomicU64::new(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ratchet_that_was_used_is_never_forgotten_wherever_the_process_is_killed() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    {
        let mut connection = store.0.connection.lock().await;
        let synced: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.unwrap();
        assert_eq!(synced, 2, "each commit is synced");
        // So that a copy that is made in the middle is one of a moment.
        sqlx::query("PRAGMA wal_autocheckpoint = 0").execute(&mut *connection).await.unwrap();
    }
    // How far each was used: what came out of it may be on the wire.
    let used: Arc<[AtomicU64; 8]> = Arc::default();
    let turning: Vec<_> = (0..used.len())
        .map(|n| {
            let (store, used) = (store.clone(), used.clone());
            tokio::spawn(async move {
                for step in 1..=60_u64 {
                    store.put_session(&n.to_string(), &step.to_le_bytes()).await.unwrap();
                    used[n].store(step, Ordering::SeqCst);
                    store.delete_pending_inbound("c", "s", "m").await.unwrap();
                }
            })
        })
        .collect();
    let mut killed = 0;
    while killed == 0 || turning.iter().any(|turning| !turning.is_finished()) {
        let before = used.each_ref().map(|used| used.load(Ordering::SeqCst));
        let found = copy_of(&path).await;
        for (n, used) in before.into_iter().enumerate() {
            let found = found.get_session(&n.to_string()).await.unwrap();
            let found = found.map_or(0, |bytes| u64::from_le_bytes(bytes.as_ref().try_into().unwrap()));
            assert!(found >= used, "{n} was used up to {used} and is remembered up to {found}");
        }
        killed += 1;
    }
    for turning in turning {
        turning.await.unwrap();
    }
    assert!(store.0.commits.load(Ordering::Relaxed) < 8 * 60, "they shared commits");
}

#[tokio::test]
async fn somebody_elses_old_number_leads_to_who_has_it_now() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    store.put_lid_mappings(&[mapping("1", "49"), mapping("2", "49"), mapping("1", "44")]).await.unwrap();
    assert_eq!(store.get_pn_mapping("49").await.unwrap().unwrap().lid, "2");
    assert_eq!(store.get_pn_mapping("44").await.unwrap().unwrap().lid, "1");
}

#[tokio::test]
async fn what_is_old_is_removed_and_what_is_new_stays() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    store.store_sent_message("c", "m", b"1").await.unwrap();
    store.store_pending_inbound("c", "s", "m", b"1").await.unwrap();
    assert_eq!(store.delete_expired_sent_messages(now() - 60).await.unwrap(), 0);
    assert_eq!(store.delete_expired_pending_inbound(now() - 60).await.unwrap(), 0);
    assert_eq!(store.delete_expired_sent_messages(now() + 60).await.unwrap(), 1);
    assert_eq!(store.delete_expired_pending_inbound(now() + 60).await.unwrap(), 1);
}

#[tokio::test]
async fn an_account_is_linked_refused_and_forgotten() {
    let (_folder, path) = a_store();
    assert_eq!(peek(&path).await.unwrap(), Account::None);
    let store = Store::open(&path).await.unwrap();
    store.create().await.unwrap();
    assert_eq!(store.account().await.unwrap(), Account::None);
    let mut device = store.load().await.unwrap().unwrap();
    device.pn = Some("4915551234567:7@s.whatsapp.net".parse().unwrap());
    store.save(&device).await.unwrap();
    store.put_session("ann", b"1").await.unwrap();
    let jid = "4915551234567:7@s.whatsapp.net".to_owned();
    assert_eq!(peek(&path).await.unwrap(), Account::Linked { jid, refused: None });
    store.refuse("logged out on the phone").await.unwrap();
    store.refuse("and again").await.unwrap();
    // As the library does it at its end.
    store.save(&device).await.unwrap();
    let Account::Linked { refused: Some(refused), .. } = store.account().await.unwrap() else {
        panic!("it is refused")
    };
    assert_eq!(refused.reason, "logged out on the phone");
    assert!(store.get_session("ann").await.unwrap().is_some(), "what may be needed to understand it stays");
    store.forget().await.unwrap();
    assert_eq!(store.account().await.unwrap(), Account::None);
    assert_eq!(store.get_session("ann").await.unwrap(), None);
}

#[tokio::test]
async fn to_forget_leaves_nothing_in_any_table() {
    let (_folder, path) = a_store();
    let store = Store::open(&path).await.unwrap();
    let select = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'";
    let tables = store.rows(statement(select)).await.unwrap();
    let forgotten: Vec<_> = device::TABLES.iter().map(|delete| delete.trim_start_matches("DELETE FROM ")).collect();
    for table in &tables {
        let name: String = table.get(0);
        assert!(forgotten.contains(&name.as_str()), "{name} is not forgotten");
    }
    assert_eq!(tables.len(), forgotten.len());
}
