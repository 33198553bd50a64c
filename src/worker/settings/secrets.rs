//! The two secrets: the key that signs for the relay, and the seed that is paid to.

use nano_currency::Seed;

use super::Resolver;
use crate::config::{Field, Secret, SecretRef, secret};
use crate::protocol::signing::Signer;

impl Resolver<'_> {
    pub(super) fn signer(&mut self, field: Option<Field<String>>) -> Option<Signer> {
        let secret = self.secret("relay.key", "SELLER_PRIVKEY", field, "key = \"file:seller.key\"", None)?;
        self.problems.check("relay.key", Signer::parse(secret.expose()))
    }

    pub(super) fn seed(
        &mut self,
        field: Option<Field<String>>,
        passphrase: Option<Field<String>>,
    ) -> Option<Seed> {
        let passphrase = match self.problems.take("nano.seed_passphrase", passphrase) {
            None => None,
            Some(text) => {
                let reference = SecretRef::parse_passphrase(&text, self.base);
                Some(self.problems.check("nano.seed_passphrase", reference)?)
            }
        };
        let hint = "seed = \"file:seed\"";
        let secret = self.secret("nano.seed", "NANO_SEED", field, hint, passphrase.as_ref())?;
        self.problems.check("nano.seed", Seed::parse(secret.expose()))
    }

    fn secret(
        &mut self,
        path: &str,
        name: &str,
        field: Option<Field<String>>,
        hint: &str,
        passphrase: Option<&SecretRef>,
    ) -> Option<Secret> {
        if let Some(value) = self.env.get(name) {
            let value = secret::from_env_value(&value, self.base, self.env, passphrase);
            return self.problems.check(path, value);
        }
        if field.is_none() {
            self.problems.add(path, format!("is missing; write {hint}"));
        }
        self.problems.sealed(path, field, self.base, self.env, passphrase)
    }
}
