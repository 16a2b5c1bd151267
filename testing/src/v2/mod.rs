//! Version 2: committees and updates made by hand, members driven by a coordinator that shows each of them what it likes.

pub mod by_hand;
pub mod sim;
pub mod stage;
pub mod trainer;
pub mod words;
