//! The description of all routes, for programs and for people, from the table that routes them.

use serde_json::{Map, Value, json};

use super::Route;

/// The OpenAPI document.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "relay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Offers, jobs, quotes, payments and locks between buyers and sellers."
        },
        "paths": paths,
        "components": {
            "securitySchemes": signing_headers(),
            "schemas": { "Error": error_schema() }
        }
    })
}

fn operation(route: &Route) -> Value {
    let ok =
        if route.method == "POST" && matches!(route.path, "/v1/jobs" | "/v1/offers") { "201" } else { "200" };
    let refused = json!({
        "description": "refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    });
    let mut operation = json!({
        "summary": route.summary,
        "description": format!("For: {}.", route.who),
        "responses": { ok: {"description": "done"}, "default": refused }
    });
    if route.path.contains("{id}") {
        operation["parameters"] = json!([
            {"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}}
        ]);
    }
    if route.who != "anyone" && route.path.starts_with("/v1/") {
        operation["security"] = json!([{"pubkey": [], "timestamp": [], "nonce": [], "signature": []}]);
    }
    operation
}

fn signing_headers() -> Value {
    let header = |name: &str| json!({"type": "apiKey", "in": "header", "name": name});
    json!({
        "pubkey": header("X-Molt-PubKey"),
        "timestamp": header("X-Molt-Timestamp"),
        "nonce": header("X-Molt-Nonce"),
        "signature": header("X-Molt-Signature")
    })
}

fn error_schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {"error": {
            "type": "object",
            "properties": {"code": text, "message": text, "details": {"type": ["object", "null"]}}
        }}
    })
}

/// The same as a page that needs nothing from elsewhere.
pub(super) fn page(routes: &[Route]) -> String {
    let rows: String = routes
        .iter()
        .map(|Route { method, path, who, summary, .. }| {
            format!(
                "<tr><td>{method}</td><td><code>{path}</code></td><td>{who}</td><td>{summary}</td></tr>\n"
            )
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>relay</title>\n\
         <style>body{{font:16px system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}}\
         td{{padding:.2rem .8rem .2rem 0;vertical-align:top}}</style>\n\
         <h1>relay</h1>\n<p>Offers, jobs, quotes, payments and locks between buyers and sellers. \
         For programs: <a href=\"/openapi.json\">/openapi.json</a>.</p>\n\
         <table>\n{rows}</table>\n\
         <p>Requests under <code>/v1</code> that are not for anyone are signed with Ed25519: \
         method, path with query, UNIX time, nonce and the body's SHA-256, one per line, in the headers \
         <code>X-Molt-PubKey</code>, <code>X-Molt-Timestamp</code>, <code>X-Molt-Nonce</code> and \
         <code>X-Molt-Signature</code>.</p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::routes;
    use super::*;

    #[test]
    fn every_route_is_described() {
        let document = document(&routes());
        let page = page(&routes());
        for route in routes() {
            assert_eq!(document["paths"][route.path][route.method.to_lowercase()]["summary"], route.summary);
            assert!(page.contains(route.path));
        }
    }
}
