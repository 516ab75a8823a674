//! An account that is linked at a fake WhatsApp, and the program `nanoclaw-whatsapp`, which finds the fake by its environment alone: no
//! configuration says where WhatsApp is.

#![allow(dead_code, reason = "each program uses its part")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use nanoclaw_fakes::whatsapp::{Device, DeviceStore as _, FakeWhatsApp};
use nanoclaw_whatsapp::store::Store;

/// A phone links the account: the program's database knows it and nothing else.
pub(crate) async fn link(database: &Path, fake: &FakeWhatsApp) {
    let store = Store::open(database).await.unwrap();
    store.forget().await.unwrap();
    let mut device = Device::new();
    fake.link(&mut device);
    device.push_name = FakeWhatsApp::BOT_NAME.to_owned();
    store.save(&device).await.unwrap();
}

/// What the program is told of where the fake is.
pub(crate) fn environment(fake: &FakeWhatsApp) -> [(&'static str, String); 2] {
    let url = fake.url();
    let media_url = url.replace("ws://", "http://");
    [("NANOCLAW_WHATSAPP_URL", url), ("NANOCLAW_WHATSAPP_MEDIA_URL", media_url)]
}

/// Writes a script to `path` that becomes `program` with that environment, for hosts to start.
pub(crate) fn script(path: &Path, program: &Path, fake: &FakeWhatsApp) {
    let exports: String = environment(fake).iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    fs::write(path, format!("#!/bin/sh\n{exports}exec '{}' \"$@\"\n", program.display())).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
