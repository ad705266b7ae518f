//! Giving memory back, with proof: what an action does and can cost, the figures before and after it, and whether it helped.
//!
//! ```text
//! scope → subject (held) → prepare (can it be done?) → figures → act → figures → settle → figures → verdict → report
//! ```
//!
//! [`run`] is that line in code, [`act`] the only place of memmgr that changes anything, [`verdict`] and [`plan`] judge figures and
//! touch nothing.

pub mod act;
pub mod action;
pub mod audit;
pub mod choose;
mod facts;
pub mod figures;
pub mod plan;
mod prepare;
pub mod report;
pub mod rows;
pub mod run;
pub mod runtime;
mod subject;
pub mod verdict;

pub use run::{OptimizeError, Order, optimize, plan};
