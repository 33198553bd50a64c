//! What was recorded from real nodes, and how answers are compared with it.

pub(crate) mod story;

use std::collections::HashMap;

use mock_nano_rpc::block::Block;
use mock_nano_rpc::tree::Tree;
use nano_currency::BlockHash;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One recorded exchange.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) file: String,
    pub(crate) tree: Tree,
    /// The request with its numbers and booleans, which a tree of texts does not keep.
    request: Option<Value>,
}

impl Capture {
    pub(crate) fn number(&self) -> u32 {
        self.file[..3].parse().unwrap()
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.tree.text_of(key)
    }

    /// The body as it was sent: as text where that was recorded.
    pub(crate) fn request_body(&self) -> Option<Vec<u8>> {
        match self.request.as_ref()? {
            Value::String(text) => Some(latin_1(text)),
            Value::Null => None,
            value => Some(value.to_string().into_bytes()),
        }
    }

    /// Asks something else instead.
    pub(crate) fn set_request(&mut self, request: Value) {
        self.request = Some(request);
    }

    pub(crate) fn frames(&self) -> &[Tree] {
        self.tree.get("frames").map(Tree::items).unwrap_or_default()
    }
}

/// Bad UTF-8 was recorded as one character per byte.
fn latin_1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
}

pub(crate) fn captures() -> Vec<Capture> {
    read(include_str!("../../../../tests/fixtures/captures.json"))
}

pub(crate) fn captures_rsnano() -> Vec<Capture> {
    read(include_str!("../../../../tests/fixtures/captures-rsnano.json"))
}

fn read(json: &str) -> Vec<Capture> {
    let list = Tree::parse(json.as_bytes()).unwrap();
    let values: Vec<Value> = serde_json::from_str(json).unwrap();
    list.items()
        .iter()
        .zip(values)
        .map(|(tree, value)| Capture {
            file: tree.text_of("file").unwrap().to_owned(),
            tree: tree.clone(),
            request: value.get("request").cloned(),
        })
        .collect()
}

/// Every block that appears anywhere in the recordings, by hash.
pub(crate) fn harvest(captures: &[Capture]) -> HashMap<BlockHash, Block> {
    let mut blocks = HashMap::new();
    for capture in captures {
        gather(&capture.tree, &mut blocks);
    }
    blocks
}

fn gather(tree: &Tree, blocks: &mut HashMap<BlockHash, Block>) {
    match tree {
        Tree::Text(text) => {
            if text.trim_start().starts_with('{')
                && let Ok(inner) = Tree::parse(text.as_bytes())
            {
                gather(&inner, blocks);
            }
        }
        Tree::Array(items) => items.iter().for_each(|item| gather(item, blocks)),
        Tree::Object(entries) => {
            if let Some(block) = Block::read(tree) {
                // The first appearance counts: spoiled copies of a block come later.
                blocks.entry(block.hash()).or_insert(block);
            }
            entries.iter().for_each(|(_, value)| gather(value, blocks));
        }
    }
}

/// Same keys in the same order and same kinds, recursively; error texts equal.
pub(crate) fn same_shape(ours: &Tree, theirs: &Tree) -> bool {
    match (ours, theirs) {
        (Tree::Object(ours), Tree::Object(theirs)) => {
            // Maps keyed by hash or address may differ in their keys, and then in their number.
            if is_map(ours) && is_map(theirs) {
                return ours.iter().all(|(key, our)| {
                    let twin = theirs.iter().find(|(known, _)| known == key).unwrap_or(&theirs[0]);
                    same_shape(our, &twin.1)
                });
            }
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|((our_key, our), (their_key, their))| {
                    our_key == their_key
                        && if our_key == "error" { our == their } else { same_shape(our, their) }
                })
        }
        (Tree::Array(ours), Tree::Array(theirs)) if ours.len() == theirs.len() => {
            ours.iter().zip(theirs).all(|(our, their)| same_shape(our, their))
        }
        (Tree::Array(ours), Tree::Array(theirs)) => match theirs.first() {
            Some(theirs) => ours.iter().all(|our| same_shape(our, theirs)),
            None => ours.is_empty(),
        },
        (Tree::Text(_), Tree::Text(_)) => true,
        _ => false,
    }
}

fn is_map(entries: &[(String, Tree)]) -> bool {
    !entries.is_empty()
        && entries
            .iter()
            .all(|(key, _)| key.len() == 64 || key.starts_with("nano_") || key.starts_with("xrb_"))
}

/// Sends bytes and reads until the other side ends.
pub(crate) async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

/// Sends a request with this method, path and body; status, headers and body of the answer.
pub(crate) async fn call(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> (u16, Vec<(String, String)>, String) {
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    let answer = String::from_utf8(exchange(address, &bytes).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or("0").parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    (status, headers, body.to_owned())
}

/// A control or RPC call with a JSON body; the answer's tree.
pub(crate) async fn post(address: std::net::SocketAddr, path: &str, body: &str) -> Tree {
    let (_, _, body) = call(address, "POST", path, "", body.as_bytes()).await;
    Tree::parse(body.as_bytes()).unwrap()
}
