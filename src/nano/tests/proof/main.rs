//! What a block proves: recorded blocks pass, forged ones never do.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod forged;
mod legacy;
mod recorded;
mod rules;
mod support;
