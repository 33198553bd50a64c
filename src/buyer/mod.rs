//! The other half of a sale: find, ask, accept, pay, wait; every step journaled first.
