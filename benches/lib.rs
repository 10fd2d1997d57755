//! Holds the benches of `emo-core`; there is no library here.
