//! A registry on loopback, which engines take for an insecure one: as much of the protocol as a pull needs.

#![allow(clippy::unwrap_used, reason = "a helper of tests, in which that is fine")]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use nanoclaw_core::runtime::ImageRef;
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Ends when dropped.
pub(crate) struct FakeRegistry {
    address: std::net::SocketAddr,
    shelf: Arc<Shelf>,
    _server: tokio_util::task::AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shelf {
    /// By repository and tag or digest.
    manifests: Mutex<HashMap<(String, String), Vec<u8>>>,
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    asked: AtomicUsize,
    is_away: AtomicBool,
}

impl FakeRegistry {
    pub(crate) async fn start() -> Self {
        let shelf = Arc::new(Shelf::default());
        let router = Router::new()
            .route("/v2/", get(async |State(shelf): State<Arc<Shelf>>| shelf.answer(|| "{}".into_response())))
            .route("/v2/{repository}/manifests/{reference}", get(manifest))
            .route("/v2/{repository}/blobs/{digest}", get(blob))
            .with_state(shelf.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shelf, _server: tokio_util::task::AbortOnDropHandle::new(server) }
    }

    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub(crate) fn image(&self, name: &str, tag: &str) -> ImageRef {
        format!("{}:{tag}", self.repository(name)).parse().unwrap()
    }

    /// Has an image of these files from now on; its digest.
    pub(crate) fn serve(&self, repository: &str, tag: &str, files: &[(&str, &str)]) -> String {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            layer.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let layer = layer.into_inner().unwrap();
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(&layer)]},
        })
        .to_string()
        .into_bytes();
        let part = |media_type: &str, bytes: &[u8]| serde_json::json!({"mediaType": media_type, "size": bytes.len(), "digest": digest_of(bytes)});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": part("application/vnd.docker.container.image.v1+json", &config),
            "layers": [part("application/vnd.docker.image.rootfs.diff.tar", &layer)],
        })
        .to_string()
        .into_bytes();
        let digest = digest_of(&manifest);
        let mut blobs = self.shelf.blobs.lock().unwrap();
        blobs.insert(digest_of(&layer), layer);
        blobs.insert(digest_of(&config), config);
        let mut manifests = self.shelf.manifests.lock().unwrap();
        for reference in [tag, &digest] {
            manifests.insert((repository.to_owned(), reference.to_owned()), manifest.clone());
        }
        digest
    }

    /// Gives what `digest` is under another one.
    pub(crate) fn lie(&self, repository: &str, lie: &str, digest: &str) {
        let mut manifests = self.shelf.manifests.lock().unwrap();
        let manifest = manifests[&(repository.to_owned(), digest.to_owned())].clone();
        manifests.insert((repository.to_owned(), lie.to_owned()), manifest);
    }

    /// How often a manifest was asked for.
    pub(crate) fn manifests_asked(&self) -> usize {
        self.shelf.asked.load(Ordering::Relaxed)
    }

    /// Answers nothing but that it cannot, from now on.
    pub(crate) fn go_away(&self) {
        self.shelf.is_away.store(true, Ordering::Relaxed);
    }
}

impl Shelf {
    fn answer(&self, answer: impl FnOnce() -> Response) -> Response {
        if self.is_away.load(Ordering::Relaxed) { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { answer() }
    }
}

async fn manifest(State(shelf): State<Arc<Shelf>>, Path((repository, reference)): Path<(String, String)>) -> Response {
    shelf.asked.fetch_add(1, Ordering::Relaxed);
    shelf.answer(|| {
        let found = shelf.manifests.lock().unwrap().get(&(repository, reference)).cloned();
        let Some(manifest) = found else { return unknown("MANIFEST_UNKNOWN") };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        headers.insert("Docker-Content-Digest", HeaderValue::from_str(&digest_of(&manifest)).unwrap());
        (headers, manifest).into_response()
    })
}

async fn blob(State(shelf): State<Arc<Shelf>>, Path((_, digest)): Path<(String, String)>) -> Response {
    shelf.answer(|| match shelf.blobs.lock().unwrap().get(&digest).cloned() {
        Some(blob) => blob.into_response(),
        None => unknown("BLOB_UNKNOWN"),
    })
}

fn unknown(code: &str) -> Response {
    let body = serde_json::json!({"errors": [{"code": code, "message": code}]}).to_string();
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest}")
}
