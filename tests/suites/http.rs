//! The server over HTTP.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    client::{Client, Era, Person},
    eventually,
    http::{Web, stateless},
    scene::Scene,
};

const SOON: Duration = Duration::from_secs(10);

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_tools_at_a_socket(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::open("");
    let web = Web::start_at_socket(&scene);
    let client = Client::connect_at(&scene.socket(), None, era, Person::default(), web.pid()).await;
    let job = client.execute("echo out").await;
    assert_eq!(client.ended(&job).await["exit_code"], 0);
    assert_eq!(client.tell("get_job_output", json!({ "job_id": job })).await["stdout"], "out\n");
    client.close().await;
}

#[test]
fn probes() {
    let scene = Scene::open("");
    let mut web = Web::start(&scene);
    let get = |path: &str| web.request("GET", path, &[], b"").status;
    assert_eq!((get("/healthz"), get("/"), get("/mcp/")), (200, 404, 404));
    eventually("the policies are loaded", || (get("/readyz") == 200).then_some(()));
    let (message, headers) = stateless("tools/list", json!({}));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = web.post("none", &headers, &message);
    assert!(reply.message().unwrap()["result"]["tools"].is_array(), "{reply:?}");
    web.signal(rustix::process::Signal::TERM);
    assert_eq!(web.exit_within(SOON).code(), Some(143));
    let _: Option<Value> = None;
}
