//! Keys, addresses and units: answers that need no ledger.

use nano_currency::amount::RAW_PER_XNO;
use nano_currency::{Account, Amount, PrivateKey, Seed};

use super::args::{read_account, read_raw};
use super::{Answer, Args, RpcError};
use crate::block::parse_padded_hash;
use crate::tree::Tree;

pub(super) fn account_key(args: &Args<'_>) -> Answer {
    let (account, old) = read_account(args.required("account")?)?;
    Ok(old_format(old).with("key", hex::encode_upper(account.as_bytes())))
}

pub(super) fn account_get(args: &Args<'_>) -> Answer {
    let key = parse_padded_hash(args.required("key")?).ok_or(RpcError::new("Bad public key"))?;
    Ok(Tree::object().with("account", Tree::text(Account::from_bytes(*key.as_bytes()))))
}

pub(super) fn validate_account_number(args: &Args<'_>) -> Answer {
    Ok(match read_account(args.required("account")?) {
        Ok((_, old)) => old_format(old).with("valid", "1"),
        Err(_) => Tree::object().with("valid", "0"),
    })
}

pub(super) fn deterministic_key(args: &Args<'_>) -> Answer {
    let seed = parse_padded_hash(args.required("seed")?).ok_or(RpcError::new("Bad seed"))?;
    let index = args.required("index")?.parse().map_err(|_| RpcError::new("Invalid index"))?;
    let key = Seed::Hex(*seed.as_bytes()).key(index).map_err(RpcError::from_text)?;
    Ok(describe_key(&key))
}

pub(super) fn key_expand(args: &Args<'_>) -> Answer {
    Ok(describe_key(&args.private_key()?))
}

pub(super) fn sign(args: &Args<'_>) -> Answer {
    let key = args.private_key()?;
    let hash = args.hash("hash")?;
    Ok(Tree::object().with("signature", Tree::text(key.sign(hash.as_bytes()))))
}

pub(super) fn nano_to_raw(args: &Args<'_>) -> Answer {
    let amount = amount(args)?.raw().checked_mul(RAW_PER_XNO);
    let amount = amount.ok_or(RpcError::new("Invalid amount number"))?;
    Ok(Tree::object().with("amount", Tree::text(amount)))
}

pub(super) fn raw_to_nano(args: &Args<'_>) -> Answer {
    Ok(Tree::object().with("amount", Tree::text(amount(args)?.raw() / RAW_PER_XNO)))
}

fn amount(args: &Args<'_>) -> Result<Amount, RpcError> {
    read_raw(args.required("amount")?).ok_or(RpcError::new("Invalid amount number"))
}

fn describe_key(key: &PrivateKey) -> Tree {
    let account = key.account();
    Tree::object()
        .with("private", hex::encode_upper(key.expose()))
        .with("public", hex::encode_upper(account.as_bytes()))
        .with("account", Tree::text(account))
}

/// Addresses with a dash are accepted and reported.
fn old_format(old: bool) -> Tree {
    if old { Tree::object().with("deprecated_account_format", "1") } else { Tree::object() }
}
