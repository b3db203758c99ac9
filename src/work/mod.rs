//! Floor 3: where the two wings meet. Workers take what the loops heard, and apply it to calls and directory.

pub mod dispatch;
