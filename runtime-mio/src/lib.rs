//! Part of Zabkeeper.
