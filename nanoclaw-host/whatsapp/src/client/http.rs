//! How files come and go, and WhatsApp's current version is learned: HTTP, with a limit to what is taken in.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{Client, Method, Url};
use wacore::net::{HttpClient, HttpRequest, HttpResponse};

/// The largest answer that is taken, and with that the largest file.
pub const LARGEST_BYTES: u64 = 64 << 20;
/// How long a connection may take, and how long there may be silence on it.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// The library's HTTP client.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    instead: Option<Url>,
}

impl Http {
    /// Requests go where they are addressed to; all of them to `instead`, when that is given, with their own path and query (for tests).
    ///
    /// # Errors
    /// When TLS cannot be had: the certificates of this machine cannot be read.
    pub fn new(instead: Option<Url>) -> reqwest::Result<Self> {
        let client = Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
        Ok(Self { client, instead })
    }

    fn place(&self, url: &str) -> anyhow::Result<Url> {
        let mut url: Url = url.parse()?;
        if let Some(instead) = &self.instead {
            let mut place = instead.clone();
            place.set_path(url.path());
            place.set_query(url.query());
            url = place;
        }
        Ok(url)
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let method: Method = request.method.parse()?;
        let mut wanted = self.client.request(method, self.place(&request.url)?);
        for (name, value) in request.headers {
            wanted = wanted.header(name, value);
        }
        if let Some(body) = request.body {
            wanted = wanted.body(body);
        }
        let mut answer = wanted.send().await?;
        let status_code = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            let chunk: Bytes = chunk;
            anyhow::ensure!(
                body.len() as u64 + chunk.len() as u64 <= LARGEST_BYTES + (1 << 20),
                "the answer has more than {} MB",
                LARGEST_BYTES >> 20
            );
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status_code, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_where_tests_want_it_with_its_path_and_query() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let url = "https://mmg.whatsapp.net/v/t62.7118-24/1?ccb=11&hash=a";
        assert_eq!(Http::new(None).unwrap().place(url).unwrap().as_str(), url);
        let instead = Http::new(Some("http://127.0.0.1:9/".parse().unwrap())).unwrap();
        assert_eq!(instead.place(url).unwrap().as_str(), "http://127.0.0.1:9/v/t62.7118-24/1?ccb=11&hash=a");
        assert!(instead.place("nowhere").is_err());
    }
}
