//! A machine without any certificates to trust.

use std::fs;

use crate::world::{OfferText, World, text};

/// Programs that look there find nothing.
fn without(world: &World) -> [(&'static str, String); 2] {
    fs::create_dir_all(world.path("no-certificates")).unwrap();
    fs::write(world.path("no-certificates.pem"), "").unwrap();
    let path = |name| world.path(name).to_str().unwrap().to_owned();
    [("SSL_CERT_FILE", path("no-certificates.pem")), ("SSL_CERT_DIR", path("no-certificates"))]
}

#[tokio::test]
async fn a_sale_over_http_needs_no_certificates() {
    let world = World::new().await;
    let config = world.configure("one", &OfferText::default());
    let env = without(&world);
    let _worker =
        world.run_worker_with("one", &config, &env.each_ref().map(|(name, path)| (*name, path.as_str())));
    world.buy(&text("hello")).await;
}

#[tokio::test]
async fn without_certificates_an_https_address_is_refused_with_what_to_do() {
    let world = World::new().await;
    let env = without(&world);
    let config = world.configure("one", &OfferText::default());
    let written = fs::read_to_string(&config).unwrap();
    let (relay, node) = (format!("http://{}", world.relay_address), world.node.rpc_url());
    for (name, address) in [("relay", relay.as_str()), ("node", node.as_str())] {
        let config = world.path(&format!("{name}.toml"));
        let https = address.replacen("http", "https", 1);
        fs::write(&config, written.replace(address, &https)).unwrap();
        let mut worker =
            world.run_worker_with(name, &config, &env.each_ref().map(|(name, path)| (*name, path.as_str())));
        assert!(!worker.wait().success());
        assert!(world.logs().contains("CA certificates"), "{}", world.logs());
        fs::remove_file(world.path(&format!("{name}.log"))).unwrap();
    }
}
