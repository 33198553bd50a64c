//! One file per program; the only place that prints.

pub mod worker;
