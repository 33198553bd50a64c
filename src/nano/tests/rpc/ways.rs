//! Another way to a node than a socket.

use std::pin::Pin;
use std::sync::Arc;

use nano_currency::rpc::{Failure, Reply, Rpc, RpcConfig, Wire};
use serde_json::{Value, json};

use crate::nasty::version;
use crate::support::Hand;

/// One answer to everything.
#[derive(Debug)]
struct Canned(Reply);

impl Wire for Canned {
    fn call(&self, _: &str, _: String) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        Box::pin(std::future::ready(self.0.clone()))
    }
}

#[tokio::test]
async fn another_way_to_a_node_has_the_same_answers() {
    let asked = async |reply: Reply| {
        let config = Hand::default().config(["http://node"]);
        let wire: Arc<dyn Wire> = Arc::new(Canned(reply));
        let rpc = Rpc::new(&RpcConfig { wire: Some(wire), ..config }).unwrap();
        rpc.version().await.map_err(|error| error.failure)
    };
    let said = |status, body: Value| Some((status, body.to_string().into_bytes()));
    assert_eq!(asked(said(200, version())).await.unwrap().network, "dev");
    assert!(matches!(asked(None).await, Err(Failure::Broken)));
    let refused = asked(said(200, json!({ "error": "no" }))).await;
    assert!(matches!(&refused, Err(Failure::Node(text)) if text == "no"), "{refused:?}");
    assert!(asked(said(502, json!("bad gateway"))).await.is_err());
}
