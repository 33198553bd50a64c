//! What people write: references to secrets, and documents read with every problem named.
