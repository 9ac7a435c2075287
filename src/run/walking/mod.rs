//! How it is computed: [`walk`] is the one loop over layers; [`recorder`] is its hook, which carries out patches
//! ([`apply`]; on a card all of a place at once, as [`pieces`]) and keeps activations ([`rows`]: theirs alone;
//! [`near`]: on the card that reads them); [`ledger`] is what patches did, [`logits`] are computed for those who read them.

pub mod apply;
pub mod ledger;
pub mod logits;
pub mod near;
pub mod pieces;
pub mod recorder;
pub mod rows;
pub mod walk;
