//! `native_http`: one HTTP channel, described by a manifest.

mod attempts;
mod base;
mod body;
mod cassette;
mod client;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod connection;
mod credentials;
pub mod dial;
mod failure;
mod har;
mod identity;
mod idle_connections;
mod lookups;
mod native_http;
mod observed_stream;
mod probing;
mod provider;
mod proxy;
mod tls;

pub use base::{BaseUrl, BaseUrlError};
pub use cassette::{CassetteMode, CassettePlayer, CassetteRecorder};
pub use native_http::NativeHttp;
pub use proxy::Proxy;
pub use tls::TlsFiles;
