//! What the end-to-end tests share.

pub mod process;
pub mod proxy;
pub mod rig;

pub use commentd_test_support::{HttpClient, PATIENCE, RawResponse, ServingProcess, wait_at_most, wait_for};
pub use process::{Board, Program, Sidecar};
pub use rig::Rig;

/// A reply's value at a path of dots, for example `data.outcome`.
pub fn at<'a>(json: &'a serde_json::Value, path: &str) -> &'a serde_json::Value {
    path.split('.').fold(json, |value, part| match part.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[part],
    })
}
